"""A curator's word: approve, reject, renew, revoke; and the wheel that a curator attaches to a source-only request.

1. know who speaks, and what all exceptions are now;
2. look at every exception that is spoken of, and stop where one of them can't be ruled on so;
3. write all rulings together;
4. read again, and say where each exception stands.

What is refused here is refused as a courtesy, before anything is written. Whether a ruling counts is decided by
`policy.decide` from the log alone, every time.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import BinaryIO, assert_never

import msgspec

from quarantine.audit.events import attached_draft, request_id, ruling_draft
from quarantine.audit.redact import redact
from quarantine.errors import IntegrityError, UpstreamError, UsageError
from quarantine.exceptions import (
    Approved,
    Attached,
    Decision,
    DossierSummary,
    ExceptionCase,
    ExceptionFile,
    Identity,
    Pending,
    Rejected,
    Ruling,
    RulingKind,
    State,
)
from quarantine.model import Digest, Ecosystem, Verdict, parse_version, parse_wheel_name
from quarantine.pipeline.state import STATE_PAGE, keep_decisions, read_log, read_state
from quarantine.policy.case import instant, listing
from quarantine.policy.decide import clock, decide, is_known, is_vetted, may_rule, rules_of
from quarantine.policy.files import ExceptionsRule
from quarantine.policy.stage import Policy
from quarantine.ports import ArtifactStore, AuditLog, Identities, PageStore, Tell

__all__ = [
    "AttachRequest",
    "AttachedWheel",
    "Refused",
    "Ruled",
    "RulingPorts",
    "RulingRequest",
    "Unwaived",
    "attach_wheel",
    "find_case",
    "rule",
]

MIN_PREFIX = 6
MAX_REASON = 2000
HELD = "held"
_MIB = 1024 * 1024
_CHUNK = 1024 * 1024
_APPROVING = (RulingKind.APPROVE, RulingKind.RENEW)
_NOT_MINE = "(says they didn't ask) "


class RulingPorts(msgspec.Struct, frozen=True, kw_only=True):
    """Where rulings and attached wheels are written, and who knows who speaks."""

    log: AuditLog
    pages: PageStore
    store: ArtifactStore
    identities: Identities


class RulingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be said of which exceptions, by ids or beginnings of ids. `now` and `expires_at` are aware, UTC.

    `waive` are the keys of failures and unknowns that an approval answers for; `waive_all` is for all that vetting found.
    `dossiers` are beginnings of the sha256 of what was looked at: where one is named for an exception and vetting found
    something else since, nothing is approved. `not_mine` is said by whom the log has among those who joined, and who didn't.
    `local` is whether users of the operating system may decide. `new_id` makes an
    id for an entry.
    """

    kind: RulingKind
    ids: tuple[str, ...]
    reason: str
    expires_at: datetime | None = None
    waive: frozenset[str] = frozenset()
    waive_all: bool = False
    dossiers: frozenset[str] = frozenset()
    not_mine: bool = False
    policy: Policy
    policy_sha256: str
    now: datetime
    local: bool
    new_id: Callable[[], str]


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """What can't be said of an exception, and why; nothing was written of any.

    `verdict` is denied where whoever speaks has no authority for it or it could have no effect, undecided where the
    evidence for it is missing.
    """

    case: ExceptionCase
    why: str
    verdict: Verdict


class Unwaived(msgspec.Struct, frozen=True, kw_only=True):
    """What approvals would have to waive and don't name, by exception; nothing was written of any."""

    cases: tuple[tuple[ExceptionCase, tuple[str, ...]], ...]


class Ruled(msgspec.Struct, frozen=True, kw_only=True):
    """A ruling that was written, None where none was needed; where the exception stands after it; what else to know."""

    case: ExceptionCase
    ruling: Ruling | None
    decision: Decision
    notes: tuple[str, ...] = ()


class AttachRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A wheel that is to be attached: its file name, and the open file."""

    id: str
    filename: str
    file: BinaryIO
    policy: Policy
    now: datetime
    local: bool
    new_id: Callable[[], str]


class AttachedWheel(msgspec.Struct, frozen=True, kw_only=True):
    """A wheel that is in the holding area and on the record; `already` where it was there before."""

    case: ExceptionCase
    file: ExceptionFile
    source: ExceptionFile
    already: bool


class _Planned(msgspec.Struct, frozen=True, kw_only=True):
    case: ExceptionCase
    ruling: Ruling | None
    notes: tuple[str, ...] = ()
    unwaived: tuple[str, ...] = ()


def find_case(state: State, prefix: str) -> ExceptionCase:
    """The one exception whose id begins so; UsageError where none does, or several do."""
    text = prefix.strip().lower()
    if not MIN_PREFIX <= len(text) <= 32 or not set(text) <= set("0123456789abcdef"):
        raise UsageError(
            f"{prefix[:64]!a} is no id of an exception: expected at least its first {MIN_PREFIX} hexadecimal digits "
            "(quarantine exception list)"
        )
    found = [case for id_, case in sorted(state.cases.items()) if id_.startswith(text) and case.request is not None]
    if not found:
        raise UsageError(f"no exception {text}: `quarantine exception list --all` has all that there are")
    if len(found) > 1:
        raise UsageError(f"{text} is the beginning of several exceptions: {', '.join(_distinct(found))}")
    return found[0]


def _distinct(cases: Sequence[ExceptionCase]) -> list[str]:
    """Ids as far as they must be written to tell them apart."""
    for length in range(12, 33, 4):
        shown = [case.id[:length] for case in cases]
        if len(set(shown)) == len(shown):
            return shown
    return [case.id for case in cases]


# --- rulings ----------------------------------------------------------------------------------------------------------


def rule(request: RulingRequest, ports: RulingPorts, tell: Tell) -> tuple[Ruled, ...] | Refused | Unwaived:
    """What was ruled, or why nothing was. UsageError for ids and keys that there aren't; UpstreamError, IntegrityError."""
    reason = redact(request.reason.encode("utf-8", "backslashreplace").decode().strip())
    if not 0 < len(reason) <= MAX_REASON:
        raise UsageError(
            f"--reason has {len(reason)} characters: expected 1 to {MAX_REASON}, for whoever reads the log"
        )
    by = ports.identities.who(tell)  # (1)
    tell("reading the exceptions")
    approving = request.kind in _APPROVING
    # what ends an exception depends on no page that somebody may have spoilt
    state = read_state(ports.log, ports.pages) if approving else read_log(ports.log)
    doubt = clock(state, request.now)
    if doubt and approving:
        raise UpstreamError(f"nothing can be approved: {doubt[0].message}")
    cases = tuple({case.id: case for case in (find_case(state, text) for text in request.ids)}.values())
    for case in cases:
        _is_itself(case)
    _known_dossiers(cases, request)
    _known_keys(cases, request)
    planned: list[_Planned] = []
    for case in cases:  # (2)
        plan = _plan(case, by, reason, request)
        if isinstance(plan, Refused):
            return plan
        planned.append(plan)
    unwaived = tuple((plan.case, plan.unwaived) for plan in planned if plan.unwaived)
    if unwaived:
        return Unwaived(cases=unwaived)
    drafts = [
        ruling_draft(plan.case.request, plan.ruling)
        for plan in planned
        if plan.ruling is not None and plan.case.request is not None
    ]
    if drafts:
        ports.log.append(f"log-decisions/decisions-{request.now:%Y-%m}", drafts)  # (3)
    after = keep_decisions(ports.log, ports.pages) if approving else _ended(ports)  # (4)
    return tuple(
        Ruled(
            case=after.cases[plan.case.id],
            ruling=plan.ruling,
            decision=decide(after.cases[plan.case.id], request.policy, request.now, local=request.local),
            notes=plan.notes,
        )
        for plan in planned
    )


def _ended(ports: RulingPorts) -> State:
    """What all exceptions are by the log alone; the page of what was decided is kept where that can be."""
    with suppress(UpstreamError, IntegrityError):
        keep_decisions(ports.log, ports.pages)
    return read_log(ports.log)


def _is_itself(case: ExceptionCase) -> None:
    """IntegrityError where the request isn't the one that the id stands for: then a kept page was changed."""
    if case.request is not None and request_id(case.request) != case.id:
        raise IntegrityError(
            f"what is asked for as {case.id[:12]} isn't what was: see who writes to {STATE_PAGE}, and take it away"
        )


