"""Requests, dossiers and rulings as the exception process writes them, for tests to append or to fold."""

import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from hashlib import sha256 as _sha256

from msgspec.structs import replace

from quarantine.audit.chain import extend, follow
from quarantine.audit.events import request_id
from quarantine.audit.record import Draft, Entry, new_id
from quarantine.exceptions import (
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
from quarantine.model import Ecosystem

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ISSUER = "https://issuer.example.org"
ANN = Identity(kind="oidc", issuer=ISSUER, id="1", name="ann", claim="sub", verified=True)
BOB = Identity(kind="oidc", issuer=ISSUER, id="2", name="bob", claim="sub", verified=True)
CAROL = Identity(kind="oidc", issuer=ISSUER, id="3", name="carol", claim="sub", verified=True)
PUBLISHER = Identity(kind="oidc", issuer=ISSUER, id="9", name="pipeline", claim="sub", verified=True)
REQUESTS, DECISIONS, PUBLISH = (
    "log-requests/demo-2026-11",
    "log-decisions/decisions-2026-11",
    "log-publish/process-2026-11",
)
POLICY_SHA = "f" * 64


def sha256(text: str | bytes) -> str:
    """The sha256 of a text, in hexadecimal."""
    return _sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def entry_id(time: datetime = NOON) -> str:
    """An id that no other entry has."""
    return new_id(time, os.urandom(10))


def wheel(
    name: str = "numpy", version: str = "1.26.4", *, data: bytes | None = None, upstream: str = "pypi"
) -> ExceptionFile:
    """A wheel that an exception is asked for; `data` are its bytes."""
    content = f"{name} {version}".encode() if data is None else data
    return ExceptionFile(
        ecosystem=Ecosystem.PYPI,
        upstream=upstream,
        name=name,
        version=version,
        filename=f"{name.replace('-', '_')}-{version}-py3-none-any.whl",
        sha256=sha256(content),
        size=len(content),
    )


def request(
    *files: ExceptionFile,
    by: Identity = ANN,
    time: datetime = NOON,
    project: str = "demo",
    stage: str = "production",
    reason: str = "the model needs it",
    until: datetime | None = None,
    nonce: str = "",
) -> ExceptionRequest:
    """A request for files, numpy's wheel where none is given, with the id that it has."""
    asked = ExceptionRequest(
        id="0" * 32,
        project=project,
        stage=stage,
        reason=reason,
        files=files or (wheel(),),
        requester=by,
        time=time,
        until=until,
        nonce=nonce or entry_id(time),
    )
    return replace(asked, id=request_id(asked))


def dossier(
    asked: ExceptionRequest,
    *,
    failures: Iterable[str] = (),
    unknowns: Iterable[str] = (),
    final: Iterable[str] = (),
    time: datetime = NOON,
    sha: str | None = None,
    files: Iterable[ExceptionFile] | None = None,
) -> DossierSummary:
    """What vetting came to: nothing against the files, where nothing is given."""
    return DossierSummary(
        time=time,
        sha256=sha or sha256(f"dossier {asked.id} {time}"),
        files=tuple(file.sha256 for file in (asked.files if files is None else files)),
        failures=tuple(failures),
        unknowns=tuple(unknowns),
        final=tuple(final),
        policy=POLICY_SHA,
        by=PUBLISHER,
        binding=ExceptionCase(id=asked.id, request=asked).binding,
    )


def ruling(
    asked: ExceptionRequest,
    found: DossierSummary | None = None,
    *,
    kind: RulingKind = RulingKind.APPROVE,
    by: Identity = BOB,
    time: datetime = NOON,
    expires_at: datetime | None = None,
    waives: Iterable[str] = (),
    files: Iterable[str] | None = None,
    reason: str = "looked at",
) -> Ruling:
    """A curator's word: Bob's approval for thirty days, where nothing else is said."""
    digests = tuple(file.sha256 for file in asked.files) if files is None else tuple(files)
    return Ruling(
        kind=kind,
        id=entry_id(time),
        time=time,
        by=by,
        reason=reason,
        policy=POLICY_SHA,
        files=digests,
        dossier=None if found is None else found.sha256,
        expires_at=time + timedelta(days=30) if expires_at is None else expires_at,
        waives=tuple(waives),
        project=asked.project,
        stage=asked.stage,
        binding=ExceptionCase(id=asked.id, request=asked).binding,
    )


def step(
    asked: ExceptionRequest,
    kind: PublicationKind,
    *,
    time: datetime = NOON,
    why: str = "",
    metadata: Iterable[str] | None = None,
) -> Publication:
    """A step of the publisher with all files of the request."""
    digests = tuple(file.sha256 for file in asked.files)
    return Publication(
        kind=kind,
        time=time,
        files=digests,
        metadata=tuple("" for _ in digests) if metadata is None else tuple(metadata),
        why=why,
    )


def stored(stream: str, drafts: Iterable[Draft]) -> list[tuple[str, Entry]]:
    """The entries that the drafts are once a new stream has them, each with its stream."""
    lines = [line for line, _ in extend(stream, None, list(drafts))]
    return [(stream, entry) for entry in follow(stream, None, lines)]
