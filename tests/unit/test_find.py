"""Which files below a folder are environment files, what each is taken for, and what is not looked into."""

import os
import time
from pathlib import Path

import pytest

from quarantine.errors import SpecError, UsageError
from quarantine.pipeline import find
from quarantine.pipeline.find import find_specs

CONDA = "dependencies:\n- python=3.11\n"
SCHEMA = "$schema: https://azuremlschemas.example.org/latest/"


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def _found(folder: Path, where: Path = Path()) -> dict[str, str]:
    return {entry.path.as_posix(): entry.kind for entry in find_specs(where, folder, lambda _: None)}


def test_names_that_installers_know(tmp_path: Path) -> None:
    """Requirements, locks and Dockerfiles are known by name, whatever is in them, and come in the order of their paths."""
    names = {
        "Containerfile": "dockerfile",
        "Dockerfile": "dockerfile",
        "Dockerfile.gpu": "dockerfile",
        "a.Dockerfile": "dockerfile",
        "a.dockerfile": "dockerfile",
        "conda-lock.yml": "conda-lock",
        "dev-requirements.txt": "requirements",
        "dev.conda-lock.yml": "conda-lock",
        "pylock.dev.toml": "pylock",
        "pylock.toml": "pylock",
        "requirements/base.in": "requirements",
        "requirements/base.txt": "requirements",
        "requirements-dev.in": "requirements",
        "requirements.txt": "requirements",
        "sub/deep/Requirements.TXT": "requirements",
        "uv.lock": "uv.lock",
    }
    others = ("Dockerfile.dockerignore", "notes.txt", "setup.py", "data.csv", "poetry.lock", "values.in", "x.toml")
    _write(tmp_path, dict.fromkeys((*names, *others), "anything at all: ["))
    found = _found(tmp_path)
    assert found == names
    assert list(found) == sorted(names, key=lambda name: Path(name).parts)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (CONDA, "conda-environment"),
        ("name: x\nchannels: [conda-forge]\n", "conda-environment"),
        ("python: '3.11'\nbuild_dependencies: [pip]\ndependencies: [numpy]\n", "python-env"),
        ("version: 1\nmetadata: {}\npackage: []\n", "conda-lock"),
        (f"{SCHEMA}environment.schema.json\nimage: x\n", "azureml"),
        (f"{SCHEMA}commandJob.schema.json\ncommand: ls\nenvironment: azureml:x:1\n", "azureml"),
        ('{"name": "x", "image": "y"}', "azureml"),
        (f"{SCHEMA}data.schema.json\nname: x\npath: ./data\n", None),
        ("apiVersion: v1\nkind: Pod\n", None),
        ("services:\n  web:\n    image: nginx\n", None),
        ("- a\n- list\n", None),
        ("", None),
        ("just text", None),
    ],
)
def test_a_yaml_is_what_its_keys_say(tmp_path: Path, text: str, kind: str | None) -> None:
    """YAML is told by its content: environments are found under any name, and nothing else is."""
    _write(tmp_path, {"any.yaml": text, "other.yml": text})
    assert _found(tmp_path) == ({} if kind is None else {"any.yaml": kind, "other.yml": kind})


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("dependencies: &all\n- numpy\nother: *all\n", "conda-environment"),
        ("name: x\ndependencies:\n- numpy: [\n", "yaml"),
        ("name: x\nname: y\ndependencies: []\n", "conda-environment"),
        ('"dependencies" :\n\t- numpy\n', "yaml"),
        (f"{SCHEMA}environment.schema.json\nimage: {{{{image}}}}\nconda_file: c.yml\n", "azureml"),
        ("name: x\nimage: {{image}}\n", "azureml"),
        ("name: x\nbuild:\n  path: {{path}}\n", "azureml"),
        ("apiVersion: v2\ndependencies: {{ deps }}\n", None),
        ("steps:\n- {{ insert }}: x\n  dependencies: y\n", None),
    ],
)
def test_a_broken_yaml_is_found_by_what_looks_like_its_keys(tmp_path: Path, text: str, kind: str | None) -> None:
    """An environment that isn't plain YAML isn't passed over: its reader is to say what is wrong with it."""
    _write(tmp_path, {"env.yml": text})
    assert _found(tmp_path) == ({} if kind is None else {"env.yml": kind})


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        # aliases, tags, several documents and keys that stand twice, in whatever style
        ("{name: x, channels: [&a evil], dependencies: [evil], prefix: *a}\n", "conda-environment"),
        ("  name: &a x\n  channels: [evil]\n  dependencies: [evil]\n  prefix: *a\n", "conda-environment"),
        ("? channels\n: [evil]\n? dependencies\n: [&a evil, *a]\n", "conda-environment"),
        ('"depend\\u0065ncies": [&a evil, *a]\n', "conda-environment"),
        ("name: x\n---\nx: 1\n---\ndependencies: [evil]\n", "conda-environment"),
        (f"{SCHEMA}commandJob.schema.json\nenvironment: azureml:x:1\ninputs: !input x\n", "azureml"),
        ("name: x\nimage: y\ntags: {a: &a b, c: *a}\n", "azureml"),
        ("name: x\n1: y\nconda_file: c.yml\n", "azureml"),
        # keys that only building the document would tell
        ("base: &b {dependencies: [evil]}\n<<: *b\n", "yaml"),
        ("base: &b {image: x, name: y}\n<<: [*b]\n", "yaml"),
        ("x: &k dependencies\n*k : [evil]\n", "yaml"),
        ("!!omap [dependencies: [evil]]\n", "yaml"),
        ("$schema: &a https://x.example.org/azureml/e.schema.json\nimage: x\ntype: *a\n", "yaml"),
        # none of what a stranger's parser might make of it
        ("a: [\n  dependencies: x\n", "yaml"),
        ('{"depend\\x65ncies": [evil], ]\n', "yaml"),
        ('"depend\\\n  encies": [evil]\nx: ]\n', "yaml"),
        ("? dependencies # so\n: [evil]\nx: ]\n", "yaml"),
        ("x: &k channels\n*k : [evil]\ny: ]\n", "yaml"),
        ("x: &k dependencies\n\t*k : [evil]\n", "yaml"),
        ('name: x\n"environm\\u0065nt": y\ncommand: ]\n', "yaml"),
        ("apiVersion: v1\nkind: Pod\ndependencies: ]\n", "yaml"),
        ("  apiVersion: v1\n  image: ]\n", "yaml"),
        ("# \u2028image: x\napiVersion: ]\n", "yaml"),
        ('# c\u2028x: "\ndependencies: [evil]\n# "\n', "yaml"),
        ("x: \x85 1\n", None),
        ("[" * 40 + "dependencies: x" + "]" * 40, "yaml"),
        ("[" * 40 + "other: x" + "]" * 40, None),
    ],
)
def test_no_way_of_writing_hides_a_key(tmp_path: Path, text: str, kind: str | None) -> None:
    """What the reader refuses may still be read by an installer: where the keys can't be told, one suspicion is enough."""
    _write(tmp_path, {"env.yml": text})
    assert _found(tmp_path) == ({} if kind is None else {"env.yml": kind})


