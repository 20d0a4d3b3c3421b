"""Which files below a folder are environment files, what each is taken for, and what is not looked into."""

import os
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
        ("name: x\ndependencies:\n- numpy: [\n", "conda-environment"),
        ("name: x\nname: y\ndependencies: []\n", "conda-environment"),
        ('"dependencies" :\n\t- numpy\n', "conda-environment"),
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


def test_what_is_too_long_or_oddly_encoded_is_found_too(tmp_path: Path) -> None:
    """A limit of the reader hides no environment."""
    (tmp_path / "long.yml").write_text(CONDA + "# padding\n" * 500_000, encoding="utf-8")
    (tmp_path / "wide.yml").write_bytes(CONDA.encode("utf-16"))
    (tmp_path / "latin.yml").write_bytes(b"name: caf\xe9\n" + CONDA.encode())
    (tmp_path / "long-other.yml").write_text("x: 1\n" + "# padding\n" * 500_000, encoding="utf-8")
    assert _found(tmp_path) == dict.fromkeys(("latin.yml", "long.yml", "wide.yml"), "conda-environment")


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
