"""From one spec and one target to the items to judge: what would be installed, from where, and who asks for it.

An unlocked spec is resolved under the policy; when that has no solution, once more with the cutoff lifted for what
the user names, then as written, so that every refusal has its reason. A lock is taken as it stands.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from packaging.specifiers import SpecifierSet
from packaging.utils import InvalidWheelFilename, NormalizedName, parse_wheel_filename
from packaging.version import Version

from quarantine.archive.metadata import parse_metadata
from quarantine.errors import UpstreamError
from quarantine.model import (
    Artifact,
    Digest,
    EnvironmentSpec,
    IndexPage,
    Item,
    LockedFile,
    LockedPackage,
    Outcome,
    OutcomeKind,
    Purl,
    Requirement,
    Target,
    pypi_purl,
)
from quarantine.policy.stage import StagePolicy
from quarantine.ports import (
    Index,
    PythonResolver,
    Resolution,
    ResolutionFailed,
    ResolutionRequest,
    ResolvedPackage,
    Tell,
)

__all__ = ["Pages", "Plan", "plan_locked", "plan_unlocked", "requirer_specifiers"]

MAX_ROUNDS = 12


class Pages:
    """The index, each page asked for once in a run."""

    def __init__(self, index: Index, tell: Tell) -> None:
        self.index = index
        self._tell = tell
        self._seen: dict[NormalizedName, IndexPage | None] = {}

    def get(self, names: Iterable[NormalizedName]) -> Mapping[NormalizedName, IndexPage | None]:
        """The owner's page of every name, None where nobody has it."""
        wanted = tuple(dict.fromkeys(names))
        missing = tuple(name for name in wanted if name not in self._seen)
        if missing:
            self._seen |= self.index.pages(missing, self._tell)
        return {name: self._seen[name] for name in wanted}

    def one(self, name: NormalizedName) -> IndexPage | None:
        """The owner's page of one name."""
        return self.get((name,))[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one spec comes to on one target. `outcomes` say why there is no solution, where there is none."""

    items: tuple[Item, ...]
    outcomes: tuple[Outcome, ...] = ()


# --- locks ------------------------------------------------------------------------------------------------------------


def plan_locked(spec: EnvironmentSpec, target: Target, subject: int, pages: Pages) -> Plan:
    """The items of a lock: what it pins for the target, joined with what the owners' pages list."""
    chosen = [
        package
        for package in spec.locked or ()
        if package.marker is None or package.marker.evaluate({**target.environment(), "extra": ""})
    ]
    found = pages.get(package.name for package in chosen if package.reference is None)
    requirers: dict[NormalizedName, list[Purl]] = {}
    for package in chosen:
        for name in package.requires:
            requirers.setdefault(name, []).append(pypi_purl(package.name, package.version))
    items = []
    for package in chosen:
        item = _locked_item(package, found.get(package.name), target, subject)
        items.append(replace(item, required_by=tuple(dict.fromkeys(requirers.get(package.name, ())))))
    outcomes = []
    if spec.requires_python and f"{target.python}.0" not in spec.requires_python:
        outcomes.append(
            Outcome(
                rule="resolution",
                kind=OutcomeKind.FAIL,
                message=f"{spec.file} is for Python {spec.requires_python}, not for {target.python}: "
                "lock it for this target, or change the targets in quarantine.yaml",
            )
        )
    return Plan(items=tuple(items), outcomes=tuple(outcomes))


def _locked_item(package: LockedPackage, page: IndexPage | None, target: Target, subject: int) -> Item:
    base = Item(
        name=package.name,
        version=package.version,
        upstream=None if page is None else page.upstream,
        status="active" if page is None else page.status,
        subjects=(subject,),
        location=package.location,
        reference=package.reference,
        locked=True,
        source_only=package.source_only,
    )
    if package.reference is not None or page is None or package.version is None:
        return base
    listed = page.of_version(package.version)
    by_digest = {artifact.digest: artifact for artifact in listed if artifact.digest is not None}
    accepted = package.digests | frozenset(d for file in package.files for d in _sha256s(file))
    elsewhere = frozenset(d for file in package.files if not _installs(file, target) for d in file.digests)
    artifacts = tuple(by_digest[d] for d in sorted(accepted) if d in by_digest and by_digest[d].fits(target))
    return replace(
        base,
        artifacts=tuple(sorted(artifacts, key=lambda artifact: artifact.filename)),
        missing_digests=frozenset(d for d in accepted - elsewhere if d.algorithm == "sha256") - by_digest.keys(),
        source_only=package.source_only or (bool(accepted & by_digest.keys()) and not artifacts),
    )


def _sha256s(file: LockedFile) -> frozenset[Digest]:
    return frozenset(digest for digest in file.digests if digest.algorithm == "sha256")


def _installs(file: LockedFile, target: Target) -> bool:
    """Whether the target could install a file of this name; a name that says nothing counts as yes."""
    if not file.filename.endswith(".whl"):
        return True
    try:
        return not parse_wheel_filename(file.filename)[3].isdisjoint(target.tags())
    except InvalidWheelFilename:
        return True


# --- resolution -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mode:
    """How strictly a resolution keeps to the policy."""

    not_after: datetime | None
    not_after_by_name: tuple[tuple[NormalizedName, datetime | None], ...] = ()
    constraints: tuple[str, ...] = ()
    refuse: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Solved:
    """A solution, and what had to be left out to get it."""

    resolution: Resolution
    source_only: frozenset[NormalizedName]
    not_found: frozenset[NormalizedName]
    constraints: tuple[str, ...]


def plan_unlocked(
    spec: EnvironmentSpec,
    target: Target,
    subject: int,
    stage: StagePolicy,
    resolver: PythonResolver,
    pages: Pages,
    now: datetime,
    tell: Tell,
    fixes: tuple[tuple[NormalizedName, datetime], ...] = (),
) -> Plan:
    """The items of a spec that names packages. `fixes` lets the resolver take security fixes up to an instant each."""
    wanted = tuple(r for r in spec.requirements if r.applies_to(target))
    referenced = tuple(_reference_item(r, subject) for r in wanted if r.reference is not None and r.name is not None)
    named = tuple(r for r in wanted if r.reference is None)
    if not named:
        return Plan(items=referenced)
    failed: ResolutionFailed | None = None
    for mode in _modes(spec, named, stage, now, fixes):
        answer = _solve(named, mode, target, stage, resolver, pages, now, tell)
        if isinstance(answer, _Solved):
            # what is referenced directly is judged as such, whoever else asks for it
            held = {item.name for item in referenced}
            items = _solution_items(answer, named, target, subject, stage, pages, now, tell)
            return Plan(items=(*referenced, *(item for item in items if item.name not in held)))
        failed = answer
    assert failed is not None  # noqa: S101  # there is at least one mode
    return _unsatisfiable(failed, spec, named, referenced, target, subject, pages)


def _modes(
    spec: EnvironmentSpec,
    named: tuple[Requirement, ...],
    stage: StagePolicy,
    now: datetime,
    fixes: tuple[tuple[NormalizedName, datetime], ...],
) -> Iterable[_Mode]:
    """The ways to resolve, strictest first."""
    own = tuple(_constraint(r) for r in spec.constraints if r.name is not None and r.reference is None)
    if stage.minimum_age > timedelta(0):
        cutoff = now - stage.minimum_age
        policy = (*own, *stage.constraints())
        yield _Mode(not_after=cutoff, not_after_by_name=fixes, constraints=policy, refuse=True)
        asked = {r.name: now + timedelta(minutes=5) for r in named if r.name is not None}
        yield _Mode(not_after=cutoff, not_after_by_name=tuple(asked.items()), constraints=policy, refuse=True)
    else:
        yield _Mode(not_after=None, constraints=(*own, *stage.constraints()), refuse=True)
    yield _Mode(not_after=None, constraints=own, refuse=False)


def _constraint(requirement: Requirement) -> str:
    marker = "" if requirement.marker is None else f" ; {requirement.marker}"
    return f"{requirement.name}{requirement.specifier}{marker}"


def _solve(
    named: tuple[Requirement, ...],
    mode: _Mode,
    target: Target,
    stage: StagePolicy,
    resolver: PythonResolver,
    pages: Pages,
    now: datetime,
    tell: Tell,
) -> _Solved | ResolutionFailed:
    """Resolves, and again while that shows what the next try must know.

    What has no wheel or doesn't exist is left out. Files of unknown age are let in for the names that have no others.
    A name of an upstream with a minimum age of its own gets that upstream's cutoff. What deny entries refuse is
    excluded.
    """
    source_only: frozenset[NormalizedName] = frozenset()
    not_found: frozenset[NormalizedName] = frozenset()
    constraints, lifted = mode.constraints, dict(mode.not_after_by_name)
    for _ in range(MAX_ROUNDS):
        request = ResolutionRequest(
            requirements=named,
            constraints=constraints,
            target=target,
            not_after=mode.not_after,
            not_after_by_name=tuple(lifted.items()) if mode.not_after is not None else (),
            excluded=source_only | not_found,
        )
        answer = resolver.resolve(request, tell)
        if isinstance(answer, ResolutionFailed):
            without = answer.source_only - source_only, answer.not_found - not_found
            timeless = {name for name in answer.no_upload_time if lifted.get(name, now) is not None}
            if not any((*without, timeless)):
                return answer
            source_only, not_found = source_only | without[0], not_found | without[1]
            lifted |= dict.fromkeys(timeless)
            continue
        own = _own_cutoffs(answer, mode, stage, now)
        if own.keys() - lifted.keys():
            lifted = {**own, **lifted}
            continue
        refused = _refused(answer, stage, pages) if mode.refuse else ()
        new = tuple(line for line in refused if line not in constraints)
        if not new:
            return _Solved(resolution=answer, source_only=source_only, not_found=not_found, constraints=constraints)
        constraints += new
    raise UpstreamError(f"no solution after {MAX_ROUNDS} rounds: pin what you ask for more closely and check again")


def _own_cutoffs(
    resolution: Resolution, mode: _Mode, stage: StagePolicy, now: datetime
) -> dict[NormalizedName, datetime | None]:
    """The cutoffs of packages whose upstream has a minimum age of its own; none at all where that is nothing."""
    if mode.not_after is None:
        return {}
    ages = {package.name: stage.minimum_age_of(package.upstream) for package in resolution.packages}
    return {name: now - age if age else None for name, age in ages.items() if age != stage.minimum_age}


def _refused(resolution: Resolution, stage: StagePolicy, pages: Pages) -> tuple[str, ...]:
    """Constraints against the versions that deny entries refuse, for names whose chosen version is refused."""
    lines: list[str] = []
    for package in resolution.packages:
        if not stage.denies(package.name):
            continue
        page = pages.one(package.name)
        versions = () if page is None else stage.refused_versions(page)
        if package.version in versions:
            lines += [f"{package.name}!={version}" for version in versions]
    return tuple(lines)


def _reference_item(requirement: Requirement, subject: int) -> Item:
    assert requirement.name is not None  # noqa: S101  # the caller asks for named ones only
    return Item(
        name=requirement.name,
        version=None,
        upstream=None,
        subjects=(subject,),
        location=requirement.location,
        reference=requirement.reference,
    )


def _solution_items(
    solved: _Solved,
    named: tuple[Requirement, ...],
    target: Target,
    subject: int,
    stage: StagePolicy,
    pages: Pages,
    now: datetime,
    tell: Tell,
) -> tuple[Item, ...]:
    packages = solved.resolution.packages
    versions = {package.name: package.version for package in packages}
    asked = {r.name: r for r in reversed(named)}
    tell(f"reading {len(versions)} index pages")
    found = pages.get((*versions, *solved.source_only))
    items = []
    for package in packages:
        page = found[package.name]
        item = _resolved_item(package, page, target, subject, versions)
        requirement = asked.get(package.name)
        if requirement is not None and page is not None:
            held_from, held_by = _held_back(item, page, named, target, stage, now)
            item = replace(item, location=requirement.location, held_back_from=held_from, held_back_by=held_by)
        items.append(item)
    if solved.source_only:
        items += _source_only_items(solved, tuple(items), asked, named, target, subject, pages, tell)
    items += [
        Item(
            name=name,
            version=None,
            upstream=None,
            subjects=(subject,),
            location=asked[name].location if name in asked else None,
        )
        for name in sorted(solved.not_found)
    ]
    return tuple(items)


def _resolved_item(
    package: ResolvedPackage,
    page: IndexPage | None,
    target: Target,
    subject: int,
    versions: Mapping[NormalizedName, Version],
) -> Item:
    item = Item(
        name=package.name,
        version=package.version,
        upstream=None if page is None else page.upstream,
        status="active" if page is None else page.status,
        subjects=(subject,),
        required_by=tuple(pypi_purl(name, versions.get(name)) for name in package.required_by),
    )
    if page is None:
        return replace(item, contradiction=f"the resolver found it in {package.upstream}, but no upstream has its page")
    if page.upstream != package.upstream:
        return replace(
            item, contradiction=f"the resolver took it from {package.upstream}, but {page.upstream} owns the name"
        )
    listed = page.of_version(package.version)
    artifacts = tuple(a for a in listed if a.fits(target) and (a.digest is None or a.digest in package.digests))
    if not artifacts:
        return replace(item, contradiction="the resolver's digests are none of the index page's: check again")
    return replace(item, artifacts=artifacts)


def _held_back(
    item: Item,
    page: IndexPage,
    named: tuple[Requirement, ...],
    target: Target,
    stage: StagePolicy,
    now: datetime,
) -> tuple[Version | None, str]:
    """The newest version that the user's own lines would take, when it isn't the one chosen, and what held it back."""
    if item.version is None:
        return None, ""
    specifier = SpecifierSet()
    for requirement in named:
        if requirement.name == item.name:
            specifier &= requirement.specifier
    allowed = specifier.filter(page.versions(), prereleases=item.version.is_prerelease or None)
    for version in sorted(allowed, reverse=True):
        if version <= item.version:
            break
        reason = _why_held_back(page.of_version(version), version, page, target, stage, now)
        if reason:
            return version, reason
    return None, ""


def _why_held_back(
    artifacts: tuple[Artifact, ...],
    version: Version,
    page: IndexPage,
    target: Target,
    stage: StagePolicy,
    now: datetime,
) -> str:
    """Which rule holds a version back; empty for a version that nobody would have offered (yanked, other Pythons)."""
    offered = [a for a in artifacts if a.yanked is None]
    if not offered or all(
        a.requires_python is not None and f"{target.python}.0" not in a.requires_python for a in offered
    ):
        return ""
    fitting = [a for a in offered if a.fits(target)]
    if not fitting:
        return "source-only"
    if stage.denies(page.name) and version in stage.refused_versions(page):
        return "deny-entry"
    times = [a.upload_time for a in fitting if a.upload_time is not None]
    if times and min(times) > now - stage.minimum_age_of(page.upstream):
        return "minimum-age"
    return "dependencies"


def _source_only_items(
    solved: _Solved,
    items: tuple[Item, ...],
    asked: Mapping[NormalizedName | None, Requirement],
    named: tuple[Requirement, ...],
    target: Target,
    subject: int,
    pages: Pages,
    tell: Tell,
) -> list[Item]:
    """What the resolver could only have had as source: the newest version that everybody who needs it accepts."""
    # only what nobody asks for by hand needs the metadata of the others to say whose it is
    indirect = not solved.source_only <= asked.keys()
    try:
        needs = _needs(items, solved.source_only, target, pages, tell) if indirect else {}
    except UpstreamError:
        # who pulled it in is told where it can be had; that it is refused doesn't depend on it
        needs = {}
    result = []
    for name in sorted(solved.source_only):
        page = pages.one(name)
        requirers = needs.get(name, ())
        specifier = SpecifierSet()
        for requirement in named:
            if requirement.name == name:
                specifier &= requirement.specifier
        for _, required in requirers:
            specifier &= required
        matching = () if page is None else tuple(specifier.filter(page.versions()))
        result.append(
            Item(
                name=name,
                version=max(matching, default=None),
                upstream=None if page is None else page.upstream,
                status="active" if page is None else page.status,
                subjects=(subject,),
                location=asked[name].location if name in asked else None,
                required_by=tuple(item.purl for item, _ in requirers),
                source_only=True,
            )
        )
    return result


def _needs(
    items: Iterable[Item], names: frozenset[NormalizedName], target: Target, pages: Pages, tell: Tell
) -> dict[NormalizedName, tuple[tuple[Item, SpecifierSet], ...]]:
    """For each of the names, which items require it on the target, and which versions of it they accept."""
    owners = {item.artifacts[0].filename: item for item in items if item.artifacts}
    texts = pages.index.metadata([item.artifacts[0] for item in owners.values()], tell)
    needs: dict[NormalizedName, tuple[tuple[Item, SpecifierSet], ...]] = {}
    for filename, text in texts.items():
        if text is None:
            continue
        for required in parse_metadata(filename, text).requires:
            if required.name in names and required.applies_to(target):
                needs[required.name] = (*needs.get(required.name, ()), (owners[filename], required.specifier))
    return needs


def requirer_specifiers(
    item: Item, items: Iterable[Item], target: Target, pages: Pages, tell: Tell
) -> tuple[SpecifierSet, ...]:
    """Which versions of the item the other items that require it accept."""
    purls = frozenset(item.required_by)
    requirers = [other for other in items if other.purl in purls]
    found = _needs(requirers, frozenset({item.name}), target, pages, tell)
    return tuple(specifier for _, specifier in found.get(item.name, ()))


def _unsatisfiable(
    failed: ResolutionFailed,
    spec: EnvironmentSpec,
    named: tuple[Requirement, ...],
    referenced: tuple[Item, ...],
    target: Target,
    subject: int,
    pages: Pages,
) -> Plan:
    """No solution even as written: say why, and judge what the user pinned by hand all the same."""
    items = []
    found = pages.get(r.name for r in named if r.name is not None)
    for requirement in named:
        page = None if requirement.name is None else found[requirement.name]
        pinned = _exact(requirement.specifier)
        if requirement.name is None or page is None or pinned is None:
            continue
        listed = page.of_version(pinned)
        if listed:
            artifacts = tuple(artifact for artifact in listed if artifact.fits(target))
            items.append(
                Item(
                    name=requirement.name,
                    version=pinned,
                    upstream=page.upstream,
                    status=page.status,
                    artifacts=artifacts,
                    subjects=(subject,),
                    location=requirement.location,
                    source_only=not artifacts,
                )
            )
    outcome = Outcome(
        rule="resolution",
        kind=OutcomeKind.FAIL,
        message=f"nothing satisfies {spec.file} on {target}: {failed.explanation}",
        evidence=(("explanation", failed.explanation),),
    )
    return Plan(items=(*referenced, *items), outcomes=(outcome,))


def _exact(specifier: SpecifierSet) -> Version | None:
    """The version of a single `==` pin without a wildcard."""
    parts = list(specifier)
    if len(parts) == 1 and parts[0].operator in ("==", "===") and not parts[0].version.endswith(".*"):
        return Version(parts[0].version)
    return None
