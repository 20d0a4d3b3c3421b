"""What a conda package says it holds: the Python distributions in its file list, and their core metadata.

Of a `.conda` file the info member is read, and the pkg member only where a list in that could count; a `.tar.bz2` file is
read to its end. What is installed is what the file list names (`info/paths.json`, in old packages `info/files`), so the
list is what counts, and there must be one alone.

Source: conda's package specification; the binary distribution format and setuptools' formats for the names.
"""

import re
import tarfile
from collections.abc import Collection, Generator, Iterable, Mapping
from contextlib import closing

import msgspec
from packaging.utils import NormalizedName
from packaging.version import Version

from quarantine.archive.conda_tar import FILES, INDEX, MAX_ENTRIES, PATHS, SEPARATOR, Part, content, readable, walk
from quarantine.archive.metadata import MAX_METADATA_BYTES
from quarantine.errors import IntegrityError
from quarantine.model import CondaRecord, Package, parse_name, parse_version

__all__ = ["distributions", "metadata"]

MAX_LIST_BYTES = 32 * 1024 * 1024
MAX_INDEX_BYTES = 1024 * 1024
MAX_DISTRIBUTIONS = 1000

_MAX_STEM = 255
# what Python runs or imports from a site-packages folder; a .pth file can hold code too
_MODULES = (".py", ".pyc", ".pyd", ".so", ".pth", ".egg")
_EGG_PYTHON = re.compile(r"-py[0-9](?:\.[0-9]{1,3})?(?:-[a-z].*)?", re.IGNORECASE | re.DOTALL)


# --- the file list ----------------------------------------------------------------------------------------------------


class _Index(msgspec.Struct, frozen=True):
    """`info/index.json`: what the package says it is."""

    name: str
    version: str
    build: str


class _Path(msgspec.Struct, frozen=True):
    path: str = msgspec.field(name="_path")


class _Paths(msgspec.Struct, frozen=True):
    """`info/paths.json`."""

    paths: list[_Path]
    paths_version: int


_LIMITS = {INDEX: MAX_INDEX_BYTES, PATHS: MAX_LIST_BYTES, FILES: MAX_LIST_BYTES}


def distributions(
    record: CondaRecord, chunks: Iterable[bytes], pkg: Iterable[bytes] = (), *, info_last: bool = True
) -> tuple[Package, ...]:
    """The Python distributions that a package holds by its own file list: each once, sorted; vendored ones too.

    `chunks` are the bytes of the info member of a `.conda` file, or of a whole `.tar.bz2` file. `pkg` are those of the pkg
    member of a `.conda` file, which are asked for when a list in that would count: where it comes after the info member
    (`info_last` is False), and where that has no `info/paths.json`.

    IntegrityError when there is no list that can be read, or a second one; when it has what looks like a distribution
    and isn't a valid one, leaves out one that is there, or names Python modules and no distribution; and when the
    package says that it is another than the channel lists.
    """
    filename = record.filename
    part = Part.INFO if filename.endswith(".conda") else Part.WHOLE
    lists: dict[str, bytes] = {}
    there: dict[str, str] = {}
    links: set[str] = set()
    with readable(filename):
        _look(filename, walk(filename, chunks, part, links), lists, there)
    _check_index(record, lists.get(INDEX))
    if PATHS in lists:
        paths = _of_json(filename, lists[PATHS])
    elif FILES in lists:
        paths = _of_lines(filename, lists[FILES])
    else:
        raise IntegrityError(f"{filename}: it has no file list ({PATHS} or {FILES})")
    if part is Part.INFO and not (info_last and PATHS in lists):
        with readable(filename):
            _look(filename, walk(filename, pkg, Part.PKG, links), lists, there)
    found = _distributions(filename, paths)
    for name, path in there.items():
        if name not in found:
            raise IntegrityError(f"{filename}: its file list leaves out {path[:100]!a}, which is there")
    if not found and any(map(_is_module, paths)):
        raise IntegrityError(f"{filename}: it has Python modules and no distribution to know them by")
    # versions that are equal count once, in the spelling that came first
    return tuple(sorted(dict.fromkeys(found.values())))