@pytest.mark.parametrize(
    "text",
    [
        # Kubernetes, Helm, Compose, CI, plays and recipes
        "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: x, image: y, command: [z]}]}\n---\nkind: Service\n",
        "{{/*\nCopyright\n*/}}\n{{- if .Values.on }}\napiVersion: v1\nspec:\n  image: {{ .Values.image }}\n{{- end }}\n",
        "# a\n---\n{{ if }}\nkind: X\nspec:\n  environment: y\n",
        "x-all: &all {restart: always}\nservices:\n  web: {<<: *all, image: nginx, build: ., environment: [A=b]}\n",
        "stages: [build]\nbuild: &b {script: x, image: y, environment: z}\ntest: *b\n",
        "on: [push]\njobs: {a: {environment: x, steps: [{name: y}], container: {image: z}}}\n",
        "- hosts: all\n  environment: {{ proxy }}: x\n  tasks: ]\n",
        "{% set version = 1 %}\npackage:\n  name: x\nbuild:\n  number: 0\n",
        "nav: !!python/name:x.y\nplugins: [search]\n",
        "- {{ a }}\n- ]\n",
        "just: [text\n",
    ],
)
def test_what_surely_is_something_else_is_not_found(tmp_path: Path, text: str) -> None:
    """Most YAML that isn't plain is of other tools, and a folder that has it can still be judged."""
    _write(tmp_path, {"other.yml": text})
    assert _found(tmp_path) == {}


@pytest.mark.parametrize("text", ["*", "{", "{{", "{% ", "image ", "image #", "? ", "- ", "\\\n", "# \n", "[ "])
def test_no_text_takes_long_to_tell(tmp_path: Path, text: str) -> None:
    """Hostile repetition is told in a time in proportion to its length: in its square, these would take minutes."""
    _write(tmp_path, {"long.yml": "a: ]" + text * 100_000, "start.yml": text * 100_000 + "\n]"})
    start = time.process_time()
    assert _found(tmp_path) == {}
    assert time.process_time() - start < 10


