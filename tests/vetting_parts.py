"""Vetting with everything outside of it made up: what it asks for, and what it writes, is there for a test to look at."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from errno import ENOSPC
from pathlib import Path
from typing import BinaryIO

from exception_records import NOON, PUBLISH, PUBLISHER, REQUESTS, entry_id, request
from fakes_advisories import FakeAdvisories
from fakes_conda import CondaPackage, CondaWorld, FakeCondaPackages, FakeCondaSolver
from fakes_index import FakeIndex, Release, World
from fakes_log import MemoryLog
from fakes_store import MemoryStore

from quarantine.archive.inspection import CHECKS, Inspection
from quarantine.audit.events import request_drafts
from quarantine.errors import IntegrityError, UpstreamError
from quarantine.exceptions import Dossier, ExceptionCase, ExceptionFile, ExceptionRequest
from quarantine.model import Digest, Ecosystem, Licences, Outcome, OutcomeKind, PackageFile, Target
from quarantine.pipeline.state import read_state
from quarantine.pipeline.vet import VetPorts, Vetting
from quarantine.policy.entries import Publisher
from quarantine.policy.load import Policy, load
from quarantine.ports import Index, Tell

__all__ = ["POLICY_SHA", "Desk", "FakeAttestations", "conda", "outcomes_of", "policy", "python"]

LINUX = Target("3.11", "linux-x86_64")
POLICY_SHA = "e" * 64
_POLICY = """\
version: 1
upstreams:
  - {name: acme, type: pypi, url: "https://packages.example.org/simple", mode: open}
  - {name: pypi, type: pypi, mode: open, entries: pypi.yaml}
  - {name: forge, type: conda, url: "https://conda.example.org/forge", mode: open}
reserved: []
default_stage: {check: production, lock: production, gate: production}
rules:
  minimum_age: {days: 7, security_fix_days: 1}
  vulnerability: {threshold: {severity: high}, unknown_severity: deny, unless_no_fix: false}
  typosquat: {action: review}
  conda: {native: tolerate}
  exceptions: {approvers: 1, max_days: 90, warn_days: 14, max_file_mib: 1}
  licence: LICENCE
  provenance: PROVENANCE
stages:
  production: {}
