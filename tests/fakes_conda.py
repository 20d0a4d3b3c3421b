"""A small world of conda channels, and a `CondaSolver` and a `CondaPackages` over it in memory.

Real channels on loopback can be filled from the same world. Specs are the simple ones: a name, with a PEP 440 specifier
behind a space or in conda's brackets.
"""

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from channels import LONG_AGO, CondaChannel, distribution
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName
from packaging.version import Version

from quarantine.errors import IntegrityError, UpstreamError
from quarantine.model import CondaRecord, Digest, Ecosystem, Package, Target, parse_name, parse_version
from quarantine.policy.files import Mode
from quarantine.policy.stage import Upstream
from quarantine.ports import (
    CondaCandidates,
    CondaContents,
    CondaFailed,
    CondaListing,
    CondaRequest,
    CondaSolution,
    Tell,
)


@dataclass(frozen=True, kw_only=True)
class CondaPackage:
    """One package file of a channel, with the Python distributions in it: name, version, and what each requires.

    Where `unreadable`, its bytes are no package.
    """

    name: str
    version: str
    build: str = "0"
    subdir: str = "noarch"
    depends: tuple[str, ...] = ()
    distributions: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    uploaded: datetime | None = LONG_AGO
    kind: str = ".conda"
    unreadable: bool = False

    @property
    def filename(self) -> str:
        """Its file's name."""
        return f"{self.name}-{self.version}-{self.build}{self.kind}"

    @property
    def files(self) -> dict[str, bytes]:
        """What it installs."""
        found: dict[str, bytes] = {}
        where = "site-packages" if self.subdir == "noarch" else "lib/python3.11/site-packages"
        for name, version, requires in self.distributions:
            found |= distribution(name, version, requires, where)
        return found

    @property
    def holds(self) -> tuple[Package, ...]:
        """The distributions in it, by name."""
        return tuple(sorted(Package(parse_name(name), parse_version(text)) for name, text, _ in self.distributions))

    def record(self, upstream: str) -> CondaRecord:
        """What a channel of that name lists for it. The digest stands for it in memory alone."""
        return CondaRecord(
            upstream=upstream,
            subdir=self.subdir,
            name=self.name,
            version=self.version,
            build=self.build,
            filename=self.filename,
            url=f"http://{upstream}.invalid/{self.subdir}/{self.filename}",
            sha256=Digest.sha256(hashlib.sha256(f"{upstream} {self!r}".encode()).hexdigest()),
            size=1000,
            indexed=self.uploaded,
            depends=self.depends,
        )


@dataclass(frozen=True, kw_only=True)
class CondaWorld:
    """Channels in order of ownership with their packages; `broken` ones answer every question with a failure."""

    channels: Mapping[str, tuple[CondaPackage, ...]]
    broken: frozenset[str] = frozenset()

    def records(self, channel: str, name: str, target: Target | None = None) -> tuple[CondaRecord, ...]:
        """What a channel has of a name (for a target: of its platform, and of none). UpstreamError when it is broken.

        A `.tar.bz2` with its `.conda` beside it isn't seen.
        """
        if channel in self.broken:
            raise UpstreamError(f"{channel} is broken")
        subdirs = None if target is None else (target.conda_subdir, "noarch")
        packages = [p for p in self.channels[channel] if p.name == name and (subdirs is None or p.subdir in subdirs)]
        new = {(p.subdir, p.version, p.build) for p in packages if p.kind == ".conda"}
        packages = [p for p in packages if p.kind == ".conda" or (p.subdir, p.version, p.build) not in new]
        return tuple(package.record(channel) for package in packages)

    def owner(self, name: str, target: Target) -> str | None:
        """The first channel that has the name."""
        return next((channel for channel in self.channels if self.records(channel, name, target)), None)

    def package(self, record: CondaRecord) -> CondaPackage:
        """What a record stands for."""
        if record.upstream in self.broken:
            raise UpstreamError(f"{record.upstream} is broken")
        packages = self.channels[record.upstream]
        return next(p for p in packages if (p.subdir, p.filename) == (record.subdir, record.filename))

    @contextmanager
    def served(self) -> Iterator["ServedWorld"]:
        """The channels, each served on loopback. Broken ones answer 404 to everything."""
        with ExitStack() as stack:
            channels: dict[str, CondaChannel] = {}
            digests: dict[tuple[str, CondaPackage], Digest] = {}
            for name, packages in self.channels.items():
                folder = Path(stack.enter_context(TemporaryDirectory(prefix="channel-")))
                channel = channels[name] = stack.enter_context(CondaChannel(folder=folder, name=name))
                for package in packages:
                    digests[name, package] = _add(channel, package)
                channel.index()
                for package in packages:
                    if package.unreadable:
                        path = folder / package.subdir / package.filename
                        path.write_bytes(b"\0" * path.stat().st_size)
                if name in self.broken:
                    channel.name = "elsewhere"
            urls = {name: f"{channel.server.origin}/{name}" for name, channel in channels.items()}
            yield ServedWorld(
                upstreams=tuple(
                    Upstream(name=name, type=Ecosystem.CONDA, url=url, mode=Mode.OPEN) for name, url in urls.items()
                ),
                channels=channels,
                digests=digests,
            )


