"""What all exceptions are now: a fold over the streams of requesters, curators and the publisher.

Streams are read one by one and in no order, so the fold doesn't depend on it: what an entry says is put to the case that it
names, in the order of time. What it comes to is left to `policy.decide`.

A folded state is kept as a page together with the places where reading left off, so that a reader takes the page and reads
only what came after. The page proves nothing: the first entry after each place must be linked to the head that it names, and
of a page counts only what its writer may say (`merge`).
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec
from msgspec.structs import replace

from quarantine.audit.chain import Place
from quarantine.audit.events import DECISIONS, PUBLISH, REQUESTS, Delivered, Event, RequestPart, meaning, request_id
from quarantine.audit.record import Entry
from quarantine.exceptions import (
    Attached,
    DossierSummary,
    ExceptionCase,
    ExceptionRequest,
    Ignored,
    Joined,
    PolicyPublished,
    Publication,
    Ruling,
    State,
)

__all__ = ["Folded", "decode_folded", "encode_folded", "fold", "merge"]

VERSION = 5
"""Of the fold's meaning: a page of another version is folded again from the start."""
MAX_IGNORED = 100
_NO_FORM = (ValueError, TypeError, ArithmeticError, LookupError, RecursionError)
"""What a record that is of no form may raise: whoever may ask writes anything, and must not keep others from reading."""
MAX_JOINED = 100
"""Anybody may write that they ask for the same, as often as they like: more are no news, and would take time to fold."""


class Partial(msgspec.Struct, frozen=True, kw_only=True):
    """The first parts of a request; the next one is entry `next_seq` of the same stream."""

    id: str
    parts: int
    next_seq: int
    requests: tuple[ExceptionRequest, ...]


class Folded(msgspec.Struct, frozen=True, kw_only=True):
    """A state, and for every stream the place up to which it was read, and the request that isn't whole there."""

    version: int = VERSION
    places: Mapping[str, Place] = {}
    partial: Mapping[str, Partial] = {}
    state: State = State()


_decoder = msgspec.msgpack.Decoder(Folded)


def encode_folded(folded: Folded) -> bytes:
    """The page of a folded state: the same state gives the same bytes."""
    return msgspec.msgpack.encode(folded, order="deterministic")


def decode_folded(data: bytes) -> Folded | None:
    """What a page holds; None for one that is of another version, or none at all: then everything is read again."""
    try:
        folded = _decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):  # whoever writes it may have written anything
        return None
    return folded if folded.version == VERSION else None


def fold(
    before: Folded, places: Mapping[str, Place], entries: Iterable[tuple[str, Entry]], broken: Iterable[str] = ()
) -> Folded:
    """The state after these entries, each with its stream; `places` are the places behind them.

    Entries of requesters that come again change nothing. `broken` says which of their streams can't be read to the end.
    """
    cases = dict(before.state.cases)
    partial = dict(before.partial)
    policies, delivered = list(before.state.policies), set(before.state.delivered)
    ignored, as_of = list(before.state.ignored), before.state.as_of
    for stream, entry in entries:
        try:
            meant = meaning(stream, entry)
            if meant is None:
                continue
            exception, event = meant
            match event:
                case RequestPart():
                    request = _whole(partial, stream, entry, event)
                    if request is not None:
                        cases[exception] = replace(_case(cases, exception), request=request)
                case PolicyPublished():
                    policies = sorted([*policies, event], key=lambda published: published.time)
                case Delivered():
                    delivered.add(event.key)
                case _:
                    cases[exception] = _with(_case(cases, exception), event)
        except _NO_FORM as error:
            if not isinstance(error, ValueError) and not stream.startswith(f"{REQUESTS}/"):
                raise  # of those who decide nothing is passed over unseen
            if len(ignored) < MAX_IGNORED:
                ignored.append(Ignored(stream=stream, seq=entry.seq, why=str(error)[:500]))
            continue
        if stream.startswith(f"{PUBLISH}/"):
            as_of = _later(as_of, entry.time)
    state = State(
        cases=cases,
        policies=tuple(policies),
        delivered=frozenset(delivered),
        ignored=tuple(ignored),
        broken=tuple(broken),
        as_of=as_of,
    )
    return Folded(places={**before.places, **places}, partial=partial, state=state)


