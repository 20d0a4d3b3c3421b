"""OSV records: bytes -> `Record`, what each says about the packages it names.

Implements the OSV schema 1.x (https://ossf.github.io/osv-schema/). Unknown fields are ignored, as the schema asks;
wrong types are refused. Whatever in a record can't be read counts against the package, never for it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec
from packaging.utils import canonicalize_version

from quarantine.model import Digest, Severity, parse_name, parse_version
from quarantine.policy.advisories import PYPI, Advisory, Bound, Event, Record, is_malware, severity_of, worst

__all__ = ["is_identifier", "parse_record", "plain_line", "score_of"]

MAX_SUMMARY = 200
MAX_VECTOR = 400
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,99}")
_PLAIN_RELEASE = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*")
_WORDS = {
    "none": Severity.NONE,
    "low": Severity.LOW,
    "moderate": Severity.MEDIUM,
    "medium": Severity.MEDIUM,
    "high": Severity.HIGH,
    "critical": Severity.CRITICAL,
}


# --- the wire ---------------------------------------------------------------------------------------------------------


class _Severity(msgspec.Struct):
    type: str
    score: str


class _Event(msgspec.Struct):
    introduced: str | None = None
    fixed: str | None = None
    last_affected: str | None = None
    limit: str | None = None

    def bounds(self) -> Iterator[tuple[Bound, str]]:
        for kind, text in (
            (Bound.INTRODUCED, self.introduced),
            (Bound.FIXED, self.fixed),
            (Bound.LAST_AFFECTED, self.last_affected),
            (Bound.LIMIT, self.limit),
        ):
            if text is not None:
                yield kind, text


class _Range(msgspec.Struct):
    type: str
    events: list[_Event] | None = None


class _Package(msgspec.Struct):
    ecosystem: str
    name: str


class _Affected(msgspec.Struct):
    package: _Package | None = None
    ranges: list[_Range] | None = None
    versions: list[str] | None = None
    severity: list[_Severity] | None = None
    database_specific: msgspec.Raw = msgspec.Raw()


class _Record(msgspec.Struct):
    id: str
    modified: str
    schema_version: str = "1.0.0"
    withdrawn: str | None = None
    aliases: list[str] | None = None
    summary: str | None = None
    details: str | None = None
    severity: list[_Severity] | None = None
    affected: list[_Affected] | None = None
    database_specific: msgspec.Raw = msgspec.Raw()


_decoder = msgspec.json.Decoder(_Record)


# --- reading ----------------------------------------------------------------------------------------------------------


def parse_record(data: bytes) -> Record:
    """The record in `data`, raising ValueError, with what was found, for anything but an OSV 1.x record."""
    try:
        wire = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"not an OSV record: {error}") from None
    except RecursionError:
        raise ValueError("not an OSV record: nested too deep") from None
    if not is_identifier(wire.id):
        raise ValueError(f"not an OSV record: {wire.id[:120]!a} is not an identifier")
    if wire.schema_version.partition(".")[0] != "1":
        raise ValueError(f"OSV schema {wire.schema_version[:20]!a}: only version 1 can be read")
    # a withdrawal that can't be read doesn't take back what the record says
    withdrawn = _instant(wire.withdrawn or "") is not None
    return Record(
        id=wire.id,
        modified=_instant(wire.modified),
        withdrawn=withdrawn,
        advisories=() if withdrawn else tuple(_advisories(wire)),
    )


def is_identifier(text: str) -> bool:
    """Whether the text can be a record's identifier: short, and without anything that would need escaping."""
    return _ID.fullmatch(text) is not None


def _instant(text: str) -> datetime | None:
    """A moment with its time zone (RFC 3339), None for what is none: year 1 is written for "not known"."""
    try:
        instant = msgspec.convert(text, datetime, strict=True)
    except msgspec.ValidationError:
        return None
    return None if instant.tzinfo is None or instant.year < 1970 else instant


def _advisories(wire: _Record) -> Iterator[Advisory]:
    """One advisory for each package; a record may name a package several times, once for each of its branches."""
    grouped: dict[tuple[str, str], list[_Affected]] = {}
    for affected in wire.affected or ():
        if affected.package is None:  # a flaw of a source repository: no package to ask about
            continue
        name = _name(affected.package)
        if name is not None:
            grouped.setdefault((affected.package.ecosystem, name), []).append(affected)
    aliases = tuple(sorted({alias for alias in wire.aliases or () if is_identifier(alias)} - {wire.id}))
    summary = plain_line(wire.summary or "") or plain_line(wire.details or "")
    malware = is_malware(wire.id, *aliases)
    for (ecosystem, name), entries in grouped.items():
        versions, ranges, unbounded = _extent(ecosystem, entries)
        severity, score = _severity(wire, entries)
        yield Advisory(
            id=wire.id,
            aliases=aliases,
            ecosystem=ecosystem,
            name=name,
            summary=summary,
            severity=severity,
            score=score,
            versions=versions,
            ranges=ranges,
            unbounded=unbounded,
            digests=_malicious_files(entries) if malware else (),
        )


