"""One exception, or many of them, as JSON: `quarantine/exception/1` and `quarantine/exception-list/1`, for programs.

What identifies something stands exactly as it is; sentences are escaped as in the other reports.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from quarantine.audit.redact import redact
from quarantine.exceptions import (
    Approved,
    Decision,
    Dossier,
    DossierFile,
    ExceptionCase,
    ExceptionFile,
    Identity,
    Pending,
    Publication,
    Rejected,
    Status,
)
from quarantine.model import EvidenceValue
from quarantine.policy.decide import status
from quarantine.report.escape import ascii_json, escape_prose, well_formed
from quarantine.report.exception_page import against, needs_wheel, next_commands, passes_alone
from quarantine.report.json_parts import Advisory, Wire, advisory, evidence
from quarantine.report.view import timestamp

__all__ = ["Listed", "Risk", "render_json", "render_list_json", "schema"]


class _Identity(Wire, frozen=True):
    kind: str
    id: str
    name: str
    issuer: str
    verified: bool


class _Asked(Wire, frozen=True):
    by: _Identity
    time: str
    reason: str


class _Outcome(Wire, frozen=True):
    rule: str
    outcome: Literal["pass", "fail", "unknown", "not-applicable"]
    message: str
    evidence: dict[str, EvidenceValue]


class _File(Wire, frozen=True):
    """`outcomes` is null where the dossier isn't there. `source` is the digest of what an attached wheel stands for."""

    purl: str
    ecosystem: str
    upstream: str
    name: str
    version: str
    filename: str
    digest: str
    size: int | None
    subdir: str
    build: str
    source: str | None
    licence: str | None
    outcomes: tuple[_Outcome, ...] | None
    advisories: tuple[Advisory, ...] | None
    requires: tuple[str, ...] | None
    reports: tuple[str, ...] | None


class _Dossier(Wire, frozen=True):
    sha256: str
    time: str
    by: _Identity
    policy: str
    advisories: str
    readable: bool
    lost: str


class _Against(Wire, frozen=True):
    key: str
    kind: Literal["final", "failure", "unknown"]
    message: str | None


class _Ruling(Wire, frozen=True):
    id: str
    kind: str
    by: _Identity
    time: str
    reason: str
    expires_at: str | None
    dossier: str | None
    policy: str
    files: tuple[str, ...]
    waives: tuple[str, ...]


class _Step(Wire, frozen=True):
    kind: str
    time: str
    files: tuple[str, ...]
    why: str


class _Standing(Wire, frozen=True):
    """`why` says what it waits for, or why it ended; `counted` are those whose approvals count, of `needed`."""

    status: str
    why: str
    counted: tuple[_Identity, ...]
    needed: int | None
    expires_at: str | None
    waives: tuple[str, ...]


class _Document(Wire, frozen=True):
    """An exception of quarantine.

    `needs_wheel` is whether a source distribution of it waits for a wheel; `passes_alone` whether the policy lets it in
    without an exception, by what vetting found.
    """

    schema: Literal["quarantine/exception/1"]
    id: str
    standing: _Standing
    project: str
    stage: str
    until: str | None
    requested: _Asked
    joined: tuple[_Asked, ...]
    against: tuple[_Against, ...]
    files: tuple[_File, ...]
    dossier: _Dossier | None
    rulings: tuple[_Ruling, ...]
    publications: tuple[_Step, ...]
    needs_wheel: bool
    passes_alone: bool
    next: tuple[str, ...]


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the evidence page; keys may be added within `quarantine/exception/1`."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(_Document)}


def render_json(case: ExceptionCase, decision: Decision, dossier: Dossier | None, lost: str) -> str:
    """The evidence page, indented, ending in a newline. `lost` says why the dossier can't be read, where it can't."""
    request, summary = case.request, case.dossier
    if request is None:
        raise ValueError("a case without its request has no page")
    known = {} if dossier is None else {entry.file.sha256: entry for entry in dossier.files}
    document = _Document(
        schema="quarantine/exception/1",
        id=case.id,
        standing=_standing(case, decision),
        project=well_formed(request.project),
        stage=well_formed(request.stage),
        until=_time(request.until),
        requested=_Asked(
            by=_identity(request.requester), time=timestamp(request.time), reason=escape_prose(request.reason)
        ),
        joined=tuple(
            _Asked(by=_identity(one.by), time=timestamp(one.time), reason=escape_prose(one.reason))
            for one in case.joined
        ),
        against=tuple(
            _Against(
                key=_exact(one.key),
                kind=_kind(one.kind),
                message=None if one.outcome is None else escape_prose(one.outcome.message),
            )
            for one in against(summary, dossier)
        ),
        files=tuple(_file(file, case, known.get(file.sha256)) for file in case.files),
        dossier=None
        if summary is None
        else _Dossier(
            sha256=summary.sha256,
            time=timestamp(summary.time),
            by=_identity(summary.by),
            policy=summary.policy,
            advisories=well_formed(summary.advisories),
            readable=dossier is not None,
            lost=escape_prose(lost),
        ),
        rulings=tuple(_rulings(case)),
        publications=tuple(map(_step, case.publications)),
        needs_wheel=needs_wheel(case),
        passes_alone=passes_alone(case),
        next=tuple(line.code for line in next_commands(case, decision)),
    )
    return _dumped(document)


