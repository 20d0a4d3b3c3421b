"""A `PythonResolver` in memory: takes the newest version of each name that everything accepts, and never backtracks."""

from collections.abc import Collection
from datetime import datetime

from fakes_index import Release, World
from packaging.requirements import Requirement as Pep508
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name

from quarantine.model import parse_name, parse_version
from quarantine.ports import Resolution, ResolutionFailed, ResolutionRequest, ResolvedPackage, Tell


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
        chosen: dict[NormalizedName, Release] = {}
        while open_names := [n for n in wanted if n not in chosen and n not in request.excluded]:
            name = open_names[0]
            picked = self._pick(name, wanted[name], request)
            if isinstance(picked, ResolutionFailed):
                return picked
            chosen[name] = picked
            for line in picked.requires:
                needed = Pep508(line)
                other = canonicalize_name(needed.name)
                wanted[other] = wanted.get(other, SpecifierSet()) & needed.specifier
                required_by.setdefault(other, set()).add(name)
        for name, release in chosen.items():
            if parse_version(release.version) not in wanted[name]:
                return ResolutionFailed(explanation=f"no version of {name} fits {wanted[name]}")
        return Resolution(packages=tuple(self._found(n, chosen[n], required_by, direct.keys()) for n in sorted(chosen)))

    def _pick(
        self, name: NormalizedName, specifier: SpecifierSet, request: ResolutionRequest
    ) -> Release | ResolutionFailed:
        releases = self.world.releases(name)
        if not releases:
            return ResolutionFailed(explanation=f"{name} was not found", not_found=frozenset({name}))
        cutoff = dict(request.not_after_by_name).get(name, request.not_after)
        for line in request.constraints:
            constraint = Pep508(line)
            if canonicalize_name(constraint.name) == name:
                specifier &= constraint.specifier
        fitting = [r for r in releases if parse_version(r.version) in specifier]
        dated = [r for r in fitting if cutoff is None or (r.upload_time is not None and _time(r) <= cutoff)]
        wheels = [r for r in dated if not r.source and r.artifact().fits(request.target)]
        if wheels:
            return max(wheels, key=lambda release: parse_version(release.version))
        return ResolutionFailed(
            explanation=f"no version of {name} can be used",
            source_only=frozenset({name} if dated and all(r.source for r in dated) else ()),
            no_upload_time=frozenset({name} if fitting and all(r.upload_time is None for r in fitting) else ()),
        )

    def _found(
        self,
        name: NormalizedName,
        release: Release,
        required_by: dict[NormalizedName, set[NormalizedName]],
        direct: Collection[NormalizedName],
    ) -> ResolvedPackage:
        owner = self.world.owner(name)
        assert owner is not None
        return ResolvedPackage(
            name=parse_name(name),
            version=parse_version(release.version),
            upstream=owner,
            digests=frozenset(r.digest for r in self.world.releases(name) if r.version == release.version),
            required_by=tuple(sorted(required_by.get(name, ()))),
            direct=name in direct,
        )


def _time(release: Release) -> datetime:
    assert release.upload_time is not None
    return datetime.fromisoformat(release.upload_time)