def _look(
    filename: str,
    walked: Generator[tuple[str, tarfile.TarFile, tarfile.TarInfo]],
    lists: dict[str, bytes],
    there: dict[str, str],
) -> None:
    """Takes the file lists of a tar file, and a path of each distribution in a site-packages folder that is there."""
    with closing(walked) as members:
        for path, tar, member in members:
            name = path.casefold()
            if name in lists:
                raise IntegrityError(f"{filename}: it has {name} twice")
            if name in _LIMITS:
                lists[name] = content(filename, tar, member, _LIMITS[name])
            elif not member.isdir() and not name.startswith("info/") and "site-packages" in name:
                for part_name in _in_site_packages(path):
                    there.setdefault(part_name, path)
                if len(there) > MAX_DISTRIBUTIONS:
                    raise IntegrityError(f"{filename}: it holds more than {MAX_DISTRIBUTIONS} distributions")


def _in_site_packages(path: str) -> list[str]:
    """The parts of a path that stand for distributions there."""
    parts = path.split("/")
    lowered = path.casefold().split("/")
    return [
        part
        for number, part in enumerate(parts)
        if _stem(parts, number) is not None and "site-packages" in lowered[:number]
    ]


def _is_module(path: str) -> bool:
    lowered = path.casefold()
    return lowered.endswith(_MODULES) and "site-packages" in SEPARATOR.split(lowered)[:-1]


def _check_index(record: CondaRecord, data: bytes | None) -> None:
    if data is None:
        raise IntegrityError(f"{record.filename}: it has no {INDEX}")
    try:
        said = msgspec.json.decode(data, type=_Index)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise IntegrityError(f"{record.filename}: {INDEX} can't be read: {str(error)[:200]}") from error
    if (said.name, said.version, said.build) != (record.name, record.version, record.build):
        itself = f"{said.name[:80]!a} {said.version[:80]!a} {said.build[:80]!a}"
        listed = f"{record.name!a} {record.version!a} {record.build!a}"
        raise IntegrityError(f"{record.filename}: {INDEX} says it is {itself}, the channel lists it as {listed}")


def _of_json(filename: str, data: bytes) -> list[str]:
    # each path is an object of its own; counted before anything is made of them
    if data.count(b"{") > 2 * MAX_ENTRIES:
        raise IntegrityError(f"{filename}: {PATHS} lists more than {MAX_ENTRIES} paths")
    try:
        found = msgspec.json.decode(data, type=_Paths)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise IntegrityError(f"{filename}: {PATHS} can't be read: {str(error)[:200]}") from error
    if found.paths_version != 1:
        raise IntegrityError(f"{filename}: {PATHS} is of version {found.paths_version}, expected 1")
    return [entry.path for entry in found.paths]


def _of_lines(filename: str, data: bytes) -> list[str]:
    if data.count(b"\n") > MAX_ENTRIES:
        raise IntegrityError(f"{filename}: {FILES} lists more than {MAX_ENTRIES} paths")
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError as error:
        raise IntegrityError(f"{filename}: {FILES} is not UTF-8") from error
    return [line.removesuffix("\r") for line in lines if line.strip()]


def _distributions(filename: str, paths: Collection[str]) -> dict[str, Package]:
    """What a file list names, by the part of a path that stands for it."""
    if len(paths) > MAX_ENTRIES:
        raise IntegrityError(f"{filename}: its file list has more than {MAX_ENTRIES} paths")
    found: dict[str, Package] = {}
    for path in paths:
        parts = SEPARATOR.split(path)
        if not parts[0] or ".." in parts:
            raise IntegrityError(f"{filename}: {path[:100]!a} in its file list is no path inside an environment")
        for number, part in enumerate(parts):
            stem = _stem(parts, number)
            if stem is None or part in found:
                continue
            try:
                found[part] = _package(stem)
            except ValueError as error:
                raise IntegrityError(
                    f"{filename}: {part[:100]!a} in its file list is no distribution: {error}"
                ) from error
            if len(found) > MAX_DISTRIBUTIONS:
                raise IntegrityError(f"{filename}: it holds more than {MAX_DISTRIBUTIONS} distributions")
    return found