ignores: []
"""


def policy(
    *, licence: str = "{unknown: deny}", provenance: str = "{required: false}", entries: str = "version: 1\n"
) -> Policy:
    """One stage, three upstreams, and the rules that a test cares about."""
    text = _POLICY.replace("LICENCE", licence).replace("PROVENANCE", provenance)
    return load({"policy.yaml": text.encode(), "pypi.yaml": entries.encode()}, now=NOON)


def python(release: Release, upstream: str = "pypi") -> ExceptionFile:
    """A release as somebody asks for it."""
    listed = release.artifact()
    return ExceptionFile(
        ecosystem=Ecosystem.PYPI,
        upstream=upstream,
        name=release.name,
        version=release.version,
        filename=listed.filename,
        sha256=release.digest.hex,
        size=len(release.data),
    )


def conda(package: CondaPackage, upstream: str = "forge") -> ExceptionFile:
    """A package of a channel as somebody asks for it."""
    record = package.record(upstream)
    assert record.sha256 is not None
    return ExceptionFile(
        ecosystem=Ecosystem.CONDA,
        upstream=upstream,
        name=package.name,
        version=package.version,
        filename=package.filename,
        sha256=record.sha256.hex,
        subdir=package.subdir,
        build=package.build,
    )


@dataclass
class FakeSource:
    """A `FileSource` that has these bytes by the digest under which they are listed, and holds them to it.

    `down` is the name of a file that can't be had; once `full`, this machine's disk is.
    """

    blobs: dict[str, bytes] = field(default_factory=dict)
    attested: dict[str, bytes] = field(default_factory=dict)
    fetched: list[tuple[str, str]] = field(default_factory=list)
    down: str = ""
    full: bool = False

    def fetch(self, upstream: str, file: PackageFile, to: BinaryIO, max_bytes: int, tell: Tell) -> int:
        """The bytes, as far as they are those of the digest."""
        assert file.digest is not None
        if file.filename == self.down:
            raise UpstreamError(f"{upstream} answered 503 for {file.filename}")
        if self.full:
            raise OSError(ENOSPC, "No space left on device")
        self.fetched.append((upstream, file.filename))
        data = self.blobs[file.digest.hex]
        to.write(data)
        if len(data) > max_bytes:
            raise IntegrityError(f"{file.filename} has more than the {max_bytes} bytes that it may have")
        if hashlib.sha256(data).hexdigest() != file.digest.hex:
            raise IntegrityError(f"{file.filename}: its bytes don't have the sha256 that {upstream} lists for it")
        return len(data)

    def provenance(self, upstream: str, url: str, tell: Tell) -> bytes | None:
        """What was put there for the URL."""
        return self.attested.get(url)


@dataclass
class FakeInspector:
    """An `Inspector` that finds nothing wrong but what `instead` says of a file, by its name. `metadata` is by file name.

    Once `swapped`, it says that it looked into other bytes.
    """

    metadata: dict[str, bytes] = field(default_factory=dict)
    holds: dict[str, tuple[str, ...]] = field(default_factory=dict)
    licences: dict[str, Licences] = field(default_factory=dict)
    instead: dict[str, Outcome] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    swapped: bool = False

    def inspect(self, path: Path, file: ExceptionFile, tell: Tell) -> Inspection:
        """Each check passed, but for what was said otherwise."""
        self.seen.append(file.filename)
        data = path.read_bytes()
        other = self.instead.get(file.filename)
        found = (Outcome(rule=rule, kind=OutcomeKind.PASS, message=f"{rule} is well") for rule in CHECKS)
        metadata = self.metadata.get(file.filename)
        lines = [] if metadata is None else metadata.decode().splitlines()
        return Inspection(
            filename=file.filename,
            sha256="0" * 64 if self.swapped else hashlib.sha256(data).hexdigest(),
            size=len(data),
            outcomes=tuple(other if other is not None and other.rule == one.rule else one for one in found),
            metadata=metadata,
            requires=tuple(x.removeprefix("Requires-Dist: ") for x in lines if x.startswith("Requires-Dist: ")),
            holds=self.holds.get(file.filename, ()),
            licences=self.licences.get(file.filename, Licences(expression="MIT")),
        )


@dataclass
class FakeAttestations:
    """An `Attestations` that answers alike to all; `asked` are file name, provenance and the publisher expected."""

    kind: OutcomeKind = OutcomeKind.NOT_APPLICABLE
    asked: list[tuple[str, bytes | None, Publisher | None]] = field(default_factory=list)

    def verify(self, file: ExceptionFile, provenance: bytes | None, expected: Publisher | None, tell: Tell) -> Outcome:
        """The one answer."""
        self.asked.append((file.filename, provenance, expected))
        return Outcome(rule="provenance", kind=self.kind, message="what attestations say")


@dataclass(kw_only=True)
class Desk:
    """Where requests are vetted: releases of upstreams, packages of a channel called `forge`, and a log."""

    upstreams: Mapping[str, tuple[Release, ...]]
    channel: tuple[CondaPackage, ...] = ()
    policy: Policy = field(default_factory=policy)
    policy_sha256: str = POLICY_SHA
    advisories: FakeAdvisories = field(default_factory=FakeAdvisories)
    index: Index | None = None
    source: FakeSource = field(default_factory=FakeSource)
    inspector: FakeInspector = field(default_factory=FakeInspector)
    attestations: FakeAttestations = field(default_factory=FakeAttestations)
    store: MemoryStore = field(default_factory=MemoryStore)
    log: MemoryLog = field(default_factory=MemoryLog)
    now: datetime = NOON
    told: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for release in (release for releases in self.upstreams.values() for release in releases):
            self.source.blobs[release.digest.hex] = release.data
            self.inspector.metadata[release.artifact().filename] = release.core_metadata
        for package in self.channel:
            # in memory a package's digest is that of its description
            self.source.blobs[conda(package).sha256] = f"forge {package!r}".encode()
            self.inspector.holds[package.filename] = tuple(f"{p.name}=={p.version}" for p in package.holds)

    def ask(self, *files: ExceptionFile) -> ExceptionCase:
        """A request, as it stands in the log."""
        asked = request(*files, time=self.now - timedelta(hours=1))
        self.log.append(REQUESTS, request_drafts(asked, [entry_id(asked.time)]))
        return self.case(asked)

    def case(self, asked: ExceptionRequest) -> ExceptionCase:
        """What the log says of a request."""
        return read_state(self.log, self.store).cases[asked.id]

    def vetting(self) -> Vetting:
        """A run's vetting."""
        world = CondaWorld(channels={"forge": self.channel})
        return Vetting(
            ports=VetPorts(
                index=self.index or FakeIndex(World(upstreams=self.upstreams)),
                advisories=self.advisories,
                solver=lambda: FakeCondaSolver(world),
                packages=lambda: FakeCondaPackages(world),
                source=lambda: self.source,
                inspector=lambda: self.inspector,
                attestations=self.attestations,
                store=self.store,
                log=self.log,
            ),
            policy=self.policy,
            policy_sha256=self.policy_sha256,
            targets=(LINUX,),
            advisory_max_age=timedelta(hours=48),
            now=self.now,
            by=PUBLISHER,
            stream=PUBLISH,
            new_id=lambda: entry_id(self.now),
            tell=self.told.append,
        )

    def dossier(self, sha256: str) -> Dossier:
        """A dossier of the evidence store."""
        return Dossier.decode(self.store.get("evidence", Digest.sha256(sha256)))

    def written(self) -> tuple[int, int]:
        """How many entries the publisher wrote, and how many things are in the evidence store."""
        return len(self.log.stored.get(PUBLISH, ())), sum(container == "evidence" for container, _ in self.store.stored)

    def held(self) -> list[str]:
        """The sha256 of what is in the holding area."""
        return sorted(digest.hex for container, digest in self.store.stored if container == "held")


def outcomes_of(dossier: Dossier, *rules: str) -> Sequence[tuple[str, OutcomeKind, str]]:
    """Rule, kind and message of these rules, of every file in its order."""
    return [(o.rule, o.kind, o.message) for file in dossier.files for o in file.outcomes if o.rule in rules]