def merge(others: Folded, decided: Folded) -> Folded:
    """Both together: of the first only what requesters and the publisher say, of the second only what curators decide."""
    cases = {
        case.id: _in_time(replace(case, attached=(), rulings=()) if case.attached or case.rulings else case)
        for case in others.state.cases.values()
    }
    for identifier, case in decided.state.cases.items():
        cases[identifier] = replace(
            _case(cases, identifier),
            attached=tuple(sorted(case.attached, key=lambda attached: attached.time)),
            rulings=tuple(sorted(case.rulings, key=lambda ruling: ruling.time)),
        )
    one, other = others.state, decided.state
    state = replace(
        one,
        cases=cases,
        policies=other.policies,
        ignored=(*one.ignored, *other.ignored)[:MAX_IGNORED],
        broken=one.broken,
    )
    places = {
        stream: place
        for folded, ours in ((others, False), (decided, True))
        for stream, place in folded.places.items()
        if stream.startswith(f"{DECISIONS}/") is ours
    }
    return Folded(places=places, partial=others.partial, state=state)


def _in_time(case: ExceptionCase) -> ExceptionCase:
    """The case with what is said of it in the order of time, whoever kept it in which order."""
    if max(len(case.joined), len(case.dossiers), len(case.publications)) < 2:
        return case
    return replace(
        case,
        joined=tuple(sorted(case.joined, key=lambda joined: joined.time)),
        dossiers=tuple(sorted(case.dossiers, key=lambda dossier: dossier.time)),
        publications=tuple(sorted(case.publications, key=lambda step: step.time)),
    )


def _later(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else max(one, other)


def _case(cases: Mapping[str, ExceptionCase], exception: str) -> ExceptionCase:
    return cases.get(exception) or ExceptionCase(id=exception)


def _whole(partial: dict[str, Partial], stream: str, entry: Entry, event: RequestPart) -> ExceptionRequest | None:
    """The request, once its last part has come and all of them together are what its id stands for.

    The parts are appended together, so they follow each other; ValueError for one that doesn't follow those before it, and
    for parts that are something else than the id says. So no entry of others can take a part away, or put one in.
    """
    before = partial.pop(stream, None)
    parts: tuple[ExceptionRequest, ...] = ()
    if event.part:
        if before is None or (before.id, before.parts, before.next_seq, len(before.requests)) != (
            event.id, event.parts, entry.seq, event.part,
        ):  # fmt: skip
            raise ValueError(f"part {event.part} of a request that doesn't follow the parts before it")
        parts = before.requests
    parts = (*parts, event.request)
    if len(parts) < event.parts:
        partial[stream] = Partial(id=event.id, parts=event.parts, next_seq=entry.seq + 1, requests=parts)
        return None
    request = replace(event.request, files=tuple(file for part in parts for file in part.files))
    if request_id(request) != request.id:
        raise ValueError(f"a request that calls itself {request.id} and isn't it")
    return request


def _with(case: ExceptionCase, event: Event) -> ExceptionCase:
    """The case with one more thing that is said of it."""
    match event:
        case Joined():
            if any(joined.by.key == event.by.key for joined in case.joined):
                return case
            if len(case.joined) >= MAX_JOINED:
                raise ValueError(f"more than {MAX_JOINED} people who ask for the same")
            return replace(case, joined=tuple(sorted((*case.joined, event), key=lambda joined: joined.time)))
        case Attached():
            return replace(case, attached=tuple(sorted((*case.attached, event), key=lambda attached: attached.time)))
        case DossierSummary():
            return replace(case, dossiers=tuple(sorted((*case.dossiers, event), key=lambda dossier: dossier.time)))
        case Ruling():
            return replace(case, rulings=tuple(sorted((*case.rulings, event), key=lambda ruling: ruling.time)))
        case Publication():
            return replace(case, publications=_joined_steps(case.publications, event))
        case _:
            raise ValueError("an entry that is about no exception")


def _joined_steps(steps: tuple[Publication, ...], step: Publication) -> tuple[Publication, ...]:
    """The steps with one more. A step of many files is written as several entries of one time: together they are one step."""
    place = sum(other.time <= step.time for other in steps)
    before, after = steps[:place], steps[place:]
    if before and (before[-1].kind, before[-1].time) == (step.kind, step.time):
        known = dict(zip(before[-1].files, (*before[-1].metadata, *("",) * len(before[-1].files)), strict=False))
        known |= dict(zip(step.files, (*step.metadata, *("",) * len(step.files)), strict=False))
        whole = replace(before[-1], files=tuple(known), metadata=tuple(known.values()))
        return (*before[:-1], whole, *after)
    return (*before, step, *after)
