"""The verdict as JSON, `quarantine/verdict/1`: the tool's interface for programs, whole, whatever its size.

What identifies something (a file, a name, a digest, a URL) stands exactly as it is; sentences and evidence are escaped as
in the other reports, since they end up in somebody's log. The document is printable ASCII, and its keys have one order.
"""

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from quarantine import __version__
from quarantine.model import (
    CheckResult,
    Digest,
    EvidenceValue,
    JudgedItem,
    Location,
    Outcome,
    PackageFile,
    Receipt,
    Reference,
    Snapshot,
    Subject,
    Unverifiable,
)
from quarantine.report.escape import ascii_json, escape_prose, public_url, well_formed
from quarantine.report.json_parts import Advisory, Wire, advisory, evidence
from quarantine.report.view import pinned, timestamp
from quarantine.report.wayout import exception_for

__all__ = ["SCHEMA", "encode", "render", "schema"]

SCHEMA = "quarantine/verdict/1"
_Verdict = Literal["allowed", "denied", "undecided"]


class _Tool(Wire, frozen=True):
    name: str
    version: str


class _Location(Wire, frozen=True):
    file: str
    line: int | None


class _Reason(Wire, frozen=True):
    rule: str
    outcome: Literal["pass", "fail", "unknown", "not-applicable"]
    message: str
    evidence: dict[str, EvidenceValue]
    location: _Location | None


class _Subject(Wire, frozen=True):
    file: str
    format: str
    sha256: str
    target: str
    locked: bool
    verdict: _Verdict
    reasons: tuple[_Reason, ...]


class _Policy(Wire, frozen=True):
    sha256: str


class _Advisories(Wire, frozen=True):
    sha256: str
    as_of: str | None
    sources: dict[str, int]
    complete: bool
    accepted_until: str | None


class _Artifact(Wire, frozen=True):
    filename: str
    digest: str | None
    size: int | None
    upload_time: str | None
    url: str | None
    yanked: str | None


class _Reference(Wire, frozen=True):
    kind: Literal["url", "vcs", "path"]
    text: str
    editable: bool


class _Elsewhere(Wire, frozen=True):
    exception: str
    stage: str


class _Item(Wire, frozen=True):
    """`advisories` is null where they could not be looked up, which is not the same as none.

    `holds` are the Python distributions that a conda package installs, null where its file list can't be read; empty for
    everything else. `platforms` are those that an image is for; `pinned` is the reference that always means this image.
    `exception` is the id of the exception that stands behind every file of it, null where none does; `exception_until` is
    when that one ends, and `exception_waives` are the failures that it waives. `exception_elsewhere` is one that holds for
    all of its files in another stage of the project, where the item isn't allowed.
    """

    purl: str
    ecosystem: str
    name: str
    version: str | None
    upstream: str | None
    status: str
    subjects: tuple[int, ...]
    targets: tuple[str, ...]
    verdict: _Verdict
    locked: bool
    source_only: bool
    reference: _Reference | None
    digests: tuple[str, ...]
    missing_digests: tuple[str, ...]
    artifacts: tuple[_Artifact, ...]
    holds: tuple[str, ...] | None
    platforms: tuple[str, ...]
    pinned: str | None
    required_by: tuple[str, ...]
    location: _Location | None
    advisories: tuple[Advisory, ...] | None
    reasons: tuple[_Reason, ...]
    nearest: str | None
    held_back_from: str | None
    held_back_by: str | None
    exception: str | None
    exception_until: str | None
    exception_waives: tuple[str, ...]
    exception_elsewhere: _Elsewhere | None
    exception_request: str | None


class _Unverifiable(Wire, frozen=True):
    file: str
    line: int | None
    what: str
    why: str


class _Audit(Wire, frozen=True):
    stream: str
    seq: int
    sha256: str


class _Document(Wire, frozen=True):
    """A verdict of quarantine."""

    schema: Literal["quarantine/verdict/1"]
    verdict: _Verdict
    stage: str
    project: str
    time: str
    tool: _Tool
    subjects: tuple[_Subject, ...]
    preconditions: tuple[_Reason, ...]
    policy: _Policy
    advisories: _Advisories | None
    items: tuple[_Item, ...]
    unverifiable: tuple[_Unverifiable, ...]
    lock: str | None
    audit: _Audit | None


def render(result: CheckResult) -> str:
    """The JSON document, indented, ending in a newline."""
    encoded = msgspec.json.encode(_document(result))
    return ascii_json(msgspec.json.format(encoded, indent=2).decode()) + "\n"


def encode(result: CheckResult) -> bytes:
    """The same document on one line: what the evidence store keeps."""
    return msgspec.json.encode(_document(result))


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of what `render` gives; keys may be added within `quarantine/verdict/1`."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(_Document)}


