"""Evidence for items, and what the rules make of it: each package is asked about once in a run."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from quarantine.errors import UpstreamError
from quarantine.model import (
    Finding,
    Item,
    JudgedItem,
    Outcome,
    OutcomeKind,
    Package,
    Snapshot,
)
from quarantine.policy import rules
from quarantine.policy.stage import StagePolicy
from quarantine.ports import AdvisoryService, Tell

if TYPE_CHECKING:
    from packaging.utils import NormalizedName
    from packaging.version import Version

__all__ = ["Judge"]


class Judge:
    """Judges items by the rules of one stage on the evidence of one advisory service.

    `unanswered` says why the advisory service could not answer, None while it does.
    """

    def __init__(
        self,
        *,
        stage: StagePolicy,
        preconditions: tuple[Outcome, ...],
        snapshot: Snapshot | None,
        advisories: AdvisoryService,
        now: datetime,
        tell: Tell,
    ) -> None:
        self.stage = stage
        self.preconditions = preconditions
        self.now = now
        self.unanswered: str | None = None
        self.snapshot = snapshot
        self._advisories = advisories
        self._tell = tell
        self._findings: dict[Package, tuple[Finding, ...]] = {}
        self._fixes: dict[NormalizedName, frozenset[Version]] = {}

    @property
    def void(self) -> bool:
        """Whether a precondition failed, so that no evidence counts."""
        kinds = {outcome.kind for outcome in self.preconditions}
        return self.unanswered is not None or not kinds.isdisjoint((OutcomeKind.FAIL, OutcomeKind.UNKNOWN))

    def findings(self, items: Iterable[Item]) -> Mapping[Package, tuple[Finding, ...]] | None:
        """What is known to affect the items; None when the service can't be asked."""
        packages = {package for item in items for package in item.packages} - self._findings.keys()
        names = {package.name for package in packages} - self._fixes.keys()
        if self.snapshot is None or self.unanswered is not None:
            return None
        try:
            if packages:
                self._findings |= self._advisories.findings(packages, self._tell)
            if names:
                self._fixes |= self._advisories.fixes(names)
        except UpstreamError as error:
            self.unanswered = str(error)
            return None
        return self._findings

    def judge(self, items: Sequence[Item]) -> tuple[JudgedItem, ...]:
        """Every item with its outcomes and its verdict."""
        known = self.findings(items)
        return tuple(self._judge(item, known) for item in items)

    def _judge(self, item: Item, known: Mapping[Package, tuple[Finding, ...]] | None) -> JudgedItem:
        findings = None if known is None else _joined(known[package] for package in item.packages)
        fix = any(package.version in self._fixes.get(package.name, ()) for package in item.packages)
        evidence = rules.Evidence(item=item, findings=findings, fix=fix)
        outcomes = rules.judge(self.stage, evidence, self.snapshot, self.now)
        return JudgedItem(
            item=item, verdict=rules.verdict(outcomes, self.preconditions), findings=findings, outcomes=outcomes
        )


def _joined(findings: Iterable[tuple[Finding, ...]]) -> tuple[Finding, ...]:
    """The findings of all packages that one item holds, each once."""
    return tuple({finding.id: finding for some in findings for finding in some}.values())