def _name(package: _Package) -> str | None:
    """The name to look the package up by, None for one that no valid PyPI project can have."""
    if package.ecosystem != PYPI:
        return package.name
    try:
        return parse_name(package.name.strip())
    except ValueError:
        return None


def _extent(
    ecosystem: str, entries: Iterable[_Affected]
) -> tuple[tuple[str, ...], tuple[tuple[Event, ...], ...], bool]:
    """Listed versions, ranges, and whether all versions are affected.

    A record that names a package and neither a version nor a range that can be read doesn't clear any version of it;
    no more does a range with a bound that can't be compared. Commit ranges (GIT) say nothing about versions.
    """
    listed: dict[str, None] = {}
    ranges: dict[tuple[Event, ...], None] = {}
    unbounded = False
    for entry in entries:
        for text in entry.versions or ():
            key = _version_key(text) if ecosystem == PYPI else text
            if key is not None:
                listed[key] = None
        for wire in entry.ranges or ():
            if wire.type == "GIT":
                continue
            events = _events(ecosystem, wire)
            if events is None:
                unbounded = True
            else:
                ranges[events] = None
    return tuple(listed), tuple(ranges), unbounded or not (listed or ranges)


def _events(ecosystem: str, wire: _Range) -> tuple[Event, ...] | None:
    """The events of a version range, None where it is none or one of its bounds can't be compared."""
    if wire.type not in {"ECOSYSTEM", "SEMVER"}:
        return None
    events = tuple(Event(kind, text) for event in wire.events or () for kind, text in event.bounds())
    if all(event.kind is not Bound.INTRODUCED for event in events):
        return None
    if ecosystem == PYPI:
        for event in events:
            if not event.is_edge and _version_key(event.version) is None:
                return None
    return events


@lru_cache(maxsize=65536)
def _version_key(text: str) -> str | None:
    """A text that is the same for versions that PEP 440 holds equal, None for what is no version."""
    if _PLAIN_RELEASE.fullmatch(text) is not None:
        while text.endswith(".0"):
            text = text[:-2]
        return text
    try:
        return canonicalize_version(parse_version(text.strip()))
    except ValueError:
        return None


def _severity(wire: _Record, entries: list[_Affected]) -> tuple[Severity, str | None]:
    """The worst of what the vectors and the database's own word say, and the highest base score."""
    scores: list[float] = []
    words = [_word(wire.database_specific), *(_word(entry.database_specific) for entry in entries)]
    for group in (wire.severity, *(entry.severity for entry in entries)):
        for item in group or ():
            score = score_of(item.type, item.score)
            if score is not None:
                scores.append(score)
    if not scores:
        return worst(words), None
    return worst([*words, severity_of(max(scores))]), f"{max(scores):.1f}"


@lru_cache(maxsize=16384)
def score_of(kind: str, vector: str) -> float | None:
    """The base score of a CVSS vector of the type that OSV calls `kind`; None for what can't be scored."""
    if kind not in {"CVSS_V2", "CVSS_V3", "CVSS_V4"} or len(vector) > MAX_VECTOR:
        return None
    # only a sync scores vectors
    from cvss import CVSS2, CVSS3, CVSS4, CVSSError  # type: ignore[import-untyped]  # ships no types  # noqa: PLC0415

    try:
        match kind:
            case "CVSS_V2":
                return float(CVSS2(vector).base_score)
            case "CVSS_V3":
                return float(CVSS3(vector).base_score)
            case _:
                return float(CVSS4(vector).base_score)
    except CVSSError:
        return None


# --- what databases add (free-form by the schema, so read leniently) ------------------------------------------------


def _specific(raw: msgspec.Raw) -> Mapping[str, Any]:
    value = msgspec.json.decode(raw) if bytes(raw) else None
    return value if isinstance(value, dict) else {}


def _word(raw: msgspec.Raw) -> Severity:
    word = _specific(raw).get("severity")
    return _WORDS.get(word.casefold(), Severity.UNKNOWN) if isinstance(word, str) else Severity.UNKNOWN


def _malicious_files(entries: Iterable[_Affected]) -> tuple[str, ...]:
    """The sha256 digests of published files that a malware record names (`indicators.package_integrity`).

    `malicious-packages-origins` holds sha256s too, but those are digests of reports, and would match no file.
    """
    found: set[str] = set()
    for entry in entries:
        indicators = _specific(entry.database_specific).get("indicators")
        files = indicators.get("package_integrity") if isinstance(indicators, dict) else None
        for file in files if isinstance(files, list) else ():
            hashes = file.get("hashes") if isinstance(file, dict) else None
            digest = hashes.get("sha256") if isinstance(hashes, dict) else None
            if isinstance(digest, str):
                try:
                    found.add(Digest.sha256(digest.strip()).hex)
                except ValueError:
                    continue  # the record still counts by version
    return tuple(sorted(found))


def plain_line(text: str) -> str:
    """The first line of a text that has something printable, without control characters, at most 200 characters."""
    for line in text[:10_000].splitlines():
        printable = "".join(character for character in line if character.isprintable()).strip()
        if printable:
            return printable if len(printable) <= MAX_SUMMARY else printable[: MAX_SUMMARY - 1] + "…"
    return ""