def _known_dossiers(cases: tuple[ExceptionCase, ...], request: RulingRequest) -> None:
    """UsageError where a dossier is of none of the exceptions."""
    known = [dossier.sha256 for case in cases for dossier in case.dossiers]
    for text in sorted(request.dossiers):
        if len(text) < MIN_PREFIX or not any(sha.startswith(text) for sha in known):
            raise UsageError(
                f"--dossier {text[:64]!a} is no dossier of {listing([case.id[:12] for case in cases], 20)}: expected at least "
                f"the first {MIN_PREFIX} hexadecimal digits of the one that exception show names"
            )


def _found_since(case: ExceptionCase, dossier: DossierSummary, request: RulingRequest) -> str:
    """The dossier of the case that was looked at, where vetting found something else since; else ""."""
    seen = [old for old in case.dossiers if any(old.sha256.startswith(text) for text in request.dossiers)]
    if not seen or any(_says(old) == _says(dossier) for old in seen):
        return ""
    return seen[-1].sha256[:12]


def _says(dossier: DossierSummary) -> tuple[object, ...]:
    return dossier.binding, dossier.files, dossier.failures, dossier.unknowns, dossier.final


def _known_keys(cases: tuple[ExceptionCase, ...], request: RulingRequest) -> None:
    """UsageError where a key to waive is none of what vetting found."""
    known = {key for case in cases if case.dossier is not None for key in case.dossier.waivable}
    final = {key for case in cases if case.dossier is not None for key in case.dossier.final}
    for key in sorted(request.waive - known):
        if key in final:
            raise UsageError(f"--waive {key!a}: no approval can waive it")
        if any(case.dossier is None for case in cases):
            continue  # that it wasn't vetted is what to say
        expected = (
            f"expected {listing([repr(one) for one in sorted(known)], 20)}" if known else "there is nothing to waive"
        )
        raise UsageError(f"--waive {key!a} is nothing that vetting found: {expected}")


def _plan(case: ExceptionCase, by: Identity, reason: str, request: RulingRequest) -> _Planned | Refused:
    decision = decide(case, request.policy, request.now, local=request.local)
    match request.kind:
        case RulingKind.APPROVE | RulingKind.RENEW:
            return _approving(case, decision, by, reason, request)
        case RulingKind.REJECT | RulingKind.REVOKE:
            return _stopping(case, decision, by, reason, request)
        case _:
            assert_never(request.kind)


def _stopping(
    case: ExceptionCase, decision: Decision, by: Identity, reason: str, request: RulingRequest
) -> _Planned | Refused:
    """A rejection or a revocation: it takes something away, so that whoever may write it may say it."""
    if isinstance(decision, Rejected):
        return _Planned(case=case, ruling=None, notes=(f"{decision.why}: nothing was written",))
    if request.kind is RulingKind.REJECT and isinstance(decision, Approved):
        why = f"it is approved until {instant(decision.expires_at)}: revoke it"
        return Refused(case=case, why=why, verdict=Verdict.DENIED)
    if request.kind is RulingKind.REVOKE and not _held(case, decision):
        why = (
            "it never held, and a revocation would deny its files also where they pass by themselves: quarantine exception "
            f"reject {case.id[:12]}"
        )
        return Refused(case=case, why=why, verdict=Verdict.DENIED)
    return _Planned(case=case, ruling=_ruling(case, by, reason, request))


def _held(case: ExceptionCase, decision: Decision) -> bool:
    """Whether the exception may have held at any time: it was published, or as many approved it as the policy asks for now."""
    if case.publications or not isinstance(decision, Pending):
        return True
    approvers = {
        ruling.by.key for ruling in case.rulings if ruling.kind in _APPROVING and may_rule(case, ruling.by.key)
    }
    return len(approvers) >= max(decision.needed, 1)


