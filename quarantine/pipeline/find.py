"""The environment files below a folder, each with what it is taken for.

A name is enough for those that installers know by name; any other YAML is opened, and is one if its keys say so. Not
looked into: folders that are links, hidden ones (`.git`, `.venv`), `node_modules`, `__pycache__`, `site-packages`, and
installed environments (`pyvenv.cfg`, `conda-meta`). What only may be an environment file is among the answers, since
its reader says what is wrong with it, and what is never read is never judged.
"""

import os
import re
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec
import yaml

from quarantine.document import MAX_BYTES, MAX_DEPTH, MAX_NODES, Document, load_yaml
from quarantine.errors import ConfigError, Problem, SpecError, UsageError
from quarantine.ports import Tell
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


_CODING = re.compile(r"coding[:=]")


def _asks_nothing(file: Path) -> bool:
    """Whether a list is empty, or holds nothing but comments: installers take nothing from it, and so does a check.

    Only where no installer can see it otherwise: lines end wherever pip ends them (`str.splitlines`), and what is too
    long to be read, is not plain UTF-8, or names an encoding (pip obeys such a comment) may ask for anything.
    """
    data = _read(file)
    if data is None or len(data) > MAX_BYTES or not file.is_file():
        return False
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    if "\0" in text or "\ufeff" in text or _CODING.search(text):
        return False
    return all(not line.strip() or line.lstrip().startswith("#") for line in text.splitlines())


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
_LEADS_TO_ENVIRONMENT = frozenset({"build", "component", "conda_file", "environment", "image", "trial"})
# U+0085, U+2028, U+2029: line ends to YAML 1.1 and none to YAML 1.2, so installers differ about where a key is
_DISPUTED_BREAK = re.compile(rb"\xc2\x85|\xe2\x80[\xa8\xa9]")


def _of_yaml(file: Path) -> str | None:
    """By its keys; where they can't be told, whatever may have a telling one is left to its reader to refuse."""
    data = _read(file)
    if not data:
        return "yaml" if data is None else None
    if len(data) > MAX_BYTES:
        return "yaml"
    try:
        document = load_yaml(str(file), data)
    except ConfigError:
        outlines = _outlines(str(file), data)
        kind = next(filter(None, map(recognise, outlines or ())), None)
        doubtful = outlines is None or _DISPUTED_BREAK.search(data) is not None
        return kind or ("yaml" if doubtful and _may_ask(data) else None)
    kind = recognise(document)
    return None if kind == "azureml" and not _leads_to_environment(document.value) else kind


def _leads_to_environment(value: object) -> bool:
    """Whether a key of the value, or of one in it, leads to an environment. A document's depth and size are bounded."""
    table = mapping(value)
    if table is not None:
        return not _LEADS_TO_ENVIRONMENT.isdisjoint(table) or any(map(_leads_to_environment, table.values()))
    return isinstance(value, list) and any(map(_leads_to_environment, value))


# --- YAML that its reader refuses -------------------------------------------------------------------------------------

_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# of what type each key must be for `recognise`, which tells Azure ML files by the text of two more
_TYPES: dict[str, type] = {"build": dict, "dependencies": list, "jobs": dict, "package": list}
_TOLD_BY_TEXT = frozenset({"$schema", "type"})


def _outlines(file: str, data: bytes) -> list[Document] | None:
    """The keys at the top of each document, with values of the right types; None where they can't be told for sure.

    Aliases, tags, keys that stand twice and several documents are no hindrance; keys that are merged, aliases or tagged
    are, and so is whatever is no YAML.
    """
    outlines: list[dict[str, object]] = []
    in_mapping, key = False, None
    try:
        for depth, node in _upper_nodes(data):
            text: str | None = getattr(node, "value", None)
            if (depth == 0 or (in_mapping and key is None)) and getattr(node, "tag", None) is not None:
                return None
            if depth == 0:
                outlines.append({})
                in_mapping, key = isinstance(node, yaml.MappingStartEvent), None
            elif in_mapping and key is None:
                if text is None or text == "<<":
                    return None
                key = text
            elif in_mapping and key is not None:
                if text is None and key in _TOLD_BY_TEXT:
                    return None
                outlines[-1][key] = _TYPES[key]() if key in _TYPES else text or ""
                key = None
    except (yaml.YAMLError, ValueError):
        return None
    return [Document(file, outline, {}) for outline in outlines]


def _upper_nodes(data: bytes) -> Iterator[tuple[int, yaml.Event]]:
    """Each document's root (0) and what stands right below it (1); ValueError beyond the limits of a reader."""
    depth = 0
    for count, event in enumerate(yaml.parse(data, Loader=_Loader)):
        if depth > MAX_DEPTH or count > MAX_NODES:
            raise ValueError("deeper or longer than is read")
        if isinstance(event, yaml.NodeEvent) and depth <= 1:
            yield depth, event
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)


# as a key, at any depth and in any style: quoted, in braces, with its colon on another line. All these take a time in
# proportion to the text, whatever is in it.
_AS_KEY = r"""(?<![\w.-])(?:{})["']?\s*+:"""
_CONDA_WORDS = "dependencies|build_dependencies|channels|conda_file"
_CONDA_KEY = re.compile(_AS_KEY.format(_CONDA_WORDS))
_AZUREML_KEY = re.compile(_AS_KEY.format("|".join(sorted(_LEADS_TO_ENVIRONMENT))))
# keys that need no colon behind them: `? key`, and `*alias :` for what has the anchor
_ODD_KEY = re.compile(r"(?m)(?:^|[-{\[,])[ \t]*\?\s|\*[^\s*,\[\]{}]*+\s++:")
_ANY_WORD = re.compile(rf"(?<![\w.-])(?:{_CONDA_WORDS}|{'|'.join(sorted(_LEADS_TO_ENVIRONMENT))})(?![\w.-])")
# the first key, or first dash, of what Azure ML refuses whatever else it has: Kubernetes and Helm, recipes, plays
_NOT_AZUREML = re.compile(
    r"\ufeff?(?>\s+|\#[^\n\r\x85\u2028\u2029]*|---(?=\s)|\{\{.*?\}\}|\{%.*?%\})*+(?<![^\n])(?:(?:apiVersion|kind|package):\s|-\s)",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|[ \t]*\r?\n[ \t]*)")


def _may_ask(data: bytes) -> bool:
    """Whether a text that isn't plain YAML may have a key that installers read, to one more lenient or once filled in.

    What only Azure ML reads is very common in templates of other things, so the first key is looked at too.
    """
    # without NULs, what is ASCII in UTF-16 and UTF-32 is so in UTF-8
    text = data.replace(b"\0", b"").decode("utf-8", "replace")
    for reading in (text, _ESCAPE.sub(_unescaped, text)):
        if _CONDA_KEY.search(reading) or (_ODD_KEY.search(reading) and _ANY_WORD.search(reading)):
            return True
        if _AZUREML_KEY.search(reading) and not _NOT_AZUREML.match(reading):
            return True
    return False


def _unescaped(match: re.Match[str]) -> str:
    code = int(match[1] or match[2] or match[3] or "0", 16)
    return chr(code) if 0 < code <= sys.maxunicode else ""
