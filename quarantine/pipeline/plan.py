"""From a spec and one target to the items to judge: every leaf of the spec by itself, by what it is.

A lock is taken as it stands, a list is resolved, a conda section is solved and its pip part resolved on top of it, an
image is looked up in its registry. What fails for one leaf leaves that one unknown.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace
from packaging.utils import NormalizedName

from quarantine.errors import UpstreamError
from quarantine.model import Ecosystem, EnvironmentSpec, Item, Outcome, OutcomeKind, Target, pypi_purl
from quarantine.pipeline.evidence import Judge
from quarantine.pipeline.locked import Plan, nothing, plan_locked, unclosed, unfit
from quarantine.pipeline.pages import Pages
from quarantine.ports import CondaPackages, CondaSolver, ImageRegistry, Installed, PythonResolver, Tell

if TYPE_CHECKING:
    from quarantine.pipeline.conda import Conda, CondaPlan
    from quarantine.pipeline.resolve import Resolve

__all__ = ["Planner"]


class Planner(msgspec.Struct, frozen=True, kw_only=True):
    """Plans specs under one stage's policy, at one instant. What a plan doesn't need is never made."""

    judge: Judge
    pages: Pages
    resolver: Callable[[], PythonResolver]
    solver: Callable[[], CondaSolver]
    packages: Callable[[], CondaPackages]
    registry: Callable[[], ImageRegistry]
    locks: bool
    tell: Tell
    failures: dict[tuple[str, ...], UpstreamError] = msgspec.field(default_factory=dict)

    def plan(self, spec: EnvironmentSpec, target: Target, subject: int) -> Plan:
        """What the spec comes to on the target; an upstream or a solver that fails leaves a part of that unknown."""
        plans = [self._leaf(leaf, target, subject) for leaf in spec.leaves]
        pythons = tuple(dict.fromkeys(plan.target for plan in plans if plan.target is not None))
        whole = Plan(
            items=tuple(item for plan in plans for item in plan.items),
            outcomes=tuple(dict.fromkeys(outcome for plan in plans for outcome in plan.outcomes)),
            # several environments in one file may bring several
            target=pythons[0] if len(pythons) == 1 else None,
        )
        return replace(whole, outcomes=whole.outcomes or nothing(spec, target, whole))

    def _leaf(self, leaf: EnvironmentSpec, target: Target, subject: int) -> Plan:
        if leaf.python is not None:
            target = replace(target, python=leaf.python)
        named = self._named(leaf, target, subject)
        try:
            if leaf.conda is not None:
                plan = self._on_conda(leaf, target, subject)
            else:
                plan = self._python(leaf, target, subject)
        except UpstreamError as error:
            message = f"what {leaf.file} comes to on {target} is not known: {error}"
            plan = Plan(items=(), outcomes=(Outcome(rule="resolution", kind=OutcomeKind.UNKNOWN, message=message),))
        brings = target if leaf.python is not None else plan.target
        return replace(plan, items=(*named, *plan.items), target=brings)

    def _named(self, leaf: EnvironmentSpec, target: Target, subject: int) -> tuple[Item, ...]:
        """The images and curated environments that the leaf names."""
        if not (leaf.images or leaf.curated):
            return ()
        from quarantine.pipeline.images import curated_item, image_item  # noqa: PLC0415  # most specs name none

        policy = self.judge.stage.policy
        images = (image_item(i, target, subject, policy, self.registry, self.failures, self.tell) for i in leaf.images)
        return (*images, *(curated_item(c, target, subject, policy) for c in leaf.curated))

    # --- Python -------------------------------------------------------------------------------------------------------

    def _python(
        self, leaf: EnvironmentSpec, target: Target, subject: int, installed: tuple[Installed, ...] = ()
    ) -> Plan:
        if leaf.locked is not None:
            self.tell(f"{leaf.file}: reading index pages for {target}")
            plan = plan_locked(leaf, target, subject, self.pages)
            there = {entry.package.name for entry in installed}
            return replace(plan, outcomes=(*plan.outcomes, *unclosed(leaf, plan, target, self.pages, there)))
        if not leaf.requirements:
            return Plan(items=(), outcomes=unfit(leaf, target))
        self.tell(f"{leaf.file}: resolving for {target}")
        resolve = self._resolve(installed)
        plan = resolve.plan(leaf, target, subject)
        fixes = self._young_fixes(plan, target)
        if fixes:
            self.tell(f"{leaf.file}: resolving for {target} again, with security fixes")
            again = resolve.plan(leaf, target, subject, fixes)
            plan = plan if again.outcomes else again
        return plan

    def _resolve(self, installed: tuple[Installed, ...]) -> "Resolve":
        from quarantine.pipeline.resolve import Resolve  # noqa: PLC0415  # a lock is not resolved

        return Resolve(
            stage=self.judge.stage,
            resolver=self.resolver(),
            pages=self.pages,
            now=self.judge.now,
            tell=self.tell,
            locks=self.locks,
            installed=installed,
        )

    def _young_fixes(self, plan: Plan, target: Target) -> tuple[tuple[NormalizedName, datetime], ...]:
        """For flawed packages whose fix is younger than the cutoff but old enough for the lane: the instant to let in."""
        judge = self.judge
        lane = judge.stage.security_fix_age
        known = judge.findings(plan.items)
        if lane is None or known is None:
            return ()
        cutoff, latest = judge.now - judge.stage.minimum_age, judge.now - lane
        found: list[tuple[NormalizedName, datetime]] = []
        for item in plan.items:
            findings = (finding for package in item.packages for finding in known[package])
            fixed = {version for finding in findings if not finding.malware for version in finding.fixed}
            name = NormalizedName(item.name)
            page = self.pages.one(name) if fixed and item.ecosystem is Ecosystem.PYPI else None
            if page is None:
                continue
            times = [
                max(a.upload_time for a in artifacts if a.upload_time is not None)
                for version in page.versions()
                if str(version) in fixed
                and (artifacts := [a for a in page.of_version(version) if a.may_fit(target)])
                and all(a.upload_time is not None and a.upload_time <= latest for a in artifacts)
            ]
            if times and min(times) > cutoff:
                found.append((name, min(times) + timedelta(seconds=1)))
        return tuple(found)

    # --- conda, and Python on top of it -------------------------------------------------------------------------------

    def _on_conda(self, leaf: EnvironmentSpec, target: Target, subject: int) -> Plan:
        from quarantine.pipeline.conda import Conda  # noqa: PLC0415  # most specs have no conda section

        conda = Conda(
            stage=self.judge.stage,
            solver=self.solver(),
            packages=self.packages(),
            now=self.judge.now,
            tell=self.tell,
            failures=self.failures,
            approved=frozenset(
                digest
                for digest, grant in (() if self.judge.grants is None else self.judge.grants.live.items())
                if grant.file.ecosystem is Ecosystem.CONDA
            ),
        )
        self.tell(f"{leaf.file}: solving for {target}")
        made = conda.plan(leaf, target, subject)
        if not (leaf.requirements or leaf.locked):
            return replace(made.plan, target=made.target)
        over = self._over(conda, made, leaf, subject)
        outcomes = (*made.plan.outcomes, *over.outcomes)
        return Plan(items=(*made.plan.items, *over.items), outcomes=outcomes, target=made.target)

    def _over(self, conda: "Conda", made: "CondaPlan", leaf: EnvironmentSpec, subject: int) -> Plan:
        """The pip part: what pip installs with the Python that conda installs, beside what is there already.

        What pip comes across of that isn't known before it is resolved; once more with the metadata of that, then.
        """
        target = made.target
        reached = {r.name for r in leaf.requirements if r.name is not None and r.applies_to(target)}
        while True:
            installed = conda.installed(made, reached)
            plan = self._python(leaf, target, subject, installed)
            silent = {entry.package.name for entry in installed if entry.metadata is None}
            new = plan.used & silent
            if not new:
                return replace(plan, items=tuple(_required_by_conda(item, made) for item in plan.items))
            reached |= new


def _required_by_conda(item: Item, made: "CondaPlan") -> Item:
    """The item, with the conda packages that require it in the place of the distributions that they hold."""
    holders = {pypi_purl(package.name): record.purl for package, record in made.held.items()}
    return replace(item, required_by=tuple(holders.get(purl, purl) for purl in item.required_by))
