"""What a conda package says it holds: the Python distributions in its file list, and their core metadata.

Of a `.conda` file the info member is read, of a `.tar.bz2` file so much as it takes until the list has come. Members of the
tar file are looked at as they pass by, nothing is unpacked. What is installed is what the file list names
(`info/paths.json`, in old packages `info/files`), so the list is what counts.

Source: conda's package specification; the binary distribution format and setuptools' formats for the names.
"""

import bz2
import io
import re
import tarfile
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Protocol

import msgspec
from packaging.utils import NormalizedName
from packaging.version import Version

from quarantine.archive.metadata import MAX_METADATA_BYTES
from quarantine.errors import IntegrityError
from quarantine.model import CondaRecord, Package, parse_name, parse_version

__all__ = ["distributions", "metadata"]

MAX_INFO_BYTES = 64 * 1024 * 1024
MAX_LIST_BYTES = 32 * 1024 * 1024
MAX_INDEX_BYTES = 1024 * 1024
MAX_ENTRIES = 100_000
MAX_DISTRIBUTIONS = 1000
MAX_RATIO = 50
# what `tarfile` may read, all at once, before it names the next member
MAX_HEADER_BYTES = 256 * 1024

_MAX_STEM = 255
_SEPARATOR = re.compile(r"[/\\]")
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


_INDEX, _PATHS, _FILES = "info/index.json", "info/paths.json", "info/files"
_LIMITS = {_INDEX: MAX_INDEX_BYTES, _PATHS: MAX_LIST_BYTES, _FILES: MAX_LIST_BYTES}


def distributions(record: CondaRecord, chunks: Iterable[bytes]) -> tuple[Package, ...]:
    """The Python distributions that a package holds by its own file list: each once, sorted; vendored ones too.

    `chunks` are the bytes of the info member of a `.conda` file, or of a whole `.tar.bz2` file, which are asked for
    until the list has come. IntegrityError when there is no list that can be read, when it has what looks like a
    distribution and isn't a valid one, and when the package says that it is another than the channel lists.
    """
    found: dict[str, bytes] = {}
    whole = record.filename.endswith(".conda")
    with _readable(record.filename), closing(_walk(record.filename, chunks, info=whole)) as walk:
        for path, tar, member in walk:
            name = path.lower()
            if name not in _LIMITS:
                continue
            if name in found:
                raise IntegrityError(f"{record.filename}: it has {name} twice")
            found[name] = _content(record.filename, tar, member, _LIMITS[name])
            # the whole of an info member is read, so that a second list in it is seen
            if not whole and {_INDEX, _PATHS} <= found.keys():
                break
    _check_index(record, found.get(_INDEX))
    if _PATHS in found:
        paths = _of_json(record.filename, found[_PATHS])
    elif _FILES in found:
        paths = _of_lines(record.filename, found[_FILES])
    else:
        raise IntegrityError(f"{record.filename}: it has no file list ({_PATHS} or {_FILES})")
    return _distributions(record.filename, paths)


def _check_index(record: CondaRecord, data: bytes | None) -> None:
    if data is None:
        raise IntegrityError(f"{record.filename}: it has no {_INDEX}")
    try:
        said = msgspec.json.decode(data, type=_Index)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise IntegrityError(f"{record.filename}: {_INDEX} can't be read: {str(error)[:200]}") from error
    if (said.name, said.version, said.build) != (record.name, record.version, record.build):
        itself = f"{said.name[:80]!a} {said.version[:80]!a} {said.build[:80]!a}"
        listed = f"{record.name!a} {record.version!a} {record.build!a}"
        raise IntegrityError(f"{record.filename}: {_INDEX} says it is {itself}, the channel lists it as {listed}")


def _of_json(filename: str, data: bytes) -> list[str]:
    # each path is an object of its own; counted before anything is made of them
    if data.count(b"{") > 2 * MAX_ENTRIES:
        raise IntegrityError(f"{filename}: {_PATHS} lists more than {MAX_ENTRIES} paths")
    try:
        found = msgspec.json.decode(data, type=_Paths)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise IntegrityError(f"{filename}: {_PATHS} can't be read: {str(error)[:200]}") from error
    if found.paths_version != 1:
        raise IntegrityError(f"{filename}: {_PATHS} is of version {found.paths_version}, expected 1")
    return [entry.path for entry in found.paths]


def _of_lines(filename: str, data: bytes) -> list[str]:
    if data.count(b"\n") > MAX_ENTRIES:
        raise IntegrityError(f"{filename}: {_FILES} lists more than {MAX_ENTRIES} paths")
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError as error:
        raise IntegrityError(f"{filename}: {_FILES} is not UTF-8") from error
    return [line.removesuffix("\r") for line in lines if line.strip()]


