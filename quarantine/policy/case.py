"""What a rule is given, and how it answers."""

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from quarantine.exceptions import Grants
from quarantine.model import Ecosystem, EvidenceValue, Finding, Item, Outcome, OutcomeKind, Snapshot
from quarantine.policy.stage import StagePolicy

__all__ = ["Case", "day", "failed", "instant", "listing", "not_applicable", "passed", "unknown"]


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """An item, all that is known about it, and the stage that it is judged in.

    `findings` is None when they could not be had. `fix` is whether an advisory names this version as the fix of a flaw.
    `grants` are the exceptions of the project and the stage, None where there are none.
    `label` is what messages call the item, made once since every rule says it.
    """

    stage: StagePolicy
    item: Item
    findings: tuple[Finding, ...] | None
    fix: bool
    snapshot: Snapshot | None
    now: datetime
    grants: Grants | None = None
    label: str = ""

    def __post_init__(self) -> None:
        item = self.item
        said: object = item.name if item.version is None else f"{item.name} {item.version}"
        if item.ecosystem is Ecosystem.OCI and item.image is not None:
            said = item.image
        elif item.ecosystem is Ecosystem.AZUREML and item.curated is not None:
            said = item.curated
        msgspec.structs.force_setattr(self, "label", str(said))

    @property
    def located(self) -> bool:
        """Whether an upstream was found to have it: a direct reference is never looked up."""
        return self.item.reference is None and self.item.upstream is not None

    @property
    def holding(self) -> str:
        """The label, with the Python distributions that are inside a conda package by another name or version."""
        inside = tuple(f"{package.name} {package.version}" for package in self.item.holds or ())
        if self.item.ecosystem is not Ecosystem.CONDA or inside in ((), (self.label,)):
            return self.label
        return f"{self.label} (holds {listing(inside)})"


def passed(rule: str, message: str, **evidence: EvidenceValue) -> Outcome:
    """The rule is kept."""
    return Outcome(rule=rule, kind=OutcomeKind.PASS, message=message, evidence=tuple(evidence.items()))


def failed(rule: str, message: str, **evidence: EvidenceValue) -> Outcome:
    """The rule is broken."""
    return Outcome(rule=rule, kind=OutcomeKind.FAIL, message=message, evidence=tuple(evidence.items()))


def unknown(rule: str, message: str, **evidence: EvidenceValue) -> Outcome:
    """Whether the rule is kept can't be said."""
    return Outcome(rule=rule, kind=OutcomeKind.UNKNOWN, message=message, evidence=tuple(evidence.items()))


def not_applicable(rule: str, message: str, **evidence: EvidenceValue) -> Outcome:
    """The rule has nothing to say here."""
    return Outcome(rule=rule, kind=OutcomeKind.NOT_APPLICABLE, message=message, evidence=tuple(evidence.items()))


def instant(moment: datetime) -> str:
    """An instant in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def day(moment: datetime) -> str:
    """The day of an instant, in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d")


def listing(texts: Iterable[str], most: int = 5) -> str:
    """The texts for a message, the first few of them when there are many."""
    every = tuple(texts)
    more = "" if len(every) <= most else f" and {len(every) - most} more"
    return ", ".join(every[:most]) + more