@pytest.mark.parametrize("key", ["environm\\u0065nt", "environment"])
@pytest.mark.parametrize(
    "head", [f"{SCHEMA}commandJob.schema.json\ncommand: x\n", "name: x\ntype: command\ncommand: x\n"]
)
def test_keys_are_read_and_not_their_spelling(tmp_path: Path, head: str, key: str) -> None:
    """An Azure ML job is one however its environment's key is escaped; the word in a text leads nowhere."""
    _write(tmp_path, {"job.yml": f'{head}"{key}": "azureml:evil:1"\n'})
    _write(tmp_path, {"data.yml": f"{SCHEMA}data.schema.json\npath: x\ndescription: 'environment: none'\n"})
    _write(tmp_path, {"deep.yml": f"{SCHEMA}pipelineJob.schema.json\njobs: {{a: {{x: [{{component: y}}]}}}}\n"})
    assert _found(tmp_path) == {"deep.yml": "azureml", "job.yml": "azureml"}


def test_what_is_too_long_or_oddly_encoded_is_found_too(tmp_path: Path) -> None:
    """A limit of the reader hides no environment."""
    (tmp_path / "long.yml").write_text("# padding\n" * 500_000 + CONDA, encoding="utf-8")
    (tmp_path / "latin.yml").write_bytes(b"name: caf\xe9\n" + CONDA.encode())
    for codec in ("utf-16", "utf-16-le", "utf-32"):
        (tmp_path / f"{codec}.yml").write_bytes(CONDA.encode(codec))
    (tmp_path / "other.yml").write_bytes("x: 1".encode("utf-16"))
    assert _found(tmp_path) == {
        "latin.yml": "yaml",
        "long.yml": "yaml",
        "utf-16-le.yml": "yaml",
        "utf-16.yml": "conda-environment",
        "utf-32.yml": "yaml",
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[project]\nname='x'\ndependencies=['numpy']\n", True),
        ("[project]\nname='x'\n[project.optional-dependencies]\na=['numpy']\n", True),
        ("[project]\nname='x'\ndynamic=['version', 'dependencies']\n", True),
        ("[dependency-groups]\ndev=['pytest']\n", True),
        ("[tool.uv]\ndev-dependencies=['pytest']\n", True),
        ("[tool.poetry.group.dev.dependencies]\npytest='*'\n", True),
        ("[tool.flit.metadata]\nrequires=['numpy']\n", True),
        ("not toml", True),
        ("[project]\nname='x'\nrequires-python='>=3.11'\ndependencies=[]\ndynamic=['version']\n", False),
        ("[build-system]\nrequires=['hatchling']\n[tool.ruff]\nline-length=100\n", False),
        ("[tool.uv]\npackage=false\n", False),
    ],
)
def test_a_pyproject_is_one_where_it_names_dependencies(tmp_path: Path, text: str, found: bool) -> None:
    """Many pyproject.toml only configure tools; one that can't be read is found, so that it is said."""
    _write(tmp_path, {"pyproject.toml": text})
    assert _found(tmp_path) == ({"pyproject.toml": "pyproject"} if found else {})


def test_what_is_not_looked_into(tmp_path: Path) -> None:
    """Hidden folders, what package managers unpacked, installed environments and links to folders are passed by."""
    skipped = (".git", ".venv", "node_modules/x", "__pycache__", "lib/site-packages/x", "venv", "venv/lib", "conda", "miniconda/envs")  # fmt: skip
    _write(tmp_path, {f"{folder}/requirements.txt": "a\n" for folder in skipped})
    _write(tmp_path, {"venv/pyvenv.cfg": "", "conda/conda-meta/history": "", "miniconda/conda-meta/x": ""})
    _write(tmp_path, {"build/requirements.txt": "a\n", "real/requirements.txt": "a\n"})
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "up").symlink_to(tmp_path)
    assert _found(tmp_path) == dict.fromkeys(("build/requirements.txt", "real/requirements.txt"), "requirements")


def test_a_list_of_nothing_is_not_found(tmp_path: Path) -> None:
    """Installers take nothing from it, so there is nothing to judge."""
    _write(tmp_path, {"requirements.txt": "", "dev-requirements.txt": "# none yet\n\n", "requirements/a.txt": "b\n"})
    assert _found(tmp_path) == {"requirements/a.txt": "requirements"}