def _distributions(filename: str, paths: Collection[str]) -> tuple[Package, ...]:
    if len(paths) > MAX_ENTRIES:
        raise IntegrityError(f"{filename}: its file list has more than {MAX_ENTRIES} paths")
    found: dict[str, Package] = {}
    for path in paths:
        parts = _SEPARATOR.split(path)
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
    # versions that are equal count once, in the spelling that came first
    return tuple(sorted(dict.fromkeys(found.values())))


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
    best: dict[NormalizedName, tuple[bool, bytes]] = {}
    with _readable(record.filename), closing(_walk(record.filename, chunks, info=False)) as walk:
        for path, tar, member in walk:
            if member.isdir():
                continue
            name, vendored = _described(path)
            # the first one that isn't vendored stays
            if name is None or name not in names or (name in best and best[name][0] <= vendored):
                continue
            best[name] = vendored, _content(record.filename, tar, member, MAX_METADATA_BYTES)
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


# --- tar files that pass by -------------------------------------------------------------------------------------------


class _Library(Protocol):
    """What is used of `conda_package_streaming.package_streaming`, which ships no types."""

    zstd: "_Zstd"

    def tar_generator(self, fileobj: "_Meter") -> Generator[tuple[tarfile.TarFile, tarfile.TarInfo]]: ...


class _Zstd(Protocol):
    ZstdError: type[Exception]

    def open(self, file: "_Fed") -> io.BufferedIOBase: ...


def _library() -> _Library:
    from conda_package_streaming import (  # type: ignore[import-untyped]  # noqa: PLC0415  # few checks read packages
        package_streaming,
    )

    library: _Library = package_streaming
    return library


class _Fed(io.RawIOBase):
    """A file of chunks that are asked for as they are needed; `count` bytes were given away."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        super().__init__()
        self._chunks = iter(chunks)
        self._rest = b""
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, none at the end."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = chunk
        data, self._rest = (self._rest, b"") if size < 0 else (self._rest[:size], self._rest[size:])
        self.count += len(data)
        return data


class _Meter:
    """What comes out of a decompressor, until it is more than `allowed` or out of proportion to what went in."""

    def __init__(self, filename: str, stream: io.BufferedIOBase, fed: _Fed) -> None:
        self._filename = filename
        self._stream = stream
        self._fed = fed
        self._count = 0
        self.allowed = MAX_HEADER_BYTES

    def read(self, size: int) -> bytes:
        """Up to `size` bytes. IntegrityError when that is too much."""
        data = self._stream.read(size)
        self._count += len(data)
        if self._count > self.allowed:
            raise IntegrityError(f"{self._filename}: a header of a member is larger than {MAX_HEADER_BYTES} bytes")
        if self._count > MAX_INFO_BYTES and self._count > MAX_RATIO * self._fed.count:
            raise IntegrityError(f"{self._filename}: it unpacks to more than {MAX_RATIO} times its size")
        return data


def _walk(
    filename: str, chunks: Iterable[bytes], *, info: bool
) -> Generator[tuple[str, tarfile.TarFile, tarfile.TarInfo]]:
    """The members of a compressed tar file, as they pass by, each with its path in plain form.

    conda's own library could open the package itself; but what comes out of the decompressor must be counted before
    `tarfile` takes it, which keeps whole headers, of any length, in memory.
    """
    library = _library()
    fed = _Fed(chunks)
    with library.zstd.open(fed) if filename.endswith(".conda") else bz2.open(fed) as stream:
        meter = _Meter(filename, stream, fed)
        with closing(library.tar_generator(meter)) as found:
            for number, (tar, member) in enumerate(found, 1):
                end = member.offset_data + member.size
                if number > MAX_ENTRIES:
                    raise IntegrityError(f"{filename}: it has more than {MAX_ENTRIES} members")
                if member.size < 0:
                    raise IntegrityError(f"{filename}: its member {member.name[:100]!a} has {member.size} bytes")
                if info and end > MAX_INFO_BYTES:
                    raise IntegrityError(f"{filename}: its info member unpacks to more than {MAX_INFO_BYTES} bytes")
                meter.allowed = end + MAX_HEADER_BYTES
                yield _plain(filename, member.name), tar, member
                tar.members = []  # type: ignore[attr-defined]  # it would keep every one of them


def _plain(filename: str, name: str) -> str:
    parts = name.split("/")
    if not parts[0] or ".." in parts:
        raise IntegrityError(f"{filename}: its member {name[:100]!a} is no path inside a package")
    return "/".join(part for part in parts if part not in ("", "."))


def _content(filename: str, tar: tarfile.TarFile, member: tarfile.TarInfo, max_bytes: int) -> bytes:
    if not member.isreg() or member.issparse():
        raise IntegrityError(f"{filename}: its member {member.name[:100]!a} is not a regular file")
    if member.size > max_bytes:
        raise IntegrityError(
            f"{filename}: its member {member.name[:100]!a} has {member.size} bytes, at most {max_bytes} are read"
        )
    stream = tar.extractfile(member)
    return b"" if stream is None else stream.read()


@contextmanager
def _readable(filename: str) -> Iterator[None]:
    """Whatever the libraries say of bytes that they can't read becomes an IntegrityError."""
    try:
        yield
    except (
        _library().zstd.ZstdError, tarfile.TarError, OSError, EOFError, ValueError, OverflowError, RecursionError,
    ) as error:  # fmt: skip
        said = str(error)[:200] or type(error).__name__
        raise IntegrityError(f"{filename}: not a readable conda package ({said})") from error
