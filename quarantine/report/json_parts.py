"""What the JSON documents of verdicts and of exceptions have in common: objects with all of their keys, in one order."""

import msgspec

from quarantine.model import EvidenceValue, Finding
from quarantine.report.escape import escape_prose

__all__ = ["Advisory", "Wire", "advisory", "evidence"]


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON object whose keys stand in the order of the fields; every field is always there."""


class Advisory(Wire, frozen=True):
    """What is known of one flaw."""

    id: str
    aliases: tuple[str, ...]
    severity: str
    score: str | None
    fixed: tuple[str, ...]
    malware: bool
    summary: str


def advisory(finding: Finding) -> Advisory:
    """A finding as it stands in a document."""
    return Advisory(
        id=escape_prose(finding.id),
        aliases=tuple(map(escape_prose, finding.aliases)),
        severity=finding.severity.value,
        score=None if finding.score is None else escape_prose(finding.score),
        fixed=tuple(map(escape_prose, finding.fixed)),
        malware=finding.malware,
        summary=escape_prose(finding.summary),
    )


def evidence(values: tuple[tuple[str, EvidenceValue], ...]) -> dict[str, EvidenceValue]:
    """The evidence of an outcome as it stands in a document."""
    return {escape_prose(key): _escaped(value) for key, value in values} if values else {}


def _escaped(value: EvidenceValue) -> EvidenceValue:
    match value:
        case str():
            return escape_prose(value)
        case tuple():
            return tuple(map(escape_prose, value))
        case _:
            return value