def _document(result: CheckResult) -> _Document:
    return _Document(
        schema="quarantine/verdict/1",
        verdict=result.verdict.value,
        stage=well_formed(result.stage),
        project=well_formed(result.project),
        time=timestamp(result.now),
        tool=_Tool(name="quarantine", version=__version__),
        subjects=tuple(map(_subject, result.subjects)),
        preconditions=tuple(map(_reason, result.preconditions)),
        policy=_Policy(sha256=well_formed(result.policy_sha256)),
        advisories=None if result.snapshot is None else _advisories(result.snapshot),
        items=tuple(_item(judged, result) for judged in result.items),
        unverifiable=tuple(map(_unverifiable, result.unverifiable)),
        lock=_optional(result.lock),
        audit=None if result.receipt is None else _audit(result.receipt),
    )


def _subject(subject: Subject) -> _Subject:
    return _Subject(
        file=well_formed(subject.file),
        format=well_formed(subject.format),
        sha256=well_formed(subject.sha256),
        target=str(subject.target),
        locked=subject.locked,
        verdict=subject.verdict.value,
        reasons=tuple(map(_reason, subject.outcomes)),
    )


def _item(judged: JudgedItem, result: CheckResult) -> _Item:
    item = judged.item
    return _Item(
        purl=well_formed(item.purl),
        ecosystem=item.ecosystem.value,
        name=well_formed(item.name),
        version=None if item.version is None else well_formed(str(item.version)),
        upstream=_optional(item.upstream),
        status=well_formed(item.status),
        subjects=item.subjects,
        targets=tuple(map(str, item.targets)),
        verdict=judged.verdict.value,
        locked=item.locked,
        source_only=item.source_only,
        reference=None if item.reference is None else _reference(item.reference),
        digests=_digests(artifact.digest for artifact in item.artifacts),
        missing_digests=_digests(item.missing_digests),
        artifacts=tuple(map(_artifact, item.artifacts)),
        holds=None if item.holds is None else tuple(well_formed(package.purl) for package in item.holds),
        platforms=tuple(map(well_formed, item.platforms)),
        pinned=_optional(pinned(item)),
        required_by=tuple(map(well_formed, item.required_by)),
        location=None if item.location is None else _location(item.location),
        advisories=None if judged.findings is None else tuple(map(advisory, judged.findings)),
        reasons=tuple(map(_reason, judged.outcomes)),
        nearest=None if judged.nearest is None else well_formed(str(judged.nearest)),
        held_back_from=None if item.held_back_from is None else well_formed(str(item.held_back_from)),
        held_back_by=escape_prose(item.held_back_by) or None,
        exception=None if judged.exception is None else well_formed(judged.exception.exception),
        exception_until=None if judged.exception is None else timestamp(judged.exception.until),
        exception_waives=() if judged.exception is None else tuple(map(escape_prose, judged.exception.waives)),
        exception_elsewhere=None
        if judged.elsewhere is None
        else _Elsewhere(exception=well_formed(judged.elsewhere.exception), stage=well_formed(judged.elsewhere.stage)),
        exception_request=_optional(exception_for(judged, result)),
    )


def _reference(reference: Reference) -> _Reference:
    return _Reference(kind=reference.kind.value, text=escape_prose(reference.text), editable=reference.editable)


def _digests(digests: Iterable[Digest | None]) -> tuple[str, ...]:
    return tuple(sorted({well_formed(str(digest)) for digest in digests if digest is not None}))


def _artifact(artifact: PackageFile) -> _Artifact:
    return _Artifact(
        filename=well_formed(artifact.filename),
        digest=None if artifact.digest is None else well_formed(str(artifact.digest)),
        size=artifact.size,
        upload_time=None if artifact.upload_time is None else timestamp(artifact.upload_time),
        url=_optional(public_url(artifact.url)),
        yanked=None if artifact.yanked is None else escape_prose(artifact.yanked),
    )


def _location(location: Location) -> _Location:
    return _Location(file=well_formed(location.file), line=location.line)


def _reason(outcome: Outcome) -> _Reason:
    return _Reason(
        rule=escape_prose(outcome.rule),
        outcome=outcome.kind.value,
        message=escape_prose(outcome.message),
        evidence=evidence(outcome.evidence),
        location=None if outcome.location is None else _location(outcome.location),
    )


def _advisories(snapshot: Snapshot) -> _Advisories:
    return _Advisories(
        sha256=well_formed(snapshot.sha256),
        as_of=None if snapshot.as_of is None else timestamp(snapshot.as_of),
        sources={escape_prose(name): count for name, count in snapshot.sources},
        complete=snapshot.complete,
        accepted_until=None if snapshot.accepted_until is None else timestamp(snapshot.accepted_until),
    )


def _unverifiable(thing: Unverifiable) -> _Unverifiable:
    return _Unverifiable(
        file=well_formed(thing.location.file),
        line=thing.location.line,
        what=escape_prose(thing.what),
        why=escape_prose(thing.why),
    )


def _audit(receipt: Receipt) -> _Audit:
    return _Audit(stream=well_formed(receipt.stream), seq=receipt.seq, sha256=well_formed(receipt.sha256))


def _optional(text: str | None) -> str | None:
    return None if text is None else well_formed(text)
