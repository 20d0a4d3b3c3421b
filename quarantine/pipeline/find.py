"""The environment files below a folder, each with what it is taken for.

A name is enough for those that installers know by name; any other YAML is opened, and is one if its keys say so. Not
looked into: folders that are links, hidden ones (`.git`, `.venv`), `node_modules`, `__pycache__`, `site-packages`, and
installed environments (`pyvenv.cfg`, `conda-meta`). What only may be an environment file is among the answers, since
its reader says what is wrong with it, and what is never read is never judged.
"""

import os
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from quarantine.document import MAX_BYTES, Document
from quarantine.errors import Problem, SpecError, UsageError
from quarantine.ports import Tell
from quarantine.spec.documents import load
from quarantine.spec.recognise import mapping, recognise
from quarantine.spec.toml import load_toml

__all__ = ["Found", "find_specs"]

MAX_ENTRIES = 100_000
_TELL_EVERY = 2_000

_SKIPPED = frozenset({"node_modules", "__pycache__", "site-packages"})
_INSTALLED = frozenset({"pyvenv.cfg", "conda-meta"})
# the first that fits, by the name in lower case
_BY_NAME = (
    ("pylock.toml", "pylock"),
    ("pylock.*.toml", "pylock"),
    ("uv.lock", "uv.lock"),
    ("conda-lock.yml", "conda-lock"),
    ("*.conda-lock.yml", "conda-lock"),
    ("*.dockerignore", None),
    ("dockerfile", "dockerfile"),
    ("dockerfile.*", "dockerfile"),
    ("*.dockerfile", "dockerfile"),
    ("containerfile", "dockerfile"),
    ("containerfile.*", "dockerfile"),
    ("*requirements*.txt", "requirements"),
    ("*requirements*.in", "requirements"),
)
_REQUIREMENTS_FOLDER = "requirements"
# tools that keep dependencies in a table of their own
_DYNAMIC = frozenset({"dependencies", "optional-dependencies"})
_TOOLS = ("flit", "pdm", "pixi", "poetry", "rye", "uv")


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """An environment file: its path as a person at the working directory would write it, and what it is taken for.

    `kind` is a spec's `format`, as far as it can be told without reading the whole.
    """

    path: Path
    kind: str


def find_specs(folder: Path, working_directory: Path, tell: Tell) -> tuple[Found, ...]:
    """Every environment file below the folder, in the order of their paths, segment by segment.

    SpecError for a folder that can't be listed; UsageError where there is more below it than can be looked through.
    """
    found: list[Found] = []
    for seen, path in enumerate(_files(folder, working_directory), 1):
        if seen % _TELL_EVERY == 0:
            tell(f"looking for environment files in {folder}: {seen} files so far")
        kind = _kind(path, working_directory / path)
        if kind is not None:
            found.append(Found(path=path, kind=kind))
    return tuple(sorted(found, key=lambda entry: entry.path.parts))


def _files(folder: Path, working_directory: Path) -> Iterator[Path]:
    """All that is no folder, below the folder and what is looked into of it."""
    left, waiting = MAX_ENTRIES, [folder]
    while waiting:
        current = waiting.pop()
        entries = _entries(current, working_directory)
        left -= len(entries)
        if left < 0:
            raise UsageError(
                f"{str(folder)!a} has more than {MAX_ENTRIES:,} files and folders below it: "
                "name a folder that has fewer, or the environment files themselves"
            )
        if current != folder and not _INSTALLED.isdisjoint(entry.name for entry in entries):
            continue
        for entry in entries:
            if not _is_folder(entry):
                yield current / entry.name
            elif not entry.is_symlink() and not entry.name.startswith(".") and entry.name not in _SKIPPED:
                waiting.append(current / entry.name)