@pytest.mark.parametrize(
    "end", ["\n", "\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x1f", "\x85", "\u2028", "\u2029"]
)
def test_a_comment_ends_where_pip_ends_it(tmp_path: Path, end: str) -> None:
    """Pip takes more characters than the line feed for the end of a line: what stands behind one is asked for."""
    found = end != "\x1f"  # a space to Python, though no end of a line
    (tmp_path / "requirements.txt").write_bytes(f"# hello{end}evil-package\n".encode())
    (tmp_path / "dev-requirements.txt").write_bytes(f"# hello{end}# more\n{end}\n".encode())
    assert _found(tmp_path) == ({"requirements.txt": "requirements"} if found else {})


@pytest.mark.parametrize(
    "data",
    [
        b"# pad\n" * 700_000 + b"evil-package\n",
        b"# pad\n" * 700_000,
        b"\xef\xbb\xbf# none\n",
        "# none\n".encode("utf-16"),
        b"# none\0\n",
        b"# latin \x85evil-package\n",
        b"# -*- coding: utf-7 -*-\n# +AAo-evil-package\n",
    ],
    ids=["long", "long comments", "bom", "utf-16", "nul", "not utf-8", "coding"],
)
def test_a_list_that_may_be_read_otherwise_is_found(tmp_path: Path, data: bytes) -> None:
    """Only what every installer takes for nothing but comments is passed over."""
    (tmp_path / "requirements.txt").write_bytes(data)
    assert _found(tmp_path) == {"requirements.txt": "requirements"}


def test_a_folder_that_is_named_is_looked_into(tmp_path: Path) -> None:
    """What is passed by on the way is searched when the user names it; paths are as the user would write them."""
    _write(tmp_path, {".devcontainer/Dockerfile": "", "venv/pyvenv.cfg": "", "venv/requirements.txt": "a\n"})
    assert _found(tmp_path, Path(".devcontainer")) == {".devcontainer/Dockerfile": "dockerfile"}
    assert _found(tmp_path, Path("venv")) == {"venv/requirements.txt": "requirements"}
    assert _found(tmp_path / "venv", Path("../.devcontainer")) == {"../.devcontainer/Dockerfile": "dockerfile"}
    absolute = tmp_path / ".devcontainer"
    assert _found(Path("/"), absolute) == {(absolute / "Dockerfile").as_posix(): "dockerfile"}


def test_odd_files_hold_nothing_up(tmp_path: Path) -> None:
    """Pipes, loops of links and dead links are never opened; those with a known name are left for the reader to refuse."""
    for name in ("pipe.yml", "requirements.txt"):
        os.mkfifo(tmp_path / name)
    for name in ("loop.yml", "Dockerfile"):
        (tmp_path / name).symlink_to(tmp_path / name)
    (tmp_path / "dead.yml").symlink_to(tmp_path / "nowhere")
    (tmp_path / "pyproject.toml").mkdir()
    assert _found(tmp_path) == {"Dockerfile": "dockerfile", "requirements.txt": "requirements"}


@pytest.mark.skipif(not Path("/proc/self/mem").is_file(), reason="needs a file that can't be read by anybody")
def test_what_can_not_be_read_is_found(tmp_path: Path) -> None:
    """A file that can't be read may be anything: it is among the answers."""
    for name in ("env.yml", "pyproject.toml"):
        (tmp_path / name).symlink_to("/proc/self/mem")
    assert _found(tmp_path) == {"env.yml": "yaml", "pyproject.toml": "pyproject"}


def test_a_folder_that_can_not_be_listed(tmp_path: Path) -> None:
    """What can't be listed is never passed over in silence."""
    with pytest.raises(SpecError) as caught:
        find_specs(Path("gone"), tmp_path, lambda _: None)
    assert str(caught.value) == (
        "gone: can't be listed (no such file or directory), so what is in it isn't known: "
        "make it readable, or name files instead"
    )


def test_there_is_an_end_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of more entries than can be looked through is refused, with what to do; just as many are fine."""
    _write(tmp_path, {f"sub{number}/notes.txt": "" for number in range(5)})
    monkeypatch.setattr(find, "MAX_ENTRIES", 10)
    assert _found(tmp_path) == {}
    _write(tmp_path, {"one-more": ""})
    with pytest.raises(UsageError) as caught:
        _found(tmp_path, Path())
    assert str(caught.value) == (
        "'.' has more than 10 files and folders below it: "
        "name a folder that has fewer, or the environment files themselves"
    )


def test_progress_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long search says where it is."""
    _write(tmp_path, {f"{number}.csv": "" for number in range(5)})
    monkeypatch.setattr(find, "_TELL_EVERY", 2)
    told: list[str] = []
    find_specs(tmp_path, Path("/"), told.append)
    assert told == [f"looking for environment files in {tmp_path}: {seen} files so far" for seen in (2, 4)]
