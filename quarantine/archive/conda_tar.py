"""The compressed tar files of conda packages, whose members are looked at as they pass by: nothing is unpacked.

Programs that unpack a package let a later member take the place of an earlier one, write through links, and disagree about
odd tar files. A file where that could show them something else than is read here is refused.

Source: conda's package specification; POSIX (pax) for the tar format.
"""

import bz2
import io
import re
import tarfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from enum import Enum
from typing import Protocol

from quarantine.errors import IntegrityError

__all__ = [
    "FILES",
    "INDEX",
    "LISTS",
    "MAX_ENTRIES",
    "MAX_HEADER_BYTES",
    "PATHS",
    "SEPARATOR",
    "Fed",
    "Meter",
    "Part",
    "Readable",
    "check_member",
    "content",
    "readable",
    "walk",
]

MAX_INFO_BYTES = 64 * 1024 * 1024
MAX_ENTRIES = 100_000
MAX_RATIO = 50
# what `tarfile` may read, all at once, before it names the next member
MAX_HEADER_BYTES = 256 * 1024

_BLOCK_BYTES = 64 * 1024
# what Linux takes; and more folders than any package has in each other
_MAX_PATH, _MAX_DEPTH = 4096, 256

INDEX, PATHS, FILES = "info/index.json", "info/paths.json", "info/files"
LISTS = frozenset({INDEX, PATHS, FILES})
SEPARATOR = re.compile(r"[/\\]")


class _Library(Protocol):
    """What is used of `conda_package_streaming.package_streaming`, which ships no types."""

    zstd: "_Zstd"

    def tar_generator(self, fileobj: "Meter") -> Generator[tuple[tarfile.TarFile, tarfile.TarInfo]]: ...


class _Zstd(Protocol):
    ZstdError: type[Exception]

    def open(self, file: "Fed") -> io.BufferedIOBase: ...


def _library() -> _Library:
    from conda_package_streaming import (  # type: ignore[import-untyped]  # noqa: PLC0415  # few checks read packages
        package_streaming,
    )

    library: _Library = package_streaming
    return library


class Fed(io.RawIOBase):
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


class Readable(Protocol):
    """A decompressor, as it is read."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, none at the end."""
        ...


class Meter:
    """What comes out of a decompressor, until it is more than `allowed` or out of proportion to what went in."""

    def __init__(self, filename: str, stream: Readable, fed: Fed) -> None:
        self._filename = filename
        self._stream = stream
        self._fed = fed
        self._count = 0
        # where the last byte that isn't zero ended
        self._last = 0
        self.allowed: int | None = MAX_HEADER_BYTES

    def read(self, size: int) -> bytes:
        """Up to `size` bytes. IntegrityError when that is too much."""
        data = self._stream.read(size)
        if used := len(data.rstrip(b"\0")):
            self._last = self._count + used
        self._count += len(data)
        if self.allowed is not None and self._count > self.allowed:
            raise IntegrityError(f"{self._filename}: a header of a member is larger than {MAX_HEADER_BYTES} bytes")
        if self._count > MAX_INFO_BYTES and self._count > MAX_RATIO * self._fed.count:
            raise IntegrityError(f"{self._filename}: it unpacks to more than {MAX_RATIO} times its size")
        return data

    def drain(self) -> int:
        """Reads what is left, and says where the last byte that isn't zero ended. IntegrityError when it is too much."""
        self.allowed = None
        while self.read(_BLOCK_BYTES):
            pass
        return self._last


class Part(Enum):
    """What a tar file is of a package: the whole of a `.tar.bz2` file, or one of the two in a `.conda` file."""

    WHOLE = "whole"
    INFO = "info"
    PKG = "pkg"


