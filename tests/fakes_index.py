"""A small world of upstreams and releases, and an `Index` over it in memory. Servers can be filled from the same world."""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from packaging.specifiers import SpecifierSet
from packaging.tags import parse_tag
from packaging.utils import NormalizedName
from servers import Answer, IndexServer, core_metadata, make_sdist, make_wheel

from quarantine.errors import UpstreamError
from quarantine.model import Artifact, Digest, Ecosystem, IndexPage, parse_name, parse_version
from quarantine.policy.files import Mode
from quarantine.policy.stage import Upstream
from quarantine.ports import Tell


@dataclass(frozen=True, kw_only=True)
class Release:
    """One file of a project: a wheel, or with `source` a source distribution."""

    name: str
    version: str
    requires: tuple[str, ...] = ()
    upload_time: str | None = "2024-01-01T00:00:00Z"
    yanked: str | None = None
    requires_python: str | None = None
    tag: str = "py3-none-any"
    metadata: bool = True
    source: bool = False

    @property
    def core_metadata(self) -> bytes:
        """Its METADATA."""
        return core_metadata(self.name, self.version, requires=self.requires, requires_python=self.requires_python)

    @property
    def data(self) -> bytes:
        """Its bytes."""
        if self.source:
            return make_sdist(self.name, self.version, core_metadata(self.name, self.version))
        return make_wheel(self.name, self.version, self.core_metadata, tag=self.tag)

    @property
    def digest(self) -> Digest:
        """The sha256 of its bytes."""
        return _sha256(self.data)

    def artifact(self, base: str = "http://index.example") -> Artifact:
        """What the page of a loopback index at `base` lists for it."""
        stem = f"{self.name.replace('-', '_')}-{self.version}"
        filename = f"{stem}.tar.gz" if self.source else f"{stem}-{self.tag}.whl"
        described = self.metadata and not self.source
        return Artifact(
            name=parse_name(self.name),
            version=parse_version(self.version),
            filename=filename,
            digest=self.digest,
            size=len(self.data),
            upload_time=None if self.upload_time is None else datetime.fromisoformat(self.upload_time),
            yanked=self.yanked,
            url=f"{base}/files/{filename}",
            requires_python=None if self.requires_python is None else SpecifierSet(self.requires_python),
            metadata_digest=_sha256(self.core_metadata) if described else None,
            has_metadata=described,
            tags=frozenset() if self.source else parse_tag(self.tag),
        )


def _sha256(data: bytes) -> Digest:
    return Digest.sha256(hashlib.sha256(data).hexdigest())


@dataclass(frozen=True, kw_only=True)
class World:
    """Upstreams in order of ownership with their releases; `broken` ones answer every question with a failure."""

    upstreams: Mapping[str, tuple[Release, ...]]
    reserved: Mapping[str, str] = field(default_factory=dict)
    broken: frozenset[str] = frozenset()

    def reservation(self, name: str) -> str | None:
        """The only upstream that may have the name."""
        return self.reserved.get(name)

    def owner(self, name: str) -> str | None:
        """The upstream that owns the name. UpstreamError when one that comes first can't be asked."""
        for upstream, releases in self.upstreams.items():
            if self.reservation(name) not in (None, upstream):
                continue
            if upstream in self.broken:
                raise UpstreamError(f"{upstream} is broken")
            if any(release.name == name for release in releases):
                return upstream
        return None

    def releases(self, name: str) -> tuple[Release, ...]:
        """The owner's releases of a name."""
        owner = self.owner(name)
        return () if owner is None else tuple(r for r in self.upstreams[owner] if r.name == name)

    @contextmanager
    def served(self, *, as_html: bool = False) -> Iterator[tuple[Upstream, ...]]:
        """The upstreams, each served by an index on loopback."""
        with ExitStack() as stack:
            upstreams: list[Upstream] = []
            for name, releases in self.upstreams.items():
                server = stack.enter_context(IndexServer(as_html=as_html))
                for release in releases:
                    fill(server, release)
                    if name in self.broken:
                        server.always(server.page_path(release.name), Answer(status=403))
                upstreams.append(Upstream(name=name, type=Ecosystem.PYPI, url=server.url, mode=Mode.OPEN))
            yield tuple(upstreams)


def fill(server: IndexServer, release: Release) -> None:
    """Adds a release to a server."""
    if release.source:
        server.add_sdist(release.name, release.version, upload_time=release.upload_time)
    else:
        server.add(
            release.name,
            release.version,
            requires=release.requires,
            requires_python=release.requires_python,
            tag=release.tag,
            upload_time=release.upload_time,
            yanked=False if release.yanked is None else release.yanked,
            metadata=release.metadata,
        )


class FakeIndex:
    """An `Index` in memory."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.asked: list[NormalizedName] = []

    def pages(self, names: Collection[NormalizedName], tell: Tell) -> Mapping[NormalizedName, IndexPage | None]:
        """The owners' pages."""
        self.asked += names
        found: dict[NormalizedName, IndexPage | None] = {}
        for name in names:
            owner = self.world.owner(name)
            artifacts = [release.artifact() for release in self.world.releases(name)]
            found[name] = None if owner is None else IndexPage(upstream=owner, name=name, artifacts=artifacts)
        return found

    def metadata(self, artifacts: Collection[Artifact], tell: Tell) -> Mapping[str, bytes | None]:
        """The metadata of wheels."""
        every = [release for releases in self.world.upstreams.values() for release in releases]
        texts = {r.artifact().filename: r.core_metadata for r in every if not r.source}
        return {artifact.filename: texts.get(artifact.filename) for artifact in artifacts}
