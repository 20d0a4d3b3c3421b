"""What an approval can waive: each failure and each unknown of a rule by a key that means this failure and no later one.

A key is the rule's name; for flaws it is `vulnerability:ID` for each of them, so that a flaw found tomorrow is not among
those that were waived today. Keys of a case of several packages begin with the package: `numpy 1.26.4 vulnerability:CVE-1`.
"""

from collections.abc import Collection, Iterable
from datetime import datetime

from msgspec.structs import replace

from quarantine.exceptions import Grant, Grants
from quarantine.model import Ecosystem, Finding, Item, Outcome, OutcomeKind, PackageFile
from quarantine.policy.case import instant

__all__ = ["FINAL", "covered", "exception_rule", "keys_of", "scoped", "waive"]

FINAL = frozenset(
    {
        "archive", "deny-entry", "digest", "direct-reference", "exception", "integrity", "malware", "project-status",
        "reserved-name", "source",
    }
)  # fmt: skip
"""Rules whose failures no approval waives: bytes that aren't what they must be, malware, and what curators deny by list."""

_BY_ID = "vulnerability"
_AGAINST = (OutcomeKind.FAIL, OutcomeKind.UNKNOWN)


def keys_of(outcome: Outcome) -> tuple[str, ...]:
    """What must be waived for the outcome not to count; nothing for one that speaks for the package."""
    if outcome.kind not in _AGAINST:
        return ()
    if outcome.rule == _BY_ID:
        ids = next((value for name, value in outcome.evidence if name == "ids"), ())
        if isinstance(ids, tuple) and ids:
            return tuple(f"{_BY_ID}:{identifier}" for identifier in ids)
    return (outcome.rule,)


def scoped(label: str, key: str) -> str:
    """The key of one package's failure: `label` is its name and version."""
    return f"{label} {key}"


def covered(item: Item, grants: Grants) -> tuple[Grant, ...]:
    """The grants that stand behind every file of the item that may be installed; none where one of them has none.

    A file is known by its digest and its name: installers read the name, too.
    """
    if not item.artifacts or item.missing_digests:
        return ()
    found = [_grant_of(artifact, grants) for artifact in item.artifacts]
    return () if None in found else tuple(dict.fromkeys(grant for grant in found if grant is not None))


def _grant_of(artifact: PackageFile, grants: Grants) -> Grant | None:
    grant = None if artifact.digest is None else grants.live.get(artifact.digest)
    return grant if grant is not None and grant.file.filename == artifact.filename else None


def waive(
    outcomes: Iterable[Outcome], item: Item, findings: Collection[Finding], grants: Grants
) -> tuple[Outcome, ...]:
    """The outcomes, with those that a live exception waives turned into a pass that says so.

    Every grant that stands behind the item must waive a failure; what is final stays as it is.
    """
    behind = covered(item, grants)
    if not behind:
        return tuple(outcomes)
    label = f"{item.name} {item.version}"
    aliases = {f"{_BY_ID}:{identifier}": finding for finding in findings for identifier in finding.ids}
    return tuple(_waived(outcome, label, behind, aliases) for outcome in outcomes)


def _waived(outcome: Outcome, label: str, behind: tuple[Grant, ...], aliases: dict[str, Finding]) -> Outcome:
    keys = keys_of(outcome)
    if not keys or outcome.rule in FINAL:
        return outcome
    if not all(_holds(key, label, grant, aliases) for key in keys for grant in behind):
        return outcome
    grant = min(behind, key=lambda one: one.expires_at)
    message = f"waived by exception {grant.exception[:12]} until {instant(grant.expires_at)}: {outcome.message}"
    evidence = (*outcome.evidence, ("exception", grant.exception), ("expires", instant(grant.expires_at)))
    return replace(outcome, kind=OutcomeKind.PASS, message=message, evidence=evidence)


def _holds(key: str, label: str, grant: Grant, aliases: dict[str, Finding]) -> bool:
    """Whether the grant waives the key, by any identifier of the flaw that it names."""
    finding = aliases.get(key)
    names = (key,) if finding is None else tuple(f"{_BY_ID}:{identifier}" for identifier in finding.ids)
    return any(scoped(label, name) in grant.waives for name in names)


def exception_rule(item: Item, grants: Grants, now: datetime) -> Outcome:
    """No file was let in by an exception that was revoked or suspended; which exception stands behind it, if one does."""
    rule = "exception"
    if item.ecosystem not in (Ecosystem.PYPI, Ecosystem.CONDA):
        return Outcome(rule=rule, kind=OutcomeKind.NOT_APPLICABLE, message="exceptions are for packages")
    digests = [*(artifact.digest for artifact in item.artifacts), *item.missing_digests]
    known = [digest for digest in digests if digest is not None]
    blocked = next((grants.blocked[digest] for digest in known if digest in grants.blocked), None)
    label = item.name if item.version is None else f"{item.name} {item.version}"
    if blocked is not None:
        message = f"{label}: {blocked}: take another version, or file a new exception"
        return Outcome(rule=rule, kind=OutcomeKind.FAIL, message=message)
    behind = covered(item, grants)
    if behind:
        grant = min(behind, key=lambda one: one.expires_at)
        left = (grant.expires_at - now).days
        message = (
            f"{label} is let in by exception {grant.exception[:12]} until {instant(grant.expires_at)}, {left} days more"
        )
        evidence = (("exception", grant.exception), ("expires", instant(grant.expires_at)))
        return Outcome(rule=rule, kind=OutcomeKind.PASS, message=message, evidence=evidence)
    some = sorted({grants.live[digest].exception[:12] for digest in known if digest in grants.live})
    if some:
        without = sum(digest not in grants.live for digest in known)
        message = (
            f"{label}: exception {', '.join(some)} is for {len(known) - without} of its {len(known)} files, and any of them "
            "may be installed: lock it, so that only those count"
        )
        return Outcome(rule=rule, kind=OutcomeKind.NOT_APPLICABLE, message=message)
    stopped = next((grants.stopped[digest] for digest in known if digest in grants.stopped), None)
    message = f"no exception is about {label}" if stopped is None else f"{label}: {stopped}, so it counts for nothing"
    return Outcome(rule=rule, kind=OutcomeKind.NOT_APPLICABLE, message=message)
