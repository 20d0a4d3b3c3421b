"""Going on where reading of a stream left off: which bytes are needed for it, and the lines that are in them.

A place is taken at its word by nobody: the line that ends there must be the one of its head, so that what was built on
the lines before it is never joined to the end of another log.
"""

from collections.abc import Sequence

import msgspec

from quarantine.audit.chain import Place, Tail
from quarantine.audit.record import MAX_RECORD_BYTES, line_sha256
from quarantine.errors import IntegrityError

__all__ = ["Part", "needed", "resume", "start_of"]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes of a segment, named by the number of its first entry, from an offset of it up to its end."""

    segment: int
    start: int
    data: bytes


def start_of(after: Place) -> int:
    """The offset from which the place's own segment is read: far enough back for the line before the place."""
    return max(0, after.offset - MAX_RECORD_BYTES)


def needed(after: Place, segments: Sequence[int]) -> tuple[int, ...]:
    """Which of a stream's segments, in their order, are read from the place on. IntegrityError when its own is gone."""
    if not segments and after == Place():
        return ()
    if after.segment not in segments:
        raise IntegrityError(
            f"there is no segment {after.segment:08d}, up to byte {after.offset} of which it was "
            "read before: it was cut off or replaced: stop and look"
        )
    return tuple(segment for segment in segments if segment >= after.segment)


def resume(after: Place, parts: Sequence[Part]) -> Tail:
    """The lines after the place in the parts of the needed segments, the last of which ends where reading ends.

    IntegrityError when the line before the place isn't there, or isn't that of its head, or a part ends within a line.
    """
    lines: list[bytes] = []
    segment, offset = after.segment, after.offset
    for number, part in enumerate(parts):
        data = part.data
        if number == 0:
            _prove(after, part)
            data = data[after.offset - part.start :]
        if data and not data.endswith(b"\n"):
            raise IntegrityError(f"segment {part.segment:08d} ends within a line: stop and look")
        lines += [line + b"\n" for line in data.split(b"\n")[:-1]]
        segment, offset = part.segment, part.start + len(part.data)
    return Tail(lines=tuple(lines), segment=segment, offset=offset)


def _prove(after: Place, part: Part) -> None:
    """Whether what stands before the place is what was read."""
    end = part.start + len(part.data)
    if end < after.offset:
        raise IntegrityError(
            f"segment {part.segment:08d} ends at byte {end}, and was read up to byte "
            f"{after.offset} before: it was cut off: stop and look"
        )
    before = part.data[: after.offset - part.start]
    if not before:
        return
    last = before[before.rfind(b"\n", 0, -1) + 1 :]
    if not last.endswith(b"\n") or (after.head is not None and line_sha256(last) != after.head.sha256):
        raise IntegrityError(
            f"what stands before byte {after.offset} of segment {part.segment:08d} is not entry "
            f"{after.head}, which was read there before: it was replaced: stop and look"
        )
