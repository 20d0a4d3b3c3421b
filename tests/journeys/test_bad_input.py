"""Bad input through the command line: exit 2, one message for each problem with its place, and nothing left behind."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from house import House, Ran
from spec_corpus import samples

NAMES = {"pyproject": "pyproject.toml", "pylock": "pylock.toml", "uv_lock": "uv.lock"}
FORMATS = ("requirements.txt", "pyproject.toml", "pylock.toml", "pylock.gpu.toml", "uv.lock", "deps.in")
CORPUS = samples("reject")


def _assert_refused(home: House, stored: dict[str, bytes], ran: Ran, *places: str) -> None:
    """What bad input comes to, whatever is bad about it; every place is named by some line."""
    assert (ran.status, ran.out) == (2, ""), ran.err
    lines = ran.err.splitlines()
    assert lines
    for line in lines:
        assert re.match(r"error: (?:[^:]+|.*\.yaml)(?::\d+(?::\d+)?)?: .", line), line
    for place in places:
        assert [line for line in lines if line.startswith(f"error: {place}:")], (place, lines)
    assert "Traceback" not in ran.err
    assert "defect" not in ran.err
    assert dict(home.stored()) == stored
    assert home.index.asked == []


def test_the_corpus_is_large_enough() -> None:
    """At least a hundred files, so that the journeys below mean something."""
    assert len(CORPUS) >= 100


@pytest.mark.parametrize("sample", CORPUS.values(), ids=CORPUS)
def test_a_bad_file_is_refused(home: House, sample: Path) -> None:
    """Every file of the corpus, asked to be locked: nothing is judged, recorded, locked or asked of an index."""
    name = NAMES.get(sample.parent.name, sample.name)
    home.write(name, sample.read_bytes())
    stored = dict(home.stored())

    ran = home.run("check", name, "--lock", "pylock.new.toml")

    _assert_refused(home, stored, ran, name)


CONTENTS: dict[str, bytes] = {
    "empty": b"",
    "blanks": b" \n\t\n\n",
    "NUL": b"\0" * 100,
    "binary": bytes(range(256)) * 20,
    "an executable": b"\x7fELF\x02\x01\x01" + bytes(500),
    "a zip": b"PK\x03\x04" + bytes(200),
    "gzip": b"\x1f\x8b\x08\x00" + bytes(range(200)),
    "Latin-1": "caf\u00e9==1.0\n".encode("latin-1"),
    "UTF-16": "numpy==1.0\n".encode("utf-16"),
    "UTF-16 without a mark": "numpy==1.0\n".encode("utf-16-le"),
    "UTF-32": "numpy==1.0\n".encode("utf-32"),
    "cut UTF-8": "numpy==1.0  # \u20ac".encode()[:-1],
    "surrogates": b"numpy\xed\xa0\x80\n",
    "overlong UTF-8": b"numpy\xc0\xaf\n",
    "JSON": b'{"dependencies": ["numpy"]}\n',
    "YAML": b"name: x\ndependencies:\n  - numpy\n",
    "a Dockerfile": b"FROM python:3.11\nRUN pip install numpy\n",
    "a shell script": b"#!/bin/sh\npip install numpy\n",
    "a private key": b"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n",
    "a merge conflict": b"<<<<<<< HEAD\nnumpy==1.0\n=======\nnumpy==2.0\n>>>>>>> other\n",
    "50 MB of text": b"numpy==1.0 \\\n" * 4_000_000,
    "50 MB of one line": b"n" * 50_000_000,
    "50 MB of NUL": bytes(50_000_000),
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("name", FORMATS)
def test_bytes_that_are_no_environment_are_refused(home: House, name: str, content: bytes) -> None:
    """In the place of each format."""
    home.write(name, content)
    stored = dict(home.stored())

    ran = home.run("check", name)

    _assert_refused(home, stored, ran, name)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


PLACES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda _: None, "no such file"),
    "folder": (
        Path.mkdir,
        "no environment file was found below this folder: name a file (quarantine check --help says which are read)",
    ),
    "pipe": (_pipe, "is not a regular file: expected an environment file"),
    "device without an end": (
        lambda path: path.symlink_to("/dev/zero"),
        "is not a regular file: expected an environment file",
    ),
    "device without content": (
        lambda path: path.symlink_to("/dev/null"),
        "is not a regular file: expected an environment file",
    ),
    "link to nowhere": (lambda path: path.symlink_to("nowhere"), "no such file"),
    "link to itself": (_loop, "can't be read: too many levels of symbolic links"),
}


@pytest.mark.parametrize(("make", "message"), PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("name", FORMATS)
def test_a_path_that_is_no_file_is_refused(
    home: House, name: str, make: Callable[[Path], object], message: str
) -> None:
    """At once, also where reading would wait or never end."""
    make(home.folder / name)
    stored = dict(home.stored())

    ran = home.run("check", name, "--lock", "pylock.new.toml")

    _assert_refused(home, stored, ran, name)
    assert ran.err == f"error: {name}: {message}\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", FORMATS)
def test_a_file_without_permission_is_refused(home: House, name: str) -> None:
    """With the system's own reason."""
    home.write(name, "numpy\n").chmod(0)

    ran = home.run("check", name)

    assert (ran.status, ran.out, ran.err) == (2, "", f"error: {name}: can't be read: permission denied\n")


