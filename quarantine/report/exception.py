"""One exception, or many of them, as text, Markdown and JSON (`quarantine/exception/1`, `quarantine/exception-list/1`).

What identifies something stands in the JSON exactly as it is; sentences are escaped as in the other reports.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

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
from quarantine.model import EvidenceValue, Finding
from quarantine.policy.decide import status
from quarantine.report.escape import ascii_json, escape, escape_markdown, escape_prose, well_formed
from quarantine.report.exception_page import Line, Page, PageSection, against, next_commands, page, what
from quarantine.report.table import draw, table
from quarantine.report.view import timestamp

__all__ = ["FORMATS", "Listed", "Risk", "listed", "render_list", "render_page", "schema"]

FORMATS = ("text", "json", "markdown")
_STYLES = {
    Status.PUBLISHED: "bold green",
    Status.APPROVED: "bold green",
    Status.REVOKED: "bold red",
    Status.REJECTED: "bold red",
}
_BACKTICKS = re.compile(r"`+")


def render_page(
    form: str,
    case: ExceptionCase,
    decision: Decision,
    dossier: Dossier | None,
    *,
    lost: str = "",
    colour: bool = False,
) -> str:
    """The evidence page in one of `FORMATS`. `lost` says why the newest dossier can't be read, where it can't."""
    if form == "json":
        return _json(case, decision, dossier, lost)
    drawn = page(case, decision, dossier, lost)
    return _markdown(drawn) if form == "markdown" else _text(drawn, colour=colour)


# --- text and Markdown ------------------------------------------------------------------------------------------------


def _text(drawn: Page, *, colour: bool) -> str:
    lines = [_styled(drawn.headline, _STYLES.get(drawn.status, "bold yellow"), colour=colour)]
    for section in drawn.sections:
        lines += ["\n", _styled(section.title, "bold", colour=colour)]
        for line in section.lines:
            lines += [f"  {text}\n" for text in _lines(line)]
    return "".join(lines)


def _lines(line: Line) -> tuple[str, ...]:
    """A line, and below it what is there to be copied; a key of what is waived comes first."""
    said = f"{line.key}: {line.text}" if line.key and line.text else line.key or line.text
    if not line.code:
        return (said,)
    return (line.code,) if not said else (said, f"  {line.code}")


def _styled(text: str, style: str, *, colour: bool) -> str:
    if not colour:
        return f"{text}\n"
    from rich.text import Text  # noqa: PLC0415  # only on a terminal

    return draw(Text(text, style=style, no_wrap=True, overflow="ignore"), max(len(text), 1), colour)


def _markdown(drawn: Page) -> str:
    lines = [f"### {escape_markdown(drawn.headline)}", ""]
    for section in drawn.sections:
        lines += [f"#### {escape_markdown(section.title)}", "", *_items(section), ""]
    return "".join(f"{line}\n" for line in lines[:-1])


def _items(section: PageSection) -> list[str]:
    items = []
    for line in section.lines:
        key = f"**{escape_markdown(line.key)}**" if line.key else ""
        text = escape_markdown(line.text) if line.text else ""
        said = ": ".join(filter(None, (key, text)))
        items.append("- " + " ".join(filter(None, (said, _code(line.code) if line.code else ""))))
    return items


def _code(text: str) -> str:
    """A code span (CommonMark 6.1): fenced by more backticks than stand together in it; its text is escaped already."""
    longest = max(map(len, _BACKTICKS.findall(text)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {text} {fence}" if longest else f"{fence}{text}{fence}"


# --- JSON -------------------------------------------------------------------------------------------------------------


class _Wire(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON object whose keys stand in the order of the fields; every field is always there."""


class _Identity(_Wire, frozen=True):
    kind: str
    id: str
    name: str
    issuer: str
    verified: bool


class _Asked(_Wire, frozen=True):
    by: _Identity
    time: str
    reason: str


class _Finding(_Wire, frozen=True):
    id: str
    aliases: tuple[str, ...]
    severity: str
    score: str | None
    fixed: tuple[str, ...]
    malware: bool
    summary: str


class _Outcome(_Wire, frozen=True):
    rule: str
    outcome: Literal["pass", "fail", "unknown", "not-applicable"]
    message: str
    evidence: dict[str, str | int | bool | tuple[str, ...] | None]


class _File(_Wire, frozen=True):
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
    advisories: tuple[_Finding, ...] | None
    requires: tuple[str, ...] | None
    reports: tuple[str, ...] | None


class _Dossier(_Wire, frozen=True):
    sha256: str
    time: str
    by: _Identity
    policy: str
    advisories: str
    readable: bool
    lost: str


class _Against(_Wire, frozen=True):
    key: str
    kind: Literal["final", "failure", "unknown"]
    message: str | None


class _Ruling(_Wire, frozen=True):
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


class _Step(_Wire, frozen=True):
    kind: str
    time: str
    files: tuple[str, ...]
    why: str


