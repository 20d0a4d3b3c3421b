"""Exceptions of a house: entries as requesters, curators and the publisher write them, appended to its own log."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from io import BytesIO

from house import NOW, House
from msgspec.structs import replace
from servers import ServedFile, core_metadata, make_wheel

from quarantine.adapters.local_log import LocalLog
from quarantine.adapters.local_store import LocalStore
from quarantine.audit.events import (
    attached_draft,
    publication_draft,
    request_drafts,
    request_id,
    ruling_draft,
    vetted_draft,
)
from quarantine.audit.record import Draft, new_id
from quarantine.exceptions import (
    Attached,
    DossierSummary,
    ExceptionCase,
    ExceptionFile,
    ExceptionRequest,
    Identity,
    Publication,
    PublicationKind,
    Ruling,
    RulingKind,
)
from quarantine.model import Digest, Ecosystem

__all__ = ["ANN", "BOB", "CAT", "PUBLISHER", "LetIn", "conda_file", "python_file", "wheel_of"]

ANN = Identity(kind="local", id="1001", name="ann")
BOB = Identity(kind="local", id="1002", name="bob")
CAT = Identity(kind="local", id="1003", name="cat")
PUBLISHER = Identity(kind="local", id="2000", name="publisher")
POLICY = "a" * 64


def python_file(served: ServedFile, name: str, version: str, upstream: str = "pypi") -> ExceptionFile:
    """What an exception says of a file of an index."""
    return ExceptionFile(
        ecosystem=Ecosystem.PYPI,
        upstream=upstream,
        name=name,
        version=version,
        filename=served.filename,
        sha256=served.sha256,
        size=len(served.data),
    )


def conda_file(name: str, version: str, digest: Digest, upstream: str) -> ExceptionFile:
    """What an exception says of a noarch package of a channel."""
    return ExceptionFile(
        ecosystem=Ecosystem.CONDA,
        upstream=upstream,
        name=name,
        version=version,
        filename=f"{name}-{version}-0.conda",
        sha256=digest.hex,
        subdir="noarch",
        build="0",
    )


def wheel_of(
    name: str, version: str, *requires: str, tag: str = "py3-none-any", python: str | None = None
) -> ServedFile:
    """A wheel that no index has."""
    text = core_metadata(name, version, requires=requires, requires_python=python)
    return ServedFile(
        filename=f"{name.replace('-', '_')}-{version}-{tag}.whl",
        data=make_wheel(name, version, text, tag=tag),
        upload_time=None,
        yanked=False,
        requires_python=python,
        metadata=text,
    )


@dataclass(kw_only=True)
class LetIn:
    """One exception of a house, step by step; each step is an entry in the container of whoever takes it."""

    home: House
    files: tuple[ExceptionFile, ...]
    project: str = "demo"
    stage: str = "development"
    at: datetime = NOW - timedelta(days=2)
    by: Identity = ANN
    request: ExceptionRequest = field(init=False)
    case: ExceptionCase = field(init=False)
    vetted: tuple[ExceptionFile, ...] = field(init=False)
    dossiers: list[DossierSummary] = field(default_factory=list)
    number: int = 0

    def __post_init__(self) -> None:
        asked = ExceptionRequest(
            id="0" * 32,
            project=self.project,
            stage=self.stage,
            reason="the project needs it",
            files=self.files,
            requester=self.by,
            time=self.at,
            nonce="n",
        )
        self.request = replace(asked, id=request_id(asked))
        self.case = ExceptionCase(id=self.request.id, request=self.request)
        self.vetted = self.files
        ids = [self._id() for _ in range(1 + len(self.files) // 40)]
        self._append(f"log-requests/{self.project}-{self.at:%Y-%m}", *request_drafts(self.request, ids))

    @property
    def store(self) -> LocalStore:
        """The store of the house."""
        return LocalStore(self.home.folder / ".quarantine")

    def attach(self, source: ExceptionFile, wheel: ExceptionFile, by: Identity = BOB) -> None:
        """A curator attaches a wheel in the place of a source distribution."""
        attached = Attached(time=self._now(), by=by, source=source.sha256, file=wheel)
        self.case = replace(self.case, attached=(*self.case.attached, attached))
        self.vetted = tuple(sorted({*(file for file in self.vetted if file != source), wheel}))
        self._append(f"log-decisions/decisions-{self.at:%Y-%m}", attached_draft(self.request, attached, self._id()))

    def vet(self, *failures: str, final: tuple[str, ...] = (), at: datetime | None = None) -> DossierSummary:
        """The publisher writes what vetting found against the files."""
        dossier = DossierSummary(
            time=at or self._now(),
            sha256=sha256(f"{self.request.id} {len(self.dossiers)}".encode()).hexdigest(),
            files=tuple(sorted(file.sha256 for file in self.vetted)),
            failures=failures,
            final=final,
            policy=POLICY,
            binding=self.case.binding,
            by=PUBLISHER,
        )
        self.dossiers.append(dossier)
        self._publisher(vetted_draft(self.request, dossier, self._id()))
        return dossier

    def rule(
        self,
        kind: RulingKind = RulingKind.APPROVE,
        by: Identity = BOB,
        *waives: str,
        until: datetime | None = NOW + timedelta(days=30),
        at: datetime | None = None,
    ) -> Ruling:
        """A curator's word. Without `waives` an approval waives all that vetting found."""
        approving = kind in (RulingKind.APPROVE, RulingKind.RENEW)
        dossier = self.dossiers[-1] if self.dossiers else None
        ruling = Ruling(
            kind=kind,
            id=self._id(),
            time=at or self._now(),
            by=by,
            reason="looked at",
            policy=POLICY,
            files=tuple(sorted(file.sha256 for file in self.vetted)) if approving else (),
            dossier=dossier.sha256 if approving and dossier is not None else None,
            expires_at=until if approving else None,
            waives=(waives or (() if dossier is None else (*dossier.failures, *dossier.unknowns))) if approving else (),
            binding=self.case.binding,
            project=self.request.project,
            stage=self.request.stage,
        )
        self._append(f"log-decisions/decisions-{self.at:%Y-%m}", ruling_draft(self.request, ruling))
        return ruling

    def publish(self, *served: ServedFile) -> None:
        """The publisher puts the wheels and their metadata into the mirror, and says so before and after."""
        metadata = {file.sha256: file.metadata or b"" for file in served}
        for file in served:
            self.store.put_file("files", Digest.sha256(file.sha256), len(file.data), BytesIO(file.data))
            if file.metadata is not None:
                self.store.put("files", file.metadata)
        files = tuple(sorted(file.sha256 for file in self.vetted))
        texts = tuple(sha256(metadata[f]).hexdigest() if metadata.get(f) else "" for f in files)
        for kind in (PublicationKind.PUBLISHING, PublicationKind.PUBLISHED):
            step = Publication(kind=kind, time=self._now(), files=files, metadata=texts)
            self._publisher(publication_draft(self.request, step, PUBLISHER, self._id()))

    def approved(self, *served: ServedFile, failures: tuple[str, ...] = (), until: datetime | None = None) -> "LetIn":
        """All of it: vetted, approved with all its failures waived, published."""
        self.vet(*failures)
        self.rule(until=NOW + timedelta(days=30) if until is None else until)
        self.publish(*served)
        return self

    def _publisher(self, draft: Draft) -> None:
        self._append(f"log-publish/process-{self.at:%Y-%m}", draft)

    def _append(self, stream: str, *drafts: Draft) -> None:
        LocalLog(self.home.folder / ".quarantine" / "log").append(stream, drafts)

    def _now(self) -> datetime:
        """Every step is a minute after the one before."""
        return self.at + timedelta(minutes=self.number)

    def _id(self) -> str:
        self.number += 1
        seed = sha256(f"{self.project} {self.stage} {self.files[0].sha256} {self.number}".encode()).digest()
        return new_id(self._now(), seed[:10])
