"""What the exception process writes into the log, and what a stored entry means: drafts out of values, values out of entries.

A type of entry counts only where its writer's role may append: the container is the authority, not what the entry says of
its writer. An entry that is not of its form, or in the wrong container, means nothing and says why.
"""

import hashlib
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Annotated, TypeVar

import msgspec
import rfc8785
from msgspec import Meta

from quarantine.audit.record import Draft, Entry, Json
from quarantine.audit.redact import redact_json
from quarantine.exceptions import (
    Attached,
    DossierSummary,
    ExceptionFile,
    ExceptionId,
    ExceptionRequest,
    Identity,
    Joined,
    PolicyPublished,
    Publication,
    PublicationKind,
    Ruling,
    RulingKind,
)

__all__ = [
    "DECISIONS",
    "PUBLISH",
    "REQUESTS",
    "Delivered",
    "Event",
    "RequestPart",
    "attached_draft",
    "delivered_draft",
    "joined_draft",
    "meaning",
    "policy_draft",
    "publication_draft",
    "request_drafts",
    "request_id",
    "ruling_draft",
    "vetted_draft",
]

REQUESTS, DECISIONS, PUBLISH = "log-requests", "log-decisions", "log-publish"
"""Containers by who may append: data scientists, curators, the publisher."""

_FILES_A_PART = 40
# forty of the largest files that a request may name stay below the limit of a record
MAX_PARTS = 50
MAX_DAYS = 3650
"""The longest that somebody may ask for; no policy allows more."""

_PREFIX = "quarantine.exception."
_REQUESTED, _JOINED, _ATTACHED = f"{_PREFIX}requested.v1", f"{_PREFIX}joined.v1", f"{_PREFIX}attached.v1"
_VETTED = f"{_PREFIX}vetted.v1"
# what was done, as with every other entry of the process
_RULED = {
    RulingKind.APPROVE: f"{_PREFIX}approved.v1",
    RulingKind.REJECT: f"{_PREFIX}rejected.v1",
    RulingKind.RENEW: f"{_PREFIX}renewed.v1",
    RulingKind.REVOKE: f"{_PREFIX}revoked.v1",
}
_RULINGS = {type_: kind for kind, type_ in _RULED.items()}
_STEPS = {f"{_PREFIX}{kind.value}.v1": kind for kind in PublicationKind}
_POLICY = "quarantine.policy.published.v1"
_DELIVERED = "quarantine.notification.v1"

_ROLE = {
    _REQUESTED: REQUESTS,
    _JOINED: REQUESTS,
    _ATTACHED: DECISIONS,
    _VETTED: PUBLISH,
    **dict.fromkeys(_RULINGS, DECISIONS),
    **dict.fromkeys(_STEPS, PUBLISH),
    _POLICY: DECISIONS,
    _DELIVERED: PUBLISH,
}


class RequestPart(msgspec.Struct, frozen=True, kw_only=True):
    """One of the entries that a request is written as: part `part`, from 0, of `parts`. `id` names the whole."""

    id: str
    part: int
    parts: int
    request: ExceptionRequest


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """A notification that arrived on at least one channel."""

    key: str


Event = RequestPart | Joined | Attached | DossierSummary | Ruling | Publication | PolicyPublished | Delivered


_Signed = TypeVar("_Signed", Joined, Attached, DossierSummary, Ruling, PolicyPublished)