def _exact(text: str) -> str:
    """What is there to be compared: as it is, but for secrets."""
    return redact(well_formed(text))


def _dumped(document: msgspec.Struct) -> str:
    return ascii_json(msgspec.json.format(msgspec.json.encode(document), indent=2).decode()) + "\n"


def _kind(kind: str) -> Literal["final", "failure", "unknown"]:
    return "final" if kind == "final" else "failure" if kind == "failure" else "unknown"


def _standing(case: ExceptionCase, decision: Decision) -> _Standing:
    stands = status(case, decision).value
    match decision:
        case Approved():
            return _Standing(
                status=stands,
                why="",
                counted=tuple(map(_identity, decision.approvers)),
                needed=len(decision.approvers),
                expires_at=timestamp(decision.expires_at),
                waives=tuple(sorted(map(_exact, decision.waives))),
            )
        case Pending():
            return _Standing(
                status=stands,
                why=escape_prose(decision.why),
                counted=tuple(map(_identity, decision.counted)),
                needed=decision.needed,
                expires_at=_time(decision.expired_at),
                waives=(),
            )
        case Rejected():
            return _Standing(
                status=stands, why=escape_prose(decision.why), counted=(), needed=None, expires_at=None, waives=()
            )


def _file(file: ExceptionFile, case: ExceptionCase, entry: DossierFile | None) -> _File:
    source = next((attached.source for attached in case.attached if attached.file.sha256 == file.sha256), None)
    return _File(
        purl=well_formed(file.purl),
        ecosystem=file.ecosystem.value,
        upstream=well_formed(file.upstream),
        name=well_formed(file.name),
        version=well_formed(file.version),
        filename=well_formed(file.filename),
        digest=str(file.digest),
        size=file.size,
        subdir=well_formed(file.subdir),
        build=well_formed(file.build),
        source=source,
        licence=None if entry is None else escape_prose(entry.licence),
        outcomes=None
        if entry is None
        else tuple(
            _Outcome(
                rule=escape_prose(outcome.rule),
                outcome=outcome.kind.value,
                message=escape_prose(outcome.message),
                evidence=evidence(outcome.evidence),
            )
            for outcome in entry.outcomes
        ),
        advisories=None if entry is None else tuple(map(advisory, entry.findings)),
        requires=None if entry is None else tuple(map(escape_prose, entry.requires)),
        reports=None if entry is None else tuple(map(_exact, entry.reports)),
    )


def _rulings(case: ExceptionCase) -> Iterable[_Ruling]:
    for ruling in case.rulings:
        yield _Ruling(
            id=well_formed(ruling.id),
            kind=ruling.kind.value,
            by=_identity(ruling.by),
            time=timestamp(ruling.time),
            reason=escape_prose(ruling.reason),
            expires_at=_time(ruling.expires_at),
            dossier=ruling.dossier,
            policy=ruling.policy,
            files=ruling.files,
            waives=tuple(map(_exact, ruling.waives)),
        )


def _step(step: Publication) -> _Step:
    return _Step(kind=step.kind.value, time=timestamp(step.time), files=step.files, why=escape_prose(step.why))


def _identity(identity: Identity) -> _Identity:
    return _Identity(
        kind=identity.kind,
        id=well_formed(identity.id),
        name=escape_prose(identity.name),
        issuer=well_formed(identity.issuer),
        verified=identity.verified,
    )


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp(moment)


# --- many of them ---------------------------------------------------------------------------------------------------


class Risk(msgspec.Struct, frozen=True, order=True):
    """How bad what vetting found is: `rank` from 0, the worst, to 4, and in words."""

    rank: int
    words: str


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One exception of a list."""

    case: ExceptionCase
    decision: Decision
    status: Status
    risk: Risk


class _Row(Wire, frozen=True):
    id: str
    status: str
    risk: str
    project: str
    stage: str
    packages: tuple[str, ...]
    files: int
    requested: _Asked
    standing: _Standing


class _List(Wire, frozen=True):
    schema: Literal["quarantine/exception-list/1"]
    exceptions: tuple[_Row, ...]


def render_list_json(rows: Sequence[Listed]) -> str:
    """The exceptions in their order, indented, ending in a newline."""
    return _dumped(_List(schema="quarantine/exception-list/1", exceptions=tuple(map(_row, rows))))


def _row(one: Listed) -> _Row:
    request = one.case.request
    assert request is not None  # noqa: S101 - `listed` looked
    return _Row(
        id=one.case.id,
        status=one.status.value,
        risk=escape_prose(one.risk.words),
        project=well_formed(request.project),
        stage=well_formed(request.stage),
        packages=tuple(dict.fromkeys(well_formed(file.purl) for file in one.case.files)),
        files=len(one.case.files),
        requested=_Asked(
            by=_identity(request.requester), time=timestamp(request.time), reason=escape_prose(request.reason)
        ),
        standing=_standing(one.case, one.decision),
    )
