"""The files of a stream of the local audit log: segments of lines, and the ends of unfinished appends beside them.

Every function works in the open folder of a stream; its caller holds the lock where that matters. OSError passes
through.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator

import msgspec

from quarantine.audit.chain import recovered
from quarantine.audit.record import MAX_RECORD_BYTES, Draft, new_id
from quarantine.audit.resume import Part
from quarantine.errors import IntegrityError
from quarantine.io.folders import names, open_file, read_at, write_all

__all__ = [
    "LARGEST_APPEND",
    "LARGEST_SEGMENT",
    "LARGEST_TAIL",
    "ROLL_BYTES",
    "Ending",
    "Segment",
    "append_lines",
    "at_once",
    "bounded",
    "first_of",
    "move_aside",
    "read_lines",
    "read_part",
    "recoveries",
    "reported",
    "segments",
    "sync_file",
]

ROLL_BYTES = 64 * 1024 * 1024
"""A segment of so many bytes gets no more lines."""
LARGEST_APPEND = 128 * 1024 * 1024
"""What is written at once at most: 4,096 of the longest lines."""
LARGEST_SEGMENT = 256 * 1024 * 1024
"""More than the two together, so that no writer of ours leaves a larger one: that is a hole in a file, or somebody's filling."""
LARGEST_TAIL = 1024 * 1024 * 1024
"""What one reading takes into memory: 32,768 of the longest lines of one month's stream, and all of it is kept in pages."""

_SEGMENT = re.compile(r"([0-9]{8,16})\.jsonl")
_NEW = ".new"
"""Ends the name of a torn line's file until the log has an entry about it."""
_UNREPORTED = re.compile(r"[0-9]{8,16}\.jsonl\.torn-[0-9]+\.new")


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a stream, and the number of the first entry that belongs into it."""

    first: int

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.first:08d}.jsonl"


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a segment: the offset after its last newline, the last line, and the bytes after it."""

    complete: int
    line: bytes
    torn: bytes


def segments(folder: int) -> tuple[Segment, ...]:
    """The segments of a stream in their order; files of other names are none."""
    numbers = (number for number in map(first_of, names(folder)) if number is not None)
    return tuple(Segment(first=number) for number in sorted(numbers))


def first_of(name: str) -> int | None:
    """The number in a segment's name, None for any other name: a number has one way to be written."""
    match = _SEGMENT.fullmatch(name)
    if match is None or f"{int(match[1]):08d}.jsonl" != name:
        return None
    return int(match[1])


def bounded(name: str, size: int) -> int:
    """The size of a segment, before it is read. IntegrityError when that is more than a writer leaves."""
    if size > LARGEST_SEGMENT:
        raise IntegrityError(
            f"{name} has {size} bytes, and no append leaves more than {LARGEST_SEGMENT}: stop and look who did"
        )
    return size


def at_once(parts: Iterable[Part]) -> Iterator[Part]:
    """The parts of one reading. IntegrityError, before the next one is read, when they are more than memory should hold."""
    total = 0
    for part in parts:
        total += len(part.data)
        if total > LARGEST_TAIL:
            raise IntegrityError(
                f"there are more than {LARGEST_TAIL} bytes to read at once up to segment {part.segment:08d}, and no month "
                "has as many: stop and look who wrote them"
            )
        yield part


def append_lines(folder: int, name: str, data: bytes) -> None:
    """Appends all of the bytes, durably; what was written of them is taken back when that fails."""
    file = open_file(folder, name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        size = os.fstat(file).st_size
        if size == 0:
            os.fsync(folder)  # before there is a line in it, so that no line is ever in a file that can go away
        try:
            write_all(file, data)
        except OSError:
            os.ftruncate(file, size)
            os.fsync(file)
            raise
    finally:
        os.close(file)


def sync_file(folder: int, name: str) -> None:
    """Waits until the file's bytes are on the disk, whoever wrote them."""
    file = open_file(folder, name, os.O_RDWR)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def read_lines(folder: int, name: str, limit: int | None) -> Iterator[bytes]:
    """The lines of a file up to a size; one that is longer than an entry can be comes in pieces.

    IntegrityError behind those that a segment can have: what stands before them is read all the same.
    """
    with os.fdopen(open_file(folder, name, os.O_RDONLY), "rb", buffering=1 << 18) as file:
        size = os.fstat(file.fileno()).st_size if limit is None else limit
        left = min(size, LARGEST_SEGMENT)
        while left > 0:
            line = file.readline(min(left, MAX_RECORD_BYTES + 1))
            if not line:
                return
            left -= len(line)
            yield line
    bounded(name, size)


def read_part(folder: int, segment: Segment, start: int, end: int | None) -> Part:
    """The bytes of a segment from `start` up to `end`, or up to its own end. IntegrityError when that is too far."""
    file = open_file(folder, segment.name, os.O_RDONLY)
    try:
        end = bounded(segment.name, os.fstat(file).st_size if end is None else end)
        start = min(start, end)
        return Part(segment=segment.first, start=start, data=read_at(file, start, end))
    finally:
        os.close(file)


# --- unfinished appends -----------------------------------------------------------------------------------------------


def move_aside(folder: int, file: int, name: str, ending: Ending) -> None:
    """Keeps an unfinished line in a file of its own, then takes it off the segment."""
    taken = set(names(folder))
    number = 0
    while not taken.isdisjoint((f"{name}.torn-{number}", f"{name}.torn-{number}{_NEW}")):
        number += 1
    aside = open_file(folder, f"{name}.torn-{number}{_NEW}", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        write_all(aside, ending.torn)
    finally:
        os.close(aside)
    os.fsync(folder)
    os.ftruncate(file, ending.complete)
    os.fsync(file)


def recoveries(folder: int, like: Draft) -> dict[str, Draft]:
    """The entries about unfinished lines that were moved aside and not yet reported, by the file of each."""
    return {name: _report(folder, name, like) for name in names(folder) if _UNREPORTED.fullmatch(name)}


def reported(folder: int, name: str) -> None:
    """Notes that the log has the entry about such a file."""
    os.rename(name, name.removesuffix(_NEW), src_dir_fd=folder, dst_dir_fd=folder)


def _report(folder: int, name: str, like: Draft) -> Draft:
    file = open_file(folder, name, os.O_RDONLY)
    try:
        size = os.fstat(file).st_size
        if size > MAX_RECORD_BYTES:
            raise IntegrityError(f"{name} has {size} bytes, more than a line: stop and look who made it")
        sha256 = hashlib.sha256(read_at(file, 0, size)).hexdigest()
    finally:
        os.close(file)
    entry_id = new_id(like.time, os.urandom(10))
    return recovered(like, entry_id, file=name.removesuffix(_NEW), sha256=sha256, size=size)
