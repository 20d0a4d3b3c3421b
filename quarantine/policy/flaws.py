"""Rules about what is known against a package: its flaws and its malice."""

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

import msgspec

from quarantine.model import Ecosystem, Finding, Outcome, Severity
from quarantine.policy.case import Case, failed, listing, not_applicable, passed, unknown
from quarantine.policy.files import Action, Threshold
from quarantine.policy.stage import Ignore

__all__ = ["malware", "vulnerability"]

# CVSS v3.1 section 5: the lowest and the highest score of each rating
_BANDS = {
    Severity.NONE: (Decimal("0.0"), Decimal("0.0")),
    Severity.LOW: (Decimal("0.1"), Decimal("3.9")),
    Severity.MEDIUM: (Decimal("4.0"), Decimal("6.9")),
    Severity.HIGH: (Decimal("7.0"), Decimal("8.9")),
    Severity.CRITICAL: (Decimal("9.0"), Decimal("10.0")),
}


def malware(case: Case) -> Outcome:
    """No record says that it is malware, in a source that has such records. Nothing makes this rule look away."""
    rule = "malware"
    found = tuple(finding for finding in case.findings or () if finding.malware)
    if found:
        ids = tuple(sorted({identifier for finding in found for identifier in finding.ids}))
        message = (
            f"{case.holding} is known malware ({listing(ids)}): remove it, and look at where it has been installed"
        )
        return failed(rule, message, ids=ids)
    silent = _silent(rule, case)
    if silent is not None:
        return silent
    if case.snapshot is None or not case.snapshot.has_malware:
        message = f"{case.label}: the advisory source has no malware records: sync one that has them"
        return unknown(rule, message)
    return passed(rule, f"no record says that {case.holding} is malware")


def vulnerability(case: Case) -> Outcome:
    """No known flaw reaches the threshold, but for those that are ignored or tolerated by name."""
    rule = "vulnerability"
    silent = _silent(rule, case)
    if silent is not None:
        return silent
    weighed = tuple(_weigh(case, finding) for finding in case.findings or () if not finding.malware)
    denied = tuple(flaw for flaw in weighed if flaw.action is Action.DENY)
    open_ = tuple(flaw for flaw in weighed if flaw.action is Action.REVIEW)
    if denied:
        # whoever answers for these must not let the others through unnamed
        both = (*denied, *open_)
        more = f"; and to be rated, {listing(_name(flaw.finding) for flaw in open_)}" if open_ else ""
        return failed(
            rule, f"{_have(case, denied)}{more}: {_expected(case, denied)}; {_advice(both)}", **_evidence(both)
        )
    if open_:
        advice = f"{_advice(open_)}, or have the curators rate it"
        return unknown(rule, f"{_have(case, open_)}: its severity has to be known; {advice}", **_evidence(open_))
    if weighed:
        notes = listing(f"{_name(flaw.finding)} ({flaw.note})" for flaw in weighed)
        return passed(
            rule, f"{case.holding} has no flaw that counts in {case.stage.name}: {notes}", **_evidence(weighed)
        )
    return passed(rule, f"no known flaw affects {case.holding}")


def _silent(rule: str, case: Case) -> Outcome | None:
    """What the rule answers where the absence of findings says nothing."""
    item = case.item
    if item.version is None:
        missing = f"{case.label}: its version is not known, so no advisory can be held against it"
    elif item.ecosystem is Ecosystem.CONDA and not case.located:
        missing = f"{case.label}: no upstream has it, so what it holds is not known"
    elif item.ecosystem is Ecosystem.CONDA and item.holds is None:
        missing = f"{case.label}: its file list can't be read, so what it holds is not known: {item.unread}"
    elif item.ecosystem is Ecosystem.CONDA and not item.holds:
        message = f"{case.label} holds no Python distribution, so no advisory speaks of it: see native"
        return not_applicable(rule, message)
    elif case.findings is None or case.snapshot is None:
        missing = f"{case.label}: the advisories could not be had: run advisories sync, or see why the service failed"
    else:
        return None
    return unknown(rule, missing) if case.located else not_applicable(rule, missing)


