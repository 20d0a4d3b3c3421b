"""What is decided about an exception: the only place that says that one holds.

An approval counts when it stands where only curators write (the fold honours no other), is by somebody who didn't ask, with
an identity that may decide, for just the files that were asked for, on a dossier that the publisher wrote. It holds only
while it waives everything that the newest dossier has against the files: what is found later suspends it.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from quarantine.exceptions import (
    Approved,
    Decision,
    DossierSummary,
    ExceptionCase,
    Grant,
    Grants,
    Identity,
    Pending,
    Rejected,
    Ruling,
    RulingKind,
    State,
    Status,
)
from quarantine.model import Digest, Outcome, OutcomeKind
from quarantine.policy.artifacts import CLOCK_SKEW
from quarantine.policy.case import day, instant, listing
from quarantine.policy.files import ExceptionsRule
from quarantine.policy.stage import Policy

__all__ = [
    "approvers_needed",
    "clock",
    "decide",
    "end_of_approval",
    "grants",
    "is_known",
    "is_vetted",
    "may_rule",
    "rules_of",
    "status",
]


class _Counted(msgspec.Struct, frozen=True, kw_only=True):
    """An approval that counts, until when, and whether it waives all that there is."""

    ruling: Ruling
    end: datetime
    waives_all: bool


def rules_of(case: ExceptionCase, policy: Policy) -> ExceptionsRule | None:
    """The rule for exceptions of the case's stage, None where today's policy has no such stage."""
    rules = None if case.request is None else policy.rules.get(case.request.stage)
    return None if rules is None else rules.exceptions


def approvers_needed(case: ExceptionCase, rule: ExceptionsRule) -> int:
    """How many people must approve: what the strictest of the upstreams asks for that its files are from."""
    return max((rule.upstreams.get(file.upstream, rule.approvers) for file in case.files), default=rule.approvers)


def end_of_approval(ruling: Ruling, rule: ExceptionsRule) -> datetime:
    """When an approval ends: as it says, but no later than the policy lets it."""
    longest = ruling.time + timedelta(days=rule.max_days)
    return longest if ruling.expires_at is None else min(ruling.expires_at, longest)


def is_known(by: Identity, policy: Policy, *, local: bool) -> bool:
    """Whether an identity counts: of an issuer, and by a claim, that the policy names.

    Where it names none, whatever was verified counts on the embedded default alone: there, whoever runs this chooses whom to
    believe. Two claims of one token are two ids of one person, so that only the claim that is named counts.
    """
    if by.kind == "local":
        return local and not policy.identities
    if not by.verified:
        return False
    if not policy.identities:
        return not policy.central
    return any((known.issuer, known.claim) == (by.issuer, by.claim) for known in policy.identities)


def may_rule(case: ExceptionCase, by: tuple[str, str]) -> bool:
    """Whether somebody, by the key of their identity, may approve: whoever asked may not.

    That somebody joined is only what somebody wrote, who needs no right but to ask: it makes no approval void. Whoever is
    said to have joined is turned away by the command, unless they say that it wasn't they.
    """
    return case.request is None or by != case.request.requester.key


def decide(case: ExceptionCase, policy: Policy, now: datetime, *, local: bool) -> Decision:
    """Whether the exception holds at `now` (aware, UTC), and if not, what it waits for or why it never will.

    `local` is whether users of the operating system may decide, as on the embedded default; elsewhere only verified
    identities may. An expiry is reached at `now >= expires_at`.
    """
    if case.request is None:
        return Pending(status=Status.REQUESTED, why="its request isn't in the log")
    ended = [ruling for ruling in case.rulings if ruling.kind in (RulingKind.REVOKE, RulingKind.REJECT)]
    if ended:
        # that it was rejected, too, takes nothing away from a revocation
        stopped = min(ended, key=lambda ruling: (ruling.kind is not RulingKind.REVOKE, ruling.time))
        status = Status.REVOKED if stopped.kind is RulingKind.REVOKE else Status.REJECTED
        why = f"{status.value} on {day(stopped.time)} by {stopped.by}: {stopped.reason}"
        return Rejected(status=status, why=why, by=stopped.by, at=stopped.time)
    rule = rules_of(case, policy)
    if rule is None:
        return Pending(status=Status.REQUESTED, why=f"the policy has no stage {case.request.stage!a} any more")
    needed = approvers_needed(case, rule)
    dossier = case.dossier
    if dossier is None or not is_vetted(case):
        return Pending(status=Status.REQUESTED, why="waits to be vetted", needed=needed)
    if not is_known(case.request.requester, policy, local=local):
        why = f"{case.request.requester} asked for it, whose identity the policy doesn't know: somebody else must ask"
        return Pending(status=Status.VETTED, why=why, needed=needed)
    counted = _counted(case, dossier, rule, policy, now, local=local)
    return _weighed(case, counted, dossier, needed, now)


def is_vetted(case: ExceptionCase) -> bool:
    """Whether the newest dossier is about the files that the case has now, by all that is said of them."""
    dossier = case.dossier
    if dossier is None or dossier.binding != case.binding:
        return False
    return frozenset(dossier.files) == {file.sha256 for file in case.files}


def _counted(
    case: ExceptionCase,
    dossier: DossierSummary,
    rule: ExceptionsRule,
    policy: Policy,
    now: datetime,
    *,
    local: bool,
) -> tuple[_Counted, ...]:
    """The newest approval of everybody whose approval counts, expired or not."""
    assert case.request is not None  # noqa: S101 - the caller looked
    dossiers = {known.sha256 for known in case.dossiers}
    # what is vetted is bound to the case as it is (`is_vetted`), so that need not be worked out again
    digests, binding = frozenset(dossier.files), dossier.binding
    newest: dict[tuple[str, str], Ruling] = {}
    for ruling in case.rulings:
        counts = (
            ruling.kind in (RulingKind.APPROVE, RulingKind.RENEW)
            and may_rule(case, ruling.by.key)
            and is_known(ruling.by, policy, local=local)
            and frozenset(ruling.files) == digests
            and ruling.binding == binding
            and (ruling.project, ruling.stage) == (case.request.project, case.request.stage)
            and ruling.dossier in dossiers
            and ruling.time <= now + CLOCK_SKEW
        )
        if counts:
            newest[ruling.by.key] = ruling
    return tuple(
        _Counted(
            ruling=ruling, end=end_of_approval(ruling, rule), waives_all=dossier.waivable <= frozenset(ruling.waives)
        )
        for ruling in newest.values()
    )


def _weighed(
    case: ExceptionCase, counted: tuple[_Counted, ...], dossier: DossierSummary, needed: int, now: datetime
) -> Decision:
    assert case.request is not None  # noqa: S101 - the caller looked
    who = tuple(entry.ruling.by for entry in counted)
    holding = sorted((c for c in counted if c.waives_all and now < c.end), key=lambda c: c.end, reverse=True)[:needed]
    if not dossier.final and len(holding) == needed:
        return Approved(
            exception=case.id,
            project=case.request.project,
            stage=case.request.stage,
            files=case.files,
            expires_at=holding[-1].end,
            waives=frozenset.intersection(*(frozenset(entry.ruling.waives) for entry in holding)),
            approvers=tuple(entry.ruling.by for entry in holding),
            since=max(entry.ruling.time for entry in holding),
        )
    live = tuple(c for c in counted if now < c.end)
    against = dossier.final or tuple(sorted(dossier.waivable - _waived(live)))
    if len(live) >= needed and against:
        why = f"what vetting found on {day(dossier.time)} is outside of what was waived: {listing(against)}"
        return Pending(status=Status.SUSPENDED, why=why, counted=who, needed=needed)
    if len(counted) >= needed:
        end = sorted((c.end for c in counted), reverse=True)[needed - 1]
        why = f"expired on {instant(end)}"
        return Pending(status=Status.EXPIRED, why=why, counted=who, needed=needed, expired_at=end)
    if dossier.final:
        why = f"no approval can waive {listing(dossier.final)}"
    else:
        why = f"has {len(live)} of {needed} approvals"
    return Pending(status=Status.VETTED, why=why, counted=tuple(c.ruling.by for c in live), needed=needed)


def _waived(counted: tuple[_Counted, ...]) -> frozenset[str]:
    """What all of the approvals waive."""
    every = [frozenset(entry.ruling.waives) for entry in counted]
    return frozenset.intersection(*every) if every else frozenset()


def status(case: ExceptionCase, decision: Decision) -> Status:
    """Where the case stands: an exception that holds is published once its files are in the mirror."""
    if not isinstance(decision, Approved):
        return decision.status
    done = {file.sha256 for file in decision.files} <= case.published()
    return Status.PUBLISHED if done else Status.APPROVED


def clock(state: State, now: datetime) -> tuple[Outcome, ...]:
    """The doubt about a clock that is before what curators and the publisher wrote: then no expiry can be told."""
    if state.as_of is None or state.as_of <= now + CLOCK_SKEW:
        return ()
    message = f"the newest entry about exceptions is of {instant(state.as_of)}, which is yet to come: see whose clock is wrong"
    return (Outcome(rule="clock", kind=OutcomeKind.UNKNOWN, message=message),)


def grants(state: State, policy: Policy, project: str, stage: str, now: datetime, *, local: bool) -> Grants:
    """What all exceptions of a project and a stage come to, by the digests of their files.

    Where several speak of a file, one that holds counts, the one that holds longest; else what stops it is told.
    """
    live: dict[Digest, Grant] = {}
    stopped: dict[Digest, str] = {}
    blocked: dict[Digest, str] = {}
    for case in state.cases.values():
        blocked |= _revoked(case, project, stage)
        if case.request is None or (case.request.project, case.request.stage) != (project, stage):
            continue
        match decide(case, policy, now, local=local):
            case Approved() as approved:
                _grant(live, case, approved)
            case Pending(status=status, why=why) | Rejected(status=status, why=why):
                said = f"exception {case.id[:12]} is {status.value} ({why})"
                into = blocked if status in (Status.REVOKED, Status.SUSPENDED) else stopped
                into |= {file.digest: said for file in (*case.files, *case.request.files)}
    return Grants(live=live, stopped=_but(stopped, live), blocked=_but(blocked, live))


def _revoked(case: ExceptionCase, project: str, stage: str) -> dict[Digest, str]:
    """What a revocation stops by its own word, whatever became of the request."""
    found: dict[Digest, str] = {}
    for ruling in case.rulings:
        if ruling.kind is RulingKind.REVOKE and (ruling.project, ruling.stage) == (project, stage):
            said = f"exception {case.id[:12]} is revoked (on {day(ruling.time)} by {ruling.by}: {ruling.reason})"
            found |= {Digest("sha256", file): said for file in ruling.files}
    return found


def _but(reasons: Mapping[Digest, str], live: Mapping[Digest, Grant]) -> dict[Digest, str]:
    return {digest: why for digest, why in reasons.items() if digest not in live}


def _grant(live: dict[Digest, Grant], case: ExceptionCase, approved: Approved) -> None:
    listed = case.listed()
    for file in approved.files:
        known = live.get(file.digest)
        if known is None or known.expires_at < approved.expires_at:
            metadata, since = listed.get(file.sha256, ("", None))
            live[file.digest] = Grant(
                exception=case.id,
                file=file,
                waives=approved.waives,
                expires_at=approved.expires_at,
                metadata=metadata,
                published_at=since,
            )
