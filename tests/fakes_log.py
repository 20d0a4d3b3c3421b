"""An audit log in memory, and drafts to put into one."""

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from quarantine.audit.chain import Head, Place, Tail, extend, head_of
from quarantine.audit.record import Draft, Entry, Json, new_id, parse_entry, parse_stream
from quarantine.audit.resume import Part, needed, resume
from quarantine.errors import IntegrityError, UpstreamError
from quarantine.model import Receipt

__all__ = ["NOON", "MemoryLog", "draft"]

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


class MemoryLog:
    """An `AuditLog` that forgets; `writable = False` makes it one that can't be written to.

    `stored` are the lines by stream, for a test to look at or to change.
    """

    def __init__(self, *, writable: bool = True) -> None:
        self.writable = writable
        self.stored: dict[str, list[bytes]] = {}
        self._lock = threading.Lock()

    def append(self, stream: str, drafts: Sequence[Draft]) -> tuple[Receipt, ...]:
        if not self.writable:
            raise UpstreamError("the audit log can't be used: no space left on device")
        with self._lock:
            before = self.stored.get(stream, [])
            head: Head | None = head_of(before[-1]) if before else None
            try:
                chained = extend(stream, head, drafts)
            except ValueError as error:
                raise UpstreamError(f"an entry can't be written to the audit log: {error}") from error
            if chained:
                self.stored[stream] = [*before, *(line for line, _ in chained)]
        return tuple(receipt for _, receipt in chained)

    def streams(self, container: str | None = None) -> tuple[str, ...]:
        return tuple(sorted(name for name in self.stored if container in (None, name.partition("/")[0])))

    def lines(self, stream: str) -> Iterator[bytes]:
        try:
            parse_stream(stream)
        except ValueError as error:
            raise UpstreamError(f"the audit log can't be read: {error}") from error
        yield from tuple(self.stored.get(stream, ()))

    def tail(self, stream: str, after: Place) -> Tail:
        stored = b"".join(self.lines(stream))
        try:
            if not needed(after, [0] if stored else []):
                return Tail(lines=(), segment=0, offset=0)
            return resume(after, [Part(segment=0, start=0, data=stored)])
        except IntegrityError as error:
            raise IntegrityError(f"the audit log {stream}: {error}") from error

    def latest(self, stream: str) -> Entry | None:
        lines = self.stored.get(stream, [])
        return parse_entry(lines[-1]) if lines else None


def draft(
    number: int = 0,
    *,
    time: datetime = NOON,
    subject: str = "pkg:pypi/numpy@2.1.0",
    data: dict[str, Json] | None = None,
) -> Draft:
    """A verdict's draft that differs from every other number's."""
    return Draft(
        id=new_id(time, number.to_bytes(10, "big")),
        source="//contoso/ml",
        type="quarantine.verdict.v1",
        time=time,
        subject=subject,
        data={"outcome": "denied", "number": number} if data is None else data,
    )
