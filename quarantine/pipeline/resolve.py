"""From an unlocked spec and one target to the items to judge: what would be installed, from where, and who asks for it.

The spec is resolved under the policy; when that has no solution, once more with the cutoff lifted for what the user
names, then as written, so that every refusal has its reason.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName
from packaging.version import Version

from quarantine.errors import UpstreamError
from quarantine.exceptions import MIRROR
from quarantine.model import (
    EnvironmentSpec,
    IndexPage,
    Item,
    Location,
    Outcome,
    OutcomeKind,
    Requirement,
    Target,
    pypi_purl,
)
from quarantine.pipeline.locked import Plan, unfit
from quarantine.pipeline.pages import Pages, Requirers, item_on
from quarantine.policy.stage import StagePolicy
from quarantine.ports import (
    Installed,
    OverlayFile,
    PythonResolver,
    Resolution,
    ResolutionFailed,
    ResolutionRequest,
    ResolvedPackage,
    Tell,
)

__all__ = ["Resolve"]

MAX_ROUNDS = 12
CLOCK_SKEW = timedelta(minutes=5)
_UNUSABLE = (
    "the versions of it that fit the other requirements have no wheel: loosen those, or pin a version that has one"
)

_Cutoffs = tuple[tuple[NormalizedName, datetime | None], ...]


class _Mode(msgspec.Struct, frozen=True, kw_only=True):
    """How strictly a resolution keeps to the policy; `refuse` is whether deny entries exclude what they refuse."""

    not_after: datetime | None
    not_after_by_name: _Cutoffs = ()
    constraints: tuple[str, ...] = ()
    refuse: bool


class _Solved(msgspec.Struct, frozen=True, kw_only=True):
    """A solution, and what had to be left out to get it."""

    resolution: Resolution
    source_only: frozenset[NormalizedName]
    not_found: frozenset[NormalizedName]


class Resolve(msgspec.Struct, frozen=True, kw_only=True):
    """Plans specs by resolving them, under one stage's policy, at one instant.

    With `locks` the verdict is on the files that a lock will hold; without, an installer may take any file of a version
    that is there when it runs, so all of them are judged. `installed` are distributions that conda installs before.
    """

    stage: StagePolicy
    resolver: PythonResolver
    pages: Pages
    now: datetime
    tell: Tell
    locks: bool
    installed: tuple[Installed, ...] = ()

    def plan(
        self,
        spec: EnvironmentSpec,
        target: Target,
        subject: int,
        fixes: tuple[tuple[NormalizedName, datetime], ...] = (),
    ) -> Plan:
        """What the spec comes to. `fixes` lets the resolver take security fixes, up to an instant each."""
        asked = _Asked(spec, target, subject)
        referenced = asked.references()
        if not asked.named:
            return Plan(items=referenced, outcomes=unfit(spec, target))
        explanation = ""
        for mode in self._modes(spec, asked, fixes):
            answer = self._solve(asked, mode)
            if isinstance(answer, ResolutionFailed):
                explanation = answer.explanation
                continue
            # what is referenced directly is judged as such, whoever else asks for it
            held = {item.name for item in referenced}
            items = (item for item in self._items(answer, asked) if item.name not in held)
            return Plan(items=(*referenced, *items), outcomes=unfit(spec, target), used=answer.resolution.used)
        return self._unsatisfiable(explanation, spec, asked)

    def _modes(
        self, spec: EnvironmentSpec, asked: "_Asked", fixes: tuple[tuple[NormalizedName, datetime], ...]
    ) -> Iterable[_Mode]:
        """The ways to resolve, strictest first."""
        own = tuple(_constraint(r) for r in spec.constraints if r.name is not None and r.reference is None)
        policy = (*own, *self.stage.constraints({file.name for file in self.pages.overlay.files(asked.target)}))
        if self.stage.minimum_age:
            cutoff = self.now - self.stage.minimum_age
            yield _Mode(not_after=cutoff, not_after_by_name=fixes, constraints=policy, refuse=True)
            lifted = tuple((name, self.now + CLOCK_SKEW) for name in asked.by_name)
            yield _Mode(not_after=cutoff, not_after_by_name=lifted, constraints=policy, refuse=True)
        else:
            yield _Mode(not_after=None, constraints=policy, refuse=True)
        yield _Mode(not_after=None, constraints=own, refuse=False)

    def _solve(self, asked: "_Asked", mode: _Mode) -> _Solved | ResolutionFailed:
        """Resolves, and again while that shows what the next try must know.

        What has no wheel or doesn't exist is left out. Files of unknown age are let in for the names that have no
        others. A name of an upstream with a minimum age of its own gets that upstream's cutoff. What deny entries
        refuse is excluded. Approved files are there beside what the owners list, but for versions of which an installer
        might take other files.
        """
        overlay = self.pages.overlay.files(asked.target)
        source_only: frozenset[NormalizedName] = frozenset()
        not_found: frozenset[NormalizedName] = frozenset()
        constraints, lifted = mode.constraints, dict(mode.not_after_by_name)
        for _ in range(MAX_ROUNDS):
            request = ResolutionRequest(
                requirements=asked.named,
                constraints=constraints,
                target=asked.target,
                not_after=mode.not_after,
                not_after_by_name=tuple(lifted.items()) if mode.not_after is not None else (),
                excluded=source_only | not_found,
                installed=self.installed,
                overlay=overlay,
            )
            answer = self.resolver.resolve(request, self.tell)
            if isinstance(answer, ResolutionFailed):
                timeless = {name for name in answer.no_upload_time if lifted.get(name, self.now) is not None}
                if not (answer.source_only - source_only or answer.not_found - not_found or timeless):
                    return answer
                source_only, not_found = source_only | answer.source_only, not_found | answer.not_found
                lifted |= dict.fromkeys(timeless)
                continue
            own = self._own_cutoffs(answer, mode)
            if own.keys() - lifted.keys():
                lifted = {**own, **lifted}
                continue
            partly = self._partly_let_in(answer, asked.target) if mode.refuse and not self.locks else ()
            if partly:
                overlay = tuple(file for file in overlay if (file.name, file.version) not in partly)
                continue
            new = tuple(line for line in self._refused(answer, mode, overlay) if line not in constraints)
            if not new:
                return _Solved(resolution=answer, source_only=source_only, not_found=not_found)
            constraints += new
        raise UpstreamError(f"no solution after {MAX_ROUNDS} rounds: pin what you ask for more closely and check again")

    def _own_cutoffs(self, resolution: Resolution, mode: _Mode) -> dict[NormalizedName, datetime | None]:
        """The cutoffs of packages whose upstream has a minimum age of its own; none at all where that is nothing."""
        if mode.not_after is None:
            return {}
        ages = {package.name: self.stage.minimum_age_of(self._owner(package)) for package in resolution.packages}
        return {name: self.now - age if age else None for name, age in ages.items() if age != self.stage.minimum_age}

    def _owner(self, package: ResolvedPackage) -> str:
        """The upstream that owns the name, also where the file itself is the mirror's."""
        page = self.pages.one(package.name) if package.upstream == MIRROR else None
        return package.upstream if page is None else page.upstream

    def _partly_let_in(self, resolution: Resolution, target: Target) -> frozenset[tuple[NormalizedName, Version]]:
        """The versions taken for the sake of an approved file, of which an installer might take one that isn't approved."""
        let_in = self.pages.overlay.let_in
        chosen = ((p.name, p.version, self.pages.one(p.name)) for p in resolution.packages if p.upstream == MIRROR)
        return frozenset(
            (name, version)
            for name, version, page in chosen
            if page is not None
            and not all(file.digest in let_in for file in page.of_version(version) if file.may_fit(target))
        )

    def _refused(self, resolution: Resolution, mode: _Mode, overlay: Iterable[OverlayFile]) -> Iterable[str]:
        """Constraints against the versions that entries refuse, for names whose chosen version is one of them."""
        for package in resolution.packages:
            page = self.pages.one(package.name) if mode.refuse and self.stage.denies(package.name) else None
            let_in = {file.version for file in overlay if file.name == package.name}
            versions = () if page is None else self.stage.refused_versions(page, let_in)
            if package.version in versions:
                yield from (f"{package.name}!={version}" for version in versions)

    def _items(self, solved: _Solved, asked: "_Asked") -> Iterable[Item]:
        packages = solved.resolution.packages
        versions = {package.name: package.version for package in packages}
        self.tell(f"reading {len(versions)} index pages")
        found = self.pages.get((*versions, *solved.source_only))
        items = []
        for package in packages:
            page = found[package.name]
            item = asked.located(self._resolved(package, page, asked, versions))
            if page is not None and package.name in asked.by_name:
                held_from, held_by = self._held_back(item, page, asked)
                item = replace(item, held_back_from=held_from, held_back_by=held_by)
            items.append(item)
        left_out = solved.source_only | solved.not_found
        requirers = self._requirers(left_out, items, asked) if left_out else {}
        return (*items, *(self._left_out(name, requirers, asked) for name in sorted(left_out)))

    def _resolved(
        self,
        package: ResolvedPackage,
        page: IndexPage | None,
        asked: "_Asked",
        versions: Mapping[NormalizedName, Version],
    ) -> Item:
        """The item of one package of a solution: the owner's wheels that may be installed, if the two agree."""
        item = replace(
            item_on(page, package.name, package.version, asked.subject, asked.target),
            required_by=tuple(pypi_purl(name, versions.get(name)) for name in package.required_by),
        )
        if page is None:
            why = f"the resolver found it in {package.upstream}, but no upstream has its page"
        elif package.upstream not in (page.upstream, MIRROR):
            why = f"the resolver took it from {package.upstream}, but {page.upstream} owns the name"
        else:
            listed = page.of_version(package.version)
            unlisted = package.digests - {artifact.digest for artifact in listed}
            wheels = tuple(artifact for artifact in listed if artifact.may_fit(asked.target))
            chosen = tuple(wheel for wheel in wheels if wheel.digest is None or wheel.digest in package.digests)
            if not unlisted and any(wheel.fits(asked.target) for wheel in chosen):
                return replace(item, artifacts=chosen if self.locks else wheels)
            why = (
                f"{len(unlisted)} of the resolver's files are not on the index page: check again"
                if unlisted
                else f"no wheel of it is for {asked.target} by its own word, though the resolver takes one: "
                "take another version"
            )
        return replace(item, contradiction=why)

    def _requirers(self, names: frozenset[NormalizedName], items: list[Item], asked: "_Asked") -> Requirers:
        """Who pulled in what was left out: the solution doesn't say, since it isn't in it."""
        if names <= asked.by_name.keys():
            return {}
        try:
            return self.pages.requirers(names, items, asked.target)
        except UpstreamError:
            # who pulled it in is told where it can be had; that it is refused doesn't depend on it
            return {}

    def _left_out(self, name: NormalizedName, requirers: Requirers, asked: "_Asked") -> Item:
        """A name that could only be had as source, or not at all: the newest version that all who need it accept."""
        page, needs = self.pages.one(name), requirers.get(name, ())
        wanted = asked.specifier(name)
        both = wanted
        for _, required in needs:
            both &= required
        known = () if page is None else page.versions()
        # where they contradict each other, what the user's own lines say
        version = max(both.filter(known), default=None) or max(wanted.filter(known), default=None)
        listed = () if page is None or version is None else page.of_version(version)
        artifacts = tuple(artifact for artifact in listed if artifact.may_fit(asked.target))
        item = replace(
            item_on(page, name, version, asked.subject, asked.target),
            artifacts=artifacts,
            required_by=tuple(dict.fromkeys(requirer.purl for requirer, _ in needs)),
            source_only=page is not None and not artifacts,
            contradiction=_UNUSABLE if artifacts else "",
        )
        return asked.located(item)

    def _held_back(self, item: Item, page: IndexPage, asked: "_Asked") -> tuple[Version | None, str]:
        """The newest version that the user's own lines would take, when another was chosen, and what held it back."""
        if not isinstance(item.version, Version):
            return None, ""
        prereleases = True if item.version.is_prerelease else None
        for version in sorted(
            asked.specifier(page.name).filter(page.versions(), prereleases=prereleases), reverse=True
        ):
            if version <= item.version:
                break
            reason = self._why_held_back(version, page, asked.target)
            if reason:
                return version, reason
        return None, ""

    def _why_held_back(self, version: Version, page: IndexPage, target: Target) -> str:
        """Which rule holds a version back; empty for one that nobody would have offered (yanked, other Pythons)."""
        python = f"{target.python}.0"
        offered = [
            artifact
            for artifact in page.of_version(version)
            if artifact.yanked is None and (artifact.requires_python is None or python in artifact.requires_python)
        ]
        fitting = [artifact for artifact in offered if artifact.fits(target)]
        if not fitting:
            return "source-only" if offered else ""
        let_in = {artifact.version for artifact in fitting if artifact.is_mirrored}
        if self.stage.denies(page.name) and version in self.stage.refused_versions(page, let_in):
            return "the policy's lists"
        times = [artifact.upload_time for artifact in fitting if artifact.upload_time is not None]
        if times and min(times) > self.now - self.stage.minimum_age_of(page.upstream):
            return "minimum-age"
        return "other requirements"

    def _unsatisfiable(self, explanation: str, spec: EnvironmentSpec, asked: "_Asked") -> Plan:
        """No solution even as written: say why and where, and judge what the user pinned by hand all the same."""
        found = self.pages.get(asked.by_name)
        items = []
        for name, page in found.items():
            pinned = _exact(asked.specifier(name))
            if pinned is None and not self.stage.denies(name):
                continue
            listed = () if page is None or pinned is None else page.of_version(pinned)
            artifacts = tuple(artifact for artifact in listed if artifact.may_fit(asked.target))
            item = replace(
                item_on(page, name, pinned, asked.subject, asked.target),
                artifacts=artifacts,
                source_only=bool(listed) and not any(artifact.fits(asked.target) for artifact in artifacts),
                contradiction="" if listed or page is None else _unlisted(pinned, page),
            )
            items.append(asked.located(item))
        outcome = Outcome(
            rule="resolution",
            kind=OutcomeKind.FAIL,
            message=f"nothing satisfies {spec.file} on {asked.target}: {explanation}",
            evidence=(("explanation", explanation),),
            location=asked.location_in(explanation),
        )
        return Plan(items=(*asked.references(), *items), outcomes=(outcome, *unfit(spec, asked.target)))