def _entries(folder: Path, working_directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(working_directory / folder) as entries:
            return list(entries)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        message = f"can't be listed ({reason}), so what is in it isn't known: make it readable, or name files instead"
        raise SpecError([Problem(file=str(folder), message=message)]) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a loop of links, or one that can't be followed: its reader says so


def _kind(path: Path, file: Path) -> str | None:
    """What the file is taken for; None where it is no environment file."""
    name = path.name.lower()
    for pattern, kind in _BY_NAME:
        if fnmatchcase(name, pattern):
            return None if kind == "requirements" and _asks_nothing(file) else kind
    match path.suffix.lower():
        case ".txt" | ".in" if path.parent.name.lower() == _REQUIREMENTS_FOLDER:
            return None if _asks_nothing(file) else "requirements"
        case ".toml" if name == "pyproject.toml":
            return _of_pyproject(file)
        case ".yml" | ".yaml":
            return _of_yaml(file)
        case _:
            return None


def _asks_nothing(file: Path) -> bool:
    """Whether a list is empty, or holds nothing but comments: installers take nothing from it, and so does a check."""
    data = _read(file)
    return (
        data is not None
        and file.is_file()
        and all(not line.strip() or line.lstrip().startswith(b"#") for line in data[:MAX_BYTES].splitlines())
    )


def _read(file: Path) -> bytes | None:
    """The file's beginning, one byte more than is parsed at most; b"" for what is no regular file, None when it can't be read."""
    try:
        if not file.is_file():
            return b""
        with file.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError:
        return None


# --- what a file says -------------------------------------------------------------------------------------------------


def _of_pyproject(file: Path) -> str | None:
    """A project that names dependencies somewhere: many hold nothing but the settings of tools."""
    data = _read(file)
    if not data:
        return "pyproject" if data is None else None
    try:
        document = load_toml(str(file), data).value
    except SpecError:
        return "pyproject"
    project, tools = mapping(document.get("project")) or {}, mapping(document.get("tool")) or {}
    dynamic = project.get("dynamic")
    if document.get("dependency-groups") or (isinstance(dynamic, list) and _DYNAMIC.intersection(map(str, dynamic))):
        return "pyproject"
    return "pyproject" if any(map(_names_dependencies, (project, *map(tools.get, _TOOLS)))) else None


def _names_dependencies(table: object) -> bool:
    """Whether a table, or one in it, has dependencies that aren't empty. Flit calls them requires."""
    for key, value in (mapping(table) or {}).items():
        if "dependencies" in key or (key.startswith("requires") and key != "requires-python"):
            if value:
                return True
        elif _names_dependencies(value):
            return True
    return False


# what leads an Azure ML YAML to an environment; one of data, a model, an endpoint or a compute has none of it
_LEADS_TO_ENVIRONMENT = re.compile(rb"""\b(?:build|component|conda_file|environment|image|trial)["']?\s*:""")


def _of_yaml(file: Path) -> str | None:
    """By its keys, and where the text is no plain YAML, by what looks like its keys."""
    data = _read(file)
    if not data:
        return "yaml" if data is None else None
    document = None
    if len(data) <= MAX_BYTES:
        try:
            document = load(str(file), data)
        except SpecError:
            document = None
    kind = recognise(_outline(file, data) if document is None else document)
    if kind == "azureml" and not _LEADS_TO_ENVIRONMENT.search(data):
        return None
    return kind


_TOP_KEY = re.compile(r"""^["']?([$A-Za-z_][\w-]*)["']?[ \t]*:(?:[ \t]+["']?([^"'\s#]*)|[ \t]*$)""", re.MULTILINE)
# of what type each key must be for `recognise`
_TYPES: dict[str, type] = {"build": dict, "dependencies": list, "jobs": dict, "package": list}


def _outline(file: Path, data: bytes) -> Document:
    """The keys at the starts of lines, with values of the right types, of a text that can't be parsed or is too long."""
    encoding = "utf-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8"
    keys = _TOP_KEY.findall(data.decode(encoding, "replace"))
    return Document(str(file), {key: _TYPES[key]() if key in _TYPES else text for key, text in keys}, {})
