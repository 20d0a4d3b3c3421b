"""Evidence for items, and what the rules make of it: each package is asked about once in a run."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from msgspec.structs import replace
from packaging.version import Version

from quarantine.errors import UpstreamError
from quarantine.model import (
    Finding,
    Item,
    JudgedItem,
    Outcome,
    OutcomeKind,
    Package,
    Snapshot,
    Target,
    Verdict,
)
from quarantine.pipeline.pages import Pages
from quarantine.policy import rules
from quarantine.policy.nearest import candidate_item, candidates
from quarantine.policy.stage import StagePolicy
from quarantine.ports import AdvisoryService, Tell

if TYPE_CHECKING:
    from packaging.utils import NormalizedName

__all__ = ["Judge", "nearest_versions"]

# What refuses a name as such: no other version of it can pass.
_NAME_RULES = frozenset({"repository", "reserved-name", "typosquat", "project-status", "direct-reference"})
# What no other version mends, because it is about the lock.
_LOCK_RULES = frozenset({"integrity"})
_CHUNK = 8


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
        targets: tuple[Target, ...],
        now: datetime,
        tell: Tell,
    ) -> None:
        self.stage = stage
        self.preconditions = preconditions
        self.targets = targets
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
        packages = {item.package for item in items if item.package is not None} - self._findings.keys()
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
        findings = None if known is None else () if item.package is None else known[item.package]
        evidence = rules.Evidence(item=item, findings=findings, fixes=self._fixes.get(item.name, frozenset()))
        targets = tuple(self.targets[index] for index in item.subjects)
        outcomes = rules.judge(self.stage, evidence, self.snapshot, self.now, targets)
        return JudgedItem(
            item=item, verdict=rules.verdict(outcomes, self.preconditions), findings=findings, outcomes=outcomes
        )


def nearest_versions(judged: Sequence[JudgedItem], judge: Judge, pages: Pages, tell: Tell) -> tuple[JudgedItem, ...]:
    """The items again, those that don't pass with the nearest version that would pass, where there is one to be found."""
    items = tuple(entry.item for entry in judged)
    return tuple(
        replace(entry, nearest=_nearest(entry, items, judge, pages, tell))
        if entry.verdict is not Verdict.ALLOWED and _another_could_pass(entry, judge)
        else entry
        for entry in judged
    )


def _another_could_pass(entry: JudgedItem, judge: Judge) -> bool:
    broken = {o.rule for o in entry.outcomes if o.kind in (OutcomeKind.FAIL, OutcomeKind.UNKNOWN)}
    hopeless = _NAME_RULES | (_LOCK_RULES if entry.item.locked else frozenset())
    # files that the resolver turned down for the sake of other requirements: another version is no way out by itself
    turned_down = bool(entry.item.contradiction and entry.item.artifacts)
    return not (judge.void or entry.item.reference is not None or turned_down or broken & hopeless)


def _nearest(entry: JudgedItem, items: Collection[Item], judge: Judge, pages: Pages, tell: Tell) -> Version | None:
    item = entry.item
    page = pages.one(item.name)
    if page is None:
        return None
    tell(f"{item.name}: looking for the nearest version that passes")
    targets = tuple(judge.targets[index] for index in item.subjects)
    try:
        requirers = [other for other in items if other.purl in item.required_by]
        needs = pages.requirers(frozenset({item.name}), requirers, targets[0]) if requirers else {}
    except UpstreamError:
        # a version that those who require the item may not be able to use is no way out
        return None
    found = candidates(page, item.version, (specifier for _, specifier in needs.get(item.name, ())), targets)
    for start in range(0, len(found), _CHUNK):
        chunk = [candidate_item(item, page, version, targets) for version in found[start : start + _CHUNK]]
        for candidate in judge.judge(chunk):
            if candidate.verdict is Verdict.ALLOWED:
                return candidate.item.version
    return None