class _Asked:
    """What a spec asks for on one target, and which subject of the verdict that is."""

    def __init__(self, spec: EnvironmentSpec, target: Target, subject: int) -> None:
        self.target = target
        self.subject = subject
        self.requirements = tuple(r for r in spec.requirements if r.applies_to(target))
        self.constraints = tuple(r for r in spec.constraints if r.applies_to(target) and r.reference is None)
        self.named = tuple(r for r in self.requirements if r.reference is None)
        self.by_name: dict[NormalizedName, tuple[Requirement, ...]] = {}
        for requirement in self.named:
            if requirement.name is not None:
                self.by_name[requirement.name] = (*self.by_name.get(requirement.name, ()), requirement)

    def references(self) -> tuple[Item, ...]:
        """The items of direct references that say their name; the others are the file's affair."""
        return tuple(
            Item(
                name=requirement.name,
                version=None,
                upstream=None,
                subjects=(self.subject,),
                targets=(self.target,),
                location=requirement.location,
                reference=requirement.reference,
            )
            for requirement in self.requirements
            if requirement.reference is not None and requirement.name is not None
        )

    def specifier(self, name: NormalizedName) -> SpecifierSet:
        """The versions that the user's own lines accept, constraints included."""
        specifier = SpecifierSet()
        for requirement in (*self.by_name.get(name, ()), *(r for r in self.constraints if r.name == name)):
            specifier &= requirement.specifier
        return specifier

    def located(self, item: Item) -> Item:
        """The item with the line that asks for it, if one does."""
        lines = self.by_name.get(NormalizedName(item.name))
        return item if lines is None else replace(item, location=lines[0].location)

    def location_in(self, explanation: str) -> Location | None:
        """The line of the first requirement that the solver's sentence speaks of."""
        words = frozenset(explanation.replace(",", " ").replace("[", " ").split())
        for name, lines in self.by_name.items():
            if any(word == name or word.startswith(tuple(f"{name}{sign}" for sign in "=<>!~")) for word in words):
                return lines[0].location
        return None


def _constraint(requirement: Requirement) -> str:
    marker = "" if requirement.marker is None else f" ; {requirement.marker}"
    return f"{requirement.name}{requirement.specifier}{marker}"


def _unlisted(version: Version | None, page: IndexPage) -> str:
    """Why there is no file of a version: what a person would want to know of it."""
    if version is None:
        return "no version of it was chosen, because the file as a whole has no solution"
    if version.local is not None:
        return (
            f"{page.upstream} lists no {version}: local versions come from indexes of their own, which the policy names"
        )
    return f"{page.upstream} lists no version {version}: it was never there, or was taken down"


def _exact(specifier: SpecifierSet) -> Version | None:
    """The version of a single `==` pin without a wildcard."""
    parts = list(specifier)
    if len(parts) == 1 and parts[0].operator == "==" and not parts[0].version.endswith(".*"):
        return Version(parts[0].version)
    return None