class _Flaw(msgspec.Struct, frozen=True):
    """A finding, what it comes to in this stage, and why."""

    finding: Finding
    action: Action
    note: str
    expired: Ignore | None = None


def _weigh(case: Case, finding: Finding) -> _Flaw:
    rule = case.stage.rules.vulnerability
    ids = frozenset(identifier.upper() for identifier in finding.ids)
    names = dict.fromkeys(package.name for package in case.item.packages)
    ignores = [ignore for name in names for ignore in case.stage.ignores_of(name) if ignore.id.upper() in ids]
    for ignore in ignores:
        if ignore.live(case.now):
            until = f"ignored until {ignore.expires} by {ignore.owner}, {ignore.place}: {ignore.reason}"
            return _Flaw(finding, Action.TOLERATE, until)
    expired = max(ignores, key=lambda ignore: ignore.expires, default=None)
    reached = _reaches(rule.threshold, finding)
    if reached is False:
        return _Flaw(finding, Action.TOLERATE, f"{_rating(finding)}, below {_threshold(rule.threshold)}")
    if rule.unless_no_fix and not finding.fixed:
        return _Flaw(finding, Action.TOLERATE, f"{_rating(finding)}, which no version fixes")
    if reached is None:
        return _Flaw(finding, rule.unknown_severity, "unknown severity, tolerated", expired)
    return _Flaw(finding, Action.DENY, _rating(finding), expired)


def _reaches(threshold: Threshold, finding: Finding) -> bool | None:
    """Whether the finding is as bad as the threshold; None when that can't be said. Of two ratings the worse counts."""
    score = _score(finding)
    bounds = [] if score is None else [(score, score)]
    if finding.severity is not Severity.UNKNOWN:
        bounds.append(_BANDS[finding.severity])
    if not bounds:
        return None
    severity = threshold.severity
    limit = Decimal(str(threshold.score)) if severity is None else _BANDS[Severity(severity)][0]
    if score is not None:
        return any(low >= limit for low, _ in bounds)
    low, high = bounds[0]
    return True if low >= limit else False if high < limit else None


def _score(finding: Finding) -> Decimal | None:
    try:
        score = None if finding.score is None else Decimal(finding.score)
    except InvalidOperation:
        return None
    return score if score is not None and score.is_finite() else None


def _name(finding: Finding) -> str:
    """The identifier that most people know it by."""
    return next((identifier for identifier in finding.ids if identifier.upper().startswith("CVE-")), finding.id)


def _rating(finding: Finding) -> str:
    word = "unknown severity" if finding.severity is Severity.UNKNOWN else finding.severity.value
    return word if finding.score is None else f"{word}, {finding.score}"


def _threshold(threshold: Threshold) -> str:
    return f"{threshold.severity}" if threshold.severity is not None else f"a score of {threshold.score}"


def _have(case: Case, flaws: Iterable[_Flaw]) -> str:
    def describe(flaw: _Flaw) -> str:
        fixed = f"fixed in {', '.join(flaw.finding.fixed)}" if flaw.finding.fixed else "not fixed"
        lapsed = (
            "" if flaw.expired is None else f"; its ignore in {flaw.expired.place} expired on {flaw.expired.expires}"
        )
        return f"{_name(flaw.finding)} ({_rating(flaw.finding)}; {fixed}{lapsed})"

    return f"{case.holding} has {listing(describe(flaw) for flaw in flaws)}"


def _expected(case: Case, flaws: Iterable[_Flaw]) -> str:
    threshold = case.stage.rules.vulnerability.threshold
    unrated = any(_reaches(threshold, flaw.finding) is None for flaw in flaws)
    return f"expected none from {_threshold(threshold)} up" + (", and none of unknown severity" if unrated else "")


def _advice(flaws: Iterable[_Flaw]) -> str:
    if all(flaw.finding.fixed for flaw in flaws):
        return "take a version that fixes it"
    return "no version fixes all of it: replace the package, or file an exception"


def _evidence(flaws: tuple[_Flaw, ...]) -> dict[str, tuple[str, ...]]:
    return {
        "ids": tuple(dict.fromkeys(_name(flaw.finding) for flaw in flaws)),
        "fixed": tuple(dict.fromkeys(version for flaw in flaws for version in flaw.finding.fixed)),
    }
