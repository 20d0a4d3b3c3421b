"""What holds for every Dockerfile: nothing crashes it, no path leaves the root, and nothing that a real shell runs is missed."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import missing

from quarantine.errors import SpecError
from quarantine.model import EnvironmentSpec, Needs
from quarantine.spec import dockerfile, shell

_WORDS = st.sampled_from(
    [
        "FROM ", "python:3", "AS x", "RUN ", "COPY ", "ADD ", "ARG ", "ENV ", "WORKDIR ", "SHELL ", "ONBUILD ", "\n", "\n", "\n", " \\\n",
        " ", "--from=x ", "--mount=type=bind,from=x,source=a,target=b ", "--platform=$P ", "a", "=", "$A", "${A:-b}", "${", "$(",
        '"', "'", "\\", "`", "#", "&&", "||", ";", "|", "<<EOF", "EOF", "pip install ", "conda install ", "-c ", "-r ", "uv ",
        "conda env create -f ", "requirements.txt", "../../x.txt", "/", "..", ".", "{{x}}", "[", "]", ",", "*", "sudo ", "bash -c ",
        "# syntax=", "# escape=`", "é", "\r\n", "\t", "if ", "cd ", "export ", "./", "-e ", "uv sync --locked", "CMD x", "cat > ",
    ]
)  # fmt: skip
_FILES = st.lists(_WORDS, max_size=40).map("".join)
_CONTEXT = {
    "ctx/requirements.txt": b"a==1\n-r x.txt\n",
    "ctx/x.txt": b"b==1\n",
    "ctx/a": b"c==1\n",
}


def _inside(path: str) -> bool:
    return bool(path) and not path.startswith("/") and ".." not in path.split("/") and "\\" not in path


@given(_FILES | st.text(max_size=60) | _FILES.map("FROM a\nCOPY . .\n".__add__))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    """Any text gives a spec, the files that are needed (all below the root), or an error that names places in it."""
    data = text.encode("utf-8", "replace")
    try:
        answer = dockerfile.read("ctx/Dockerfile", {"ctx/Dockerfile": data, **_CONTEXT}, "ctx")
    except SpecError as error:
        problems, message = error.problems, str(error)
    else:
        _check_answer(answer, data)
        return

    assert problems
    assert all(p.file in {"ctx/Dockerfile", *_CONTEXT} for p in problems)
    assert all(p.line is None or 1 <= p.line <= data.count(b"\n") + 1 for p in problems)
    assert message.replace("\n", "").isprintable()


def _check_answer(answer: EnvironmentSpec | Needs, data: bytes) -> None:
    if isinstance(answer, Needs):
        assert all(map(_inside, answer.paths))
        assert len(answer.paths) == len(answer.wanted_by)
        return
    places = [
        place
        for leaf in answer.leaves
        for place in (
            *(requirement.location for requirement in leaf.requirements),
            *(directive.location for directive in leaf.directives),
            *(entry.location for entry in leaf.unverifiable),
            *(image.location for image in leaf.images),
        )
    ]
    own = [place.line for place in places if place.file == "ctx/Dockerfile"]
    assert all(line is not None and 1 <= line <= data.count(b"\n") + 1 for line in own)
    assert answer.sources[0].path == "ctx/Dockerfile"


@given(st.lists(_WORDS, max_size=30).map("".join) | st.text(max_size=80))
@settings(max_examples=300, deadline=None)
def test_every_character_of_a_script_is_accounted_for(text: str) -> None:
    """What stands between the commands of a script, as far as it was read, is blanks, operators, comments and here-documents."""
    script = shell.parse(text)
    place = 0
    for statement in script.statements:
        between = text[place : statement.start]
        documents = "".join(document.text for earlier in script.statements for document in earlier.heredocs)
        assert "#" in between or "\n" in documents + between or not between.strip(" \t\n\\;&|!") or "time" in between
        assert place <= statement.start <= statement.end
        place = statement.end
    # what isn't sure begins at a command, or behind all of them
    assert script.rest is None or script.rest >= place or script.rest in {found.start for found in script.statements}


# --- against real shells ----------------------------------------------------------------------------------------------

_ATOMS = st.sampled_from(
    [
        "a", "b==1", "'c'", '"d"', "$A", "${A}", "${B:-x y}", '"${B:-z}"', "${A:+v}", "${E:-q}", "${E-q}", "$E", "$C", '"$C"',
        "g\\\nh", "i'j'k", "l#m", "$B", "o=p", ">out", "2>&1", "s\\\n t", "${A:-${B:-r}}", "${C:-u}", "u>=2", "'w>=2'", "$(echo t)",
    ]
)  # fmt: skip
_ASSIGNMENTS = st.sampled_from(
    ["C=c1", "C='c2 c3'", "A=a1", "export C=c4", "B=b5", "unset A", "C=$A", "E=e6", "export A=a7", 'C="$A c8"', "A="]
)
_OPERATORS = st.sampled_from([" && ", " || ", "; ", "\n", " | ", " &&\n", "; # a comment\n"])
_CALLS = st.lists(_ATOMS, min_size=1, max_size=3).map(lambda words: " ".join(["pip install n", *words]))
_NESTED = _CALLS.map(lambda call: call if "'" in call else f"sh -c '{call}'")
_PREFIXED = st.tuples(_ASSIGNMENTS, _NESTED).map(lambda pair: " ; ".join(pair) if " " in pair[0] else " ".join(pair))
_FED = _CALLS.map(lambda call: f"sh <<'END' && true\n{call}\nEND\n")
_COMMANDS = st.one_of(
    _CALLS, _CALLS, _ASSIGNMENTS, _NESTED, _PREFIXED, st.sampled_from(["true", "false", "echo x", "cd /", "! true"])
)
_SCRIPTS = st.lists(st.tuples(_COMMANDS, _OPERATORS), min_size=1, max_size=6).map(
    lambda parts: "".join(f"{command}{operator}" for command, operator in parts) + "true"
)
_ENVIRONMENT = {"A": "one two", "E": ""}


def _really_run(script: str, program: str, folder: Path) -> list[list[str]]:
    """The arguments of every `pip` that a real shell runs for a script."""
    for old in folder.glob("log.*"):
        old.unlink()
    environment = {"PATH": str(folder / "bin"), "LOG": str(folder / "log"), **_ENVIRONMENT}
    subprocess.run([program, "-c", script], env=environment, cwd=folder, capture_output=True, timeout=20, check=False)
    # the commands of a pipeline run at once, so that each has a file of its own
    return [log.read_text().split("\0")[:-1] for log in folder.glob("log.*")]


def _read(script: str) -> tuple[list[list[str]], bool]:
    """What is read of a script: the words of every call, and whether anything is refused or listed as unverifiable."""
    env = "".join(f'ENV {name}="{text}"\n' for name, text in _ENVIRONMENT.items())
    data = f"FROM scratch\n{env}RUN <<'SCRIPT-END'\n{script}\nSCRIPT-END\n".encode()
    try:
        answer = dockerfile.read("Dockerfile", {"Dockerfile": data}, "")
    except SpecError:
        return [], True
    assert isinstance(answer, EnvironmentSpec)
    calls = [sorted(f"{r.name}{r.specifier}" for r in part.requirements) for part in answer.parts]
    return calls, bool(answer.unverifiable)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a `pip` that only notes its arguments, and a shell."""
    folder = tmp_path_factory.mktemp("shell")
    (folder / "bin").mkdir()
    pip = folder / "bin" / "pip"
    pip.write_text('#!/bin/sh\nprintf \'%s\\000\' "$@" > "$LOG.$$"\n')
    pip.chmod(0o755)
    (folder / "bin" / "sh").symlink_to(shutil.which("sh") or "/bin/sh")
    return folder


@pytest.mark.parametrize("program", ["sh", "bash"])
@given(script=st.one_of(_SCRIPTS, st.tuples(_FED, _SCRIPTS).map("".join)))
@settings(max_examples=150, deadline=None)
def test_what_a_real_shell_installs_is_read_or_listed(program: str, folder: Path, script: str) -> None:
    """Every `pip install` that a shell really runs is a part with those very words, or something is listed or refused."""
    path = shutil.which(program)
    if path is None:
        missing(f"no {program} on this machine: apt-get install {program}")
    calls, unsure = _read(script)

    missed = [call for call in _really_run(script, path, folder) if sorted(call[1:]) not in calls]

    assert unsure or not missed
