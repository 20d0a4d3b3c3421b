"""The links of a stream: what the next lines are, and whether stored lines are what was written.

Every entry holds the sha256 of the line before it (its stored bytes, newline included: `head -n 41 FILE | tail -n 1 |
sha256sum` gives the same); the first entry of a stream holds the sha256 of `quarantine.log.v1:` and the stream's name,
so that one stream can't stand in for another. A chain shows every edit but one: a tail that was cut off at an entry
leaves a shorter log that is sound in itself. For that, hold it to a head that was noted elsewhere.

Nothing is repaired here, and nothing is read: lines come in, values go out.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta

import msgspec

from quarantine.audit.record import (
    MAX_RECORD_BYTES,
    Draft,
    Entry,
    encode_entry,
    line_sha256,
    parse_entry,
    parse_stream,
)
from quarantine.errors import IntegrityError
from quarantine.model import Receipt

__all__ = [
    "CLOCK_TOLERANCE",
    "RECOVERED",
    "ClockJump",
    "Head",
    "Place",
    "Tail",
    "Tampered",
    "Verified",
    "entries",
    "extend",
    "follow",
    "genesis",
    "head_of",
    "parse_head",
    "recovered",
    "verify",
]

CLOCK_TOLERANCE = timedelta(minutes=5)
"""By how much the clocks of writers may differ."""
RECOVERED = "quarantine.log.recovered.v1"
_MAX_JUMPS_KEPT = 10
_HEAD = re.compile(r"(?:([^@]*)@)?([0-9]{1,16}):(?:sha256:)?([0-9a-fA-F]{64})")


class Head(msgspec.Struct, frozen=True, order=True, kw_only=True):
    """A place in a chain: the sequence number of an entry and the sha256 of its line."""

    seq: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.sha256}"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where reading of a stream left off: `offset` bytes into the segment whose first entry is number `segment`.

    `head` is the last entry before it, None at the very beginning: what comes next must be linked to it.
    """

    segment: int = 0
    offset: int = 0
    head: Head | None = None


class Tail(msgspec.Struct, frozen=True, kw_only=True):
    """The complete stored lines after a place, unverified, and the segment and offset behind the last of them."""

    lines: tuple[bytes, ...]
    segment: int
    offset: int


class ClockJump(msgspec.Struct, frozen=True, kw_only=True):
    """An entry, by its line from 1, that is dated more than the tolerance before its predecessor, or after `now`."""

    line: int
    time: datetime
    against: datetime

    def __str__(self) -> str:
        direction = "before the entry above it" if self.time < self.against else "after the present"
        return f"line {self.line}: {self.time:%Y-%m-%dT%H:%M:%SZ} is {abs(self.against - self.time)} {direction}"


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """Every line is an entry, linked to the one before it, and every head that was given is on the chain.

    `head` is None for an empty stream; `found` are those of the sought heads that the stream holds. `clock_jumps`
    counts all of them, `first_jumps` are the first ten. `torn_bytes` is the length of an unfinished last line, which
    is no entry: the next append moves it aside.
    """

    stream: str
    entries: int
    head: Head | None
    found: frozenset[Head] = frozenset()
    clock_jumps: int = 0
    first_jumps: tuple[ClockJump, ...] = ()
    torn_bytes: int = 0


class Tampered(msgspec.Struct, frozen=True, kw_only=True):
    """Where, counting lines from 1, a stream stops being what was written, and what stands there."""

    stream: str
    line: int
    problem: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.problem}: found {self.found}, expected {self.expected}"


def genesis(stream: str) -> str:
    """What the first entry of a stream has for the sha256 of the line before it."""
    return hashlib.sha256(f"quarantine.log.v1:{stream}".encode()).hexdigest()


def parse_head(text: str) -> tuple[str | None, Head]:
    """The stream, None when not given, and the head in `[STREAM@]SEQ:SHA256`; ValueError for anything else."""
    match = _HEAD.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!a} is not a head: expected [STREAM@]SEQ:SHA256, as a verdict prints it")
    stream = None if match[1] is None else parse_stream(match[1])
    return stream, Head(seq=int(match[2]), sha256=match[3].lower())


def head_of(line: bytes) -> Head:
    """The head that a stored last line is. IntegrityError when it is not an entry."""
    entry = parse_entry(line)
    return Head(seq=entry.seq, sha256=entry.sha256)


def extend(stream: str, after: Head | None, drafts: Sequence[Draft]) -> tuple[tuple[bytes, Receipt], ...]:
    """The lines, with their receipts, that the drafts become after `after` (None: as the first of the stream).

    ValueError when the stream's name or one of the drafts is not of its form; then none of them is to be written.
    """
    parse_stream(stream)
    seq, prev = (0, genesis(stream)) if after is None else (after.seq + 1, after.sha256)
    out: list[tuple[bytes, Receipt]] = []
    for draft in drafts:
        line = encode_entry(draft, seq=seq, prev=prev)
        prev = line_sha256(line)
        out.append((line, Receipt(stream=stream, seq=seq, sha256=prev)))
        seq += 1
    return tuple(out)


def recovered(like: Draft, entry_id: str, *, file: str, sha256: str, size: int) -> Draft:
    """The entry that reports an unfinished line of `size` bytes that was moved aside into `file`."""
    return Draft(
        id=entry_id,
        source=like.source,
        type=RECOVERED,
        time=like.time,
        subject=file,
        data={"file": file, "bytes": size, "sha256": sha256},
    )


