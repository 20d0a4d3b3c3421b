"""What is known about packages: `Advisory` values, which versions they affect, and how records join into findings.

Matching follows the evaluation of the OSV schema 1.x, with versions compared by PEP 440. Reading the records' bytes is
`osv_record`'s business.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

import msgspec
from packaging.utils import canonicalize_version
from packaging.version import Version

from quarantine.model import Finding, Package, Severity, parse_version

__all__ = [
    "PYPI",
    "Advisory",
    "Bound",
    "Event",
    "Record",
    "affects",
    "find",
    "fixes_of",
    "is_malware",
    "join",
    "join_findings",
    "severity_of",
    "worst",
]

PYPI = "PyPI"
"""What OSV calls the ecosystem whose versions are PEP 440's."""


class Bound(StrEnum):
    """The kinds of event of a range."""

    INTRODUCED = "introduced"
    FIXED = "fixed"
    LAST_AFFECTED = "last_affected"
    LIMIT = "limit"


class Event(msgspec.Struct, frozen=True):
    """One end of a range. `version` is as the record writes it."""

    kind: Bound
    version: str

    @property
    def is_edge(self) -> bool:
        """Whether it stands for the beginning or the end of all versions ("introduced": "0", "limit": "*")."""
        return (self.kind is Bound.INTRODUCED and self.version == "0") or (
            self.kind is Bound.LIMIT and self.version == "*"
        )


class Advisory(msgspec.Struct, frozen=True, kw_only=True):
    """What one record says about one package.

    `versions` are canonical forms (PEP 440, trailing zeros gone); `digests` are the sha256 (hexadecimal) of files
    known to be malicious; `unbounded` is set where the record doesn't tell versions apart: then it affects them all.
    """

    id: str
    aliases: tuple[str, ...] = ()
    ecosystem: str = PYPI
    name: str
    summary: str = ""
    severity: Severity = Severity.UNKNOWN
    score: str | None = None
    versions: tuple[str, ...] = ()
    ranges: tuple[tuple[Event, ...], ...] = ()
    unbounded: bool = False
    digests: tuple[str, ...] = ()


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One record of a database: what it says about each package; nothing when it was withdrawn.

    `modified` (aware) is None where the record's own date can't be read.
    """

    id: str
    modified: datetime | None
    withdrawn: bool
    advisories: tuple[Advisory, ...]

    @property
    def malware(self) -> bool:
        """Whether it is a malware record."""
        return is_malware(self.id)


def is_malware(*ids: str) -> bool:
    """Whether one of the identifiers is that of a malware record (OpenSSF malicious packages: `MAL-`)."""
    return any(identifier.startswith("MAL-") for identifier in ids)


# --- matching ---------------------------------------------------------------------------------------------------------


def affects(advisory: Advisory, version: Version) -> bool:
    """Whether the version is listed, or lies in a range, or the record doesn't tell versions apart.

    A local part (`2.0+cu118`) is the builder's, not the project's: the version counts as listed, and is compared,
    without it too, so that a local part never takes a version out of an advisory.
    """
    if advisory.unbounded:
        return True
    public = _public(version)
    if _key(version) in advisory.versions or (public is not version and _key(public) in advisory.versions):
        return True
    return any(_inside(events, version, public) for events in advisory.ranges)


@lru_cache(maxsize=8192)
def _key(version: Version) -> str:
    return canonicalize_version(version)


@lru_cache(maxsize=8192)
def _public(version: Version) -> Version:
    return version if version.local is None else parse_version(version.public)


# At equal versions a fix ends the range before, then a new range may begin, then it may end with that very version. The
# schema leaves ties open; evaluators that keep the record's order miss what is introduced where another range was fixed.
_ORDER = {Bound.FIXED: 0, Bound.INTRODUCED: 1, Bound.LAST_AFFECTED: 2}


def _inside(events: Sequence[Event], version: Version, public: Version) -> bool:
    """The schema's evaluation of one range: the state after all events, in order, up to the version."""
    limits = [event for event in events if event.kind is Bound.LIMIT]
    if limits and not any(event.is_edge or _compared(event, version, public) < 0 for event in limits):
        return False
    affected = False
    for event in _ordered(tuple(events)):
        order = 1 if event.is_edge else _compared(event, version, public)
        match event.kind:
            case Bound.INTRODUCED if order >= 0:
                affected = True
            case Bound.FIXED if order >= 0:
                affected = False
            case Bound.LAST_AFFECTED if order > 0:
                affected = False
            case _:
                pass
    return affected


def _compared(event: Event, version: Version, public: Version) -> int:
    """-1, 0 or 1: how the version compares to the event's; with its local part only where the event's has one."""
    bound = parse_version(event.version)
    ours = public if bound.local is None else version
    return (ours > bound) - (ours < bound)