def _stem(parts: list[str], number: int) -> str | None:
    """What names the distribution, where a part of a path stands for one: NAME-VERSION."""
    lowered = parts[number].lower()
    if lowered.endswith(".dist-info"):
        return parts[number][: -len(".dist-info")]
    if lowered.endswith(".egg-info"):
        return _without_python(parts[number][: -len(".egg-info")])
    if lowered.endswith(".egg") and [part.lower() for part in parts[number + 1 : number + 2]] == ["egg-info"]:
        return _without_python(parts[number][: -len(".egg")])
    return None


def _without_python(stem: str) -> str:
    """NAME-VERSION of NAME-VERSION-pyX.Y-PLATFORM, the names that setuptools gives to eggs."""
    for found in _EGG_PYTHON.finditer(stem[:_MAX_STEM]):
        if found.end() == len(stem):
            return stem[: found.start()]
    return stem


def _package(stem: str) -> Package:
    """The one distribution that NAME-VERSION stands for; ValueError when it is none, or may be several.

    Dashes in either part should have been written as underscores, and weren't always.
    """
    found: dict[Package, None] = {}
    for at in (at for at, character in enumerate(stem[:_MAX_STEM]) if character == "-"):
        try:
            found[Package(parse_name(stem[:at]), _version(stem[at + 1 : _MAX_STEM]))] = None
        except ValueError:
            continue
    if len(found) != 1 or len(stem) > _MAX_STEM:
        readings = " or ".join(f"{package.name} {package.version}" for package in found)
        raise ValueError(f"it may be {readings}" if readings else "expected NAME-VERSION (PEP 503, PEP 440)")
    return next(iter(found))


def _version(text: str) -> Version:
    try:
        return parse_version(text)
    except ValueError:
        return parse_version(text.replace("_", "-"))


# --- core metadata ----------------------------------------------------------------------------------------------------


def metadata(
    record: CondaRecord, names: Collection[NormalizedName], chunks: Iterable[bytes]
) -> Mapping[NormalizedName, bytes]:
    """The core metadata of the named distributions, every one of them; that of the environment before a vendored one's.

    `chunks` are the bytes of the pkg member of a `.conda` file, or of a whole `.tar.bz2` file, which are asked for until
    all was found. IntegrityError when the package can't be read, lacks one, or has one larger than 1 MiB.
    """
    part = Part.PKG if record.filename.endswith(".conda") else Part.WHOLE
    best: dict[NormalizedName, tuple[bool, bytes]] = {}
    with readable(record.filename), closing(walk(record.filename, chunks, part, set())) as members:
        for path, tar, member in members:
            if member.isdir():
                continue
            name, vendored = _described(path)
            # the first one that isn't vendored stays
            if name is None or name not in names or (name in best and best[name][0] <= vendored):
                continue
            best[name] = vendored, content(record.filename, tar, member, MAX_METADATA_BYTES)
            if len(best) == len(set(names)) and not any(vendored for vendored, _ in best.values()):
                break
    missing = sorted(set(names) - best.keys())
    if missing:
        raise IntegrityError(f"{record.filename}: it has no metadata of {', '.join(missing)}")
    return {name: best[name][1] for name in names}


def _described(path: str) -> tuple[NormalizedName | None, bool]:
    """The distribution whose core metadata a file is, None for other files; and whether that is a vendored one."""
    parts = path.split("/")
    match parts[-1].lower():
        case "metadata" if parts[-2:-1] and parts[-2].lower().endswith(".dist-info"):
            number = len(parts) - 2
        case "pkg-info" if parts[-2:-1] and parts[-2].lower().endswith(".egg-info"):
            number = len(parts) - 2
        case "pkg-info" if parts[-3:-2] and parts[-3].lower().endswith(".egg"):
            number = len(parts) - 3
        case last if last.endswith(".egg-info"):
            number = len(parts) - 1
        case _:
            return None, False
    stem = _stem(parts, number)
    try:
        name = None if stem is None else _package(stem).name
    except ValueError:
        return None, False
    return name, [part.lower() for part in parts[:number][-1:]] != ["site-packages"]