def _approving(
    case: ExceptionCase, decision: Decision, by: Identity, reason: str, request: RulingRequest
) -> _Planned | Refused:
    def refused(why: str, verdict: Verdict = Verdict.DENIED) -> Refused:
        return Refused(case=case, why=why, verdict=verdict)

    if not may_rule(case, by.key):
        return refused(f"{by} asked for it, and whoever asks never approves: somebody else must")
    joined = any(one.by.key == by.key for one in case.joined if one.by.verified or request.local)
    if joined and not request.not_mine:
        # whoever may ask could write that of anybody, so that it turns nobody away for good
        return refused(
            f"the log says that {by} joined, and whoever asks never approves: somebody else must; if you never did, say so "
            f"with --not-mine, and it stands in the log (who wrote it: quarantine audit list --subject {case.id[:12]})"
        )
    if not is_known(by, request.policy, local=request.local):
        return refused(
            f"{by} may not decide here: only an identity that was verified, and that the policy knows, may (`identity` in "
            "quarantine.yaml, `identities` in the policy)"
        )
    if case.request is not None and not is_known(case.request.requester, request.policy, local=request.local):
        return refused(
            f"{case.request.requester} asked for it, whose identity the policy doesn't know: somebody else must ask"
        )
    if isinstance(decision, Rejected):
        return refused(f"{decision.why}: it never holds again, so ask for a new one")
    rules, dossier = rules_of(case, request.policy), case.dossier
    if rules is None:
        return refused("the policy has no such stage any more", Verdict.UNDECIDED)
    if dossier is None or not is_vetted(case):
        what = "it wasn't vetted" if dossier is None else "its files changed since it was vetted"
        return refused(f"{what}: quarantine exception vet {case.id[:12]}", Verdict.UNDECIDED)
    if any(file.is_source for file in case.files):
        return refused(
            f"it has no wheel to install: build one, and quarantine exception attach-wheel {case.id[:12]} FILE",
            Verdict.UNDECIDED,
        )
    looked_at = _found_since(case, dossier, request)
    if looked_at:
        return refused(
            f"vetting found something else since dossier {looked_at}: quarantine exception show {case.id[:12]}",
            Verdict.UNDECIDED,
        )
    if dossier.final:
        return refused(f"no approval can waive {listing(dossier.final, 20)}: reject it")
    if request.kind is RulingKind.RENEW and not any(ruling.kind in _APPROVING for ruling in case.rulings):
        return refused(
            f"it was never approved, so there is nothing to renew: quarantine exception approve {case.id[:12]}"
        )
    waives = dossier.waivable if request.waive_all else request.waive & dossier.waivable
    left = tuple(sorted(dossier.waivable - waives))
    if left:
        return _Planned(case=case, ruling=None, unwaived=left)
    expires_at, notes = _expiry(case, rules, request)
    if joined:
        reason = f"{_NOT_MINE}{reason}"
        if len(reason) > MAX_REASON:
            most = MAX_REASON - len(_NOT_MINE)
            raise UsageError(f"--reason has {len(reason) - len(_NOT_MINE)} characters: with --not-mine at most {most}")
        notes = (*notes, "it stands in the log that you say you didn't ask")
    if any(ruling.by.key == by.key and ruling.kind in _APPROVING for ruling in case.rulings):
        notes = (*notes, "it replaces what you said before")
    return _Planned(
        case=case,
        ruling=_ruling(case, by, reason, request, dossier=dossier, expires_at=expires_at, waives=tuple(sorted(waives))),
        notes=notes,
    )


def _expiry(case: ExceptionCase, rules: ExceptionsRule, request: RulingRequest) -> tuple[datetime, tuple[str, ...]]:
    """When the approval ends, and what to say of it. UsageError where that has passed."""
    longest = request.now + timedelta(days=rules.max_days)
    wished = None if case.request is None else case.request.until
    chosen = request.expires_at
    if chosen is None and wished is not None:
        if wished > request.now:
            chosen = wished
        elif request.kind is RulingKind.APPROVE:
            raise UsageError(f"{case.id[:12]} was asked for until {instant(wished)}, which has passed: give --expires")
    if chosen is None:
        return longest, ()
    if chosen <= request.now:
        raise UsageError(f"--expires is {instant(chosen)}, which has passed: expected a later day, or one like 90d")
    if chosen > longest:
        return longest, (f"an approval holds for {rules.max_days} days at most, until {instant(longest)}",)
    return chosen, ()


