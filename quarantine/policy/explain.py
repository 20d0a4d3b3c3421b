"""What would happen to a package, as far as its name and version alone can tell: for `allowlist explain`.

The same rules judge it as in a check, only that nothing has been fetched: what needs evidence is told, not guessed.
"""

from datetime import datetime, timedelta

import msgspec
from packaging.utils import NormalizedName
from packaging.version import Version

from quarantine.model import Ecosystem, Item, Outcome, OutcomeKind
from quarantine.policy import origin
from quarantine.policy.case import Case
from quarantine.policy.files import Action, Mode
from quarantine.policy.stage import Policy, StagePolicy, Upstream

__all__ = ["Explanation", "StageExplanation", "explain"]


class StageExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """What one stage makes of the name. `needs` are rules that need evidence, each with what they ask of it."""

    stage: str
    outcomes: tuple[Outcome, ...]
    needs: tuple[tuple[str, str], ...]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What would happen to a name. `owners` are the upstreams that are asked for it, in order: the first that has it owns it.

    `entries` are the allow and deny entries that speak of it, each as a sentence.
    """

    name: NormalizedName
    version: Version | None
    reserved_for: str | None
    owners: tuple[Upstream, ...]
    entries: tuple[str, ...]
    stages: tuple[StageExplanation, ...]


def explain(policy: Policy, name: NormalizedName, version: Version | None, now: datetime) -> Explanation:
    """What every stage would make of a Python distribution, and why."""
    reserved_for = policy.upstream_of_reserved(name)
    owners = tuple(
        upstream
        for upstream in policy.upstreams
        if upstream.type is Ecosystem.PYPI and reserved_for in (None, upstream.name)
    )
    return Explanation(
        name=name,
        version=version,
        reserved_for=reserved_for,
        owners=owners,
        entries=_entries(policy, name, now),
        stages=tuple(_stage(policy.stage(stage), name, version, owners, now) for stage in policy.stages),
    )


def _entries(policy: Policy, name: NormalizedName, now: datetime) -> tuple[str, ...]:
    allowing = [
        ("allowed", e) for u in policy.upstreams if u.type is Ecosystem.PYPI for e in policy.allow_entries(u.name, name)
    ]
    denying = [("denied", entry) for entry in policy.deny_entries(Ecosystem.PYPI, name)]
    sentences = []
    for verb, entry in (*denying, *allowing):
        ends = "for good" if entry.expires is None else f"until {entry.expires}"
        state = ends if entry.live(now) else f"expired on {entry.expires}"
        sentences.append(f"{verb} by {entry}: {entry.reason}: {entry.owner}, {state}")
    return tuple(sentences)


def _stage(
    stage: StagePolicy, name: NormalizedName, version: Version | None, owners: tuple[Upstream, ...], now: datetime
) -> StageExplanation:
    outcomes: list[Outcome] = []
    for upstream in owners:
        case = _case(stage, name, version, upstream.name, now)
        outcomes += [origin.repository(case), origin.allow_entry(case)]
    case = _case(stage, name, version, owners[0].name if owners else None, now)
    outcomes += [rule(case) for rule in (origin.deny_entry, origin.reserved_name, origin.typosquat)]
    return StageExplanation(
        stage=stage.name,
        outcomes=tuple(outcome for outcome in outcomes if _says_something(outcome)),
        needs=_needs(stage, owners),
    )


def _says_something(outcome: Outcome) -> bool:
    # that an open upstream lets it through stands with the owners, and supposes that the upstream has it
    opens = outcome.rule == "repository" and outcome.kind is OutcomeKind.PASS
    return not opens and outcome.kind is not OutcomeKind.NOT_APPLICABLE


def _case(
    stage: StagePolicy, name: NormalizedName, version: Version | None, upstream: str | None, now: datetime
) -> Case:
    item = Item(name=name, version=version, upstream=upstream)
    return Case(stage=stage, item=item, findings=None, fixes=frozenset(), snapshot=None, now=now, targets=())


def _needs(stage: StagePolicy, owners: tuple[Upstream, ...]) -> tuple[tuple[str, str], ...]:
    """The rules that need evidence about the version, and what they expect of it in this stage."""
    rule = stage.rules.vulnerability
    limit = rule.threshold.severity or f"a score of {rule.threshold.score}"
    unrated = {
        Action.DENY: "an unknown severity is denied",
        Action.REVIEW: "an unknown severity is for a person to settle",
        Action.TOLERATE: "an unknown severity is tolerated",
    }[rule.unknown_severity]
    no_fix = "; a flaw that no version fixes is tolerated" if rule.unless_no_fix else ""
    lane = stage.security_fix_age
    ages = ", ".join(f"{_days(stage.minimum_age_of(upstream.name))} ({upstream.name})" for upstream in owners)
    fix = "" if lane is None else f"; {_days(lane)} for a version that fixes a known flaw"
    curated = any(upstream.mode is Mode.CURATED for upstream in owners)
    return (
        *((("allow-entry", "its version, to hold against the entries of a curated list"),) if curated else ()),
        ("malware", "no malware record, in a source that has such records"),
        ("vulnerability", f"no flaw from {limit} up; {unrated}{no_fix}"),
        ("minimum-age", f"upload times of all its files: at least {ages or _days(stage.minimum_age)}{fix}"),
        ("project-status", "a project that its index has not quarantined"),
        ("yanked", "no yanked file, unless an entry takes that version on"),
        ("source-only", "a wheel for every target"),
        ("integrity", "files that the owner lists, by digest"),
        *((("locked", "a file that pins every package by digest"),) if stage.rules.locked.required else ()),
    )


def _days(age: timedelta) -> str:
    return "1 day" if age == timedelta(days=1) else f"{age.days} days"
