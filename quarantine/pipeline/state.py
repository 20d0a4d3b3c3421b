"""What all exceptions are now, read from the log: the kept page, and what came after it.

The page is the publisher's, and is only a shortcut: the entries after it must be linked to the heads that it names.
"""

from collections.abc import Iterator
from contextlib import suppress

from quarantine.audit.chain import Head, Place, follow
from quarantine.audit.events import REQUESTS
from quarantine.audit.fold import CONTAINERS, Folded, decode_folded, encode_folded, fold
from quarantine.audit.record import Entry
from quarantine.errors import ConflictError, IntegrityError
from quarantine.exceptions import State
from quarantine.ports import AuditLog, PageStore

__all__ = ["STATE_PAGE", "follow_state", "keep_state", "read_state"]

STATE_PAGE = "state/exceptions.msgpack"
KEEP_AFTER = 200
"""A page is written anew once this many entries came after it: then reading them costs more than writing it."""


def read_state(log: AuditLog, pages: PageStore) -> State:
    """What all exceptions are now. UpstreamError, IntegrityError when a stream isn't linked as it must be.

    Of streams of requests only what is sound counts, and the state says which of them are broken.
    """
    return _read(log, pages)[0].state


def follow_state(log: AuditLog, pages: PageStore, known: Folded | None) -> Folded:
    """The same for who asks again and again, with where reading left off: only what came after that is read."""
    return _read(log, pages, known)[0]


def keep_state(log: AuditLog, pages: PageStore) -> State:
    """The same, for the publisher: the page is written anew when it has fallen behind. UpstreamError, IntegrityError."""
    folded, entries, tag = _read(log, pages)
    if entries >= KEEP_AFTER:
        with suppress(ConflictError):  # then somebody else kept one meanwhile, and theirs does
            pages.swap(STATE_PAGE, encode_folded(folded), "application/octet-stream", tag)
    return folded.state


def _read(log: AuditLog, pages: PageStore, known: Folded | None = None) -> tuple[Folded, int, str | None]:
    """The state, how many entries came after the page (or after what is known), and the page's tag."""
    streams = [stream for container in CONTAINERS for stream in log.streams(container)]
    if not streams and known is None:
        return Folded(), 0, None
    page = None
    if known is None:
        page = pages.page(STATE_PAGE)
        known = None if page is None else decode_folded(page.data)
    before = known or Folded()
    places: dict[str, Place] = {}
    entries: list[tuple[str, Entry]] = []
    broken: list[str] = []
    for stream in streams:
        place = before.places.get(stream, Place())
        try:
            entries += list(_new(log, stream, place, places))
        except IntegrityError as error:
            if not stream.startswith(f"{REQUESTS}/"):
                raise
            entries += _sound(log, stream, place)
            broken.append(str(error)[:500])
    return fold(before, places, entries, broken), len(entries), None if page is None else page.tag


def _new(log: AuditLog, stream: str, place: Place, places: dict[str, Place]) -> Iterator[tuple[str, Entry]]:
    """The entries after the place, each verified; the place behind them is put into `places`."""
    tail = log.tail(stream, place)
    head = place.head
    for entry in follow(stream, place.head, tail.lines):
        head = Head(seq=entry.seq, sha256=entry.sha256)
        yield stream, entry
    places[stream] = Place(segment=tail.segment, offset=tail.offset, head=head)


def _sound(log: AuditLog, stream: str, place: Place) -> Iterator[tuple[str, Entry]]:
    """The entries after the place of a stream that can't be read to its end, as far as they are linked to each other.

    Whoever may ask for exceptions may write anything into a stream of requests: that takes away what they ask for, and
    nothing of what others decide.
    """
    after = -1 if place.head is None else place.head.seq
    with suppress(IntegrityError):
        for entry in follow(stream, None, log.lines(stream)):
            if entry.seq > after:
                yield stream, entry