def entries(stream: str, lines: Iterable[bytes]) -> Iterator[Entry]:
    """The entries on the stored lines of a stream, from its first on, each only after it proved to be in its place.

    IntegrityError at the first that isn't: nothing that was changed is ever given out, unless it is the last.
    """
    return follow(stream, None, lines)


def follow(stream: str, after: Head | None, lines: Iterable[bytes]) -> Iterator[Entry]:
    """The entries on the lines that come after a head, each only after it proved to be in its place.

    IntegrityError at the first that isn't.
    """
    seq, prev = (0, genesis(stream)) if after is None else (after.seq + 1, after.sha256)
    for number, line in enumerate(lines, seq):
        problem: Tampered | str | None
        try:
            entry = parse_entry(line)
            problem = _misplaced(stream, entry, seq=number, prev=prev, required=None)
        except IntegrityError as error:
            problem = str(error)
        if problem is not None:
            raise IntegrityError(f"the audit log {stream} was changed at line {number + 1}: {problem}: stop and look")
        yield entry
        prev = entry.sha256


def verify(
    stream: str,
    lines: Iterable[bytes],
    *,
    heads: Collection[Head] = (),
    sought: Collection[Head] = (),
    now: datetime | None = None,
) -> Verified | Tampered:
    """Whether the stored lines of a stream, from its first on, are what was written, in constant memory.

    `heads` must all be on the chain: this is what finds a tail that was cut off. `sought` are only reported when met.
    Times that run backwards by more than CLOCK_TOLERANCE, or lie further than that after `now`, are reported, not
    refused. Errors of reading the lines pass through.
    """
    required = {head.seq: head for head in heads}
    rivals = [head for head in heads if required[head.seq] != head]
    if rivals:
        head = rivals[0]
        return _tampered(
            stream,
            head.seq + 1,
            "two heads name this entry",
            f"sha256 {head.sha256}",
            f"sha256 {required[head.seq].sha256}",
        )
    wanted = {head.sha256: head for head in sought}
    found: set[Head] = set()
    jumps, first_jumps = 0, list[ClockJump]()
    last: Entry | None = None
    prev, seq, torn = genesis(stream), 0, 0
    for number, line in enumerate(lines, 1):
        if torn:
            return _unterminated(stream, number - 1, torn)
        if not line.endswith(b"\n"):
            torn = len(line)
            continue
        try:
            entry = parse_entry(line)
        except IntegrityError as error:
            return _tampered(stream, number, str(error), f"{len(line)} bytes", "an entry")
        problem = _misplaced(stream, entry, seq=seq, prev=prev, required=required.get(seq))
        if problem is not None:
            return problem
        if entry.sha256 in wanted and wanted[entry.sha256].seq == seq:
            found.add(wanted[entry.sha256])
        jump = _clock_jump(entry, number, last, now)
        if jump is not None:
            jumps += 1
            first_jumps += [jump] if jumps <= _MAX_JUMPS_KEPT else []
        last, prev, seq = entry, entry.sha256, seq + 1
    if torn >= MAX_RECORD_BYTES:
        return _unterminated(stream, seq + 1, torn)
    missing = [head for head in required.values() if head.seq >= seq]
    if missing:
        return _tampered(
            stream, seq + 1, "the end of the log is missing", f"{seq} entries", f"entry {max(missing).seq} of the head"
        )
    return Verified(
        stream=stream,
        entries=seq,
        head=None if last is None else Head(seq=last.seq, sha256=last.sha256),
        found=frozenset(found),
        clock_jumps=jumps,
        first_jumps=tuple(first_jumps),
        torn_bytes=torn,
    )


def _misplaced(stream: str, entry: Entry, *, seq: int, prev: str, required: Head | None) -> Tampered | None:
    """Why the entry does not belong where it stands, as number `seq` after `prev`, if it doesn't."""
    number = seq + 1
    if entry.seq != seq:
        problem = "entries are missing" if entry.seq > seq else "an entry stands twice or out of order"
        return _tampered(stream, number, problem, f"qseq {entry.seq}", f"qseq {seq}")
    if entry.prev != prev:
        problem = (
            "the first entry is of another stream, or was changed"
            if number == 1
            else f"the link does not fit line {number - 1}: one of the two was changed"
        )
        return _tampered(stream, number, problem, f"qprev {entry.prev}", f"qprev {prev}")
    if required is not None and entry.sha256 != required.sha256:
        return _tampered(
            stream,
            number,
            "the entry is not the one of the head",
            f"sha256 {entry.sha256}",
            f"sha256 {required.sha256}",
        )
    return None


def _clock_jump(entry: Entry, number: int, last: Entry | None, now: datetime | None) -> ClockJump | None:
    if last is not None and entry.time < last.time - CLOCK_TOLERANCE:
        return ClockJump(line=number, time=entry.time, against=last.time)
    if now is not None and entry.time > now + CLOCK_TOLERANCE:
        return ClockJump(line=number, time=entry.time, against=now)
    return None


def _unterminated(stream: str, number: int, size: int) -> Tampered:
    return _tampered(stream, number, "a line has no newline at its end", f"{size} bytes", "a whole entry")


def _tampered(stream: str, line: int, problem: str, found: str, expected: str) -> Tampered:
    return Tampered(stream=stream, line=line, problem=problem, found=found, expected=expected)