@pytest.mark.parametrize(
    "name",
    ["environment.yaml", "Dockerfile", "Pipfile", "setup.py", "poetry.lock", "requirements", "x.json", "empty"],
)
def test_a_file_of_another_kind_is_refused(home: House, name: str) -> None:
    """With what can be checked."""
    if name == "empty":
        (home.folder / name).mkdir()
    else:
        home.write(name, "numpy\n")
    stored = dict(home.stored())

    ran = home.run("check", name)

    _assert_refused(home, stored, ran)
    assert "expected" in ran.err or "says which are read" in ran.err


INCLUDES: dict[str, tuple[dict[str, bytes], str]] = {
    "of itself": ({"requirements.txt": b"-r requirements.txt\n"}, "requirements.txt:1"),
    "in a circle": (
        {"requirements.txt": b"-r a.txt\n", "a.txt": b"numpy\n-r b/c.txt\n", "b/c.txt": b"-r ../a.txt\n"},
        "b/c.txt:1",
    ),
    "by constraints": ({"requirements.txt": b"numpy\n-c a.txt\n", "a.txt": b"-c requirements.txt\n"}, "a.txt:1"),
    "of nothing": ({"requirements.txt": b"numpy\n\n-r none.txt\n"}, "requirements.txt:3"),
    "of a folder": ({"requirements.txt": b"numpy\n-r more\n", "more/a.txt": b""}, "requirements.txt:2"),
    "of rubbish": ({"requirements.txt": b"-r a.txt\n", "a.txt": bytes(range(256))}, "a.txt"),
    "of a bad line": ({"requirements.txt": b"numpy\n-r a.txt\n", "a.txt": b"ok\n\nnot a line\n"}, "a.txt:3"),
    "of a link to itself": ({"requirements.txt": b"numpy\n-r loop.txt\n"}, "requirements.txt:2"),
    "in a folder that is a loop": ({"requirements.txt": b"-r loop.txt/a.txt\n"}, "requirements.txt:1"),
    "of a NUL": ({"requirements.txt": b"-r a\0b.txt\n"}, "requirements.txt"),
    "of a long name": ({"requirements.txt": b"-r " + b"a" * 5000 + b".txt\n"}, "requirements.txt:1"),
    "of a group by itself": (
        {"pyproject.toml": b'[dependency-groups]\na = [{include-group = "b"}]\nb = [{include-group = "a"}]\n'},
        "pyproject.toml:2",
    ),
}


@pytest.mark.parametrize(("files", "place"), INCLUDES.values(), ids=INCLUDES)
def test_a_bad_include_is_refused(home: House, files: dict[str, bytes], place: str) -> None:
    """At the line that includes it, or in the file that is bad."""
    (home.folder / "loop.txt").symlink_to("loop.txt")
    for name, content in files.items():
        home.write(name, content)
    stored = dict(home.stored())

    ran = home.run("check", next(iter(files)))

    _assert_refused(home, stored, ran, place)


