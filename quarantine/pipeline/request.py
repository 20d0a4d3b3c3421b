"""Asking for an exception: the files, who asks, and what becomes of it in the log.

1. know who asks, and what all exceptions are now;
2. where an open exception is for the same files, project and stage, join it, once;
3. else write the request, all of its entries together.

A request that couldn't be written travels as a file (`quarantine/exception-request/1`). Whoever imports it is the one whose
identity is verified, so they are its requester. The name in the file is a claim that nobody verified: it is recorded as
somebody who asks for the same, which neither gives that person a right nor takes one away, since nobody verified it.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Literal

import msgspec
from msgspec.structs import replace

from quarantine.audit.events import joined_draft, request_drafts, request_id
from quarantine.audit.record import Draft
from quarantine.audit.redact import redact
from quarantine.errors import IntegrityError, SpecError, UsageError
from quarantine.exceptions import (
    MAX_FILES,
    ExceptionCase,
    ExceptionFile,
    ExceptionId,
    ExceptionRequest,
    Identity,
    Joined,
    Rejected,
    State,
    Status,
)
from quarantine.pipeline.state import read_state
from quarantine.policy.decide import decide, is_known
from quarantine.policy.stage import Policy
from quarantine.ports import AuditLog, Identities, PageStore, Tell
from quarantine.spec.json_text import load_json

__all__ = [
    "Already",
    "Filed",
    "Filing",
    "JoinedTo",
    "RequestPorts",
    "Wish",
    "draft_request",
    "encode_request",
    "file_request",
    "import_request",
    "parse_request",
]

MAX_REASON = 2000
MAX_STREAMS = 9
MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
"""A request of the most files has about 1 MB."""


class RequestPorts(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request is written, and who knows who asks."""

    log: AuditLog
    pages: PageStore
    identities: Identities


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """For whom, for what stage, why and until when something is asked for. `now` is aware, UTC.

    `local` is whether users of the operating system may decide. `new_id` makes an id for an entry; `nonce` tells two
    equal wishes apart.
    """

    project: str
    stage: str
    reason: str
    until: datetime | None
    now: datetime
    policy: Policy
    local: bool
    new_id: Callable[[], str]
    nonce: str


