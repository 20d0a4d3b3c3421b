"""What all exceptions are now, read from the log: the kept pages, and what came after them.

The pages are only a shortcut, and each holds what its writer may say in the log anyway: the publisher keeps what requesters
and the publisher wrote, curators keep what they decided. So whoever writes the pages of the mirror makes up no approval. The
entries after a page must be linked to the heads that it names.
"""

from collections.abc import Iterator
from contextlib import suppress

from quarantine.audit.chain import Head, Place, follow
from quarantine.audit.events import DECISIONS, PUBLISH, REQUESTS
from quarantine.audit.fold import Folded, decode_folded, encode_folded, fold, merge
from quarantine.audit.record import Entry
from quarantine.errors import ConflictError, IntegrityError, UpstreamError
from quarantine.exceptions import ExceptionCase, State
from quarantine.ports import AuditLog, PageStore

__all__ = [
    "DECISIONS_PAGE",
    "STATE_PAGE",
    "follow_state",
    "keep_decisions",
    "keep_state",
    "read_log",
    "read_state",
    "told_otherwise",
]

STATE_PAGE = "state/exceptions.msgpack"
DECISIONS_PAGE = "decisions/exceptions.msgpack"
KEEP_AFTER = 200
"""A page is written anew once this many entries came after it: then reading them costs more than writing it."""

_OTHERS, _DECIDED = frozenset({REQUESTS, PUBLISH}), frozenset({DECISIONS})


def read_state(log: AuditLog, pages: PageStore) -> State:
    """What all exceptions are now. UpstreamError, IntegrityError when a stream isn't linked as it must be.

    Of streams of requests only what is sound counts, and the state says which of them are broken.
    """
    return _read(log, pages).state


def read_log(log: AuditLog) -> State:
    """The same of the log alone, from its first entry on. UpstreamError, IntegrityError."""
    return merge(_after(log, Folded(), _OTHERS)[0], _after(log, Folded(), _DECIDED)[0]).state


def told_otherwise(log: AuditLog, pages: PageStore) -> tuple[str, ...]:
    """The ids of the exceptions, sorted, of which the kept pages tell something else than the log, and what else they do so of.

    UpstreamError, IntegrityError.
    """
    kept = read_state(log, pages)
    whole = read_log(log)
    if kept != whole:
        kept = read_state(log, pages)  # then something was written in between, or a page is wrong
    ids = {
        case.id
        for one, other in ((kept, whole), (whole, kept))
        for case in one.cases.values()
        if _told(case) != _told(other.cases.get(case.id))
    }
    others = {
        "policies": set(kept.policies) == set(whole.policies),
        "notifications": kept.delivered == whole.delivered,
        "the newest entry": kept.as_of == whole.as_of,
    }
    return (*sorted(ids), *(what for what, same in others.items() if not same))


def _told(case: ExceptionCase | None) -> object:
    """What counts of a case, in no order: what is of one instant has none."""
    if case is None:
        return None
    return case.request, *map(frozenset, (case.attached, case.dossiers, case.rulings, case.publications))


def follow_state(log: AuditLog, pages: PageStore, known: Folded | None) -> Folded:
    """The same for who asks again and again, with where reading left off: only what came after that is read."""
    return _read(log, pages) if known is None else _after(log, known, _OTHERS | _DECIDED)[0]


def keep_state(log: AuditLog, pages: PageStore) -> State:
    """The same, for the publisher: their page is written anew when it has fallen behind. UpstreamError, IntegrityError."""
    others = _kept(log, pages, STATE_PAGE, _OTHERS)
    return merge(others, _folded(log, pages, DECISIONS_PAGE, _DECIDED)[0]).state


def keep_decisions(log: AuditLog, pages: PageStore) -> State:
    """The same, for curators. That their page can't be written takes nothing away from what they decided."""
    others = _folded(log, pages, STATE_PAGE, _OTHERS)[0]
    with suppress(UpstreamError):
        return merge(others, _kept(log, pages, DECISIONS_PAGE, _DECIDED)).state
    return merge(others, _folded(log, pages, DECISIONS_PAGE, _DECIDED)[0]).state


def _read(log: AuditLog, pages: PageStore) -> Folded:
    others = _folded(log, pages, STATE_PAGE, _OTHERS)[0]
    return merge(others, _folded(log, pages, DECISIONS_PAGE, _DECIDED)[0])


def _kept(log: AuditLog, pages: PageStore, name: str, containers: frozenset[str]) -> Folded:
    """What these containers come to; the page is written anew when it has fallen behind."""
    folded, entries, tag = _folded(log, pages, name, containers)
    if entries >= KEEP_AFTER:
        with suppress(ConflictError):  # then somebody else kept one meanwhile, and theirs does
            pages.swap(name, encode_folded(folded), "application/octet-stream", tag)
    return folded


def _folded(log: AuditLog, pages: PageStore, name: str, containers: frozenset[str]) -> tuple[Folded, int, str | None]:
    """What these containers come to, how many entries came after their page, and the page's tag."""
    page = pages.page(name)
    known = None if page is None else decode_folded(page.data)
    folded, entries = _after(log, known or Folded(), containers)
    return folded, entries, None if page is None else page.tag


def _after(log: AuditLog, before: Folded, containers: frozenset[str]) -> tuple[Folded, int]:
    """What is known with what came after it in these containers, and how many entries that were."""
    places: dict[str, Place] = {}
    entries: list[tuple[str, Entry]] = []
    broken: list[str] = []
    there = {stream for container in containers for stream in log.streams(container)}
    known = {
        stream for stream in before.places if stream.partition("/")[0] in containers
    }  # one that is gone is told, too
    for stream in sorted(there | known):
        place = before.places.get(stream, Place())
        try:
            entries += list(_new(log, stream, place, places))
        except IntegrityError as error:
            if not stream.startswith(f"{REQUESTS}/"):
                raise
            entries += _sound(log, stream, place)
            broken.append(str(error)[:500])
    return fold(before, places, entries, broken), len(entries)


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