class _Data(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`data` of an entry about an exception: which one, by whom, and the rest."""

    actor: Identity
    exception: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]


class _Requested(_Data, frozen=True, kw_only=True):
    part: Annotated[int, Meta(ge=0, lt=MAX_PARTS)]
    parts: Annotated[int, Meta(ge=1, le=MAX_PARTS)]
    nonce: str
    project: str
    stage: str
    reason: str
    until: Annotated[datetime, Meta(tz=True)] | None
    time: Annotated[datetime, Meta(tz=True)]
    files: tuple[ExceptionFile, ...]


class _Joined(_Data, frozen=True, kw_only=True):
    joined: Joined


class _Attached(_Data, frozen=True, kw_only=True):
    attached: Attached


class _Vetted(_Data, frozen=True, kw_only=True):
    dossier: DossierSummary


class _Ruled(_Data, frozen=True, kw_only=True):
    ruling: Ruling


class _Stepped(_Data, frozen=True, kw_only=True):
    step: Publication


class _PolicyData(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    actor: Identity
    published: PolicyPublished


class _DeliveredData(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    actor: Identity
    key: Annotated[str, Meta(min_length=1, max_length=200)]
    channels: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


# --- values -> drafts -------------------------------------------------------------------------------------------------


def request_id(request: ExceptionRequest) -> ExceptionId:
    """The id of a request: of what is asked for, by whom, when, and why, as it is stored. `request.id` plays no part."""
    content: dict[str, Json] = msgspec.json.decode(msgspec.json.encode(request))
    content.pop("id")
    canonical = rfc8785.dumps(redact_json(content))
    return ExceptionId(hashlib.sha256(b"quarantine.exception.v1:" + canonical).hexdigest()[:32])


def request_drafts(request: ExceptionRequest, ids: Sequence[str]) -> tuple[Draft, ...]:
    """The entries that a request is written as, to be appended together; `ids` are ids for them, at least one for 40 files."""
    parts = [request.files[i : i + _FILES_A_PART] for i in range(0, len(request.files), _FILES_A_PART)]
    return tuple(
        _draft(
            _REQUESTED,
            ids[number],
            request.project,
            request.time,
            str(request.files[0].purl),
            _Requested(
                actor=request.requester,
                exception=request.id,
                part=number,
                parts=len(parts),
                nonce=request.nonce,
                project=request.project,
                stage=request.stage,
                reason=request.reason,
                until=request.until,
                time=request.time,
                files=files,
            ),
        )
        for number, files in enumerate(parts)
    )


def joined_draft(case: ExceptionRequest, joined: Joined, entry_id: str) -> Draft:
    """The entry of somebody who asks for the same."""
    data = _Joined(actor=joined.by, exception=case.id, joined=joined)
    return _draft(_JOINED, entry_id, case.project, joined.time, str(case.files[0].purl), data)


def attached_draft(case: ExceptionRequest, attached: Attached, entry_id: str) -> Draft:
    """The entry of a wheel that a curator attaches."""
    data = _Attached(actor=attached.by, exception=case.id, attached=attached)
    return _draft(_ATTACHED, entry_id, case.project, attached.time, str(attached.file.purl), data)


def vetted_draft(case: ExceptionRequest, dossier: DossierSummary, entry_id: str) -> Draft:
    """The entry of a dossier."""
    data = _Vetted(actor=dossier.by, exception=case.id, dossier=dossier)
    return _draft(_VETTED, entry_id, case.project, dossier.time, str(case.files[0].purl), data)


def ruling_draft(case: ExceptionRequest, ruling: Ruling) -> Draft:
    """The entry of a curator's word."""
    data = _Ruled(actor=ruling.by, exception=case.id, ruling=ruling)
    return _draft(_RULED[ruling.kind], ruling.id, case.project, ruling.time, str(case.files[0].purl), data)


def publication_draft(case: ExceptionRequest, step: Publication, by: Identity, entry_id: str) -> Draft:
    """The entry of a step of the publisher."""
    data = _Stepped(actor=by, exception=case.id, step=step)
    kind = f"{_PREFIX}{step.kind.value}.v1"
    return _draft(kind, entry_id, case.project, step.time, str(case.files[0].purl), data)


def policy_draft(published: PolicyPublished, project: str, entry_id: str) -> Draft:
    """The entry of a policy that is put in force."""
    data = _PolicyData(actor=published.by, published=published)
    return _draft(_POLICY, entry_id, project, published.time, f"policy {published.sha256}", data)


def delivered_draft(
    key: str,
    channels: Collection[str],
    problems: Collection[str],
    by: Identity,
    project: str,
    time: datetime,
    entry_id: str,
) -> Draft:
    """The entry of what became of a notification: the channels where it arrived, and why it didn't elsewhere."""
    data = _DeliveredData(actor=by, key=key, channels=tuple(channels), problems=tuple(problems))
    return _draft(_DELIVERED, entry_id, project, time, key, data)


def _draft(kind: str, entry_id: str, project: str, time: datetime, subject: str, data: msgspec.Struct) -> Draft:
    body: dict[str, Json] = msgspec.json.decode(msgspec.json.encode(data))
    return Draft(id=entry_id, source=f"//{project}", type=kind, time=time, subject=subject[:2000], data=body)


# --- entries -> values ------------------------------------------------------------------------------------------------

_DATA: dict[str, type[_Data]] = {
    _REQUESTED: _Requested,
    _JOINED: _Joined,
    _ATTACHED: _Attached,
    _VETTED: _Vetted,
    **dict.fromkeys(_RULINGS, _Ruled),
    **dict.fromkeys(_STEPS, _Stepped),
}


def meaning(stream: str, entry: Entry) -> tuple[str, Event] | None:
    """The exception that an entry speaks of ("" for none) and what it says; None where it is about other things.

    ValueError says why an entry that claims to be one of the process's doesn't count.
    """
    role = _ROLE.get(entry.type)
    if role is None:
        return None
    container = stream.partition("/")[0]
    if container != role:
        raise ValueError(f"{entry.type} in {container}: only what stands in {role} counts")
    try:
        if entry.type == _POLICY:
            published = msgspec.convert(entry.data, _PolicyData)
            return "", _own(published.published, published.actor, entry)
        if entry.type == _DELIVERED:
            return "", Delivered(key=msgspec.convert(entry.data, _DeliveredData).key)
        return _of_exception(entry, msgspec.convert(entry.data, _DATA[entry.type]))
    except msgspec.ValidationError as error:
        raise ValueError(f"{entry.type}: {error}") from error


def _of_exception(entry: Entry, data: _Data) -> tuple[str, Event]:
    event: Event
    match data:
        case _Requested():
            event = _part(entry, data)
        case _Joined():
            event = _own(data.joined, data.actor, entry)
        case _Attached():
            data.attached.file.check()
            event = _own(data.attached, data.actor, entry)
        case _Vetted():
            event = _own(data.dossier, data.actor, entry)
        case _Ruled():
            event = _own(data.ruling, data.actor, entry)
            if data.ruling.kind is not _RULINGS[entry.type] or data.ruling.id != entry.id:
                raise ValueError(
                    f"{entry.type}: says {data.ruling.kind.value} {data.ruling.id}, expected its own kind and id"
                )
        case _Stepped():
            event = data.step
            if data.step.kind is not _STEPS[entry.type] or data.step.time != entry.time:
                raise ValueError(f"{entry.type}: says {data.step.kind.value}, expected its own kind and time")
        case _:
            raise ValueError(f"{entry.type}: nobody knows what it means")
    return data.exception, event


def _own(value: _Signed, actor: Identity, entry: Entry) -> _Signed:
    """The value, if it names the entry's own writer and time."""
    if value.by != actor or value.time != entry.time:
        raise ValueError(f"{entry.type}: names another writer or time than its entry does")
    return value


def _part(entry: Entry, data: _Requested) -> RequestPart:
    if data.time != entry.time or data.part >= data.parts:
        raise ValueError(f"{entry.type}: names another time than its entry does, or a part beyond its end")
    for file in data.files:
        file.check()
    if data.until is not None and not timedelta(0) < data.until - data.time < timedelta(days=MAX_DAYS):
        raise ValueError(f"{entry.type}: asks for an end before its beginning, or more than {MAX_DAYS} days after it")
    request = ExceptionRequest(
        id=data.exception,
        project=data.project,
        stage=data.stage,
        reason=data.reason,
        files=data.files,
        requester=data.actor,
        time=data.time,
        until=data.until,
        nonce=data.nonce,
    )
    # a struct that is made is not checked, so it goes through its own form once more
    checked = msgspec.convert(msgspec.to_builtins(request), ExceptionRequest)
    return RequestPart(id=data.exception, part=data.part, parts=data.parts, request=checked)