class _Standing(_Wire, frozen=True):
    """`why` says what it waits for, or why it ended; `counted` are those whose approvals count, of `needed`."""

    status: str
    why: str
    counted: tuple[_Identity, ...]
    needed: int | None
    expires_at: str | None
    waives: tuple[str, ...]


class _Document(_Wire, frozen=True):
    """An exception of quarantine."""

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
    next: tuple[str, ...]


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the evidence page; keys may be added within `quarantine/exception/1`."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(_Document)}


def _json(case: ExceptionCase, decision: Decision, dossier: Dossier | None, lost: str) -> str:
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
                key=well_formed(one.key),
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
        next=tuple(line.code for line in next_commands(case, decision)),
    )
    return _dumped(document)


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
                waives=tuple(sorted(map(well_formed, decision.waives))),
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
                evidence={escape_prose(key): _evidence(value) for key, value in outcome.evidence},
            )
            for outcome in entry.outcomes
        ),
        advisories=None if entry is None else tuple(map(_finding, entry.findings)),
        requires=None if entry is None else tuple(map(escape_prose, entry.requires)),
        reports=None if entry is None else tuple(map(well_formed, entry.reports)),
    )


def _finding(finding: Finding) -> _Finding:
    return _Finding(
        id=escape_prose(finding.id),
        aliases=tuple(map(escape_prose, finding.aliases)),
        severity=finding.severity.value,
        score=None if finding.score is None else escape_prose(finding.score),
        fixed=tuple(map(escape_prose, finding.fixed)),
        malware=finding.malware,
        summary=escape_prose(finding.summary),
    )


def _evidence(value: EvidenceValue) -> EvidenceValue:
    match value:
        case str():
            return escape_prose(value)
        case tuple():
            return tuple(map(escape_prose, value))
        case _:
            return value


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
            waives=tuple(map(well_formed, ruling.waives)),
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


# --- many of them -----------------------------------------------------------------------------------------------------


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


_WAITING = (Status.REQUESTED, Status.VETTED, Status.SUSPENDED)
_MOST_KEYS = 2


def listed(cases: Iterable[tuple[ExceptionCase, Decision]], order: str) -> tuple[Listed, ...]:
    """The exceptions that have a request: what waits first, then by `order`: age (the oldest first) or risk (the worst first)."""
    every = [
        Listed(case=case, decision=decision, status=status(case, decision), risk=_risk(case))
        for case, decision in cases
        if case.request is not None
    ]

    def key(one: Listed) -> tuple[object, ...]:
        time = one.case.request.time.timestamp() if one.case.request is not None else 0.0
        waits = one.status not in _WAITING
        return (waits, one.risk.rank, time, one.case.id) if order == "risk" else (waits, time, one.case.id)

    return tuple(sorted(every, key=key))


def _risk(case: ExceptionCase) -> Risk:
    """The worst that the newest dossier says."""
    dossier = case.dossier
    if dossier is None or set(dossier.files) != {file.sha256 for file in case.files}:
        return Risk(3, "not vetted")
    if dossier.final:
        return Risk(0, f"final: {_some(dossier.final)}")
    if dossier.failures:
        return Risk(1, f"fails: {_some(dossier.failures)}")
    if dossier.unknowns:
        return Risk(2, f"unknown: {_some(dossier.unknowns)}")
    return Risk(4, "clean")


def _some(keys: Sequence[str]) -> str:
    """The first few keys without their packages."""
    short = tuple(dict.fromkeys(key.rpartition(" ")[2] for key in keys))
    more = f" and {len(short) - _MOST_KEYS} more" if len(short) > _MOST_KEYS else ""
    return ", ".join(short[:_MOST_KEYS]) + more


class _Row(_Wire, frozen=True):
    id: str
    status: str
    risk: str
    project: str
    stage: str
    packages: tuple[str, ...]
    files: int
    requested: _Asked
    standing: _Standing


class _List(_Wire, frozen=True):
    schema: Literal["quarantine/exception-list/1"]
    exceptions: tuple[_Row, ...]


def render_list(form: str, rows: Sequence[Listed], now: datetime, *, width: int | None, colour: bool) -> str:
    """The exceptions as a table (`text`; without a width tab-separated) or as JSON."""
    if form == "json":
        return _dumped(_List(schema="quarantine/exception-list/1", exceptions=tuple(map(_row, rows))))
    headers = ("id", "status", "age", "risk", "what", "project", "by")
    return table(headers, [_cells(one, now) for one in rows], width, colour)


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


def _cells(one: Listed, now: datetime) -> tuple[str, ...]:
    request = one.case.request
    assert request is not None  # noqa: S101 - `listed` looked
    days = max((now - request.time).days, 0)
    where = f"{request.project} {request.stage}"
    return (
        one.case.id[:12],
        one.status.value,
        f"{days}d",
        one.risk.words,
        what(one.case),
        where,
        _name(request.requester),
    )


def _name(identity: Identity) -> str:
    return escape(identity.name or identity.id)
