"""A `PythonResolver` in memory: takes the newest version of each name that everything accepts, and never backtracks."""

from collections.abc import Collection
from datetime import datetime

from fakes_index import Release, World
from msgspec.structs import replace
from packaging.requirements import Requirement as Pep508
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from quarantine.archive.metadata import parse_metadata
from quarantine.exceptions import MIRROR
from quarantine.model import parse_name, parse_version
from quarantine.ports import (
    Installed,
    OverlayFile,
    Resolution,
    ResolutionFailed,
    ResolutionRequest,
    ResolvedPackage,
    Tell,
)


class FakeResolver:
    """Resolves from a world; every request is kept in `requests`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.requests: list[ResolutionRequest] = []

    def resolve(self, request: ResolutionRequest, tell: Tell) -> Resolution | ResolutionFailed:
        """One solution, or why there is none."""
        self.requests.append(request)
        tell("resolving")
        asked = [r for r in request.requirements if r.name is not None and r.reference is None]
        direct = {r.name: r.specifier for r in asked if r.name is not None and r.applies_to(request.target)}
        wanted: dict[NormalizedName, SpecifierSet] = dict(direct)
        required_by: dict[NormalizedName, set[NormalizedName]] = {}
        chosen: dict[NormalizedName, Release | Installed | OverlayFile] = {}
        there = {one.package.name: one for one in request.installed}
        while open_names := [n for n in wanted if n not in chosen and n not in request.excluded]:
            name = open_names[0]
            picked = there.get(name) or self._pick(name, wanted[name], request)
            if isinstance(picked, ResolutionFailed):
                return _with_installed(picked, request)
            chosen[name] = picked
            for other, specifier in _needs(picked, request):
                wanted[other] = wanted.get(other, SpecifierSet()) & specifier
                required_by.setdefault(other, set()).add(name)
        for name, picked in chosen.items():
            if _version(picked) not in wanted[name]:
                failed = ResolutionFailed(explanation=f"no version of {name} fits {wanted[name]}")
                return _with_installed(failed, request)
        picks = {name: picked for name, picked in sorted(chosen.items()) if not isinstance(picked, Installed)}
        return Resolution(
            packages=tuple(self._found(n, pick, required_by, direct.keys(), request) for n, pick in picks.items()),
            used=frozenset(there.keys() & chosen.keys()),
        )

    def _pick(
        self, name: NormalizedName, specifier: SpecifierSet, request: ResolutionRequest
    ) -> Release | OverlayFile | ResolutionFailed:
        kept = self.world.reservation(name) == MIRROR
        releases = () if kept else self.world.releases(name)
        approved = [file for file in request.overlay if file.name == name]
        if not releases and not approved:
            return ResolutionFailed(explanation=f"{name} was not found", not_found=frozenset({name}))
        cutoff = dict(request.not_after_by_name).get(name, request.not_after)
        for line in request.constraints:
            constraint = Pep508(line)
            if canonicalize_name(constraint.name) == name:
                specifier &= constraint.specifier
        fitting = [r for r in releases if parse_version(r.version) in specifier]
        dated = [r for r in fitting if cutoff is None or (r.upload_time is not None and _time(r) <= cutoff)]
        wheels = [r for r in dated if not r.source and r.artifact().fits(request.target)]
        approved = [file for file in approved if file.version in specifier]
        if wheels or approved:
            # where both have a version, the approved file is the one
            every: list[Release | OverlayFile] = [*approved, *wheels]
            return max(every, key=_version)
        return ResolutionFailed(
            explanation=f"no version of {name} can be used",
            source_only=frozenset({name} if dated and all(r.source for r in dated) else ()),
            no_upload_time=frozenset({name} if fitting and all(r.upload_time is None for r in fitting) else ()),
        )

    def _found(
        self,
        name: NormalizedName,
        picked: Release | OverlayFile,
        required_by: dict[NormalizedName, set[NormalizedName]],
        direct: Collection[NormalizedName],
        request: ResolutionRequest,
    ) -> ResolvedPackage:
        owner, version = self.world.owner(name), _version(picked)
        if isinstance(picked, OverlayFile):
            owner = MIRROR
            digests = frozenset(f.digest for f in request.overlay if (f.name, f.version) == (name, version))
        else:
            digests = frozenset(r.digest for r in self.world.releases(name) if r.version == picked.version)
        assert owner is not None
        return ResolvedPackage(
            name=parse_name(name),
            version=version,
            upstream=owner,
            digests=digests,
            required_by=tuple(sorted(required_by.get(name, ()))),
            direct=name in direct,
        )


def _needs(
    picked: Release | Installed | OverlayFile, request: ResolutionRequest
) -> list[tuple[NormalizedName, SpecifierSet]]:
    """What a release, or the metadata of what is installed, asks for on the target."""
    if isinstance(picked, Release):
        return [(canonicalize_name(needed.name), needed.specifier) for needed in map(Pep508, picked.requires)]
    found = () if picked.metadata is None else parse_metadata("installed", picked.metadata).requires
    return [(r.name, r.specifier) for r in found if r.name is not None and r.applies_to(request.target)]


def _version(picked: Release | Installed | OverlayFile) -> Version:
    match picked:
        case Release():
            return parse_version(picked.version)
        case OverlayFile():
            return picked.version
        case _:
            return picked.package.version


def _with_installed(failed: ResolutionFailed, request: ResolutionRequest) -> ResolutionFailed:
    there = ", ".join(f"{one.package.name} {one.package.version}" for one in request.installed)
    return replace(failed, explanation=f"{failed.explanation} (conda installs {there})") if there else failed


def _time(release: Release) -> datetime:
    assert release.upload_time is not None
    return datetime.fromisoformat(release.upload_time)