def walk(
    filename: str, chunks: Iterable[bytes], part: Part, links: set[str]
) -> Generator[tuple[str, tarfile.TarFile, tarfile.TarInfo]]:
    """The members of a compressed tar file, as they pass by, each with its path in plain form.

    IntegrityError when a member isn't what every program would make of it, and, after the last one, when more bytes
    follow. A pkg member has no file list and no index: programs that unpack it last would take those. `links` are the
    links that came before, of another tar file of the same package too; those of this one are added.

    conda's own library could open the package itself; but what comes out of the decompressor must be counted before
    `tarfile` takes it, which keeps whole headers, of any length, in memory.
    """
    library = _library()
    fed = Fed(chunks)
    with library.zstd.open(fed) if filename.endswith(".conda") else bz2.open(fed) as stream:
        meter = Meter(filename, stream, fed)
        end = 0
        with closing(library.tar_generator(meter)) as found:
            for number, (tar, member) in enumerate(found, 1):
                end = tar.offset
                if number > MAX_ENTRIES:
                    raise IntegrityError(f"{filename}: it has more than {MAX_ENTRIES} members")
                check_member(filename, member)
                if part is Part.INFO and member.offset_data + member.size > MAX_INFO_BYTES:
                    raise IntegrityError(f"{filename}: its info member unpacks to more than {MAX_INFO_BYTES} bytes")
                path = _plain(filename, member.name)
                _check_place(filename, path, member, part, links)
                meter.allowed = end + MAX_HEADER_BYTES
                yield path, tar, member
                tar.members = []  # type: ignore[attr-defined]  # it would keep every one of them
        # `tarfile` takes a header that it can't read for the end
        if meter.drain() > end:
            raise IntegrityError(f"{filename}: there are bytes behind its last member")


def check_member(filename: str, member: tarfile.TarInfo) -> None:
    """Raises IntegrityError for a member that is read in two ways.

    Programs disagree about where the next header is, or about the name, when these are odd.
    """
    if member.size < 0 or (member.size and not member.isreg()):
        raise IntegrityError(f"{filename}: its member {member.name[:100]!a} has {member.size} bytes")
    odd = sorted(member.pax_headers.keys() & {"size", "GNU.sparse.name"})
    if odd:
        raise IntegrityError(f"{filename}: its member {member.name[:100]!a} has another {odd[0]} in a second header")


def _check_place(filename: str, path: str, member: tarfile.TarInfo, part: Part, links: set[str]) -> None:
    """Nothing is written through a link, `info` is a folder, and what belongs there comes from the info member."""
    if links and (path in links or any(path[:at] in links for at, character in enumerate(path) if character == "/")):
        raise IntegrityError(f"{filename}: its member {path[:100]!a} would be written through a link")
    folded = path.casefold()
    if folded == "info" and not member.isdir():
        raise IntegrityError(f"{filename}: its member {path!a} is not a folder")
    if part is Part.PKG and folded in LISTS:
        raise IntegrityError(f"{filename}: its pkg member has {folded}, which belongs into its info member")
    # where the pkg member is not looked at, it may have made a link of any folder here; of the environment some programs
    # put folders and links here
    foreign = not folded.startswith("info/") and not member.isdir() and not member.issym()
    if part is Part.INFO and (foreign or (folded != PATHS and folded.endswith("/paths.json"))):
        raise IntegrityError(f"{filename}: its info member has {path[:100]!a}, which doesn't belong there")
    if member.issym():
        links.add(path)


def _plain(filename: str, name: str) -> str:
    parts = SEPARATOR.split(name)
    if not parts[0] or ".." in parts:
        raise IntegrityError(f"{filename}: its member {name[:100]!a} is no path inside a package")
    if len(name) > _MAX_PATH or len(parts) > _MAX_DEPTH:
        raise IntegrityError(f"{filename}: its member {name[:100]!a} has a path of {len(name)} characters")
    return "/".join(part for part in parts if part not in ("", "."))


def content(filename: str, tar: tarfile.TarFile, member: tarfile.TarInfo, max_bytes: int) -> bytes:
    """The bytes of the member that was given last. IntegrityError when it is no regular file, or a larger one."""
    if not member.isreg() or member.issparse():
        raise IntegrityError(f"{filename}: its member {member.name[:100]!a} is not a regular file")
    if member.size > max_bytes:
        raise IntegrityError(
            f"{filename}: its member {member.name[:100]!a} has {member.size} bytes, at most {max_bytes} are read"
        )
    stream = tar.extractfile(member)
    return b"" if stream is None else stream.read()


@contextmanager
def readable(filename: str) -> Iterator[None]:
    """Whatever the libraries say of bytes that they can't read becomes an IntegrityError."""
    try:
        yield
    except (
        _library().zstd.ZstdError, tarfile.TarError, OSError, EOFError, ValueError, OverflowError, RecursionError,
    ) as error:  # fmt: skip
        said = str(error)[:200] or type(error).__name__
        raise IntegrityError(f"{filename}: not a readable conda package ({said})") from error