def test_all_problems_of_all_files_come_together(home: House) -> None:
    """Nobody runs the check three times to learn of three mistakes."""
    home.write("a.txt", "numpy\nnot a line\n-r b.txt\nanother bad one\n")
    home.write("b.txt", "\nalso bad !\n")
    home.write("pyproject.toml", '[project]\nname = "x"\nversion = "1"\ndependencies = ["bad one"]\n')
    stored = dict(home.stored())

    ran = home.run("check", "a.txt", "none.txt", "pyproject.toml")

    _assert_refused(home, stored, ran, "a.txt:2", "a.txt:4", "b.txt:2", "none.txt", "pyproject.toml:4")


CONFIGURATIONS = {
    "unknown key": ("quarantine.yaml", "version: 1\nproject: x\nmode: open\n", ":3:1"),
    "unknown key below": ("quarantine.yaml", "version: 1\nproject: x\nadvisories:\n  sauce: x\n", ":4:3"),
    "unknown version": ("quarantine.yaml", "version: 2\nproject: x\n", ":1:1"),
    "no project": ("quarantine.yaml", "version: 1\n", ":1:1"),
    "unknown service": ("quarantine.yaml", "version: 1\nproject: x\nadvisories: {service: none}\n", ":3:14"),
    "unknown platform": ("quarantine.yaml", 'version: 1\nproject: x\ntargets: [{python: "3.11", platform: vax}]\n', ":3:11"),
    "a number for a version": ("quarantine.yaml", "version: 1\nproject: x\ntargets: [{python: 3.11, platform: linux-x86_64}]\n", ":3:12"),
    "no targets": ("quarantine.yaml", "version: 1\nproject: x\ntargets: []\n", ":3:1"),
    "a list": ("quarantine.yaml", "- version: 1\n", ":1:1"),
    "no allowlists": ("quarantine.yaml", "version: 1\nproject: x\nallowlists: none\n", "none: no such file or directory"),
    "unknown rule": ("allowlists/policy.yaml", "rules:\n  virus: {}\n", ":2:3"),
    "no upstream": ("allowlists/policy.yaml", "version: 1\nupstreams: []\n", ":2:1"),
    "unknown key of an entry": (
        "allowlists/pypi.yaml",
        "version: 1\nallow:\n  - {name: a, owner: o, reason: r, added: 2026-01-01, expires: 2027-01-01, until: x}\n",
        ":3:",
    ),
    "no expiry": ("allowlists/pypi.yaml", "version: 1\nallow:\n  - {name: a, owner: o, reason: r, added: 2026-01-01}\n", ":3:"),
    "a list that nobody names": ("allowlists/more.yaml", "version: 1\n", "allowlists/policy.yaml:2:1: no upstream names 'more.yaml'"),
}  # fmt: skip


@pytest.mark.parametrize(("file", "text", "place"), CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_a_wrong_configuration_is_refused(home: House, file: str, text: str, place: str) -> None:
    """With file, line and column; before anything is judged by half of it."""
    home.entries = "version: 1\n"
    home.settle()
    home.write("requirements.txt", "numpy\n")
    home.write(file, text)
    stored = dict(home.stored())

    ran = home.run("check", "requirements.txt", "--lock", "pylock.toml")

    _assert_refused(home, stored, ran)
    assert f"error: {home.folder}/{file + place if place.startswith(':') else place}" in ran.err


@pytest.mark.parametrize("name", ["policy.yaml", "pypi.yaml"])
@pytest.mark.parametrize("make", [_pipe, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "endless device"])
def test_a_policy_that_is_no_file_is_refused(home: House, name: str, make: Callable[[Path], object]) -> None:
    """It comes with the code that is judged: reading it neither waits nor fills the memory."""
    home.entries = "version: 1\n"
    home.settle()
    path = home.folder / "allowlists" / name
    path.unlink()
    make(path)
    home.write("requirements.txt", "numpy\n")
    stored = dict(home.stored())

    ran = home.run("check", "requirements.txt")

    _assert_refused(home, stored, ran)
    assert ran.err == f"error: {path}: is not a regular file: expected YAML\n"
