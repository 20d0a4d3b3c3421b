"""The rules, and what follows from their answers: the only place that says yes.

Each rule looks at one item and answers pass, fail, unknown or not-applicable with its evidence. Where a rule can't apply
because another one denies the item (a name that nobody has, has no age), it answers not-applicable and names that rule;
where evidence is missing it answers unknown.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import msgspec

from quarantine.exceptions import Grants
from quarantine.model import Ecosystem, Finding, Item, Outcome, OutcomeKind, Snapshot, Verdict
from quarantine.policy import artifacts, flaws, inside, origin
from quarantine.policy.artifacts import CLOCK_SKEW
from quarantine.policy.case import Case, day, instant, not_applicable, passed, unknown
from quarantine.policy.stage import StagePolicy
from quarantine.policy.subject import judge_spec
from quarantine.policy.waivers import exception_rule, waive

__all__ = ["RULES", "Evidence", "judge", "judge_spec", "preconditions", "tightened", "verdict"]

_NO_GRANTS = Grants()


def _exception(case: Case) -> Outcome:
    """What exceptions say of it: nothing that was revoked or suspended comes in by another door."""
    return exception_rule(case.item, _NO_GRANTS if case.grants is None else case.grants, case.now)


RULES: tuple[tuple[str, Callable[[Case], Outcome]], ...] = (
    ("repository", origin.repository),
    ("deny-entry", origin.deny_entry),
    ("allow-entry", origin.allow_entry),
    ("reserved-name", origin.reserved_name),
    ("typosquat", origin.typosquat),
    ("direct-reference", origin.direct_reference),
    ("project-status", origin.project_status),
    ("malware", flaws.malware),
    ("vulnerability", flaws.vulnerability),
    ("minimum-age", artifacts.minimum_age),
    ("yanked", artifacts.yanked),
    ("source-only", artifacts.source_only),
    ("integrity", artifacts.integrity),
    ("native", inside.native),
    ("platform", inside.platform),
    ("exception", _exception),
)
"""Every rule about an item, in the order in which verdicts list them."""

# Rules about the packages that an item is or holds; those of an image are known once it has been built.
_OF_PACKAGES = frozenset(
    {"typosquat", "project-status", "malware", "vulnerability", "minimum-age", "yanked", "source-only"}
)
_HELD_BACK = {
    Ecosystem.OCI: "what an image holds is judged after the build, by gate",
    Ecosystem.AZUREML: "what an Azure ML environment holds is in its image, which gate judges",
}


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """An item and what is known about it. `findings` is None when they could not be had.

    `fix` is whether an advisory names this version as the fix of a flaw. `grants` are the exceptions of the project and
    the stage, None where there are none.
    """

    item: Item
    findings: tuple[Finding, ...] | None
    fix: bool = False
    grants: Grants | None = None


def judge(stage: StagePolicy, evidence: Evidence, snapshot: Snapshot | None, now: datetime) -> tuple[Outcome, ...]:
    """One outcome of every rule, on the item and the targets that it would be installed on.

    What an exception waives passes, and says so.
    """
    case = Case(
        stage=stage,
        item=evidence.item,
        findings=evidence.findings,
        fix=evidence.fix,
        snapshot=snapshot,
        now=now,
        grants=evidence.grants,
    )
    unknowable = _HELD_BACK.get(case.item.ecosystem)
    outcomes = tuple(
        rule(case) if unknowable is None or name not in _OF_PACKAGES else not_applicable(name, unknowable)
        for name, rule in RULES
    )
    if evidence.grants is None:
        return outcomes
    return waive(outcomes, evidence.item, evidence.findings or (), evidence.grants)


def tightened(outcomes: tuple[Outcome, ...], local: Iterable[Outcome]) -> tuple[Outcome, ...]:
    """The outcomes, with those that a local policy has against the same thing; what the two agree on is told once.

    A local policy can only take away: none of its passes is looked at.
    """
    told = {(outcome.rule, outcome.kind, outcome.location) for outcome in outcomes}
    against = (OutcomeKind.FAIL, OutcomeKind.UNKNOWN)
    more = (o for o in local if o.kind in against and (o.rule, o.kind, o.location) not in told)
    return (*outcomes, *(msgspec.structs.replace(o, message=f"local policy: {o.message}") for o in more))


def preconditions(
    snapshot: Snapshot | None, problem: str | None, max_age: timedelta, now: datetime
) -> tuple[Outcome, ...]:
    """Whether the advisories can be relied on: there, complete, not empty, and not older than `max_age`.

    `problem` says why there is no snapshot. An old one, or one that can't say how old it is, counts while somebody
    accepts it, and then says so; an empty, an incomplete and a future one never do.
    """
    rule = "advisory-snapshot"
    if snapshot is None:
        return (unknown(rule, f"no advisories: {problem or 'there is no snapshot: run advisories sync'}"),)
    as_of = snapshot.as_of
    evidence = {"sha256": snapshot.sha256, "as_of": None if as_of is None else instant(as_of)}
    if not snapshot.complete:
        message = "the advisories are incomplete: expected a sync that ran to its end; run advisories sync"
        return (unknown(rule, message, **evidence),)
    records = sum(count for _, count in snapshot.sources)
    if records <= 0:
        message = "the advisories hold no record: expected some; run advisories sync, or see what it reads"
        return (unknown(rule, message, **evidence),)
    if as_of is not None and as_of > now + CLOCK_SKEW:
        message = f"the advisories are of {instant(as_of)}, which is yet to come: see whose clock is wrong"
        return (unknown(rule, message, **evidence),)
    if as_of is not None and now - as_of <= max_age:
        return (passed(rule, f"{records} advisory records as of {instant(as_of)}", **evidence),)
    state = "of unknown age" if as_of is None else f"of {day(as_of)}, {(now - as_of).days} days old"
    if snapshot.accepted_until is not None and now < snapshot.accepted_until:
        until = instant(snapshot.accepted_until)
        message = f"the advisories are {state}: newer flaws are not in them; accepted until {until} by accept_age_until"
        return (passed(rule, message, **evidence, accepted_until=until),)
    hours = max_age / timedelta(hours=1)
    return (
        unknown(rule, f"the advisories are {state}: expected at most {hours:g} hours; run advisories sync", **evidence),
    )


def verdict(outcomes: Iterable[Outcome], preconditions: Iterable[Outcome] = ()) -> Verdict:
    """What follows: a precondition that doesn't hold, or nothing evaluated, leaves it undecided.

    Else any fail denies, else any unknown leaves it undecided, else it is allowed.
    """
    if any(outcome.kind in (OutcomeKind.FAIL, OutcomeKind.UNKNOWN) for outcome in preconditions):
        return Verdict.UNDECIDED
    kinds = {outcome.kind for outcome in outcomes}
    if OutcomeKind.FAIL in kinds:
        return Verdict.DENIED
    if OutcomeKind.UNKNOWN in kinds or OutcomeKind.PASS not in kinds:
        return Verdict.UNDECIDED
    return Verdict.ALLOWED