def _ruling(
    case: ExceptionCase,
    by: Identity,
    reason: str,
    request: RulingRequest,
    *,
    dossier: DossierSummary | None = None,
    expires_at: datetime | None = None,
    waives: tuple[str, ...] = (),
) -> Ruling:
    return Ruling(
        kind=request.kind,
        id=request.new_id(),
        time=request.now,
        by=by,
        reason=reason,
        policy=request.policy_sha256,
        files=tuple(file.sha256 for file in case.files),
        dossier=None if dossier is None else dossier.sha256,
        expires_at=expires_at,
        waives=waives,
        binding=case.binding,
        project="" if case.request is None else case.request.project,
        stage="" if case.request is None else case.request.stage,
    )


# --- wheels of source distributions -----------------------------------------------------------------------------------


def attach_wheel(request: AttachRequest, ports: RulingPorts, tell: Tell) -> AttachedWheel | Refused:
    """Puts a wheel into the holding area and on the record, in the place of the source that it was built of.

    It is vetted like any other file. UsageError for a file that isn't a wheel of what was asked for; UpstreamError,
    IntegrityError.
    """
    by = ports.identities.who(tell)  # (1)
    state = read_state(ports.log, ports.pages)
    case = find_case(state, request.id)
    decision = decide(case, request.policy, request.now, local=request.local)  # (2)
    rules = rules_of(case, request.policy)
    assert case.request is not None  # noqa: S101 - `find_case` looked
    if isinstance(decision, Rejected):
        why = f"{decision.why}: it never holds again, so ask for a new one"
        return Refused(case=case, why=why, verdict=Verdict.DENIED)
    if rules is None:
        return Refused(case=case, why="the policy has no such stage any more", verdict=Verdict.UNDECIDED)
    source = _source_of(request.filename, case)
    digest, size = _measured(request, rules.max_file_mib * _MIB, tell)
    file = ExceptionFile(
        ecosystem=Ecosystem.PYPI,
        upstream=source.upstream,
        name=source.name,
        version=source.version,
        filename=request.filename,
        sha256=digest.hex,
        size=size,
    )
    known = {attached.file.sha256 for attached in case.attached if attached.source == source.sha256}
    request.file.seek(0)
    ports.store.put_file(HELD, digest, size, request.file)
    if file.sha256 in known:
        return AttachedWheel(case=case, file=file, source=source, already=True)
    attached = Attached(time=request.now, by=by, source=source.sha256, file=file)
    draft = attached_draft(case.request, attached, request.new_id())
    ports.log.append(f"log-decisions/decisions-{request.now:%Y-%m}", [draft])  # (3)
    after = keep_decisions(ports.log, ports.pages)  # (4)
    return AttachedWheel(case=after.cases[case.id], file=file, source=source, already=False)


def _source_of(filename: str, case: ExceptionCase) -> ExceptionFile:
    """The requested source distribution that the wheel stands for, by its file name."""
    try:
        name, version, _, _ = parse_wheel_name(filename)
    except ValueError as error:
        raise UsageError(f"{error}: expected the wheel that was built of the source") from None
    files = () if case.request is None else case.request.files
    sources = [file for file in files if file.is_source]
    if not sources:
        raise UsageError(
            f"{case.id[:12]} asks for no source distribution, so there is nothing that a wheel could stand for"
        )
    found = [file for file in sources if file.name == name and parse_version(file.version) == version]
    if len(found) != 1:
        raise UsageError(
            f"{filename!a} is a wheel of {name} {version}: expected one of {listing(file.label for file in sources)}"
        )
    return found[0]


def _measured(request: AttachRequest, limit: int, tell: Tell) -> tuple[Digest, int]:
    """The sha256 and the size of the file; UsageError where it is larger than what is vetted."""
    tell(f"reading {request.filename}")
    found, size = hashlib.sha256(), 0
    try:
        while chunk := request.file.read(_CHUNK):
            size += len(chunk)
            if size > limit:
                raise UsageError(
                    f"{request.filename!a} is larger than {limit // _MIB} MiB: larger files are not vetted"
                )
            found.update(chunk)
    except OSError as error:
        raise UpstreamError(f"{request.filename} can't be read: {(error.strerror or str(error)).lower()}") from error
    if size == 0:
        raise UsageError(f"{request.filename!a} is empty: expected a wheel")
    return Digest.sha256(found.hexdigest()), size