@dataclass(frozen=True, kw_only=True)
class ServedWorld:
    """A world on loopback: its upstreams in order, their channels, and the digests of their packages."""

    upstreams: tuple[Upstream, ...]
    channels: Mapping[str, CondaChannel]
    digests: Mapping[tuple[str, CondaPackage], Digest]

    def record(self, upstream: str, package: CondaPackage) -> CondaRecord:
        """What the channel lists for a package; md5 left out."""
        channel = self.channels[upstream]
        path = channel.folder / package.subdir / package.filename
        return CondaRecord(
            upstream=upstream,
            subdir=package.subdir,
            name=package.name,
            version=package.version,
            build=package.build,
            filename=package.filename,
            url=f"{channel.server.origin}/{upstream}/{package.subdir}/{package.filename}",
            sha256=self.digests[upstream, package],
            size=path.stat().st_size,
            indexed=package.uploaded,
            depends=package.depends,
        )


def _add(channel: CondaChannel, package: CondaPackage) -> Digest:
    return channel.add(
        package.name,
        package.version,
        build=package.build,
        subdir=package.subdir,
        depends=package.depends,
        files=package.files,
        uploaded=package.uploaded,
        kind=package.kind,
    )


class FakeCondaSolver:
    """Takes the newest record of each name that everything accepts, and never backtracks; keeps what it was asked."""

    def __init__(self, world: CondaWorld) -> None:
        self.world = world
        self.requests: list[CondaRequest] = []

    def solve(self, request: CondaRequest, tell: Tell) -> CondaSolution | CondaFailed:
        """One solution, or why there is none."""
        self.requests.append(request)
        tell("solving")
        asked = [_spec(str(spec)) for spec in request.specs if spec.reference is None]
        limits = [_spec(text) for text in request.constraints]
        missing = frozenset(name for name, _ in asked if not self._tier(name, request))
        if missing:
            return CondaFailed(
                explanation=f"no candidates were found for {', '.join(sorted(missing))}", not_found=missing
            )
        chosen: dict[str, CondaRecord] = {}
        while asked:
            name, wanted = asked.pop(0)
            if name.startswith("__"):
                continue
            limit = SpecifierSet(",".join(str(spec) for other, spec in limits if other == name)) & wanted
            if name in chosen and _version(chosen[name]) in limit:
                continue
            fitting = [r for r in self._tier(name, request) if _version(r) in limit]
            if name in chosen or not fitting:
                return CondaFailed(explanation=f"no candidates were found for {name} {limit}")
            chosen[name] = max(fitting, key=_version)
            asked += map(_spec, chosen[name].depends)
        owners = {name: self.world.owner(name, request.target) or "" for name in chosen}
        return CondaSolution(records=tuple(chosen[name] for name in sorted(chosen)), owners=owners)

    def listed(self, wanted: Mapping[str, frozenset[Digest]], target: Target, tell: Tell) -> Mapping[str, CondaListing]:
        """Owners, of their records those that have one of the digests, and the twins of these."""
        found: dict[str, CondaListing] = {}
        for name, digests in wanted.items():
            owner = self.world.owner(name, target)
            records = () if owner is None else self.world.records(owner, name, target)
            asked = tuple(r for r in records if r.sha256 in digests)
            twins = tuple(r for r in records if any(_are_twins(r, other) for other in asked))
            found[name] = CondaListing(owner=owner, records=asked, twins=twins)
        return found

    def candidates(self, request: CondaCandidates, tell: Tell) -> tuple[CondaRecord, ...]:
        """The last build of each version that would do."""
        beside = {record.name: record for record in request.beside}
        specs = [wanted for name, wanted in map(_spec, request.specs) if name == request.name]
        best: dict[str, CondaRecord] = {}
        for record in self.world.records(request.upstream, request.name, request.target):
            needs = [(name, wanted) for name, wanted in map(_spec, record.depends) if name in beside]
            if all(_version(record) in wanted for wanted in specs) and all(
                _version(beside[name]) in wanted for name, wanted in needs
            ):
                best[record.version] = record
        return tuple(sorted(best.values(), key=_version))

    def _tier(self, name: str, request: CondaRequest) -> list[CondaRecord]:
        """The records of the first of the user's channels that has the name (strict priority), up to the cutoff."""
        found = (self.world.records(channel, name, request.target) for channel in request.channels)
        records = next(filter(None, found), ())
        cutoff = request.not_after
        return [
            r
            for r in records
            if cutoff is None or r.indexed is None or r.indexed <= cutoff or r.sha256 in request.approved
        ]


