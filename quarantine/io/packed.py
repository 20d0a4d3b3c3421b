"""A cache file of many named values, of which a reader takes the few that it needs.

    MAGIC, size of the index (4 bytes, big-endian), the index, the values one after the other

The index (MessagePack) holds a head, which is the caller's, and the length of every value by its name. Opening a file
reads its index alone; a value is read when it is asked for, and, should the file have been replaced meanwhile, from the
new one.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec

from quarantine.errors import UpstreamError
from quarantine.io.cache import write_cached

__all__ = ["PackedFile", "write_packed"]

_MAGIC = b"qpk1"
_PREFIX = len(_MAGIC) + 4
_FIRST_READ = 32 * 1024  # holds the index of all but the largest files


class _Index(msgspec.Struct, array_like=True):
    head: msgspec.Raw
    lengths: dict[str, Annotated[int, msgspec.Meta(ge=0)]]


_decoder = msgspec.msgpack.Decoder(_Index)


class PackedFile(Mapping[str, bytes]):
    """The values of a file by their names. `head` is the caller's. UpstreamError when a value can't be read any more."""

    __slots__ = ("_identity", "_path", "_places", "head")

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._read_index(file)

    @classmethod
    def open(cls, path: Path) -> "PackedFile | None":
        """What is at the path; None when nothing is, or nothing that can be read: a cache has it or it hasn't."""
        try:
            with path.open("rb", buffering=0) as file:
                return cls(path, file)
        except (OSError, ValueError):
            return None

    def _read_index(self, file: BinaryIO) -> None:
        """Takes the index, raising ValueError where there is none."""
        status = os.fstat(file.fileno())
        start = file.read(_FIRST_READ)
        end = _PREFIX + int.from_bytes(start[len(_MAGIC) : _PREFIX], "big")
        if not start.startswith(_MAGIC) or end > status.st_size:
            raise ValueError("not a file of packed values")
        index = _decoder.decode((start + file.read(max(end - len(start), 0)))[_PREFIX:end])
        places = {}
        at = end
        for name, size in index.lengths.items():
            places[name] = at, size
            at += size
        if at != status.st_size:
            raise ValueError("a file of packed values that has another length than its index says")
        self._places = places
        self._identity = _identity(status)
        self.head = bytes(index.head)

    def __getitem__(self, name: str) -> bytes:
        if name not in self._places:
            raise KeyError(name)
        try:
            with self._path.open("rb", buffering=0) as file:
                if _identity(os.fstat(file.fileno())) != self._identity:
                    self._read_index(file)
                at, size = self._places[name]
                return os.pread(file.fileno(), size, at)
        except (OSError, ValueError) as error:
            raise UpstreamError(f"{self._path} can't be read any more: clear the cache and check again") from error

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def write_packed(path: Path, head: bytes, values: Mapping[str, bytes]) -> None:
    """Puts the file there whole or not at all; `head` is MessagePack. One that can't be written is no error."""
    lengths = {name: len(value) for name, value in values.items()}
    index = msgspec.msgpack.encode(_Index(head=msgspec.Raw(head), lengths=lengths))
    write_cached(path, b"".join([_MAGIC, len(index).to_bytes(4, "big"), index, *values.values()]))
