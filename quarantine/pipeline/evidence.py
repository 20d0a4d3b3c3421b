"""Evidence for items, and what the rules make of it: each package is asked about once in a run."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from quarantine.errors import UpstreamError
from quarantine.exceptions import Grants
from quarantine.model import (
    Finding,
    Item,
    JudgedItem,
    LetIn,
    Outcome,
    OutcomeKind,
    Package,
    Snapshot,
)
from quarantine.policy import rules
from quarantine.policy.stage import StagePolicy
from quarantine.policy.waivers import covered, scoped
from quarantine.ports import AdvisoryService, Tell

if TYPE_CHECKING:
    from packaging.utils import NormalizedName
    from packaging.version import Version

__all__ = ["Judge"]


class Judge:
    """Judges items by the rules of one stage on the evidence of one advisory service.

    `grants` are the exceptions of the project and the stage, None where there are none. `local` is a policy that may only
    tighten the one in force: what it has against an item counts too.
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
        grants: Grants | None = None,
        local: StagePolicy | None = None,
    ) -> None:
        self.stage = stage
        self.preconditions = preconditions
        self.now = now
        self.grants = grants
        self.local = local
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
        evidence = rules.Evidence(item=item, findings=findings, fix=fix, grants=self.grants)
        outcomes = rules.judge(self.stage, evidence, self.snapshot, self.now)
        if self.local is not None:
            outcomes = rules.tightened(outcomes, rules.judge(self.local, evidence, self.snapshot, self.now))
        return JudgedItem(
            item=item,
            verdict=rules.verdict(outcomes, self.preconditions),
            findings=findings,
            outcomes=outcomes,
            exception=None if self.grants is None else _let_in(item, self.grants),
        )


def _let_in(item: Item, grants: Grants) -> LetIn | None:
    """The exception that stands behind all files of the item, if one does."""
    behind = covered(item, grants)
    if not behind:
        return None
    first = min(behind, key=lambda grant: grant.expires_at)
    own = scoped(f"{item.name} {item.version}", "")
    waived = frozenset.intersection(*(grant.waives for grant in behind))
    waives = sorted(key.removeprefix(own) for key in waived if key.startswith(own))
    return LetIn(exception=first.exception, until=first.expires_at, waives=tuple(waives))


def _joined(findings: Iterable[tuple[Finding, ...]]) -> tuple[Finding, ...]:
    """The findings of all packages that one item holds, each once."""
    return tuple({finding.id: finding for some in findings for finding in some}.values())
