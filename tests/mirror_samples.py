"""Exceptions that hold, written into a real log entry by entry, with bytes that were vetted: what a mirror is published of."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace
from servers import core_metadata, make_wheel

from quarantine.audit.events import (
    DECISIONS,
    PUBLISH,
    REQUESTS,
    request_drafts,
    request_id,
    ruling_draft,
    vetted_draft,
)
from quarantine.audit.record import new_id
from quarantine.exceptions import (
    Approved,
    Dossier,
    DossierFile,
    DossierSummary,
    ExceptionCase,
    ExceptionFile,
    ExceptionRequest,
    Identity,
    Ruling,
    RulingKind,
    State,
)
from quarantine.model import Ecosystem, Outcome, OutcomeKind
from quarantine.pipeline.mirror_index import Rebuilt, Verified, rebuild, verify
from quarantine.pipeline.publish import Publisher
from quarantine.pipeline.state import read_state
from quarantine.policy.decide import decide
from quarantine.policy.load import load
from quarantine.policy.stage import Policy
from quarantine.ports import ArtifactStore, AuditLog, PageStore

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ANN = Identity(kind="local", id="uid:1", name="ann")
BOB = Identity(kind="local", id="uid:2", name="bob")
ROBOT = Identity(kind="local", id="uid:9", name="publisher")

POLICY = """\
version: 1
upstreams:
  - {name: pypi, type: pypi, mode: open}
  - {name: forge, type: conda, url: "https://conda.example.org/forge", mode: open}
default_stage: {check: development, lock: production, gate: production}
rules:
  exceptions: {approvers: 1, max_days: 90}
stages:
  development: {}
  production: {}