class Filed(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was written."""

    request: ExceptionRequest


class JoinedTo(msgspec.Struct, frozen=True, kw_only=True):
    """There was an open exception for the same files, which now says that somebody else asks for it."""

    request: ExceptionRequest


class Already(msgspec.Struct, frozen=True, kw_only=True):
    """Whoever asks has asked for just this before: nothing was written."""

    request: ExceptionRequest


Filing = Filed | JoinedTo | Already


def draft_request(files: tuple[ExceptionFile, ...], wish: Wish, requester: Identity) -> ExceptionRequest:
    """The request, under the id that stands for it; UsageError where it can't be one."""
    wish.policy.stage(wish.stage)
    reason = redact(wish.reason.encode("utf-8", "backslashreplace").decode().strip())
    if not 0 < len(reason) <= MAX_REASON:
        raise UsageError(f"--reason has {len(reason)} characters: expected 1 to {MAX_REASON}, for whoever decides")
    if not files:
        raise UsageError("there is no file to ask for an exception for")
    if len(files) > MAX_FILES:
        raise UsageError(
            f"{len(files)} files are more than one request may have: expected {MAX_FILES} at most; ask for them in parts"
        )
    try:
        request = ExceptionRequest(
            id="0" * 32,
            project=wish.project,
            stage=wish.stage,
            reason=reason,
            files=files,
            requester=requester,
            time=wish.now,
            until=wish.until,
            nonce=wish.nonce,
        )
        # a struct that is made is not checked, so it goes through its own form once
        checked = msgspec.convert(msgspec.to_builtins(request), ExceptionRequest)
    except (msgspec.ValidationError, ValueError) as error:
        raise UsageError(f"not a request: {str(error)[:1].lower()}{str(error)[1:]}") from None
    return replace(checked, id=request_id(checked))


def file_request(files: tuple[ExceptionFile, ...], wish: Wish, ports: RequestPorts, tell: Tell) -> Filing:
    """Asks for the files. UsageError where that can't be; UpstreamError, IntegrityError, with nothing written."""
    asking = ports.identities.who(tell)  # (1)
    request = draft_request(files, wish, asking)
    return _file(request, (), wish, ports, tell)


def import_request(document: ExceptionRequest, wish: Wish, ports: RequestPorts, tell: Tell) -> Filing:
    """Asks for what a request file asks for (`wish` says the same as it does, at its import). Raises as `file_request`.

    The importer is who asks. Whom the file names is recorded beside them, unverified, whatever it says.
    """
    importer = ports.identities.who(tell)  # (1)
    request = draft_request(document.files, wish, importer)
    claimed = replace(document.requester, verified=False)
    return _file(request, (claimed,), wish, ports, tell)


def _file(
    request: ExceptionRequest, beside: tuple[Identity, ...], wish: Wish, ports: RequestPorts, tell: Tell
) -> Filing:
    tell("reading what is asked for already")
    state = read_state(ports.log, ports.pages)
    stream = f"log-requests/{request.project.lower()}-{request.time:%Y-%m}"
    same = _same(state, request, wish)  # (2)
    if same is not None and same.request is not None:
        new = [who for who in (request.requester, *beside) if who.key not in same.requesters]
        if not new:
            return Already(request=same.request)
        _append(ports.log, stream, _joining(same.request, new, request, wish))
        return JoinedTo(request=same.request)
    ids = [wish.new_id() for _ in range(0, len(request.files), 40)]  # (3)
    others = [who for who in beside if who.key != request.requester.key]
    _append(ports.log, stream, [*request_drafts(request, ids), *_joining(request, others, request, wish)])
    return Filed(request=request)


def _append(log: AuditLog, stream: str, drafts: list[Draft]) -> None:
    """Writes the drafts; into another stream where somebody broke this one, so that nobody can keep others from asking.

    The last one is called after the random part of an entry's id, since nobody can break what they can't foresee.
    """
    names = (stream, *(f"{stream}.{number}" for number in range(2, MAX_STREAMS + 1)), f"{stream}.{drafts[0].id[-12:]}")
    for name in names:
        try:
            log.append(name, drafts)
        except IntegrityError:
            if name == names[-1]:
                raise
        else:
            return


def _joining(to: ExceptionRequest, who: list[Identity], asked: ExceptionRequest, wish: Wish) -> list[Draft]:
    unique = {identity.key: identity for identity in reversed(who)}
    return [
        joined_draft(to, Joined(time=asked.time, by=identity, reason=asked.reason), wish.new_id())
        for identity in reversed(unique.values())
    ]


def _same(state: State, request: ExceptionRequest, wish: Wish) -> ExceptionCase | None:
    """The exception for the same files, project and stage that is open or holds; the oldest of several.

    It is asked for by somebody whose identity counts, or by the same one, with all that is said of the files the same: nobody else's words about
    a file take the place of those of whoever asks now.
    """
    files = frozenset(request.files)
    found = [
        case
        for case in state.cases.values()
        if case.request is not None
        and (case.request.project, case.request.stage) == (request.project, request.stage)
        and frozenset(case.request.files) == files
        and (
            is_known(case.request.requester, wish.policy, local=wish.local)
            or case.request.requester.key == request.requester.key
        )
        and _is_open(case, wish)
    ]
    return min(found, key=lambda case: (case.request.time if case.request else request.time, case.id), default=None)


def _is_open(case: ExceptionCase, wish: Wish) -> bool:
    decision = decide(case, wish.policy, wish.now, local=wish.local)
    if isinstance(decision, Rejected):
        return False
    return getattr(decision, "status", None) is not Status.EXPIRED


# --- requests as files ------------------------------------------------------------------------------------------------


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    schema: Literal["quarantine/exception-request/1"]
    request: ExceptionRequest


def encode_request(request: ExceptionRequest) -> bytes:
    """The request as a file: a JSON document, indented, ending in a newline."""
    document = _Document(schema="quarantine/exception-request/1", request=request)
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def parse_request(file: str, data: bytes) -> ExceptionRequest:
    """The request that a file holds, raising SpecError with the line of whatever isn't as `encode_request` writes it.

    Its id must be that of what it says: a file that was changed on its way is not what its sender asked for.
    """
    document = load_json(file, data, MAX_DOCUMENT_BYTES)
    request = document.to(_Document).request
    for index, one in enumerate(request.files):
        try:
            one.check()
        except ValueError as error:
            raise SpecError([document.problem(("request", "files", index), str(error))]) from None
    if request_id(request) != ExceptionId(request.id):
        problem = document.problem(
            ("request", "id"), "the request isn't what its id stands for: it was changed since it was written"
        )
        raise SpecError([problem])
    return request