@dataclass
class FakeCondaPackages:
    """Looks into the packages of a world; `asked` are the purls that it was asked for."""

    world: CondaWorld
    asked: list[str] = field(default_factory=list)

    def contents(self, records: Collection[CondaRecord], tell: Tell) -> Mapping[CondaRecord, CondaContents]:
        """What is inside, and when the server got it."""
        found: dict[CondaRecord, CondaContents] = {}
        for record in records:
            self.asked.append(record.purl)
            package = self.world.package(record)
            holds, why = (None, "it is no conda package") if package.unreadable else (package.holds, "")
            found[record] = CondaContents(distributions=holds, last_modified=package.uploaded, why=why)
        return found

    def metadata(self, record: CondaRecord, names: Collection[NormalizedName], tell: Tell) -> Mapping[str, bytes]:
        """The core metadata of the distributions in a package."""
        package = self.world.package(record)
        if package.unreadable:
            raise IntegrityError(f"{record.filename} is no conda package")
        found = {
            str(parse_name(name)): data
            for name, version, requires in package.distributions
            for path, data in distribution(name, version, requires).items()
            if path.endswith("/METADATA")
        }
        missing = set(names) - set(found)
        if missing:
            raise UpstreamError(f"{record.filename} holds no metadata of {', '.join(sorted(missing))}")
        return {name: found[name] for name in names}


def _version(record: CondaRecord) -> Version:
    return parse_version(record.version)


def _are_twins(one: CondaRecord, other: CondaRecord) -> bool:
    same = (_version(one), one.build) == (_version(other), other.build)
    return same and one.sha256 != other.sha256


def _spec(text: str) -> tuple[str, SpecifierSet]:
    """Name and versions of `name`, `name >=1,<2` or `name[version='>=1,<2']`."""
    name, _, rest = text.partition("[") if "[" in text else text.partition(" ")
    bracketed = re.fullmatch(r"version='([^']*)'\]", rest)
    versions = rest if bracketed is None else bracketed[1]
    clauses = [clause if clause[0] in "<>=!~" else f"=={clause}" for clause in versions.split(",") if clause]
    return name, SpecifierSet(",".join(clauses))