"""

TOOL_INDEX = '{"name": "tool", "version": "1", "build": "0", "build_number": 0, "depends": [], "subdir": "linux-64"}'


@dataclass(frozen=True, kw_only=True)
class Bytes:
    """A file with its bytes, and what vetting found of it."""

    data: bytes
    found: DossierFile
    metadata: bytes = b""

    @property
    def file(self) -> ExceptionFile:
        """What it is."""
        return self.found.file

    def of(self, data: bytes, filename: str = "") -> "Bytes":
        """The same with other bytes, and another name where one is given."""
        name = filename or self.file.filename
        file = replace(self.file, filename=name, sha256=hashlib.sha256(data).hexdigest(), size=len(data))
        return Bytes(data=data, found=replace(self.found, file=file), metadata=self.metadata)


def wheel(
    name: str,
    version: str = "1.0",
    *,
    upstream: str = "pypi",
    yanked: str | None = None,
    requires: Sequence[str] = (),
    requires_python: str = ">=3.8",
    extra: bytes = b"",
) -> Bytes:
    """A wheel, with its core metadata. `extra` is put into the metadata, for other bytes of the same name."""
    metadata = core_metadata(name, version, requires=requires, requires_python=requires_python) + extra
    data = make_wheel(name, version, metadata)
    file = ExceptionFile(
        ecosystem=Ecosystem.PYPI,
        upstream=upstream,
        name=name,
        version=version,
        filename=f"{name.replace('-', '_')}-{version}-py3-none-any.whl",
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
    )
    found = DossierFile(
        file=file,
        outcomes=(Outcome(rule="archive", kind=OutcomeKind.PASS, message="sound"),),
        metadata=hashlib.sha256(metadata).hexdigest(),
        requires_python=requires_python,
        yanked=yanked,
    )
    return Bytes(data=data, found=found, metadata=metadata)


def package(data: bytes, filename: str, index: str, *, subdir: str = "noarch", upstream: str = "forge") -> Bytes:
    """A conda package. `index` is the text of its `info/index.json`."""
    stem = filename.removesuffix(".conda").removesuffix(".tar.bz2")
    name, version, build = stem.rsplit("-", 2)
    file = ExceptionFile(
        ecosystem=Ecosystem.CONDA,
        upstream=upstream,
        name=name,
        version=version,
        filename=filename,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        subdir=subdir,
        build=build,
    )
    found = DossierFile(file=file, outcomes=(), index=index, md5=hashlib.md5(data, usedforsecurity=False).hexdigest())
    return Bytes(data=data, found=found)


@dataclass(kw_only=True)
class Mirror:
    """A log, a store and pages, with a counter for ids so that the same steps give the same bytes."""

    log: AuditLog
    store: ArtifactStore
    pages: PageStore
    policy: Policy = field(default_factory=lambda: load({"policy.yaml": POLICY.encode()}, now=NOW))
    count: int = 0

    def id(self) -> str:
        """The next id."""
        self.count += 1
        return new_id(NOW, self.count.to_bytes(10, "big"))

    def publisher(self, now: datetime = NOW) -> Publisher:
        """The publisher at an instant."""
        return Publisher(
            log=self.log, store=self.store, pages=self.pages, by=ROBOT, now=now, new_id=self.id, tell=lambda _: None
        )

    def approve(
        self,
        *files: Bytes,
        project: str = "demo",
        stage: str = "development",
        now: datetime = NOW,
        days: int = 30,
    ) -> str:
        """Requests, vets and approves the files as others would; the exception's id."""
        asked = now - timedelta(hours=2)
        request = ExceptionRequest(
            id="0" * 32,
            project=project,
            stage=stage,
            reason="needed",
            files=tuple(sorted(entry.file for entry in files)),
            requester=ANN,
            time=asked,
            nonce=self.id(),
        )
        request = replace(request, id=request_id(request))
        self.log.append(f"{REQUESTS}/{project}-{asked:%Y-%m}", request_drafts(request, [self.id() for _ in range(50)]))
        for entry in files:
            self.store.put("held", entry.data)
            if entry.metadata:
                self.store.put("evidence", entry.metadata)
        dossier = Dossier(
            exception=request.id,
            project=project,
            stage=stage,
            time=now - timedelta(hours=1),
            policy="a" * 64,
            files=tuple(entry.found for entry in sorted(files, key=lambda entry: entry.file)),
        )
        digest = self.store.put("evidence", dossier.encode())
        summary = DossierSummary(
            time=dossier.time,
            sha256=digest.hex,
            files=tuple(sorted({entry.file.sha256 for entry in files})),
            policy="a" * 64,
            by=ROBOT,
            binding=ExceptionCase(id=request.id, request=request).binding,
        )
        self.log.append(f"{PUBLISH}/process-{now:%Y-%m}", [vetted_draft(request, summary, self.id())])
        self.rule(request, RulingKind.APPROVE, now, summary, now + timedelta(days=days))
        return request.id

    def rule(
        self,
        request: ExceptionRequest,
        kind: RulingKind,
        now: datetime,
        dossier: DossierSummary | None = None,
        expires_at: datetime | None = None,
    ) -> None:
        """A curator's word."""
        ruling = Ruling(
            kind=kind,
            id=self.id(),
            time=now,
            by=BOB,
            reason="looked at",
            policy="a" * 64,
            files=() if dossier is None else dossier.files,
            dossier=None if dossier is None else dossier.sha256,
            expires_at=expires_at,
            project=request.project,
            stage=request.stage,
            binding=ExceptionCase(id=request.id, request=request).binding,
        )
        self.log.append(f"{DECISIONS}/decisions-{now:%Y-%m}", [ruling_draft(request, ruling)])

    def revoke(self, exception: str, now: datetime = NOW) -> None:
        """Revokes an exception."""
        request = self.case(exception).request
        assert request is not None
        self.rule(request, RulingKind.REVOKE, now)

    def state(self) -> State:
        """What all exceptions are."""
        return read_state(self.log, self.pages)

    def case(self, exception: str) -> ExceptionCase:
        """What one of them is."""
        return self.state().cases[exception]

    def approved(self, exception: str, now: datetime = NOW) -> Approved:
        """The exception, which holds."""
        decision = decide(self.case(exception), self.policy, now, local=True)
        assert isinstance(decision, Approved), decision
        return decision

    def publish(self, exception: str, now: datetime = NOW) -> bool:
        """Publishes it; whether the log had to say so."""
        return self.publisher(now).publish(self.case(exception), self.approved(exception, now))

    def unlist(self, exception: str, now: datetime = NOW, keep: frozenset[str] = frozenset()) -> bool:
        """Takes it out; whether there was anything."""
        return self.publisher(now).unlist(self.case(exception), "revoked", keep)

    def published(self, *files: Bytes, now: datetime = NOW, project: str = "demo", stage: str = "development") -> str:
        """Approves the files and publishes them; the exception's id."""
        exception = self.approve(*files, project=project, stage=stage, now=now)
        self.publish(exception, now)
        return exception

    def verify(self, now: datetime = NOW) -> Verified:
        """What `mirror verify` finds."""
        return verify(self.store, self.pages, self.state(), self.policy, now, lambda _: None, local=True)

    def rebuild(self, now: datetime = NOW) -> Rebuilt:
        """What `mirror index` does."""
        return rebuild(self.store, self.pages, self.state(), self.policy, now, lambda _: None, local=True)

    def contents(self) -> Mapping[str, bytes]:
        """Every page, and every file that is served, by name: what a reader can come to see."""
        pages = {name: page.data for name in self.pages.names("") if (page := self.pages.page(name)) is not None}
        files = {f"files/{digest.hex}": self.store.get("files", digest) for digest in self.store.digests("files")}
        return {**pages, **files}