@lru_cache(maxsize=4096)
def _ordered(events: tuple[Event, ...]) -> tuple[Event, ...]:
    edges = [event for event in events if event.is_edge and event.kind is Bound.INTRODUCED]
    rest = [event for event in events if not event.is_edge and event.kind is not Bound.LIMIT]
    rest.sort(key=lambda event: (parse_version(event.version), _ORDER[event.kind]))
    return (*edges, *rest)


def fixes_of(advisories: Iterable[Advisory]) -> frozenset[Version]:
    """Every version that one of the advisories names as a fix."""
    return frozenset(
        parse_version(event.version)
        for advisory in advisories
        for events in advisory.ranges
        for event in events
        if event.kind is Bound.FIXED
    )


# --- severity ---------------------------------------------------------------------------------------------------------

_RANK = {
    Severity.UNKNOWN: 0,
    Severity.NONE: 1,
    Severity.LOW: 2,
    Severity.MEDIUM: 3,
    Severity.HIGH: 4,
    Severity.CRITICAL: 5,
}


def worst(severities: Iterable[Severity]) -> Severity:
    """The worst of those that are known; unknown only where none is."""
    return max(severities, key=_RANK.__getitem__, default=Severity.UNKNOWN)


def severity_of(score: float) -> Severity:
    """The qualitative severity of a base score (CVSS v3.1 section 5, the same in v4.0)."""
    for floor, severity in (
        (9.0, Severity.CRITICAL),
        (7.0, Severity.HIGH),
        (4.0, Severity.MEDIUM),
        (0.1, Severity.LOW),
    ):
        if score >= floor:
            return severity
    return Severity.NONE


# --- joining ----------------------------------------------------------------------------------------------------------


def find(package: Package, advisories: Iterable[Advisory]) -> tuple[Finding, ...]:
    """What affects a package, worst first, out of the advisories about its name and about its files."""
    sha256s = {digest.hex for digest in package.digests if digest.algorithm == "sha256"}
    return join(
        package.version,
        [
            advisory
            for advisory in advisories
            if (advisory.name == package.name and affects(advisory, package.version))
            or not sha256s.isdisjoint(advisory.digests)
        ],
    )


def join(version: Version, advisories: Collection[Advisory]) -> tuple[Finding, ...]:
    """The flaws that the advisories, all of which affect `version`, speak of, worst first."""
    return join_findings(
        [
            Finding(
                id=advisory.id,
                aliases=advisory.aliases,
                severity=advisory.severity,
                score=advisory.score,
                fixed=tuple(map(str, sorted(fix for fix in fixes_of([advisory]) if fix > version))),
                malware=is_malware(advisory.id, *advisory.aliases),
                summary=advisory.summary,
            )
            for advisory in advisories
        ]
    )


def join_findings(findings: Collection[Finding]) -> tuple[Finding, ...]:
    """The findings, those that share an identifier made one, worst first.

    One flaw has a record in each database; their aliases name each other. `related` records don't join.
    """
    return tuple(sorted((_merged(group) for group in _groups(findings)), key=_badness))


def _groups(findings: Collection[Finding]) -> Iterator[list[Finding]]:
    """The findings in groups connected through their identifiers."""
    parent: dict[str, str] = {}

    def root(identifier: str) -> str:
        while parent.setdefault(identifier, identifier) != identifier:
            parent[identifier] = parent[parent[identifier]]
            identifier = parent[identifier]
        return identifier

    for finding in findings:
        for alias in finding.aliases:
            parent[root(alias)] = root(finding.id)
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(root(finding.id), []).append(finding)
    yield from groups.values()


def _merged(group: list[Finding]) -> Finding:
    group = sorted(group, key=lambda finding: (_precedence(finding.id), finding.summary))
    ids = sorted({identifier for finding in group for identifier in finding.ids}, key=_precedence)
    scores = [finding.score for finding in group if finding.score is not None]
    # of spellings of one version ("2", "2.0") the longest stays, whatever the order
    spelled = sorted((text for finding in group for text in finding.fixed), key=len)
    fixed = {parse_version(text): text for text in spelled}
    return Finding(
        id=ids[0],
        aliases=tuple(sorted(ids[1:])),
        severity=worst(finding.severity for finding in group),
        score=max(scores, key=float, default=None),
        fixed=tuple(fixed[version] for version in sorted(fixed)),
        malware=any(finding.malware for finding in group) or is_malware(*ids),
        summary=next((finding.summary for finding in group if finding.summary), ""),
    )


def _precedence(identifier: str) -> tuple[int, str]:
    """By which of its identifiers a flaw is called: malware's own, then PyPA's, GitHub's, the CVE, any other."""
    prefixes = ("MAL-", "PYSEC-", "GHSA-", "CVE-")
    rank = next((rank for rank, prefix in enumerate(prefixes) if identifier.startswith(prefix)), len(prefixes))
    return rank, identifier


def _badness(finding: Finding) -> tuple[bool, int, float, str]:
    return (
        not finding.malware,
        -_RANK[finding.severity],
        -float(finding.score or 0),
        finding.id,
    )
