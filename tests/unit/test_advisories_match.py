"""Which versions an advisory affects, and how records about one flaw become one finding."""

import pytest

from quarantine.model import Digest, Finding, Package, Severity, parse_name, parse_version
from quarantine.policy.advisories import (
    Advisory,
    Bound,
    Event,
    affects,
    find,
    fixes_of,
    join,
    join_findings,
    severity_of,
    worst,
)

DIGEST = Digest.sha256("cd" * 32)


def _advisory(identifier: str = "CVE-1", *events: tuple[str, str], **fields: object) -> Advisory:
    ranges = (tuple(Event(Bound(kind), version) for kind, version in events),) if events else ()
    return Advisory(**{"id": identifier, "name": "a", "ranges": ranges, **fields})  # type: ignore[arg-type]  # test data


@pytest.mark.parametrize(
    ("events", "inside", "outside"),
    [
        (
            [("introduced", "0"), ("fixed", "2")],
            ["0", "0.dev0", "1.9", "2rc1", "2.dev1"],
            ["2", "2.0.0", "2.post1", "3"],
        ),
        (
            [("introduced", "1"), ("last_affected", "2")],
            ["1", "1.5", "2", "2.0+cu118"],
            ["1rc1", "0.9", "2.0.1", "2.post1"],
        ),
        (
            [("fixed", "2.5"), ("introduced", "2"), ("fixed", "1.5"), ("introduced", "0")],
            ["1", "2.4"],
            ["1.5", "1.9", "3"],
        ),
        ([("introduced", "1"), ("fixed", "2"), ("introduced", "2"), ("fixed", "3")], ["1", "2", "2.9"], ["0.1", "3"]),
        ([("introduced", "1"), ("last_affected", "1")], ["1", "1.0"], ["0.9", "1.0.1"]),
        ([("introduced", "0"), ("limit", "2")], ["0", "1.9"], ["2", "3"]),
        ([("introduced", "0"), ("limit", "2"), ("limit", "*")], ["0", "9"], []),
        ([("introduced", "0")], ["0.dev0", "1!9"], []),
        ([("introduced", "1!0"), ("fixed", "1!2")], ["1!1"], ["9", "1!2"]),
        ([("introduced", "0"), ("fixed", "1.2+security1")], ["1.2", "1.2+alpha"], ["1.2+security1", "1.2+security2"]),
        ([("introduced", "0"), ("fixed", "2")], ["1.9+evil"], ["2+cu118"]),
    ],
)
def test_ranges_hold_what_lies_between_their_events(
    events: list[tuple[str, str]], inside: list[str], outside: list[str]
) -> None:
    """The schema's evaluation, over PEP 440's order; a local part moves a version out of no range."""
    advisory = _advisory("CVE-1", *events)

    assert [version for version in inside if not affects(advisory, parse_version(version))] == []
    assert [version for version in outside if affects(advisory, parse_version(version))] == []


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.0", True),
        ("1", True),
        ("1.0+cu118", True),
        ("1.1", False),
        ("2.0+x", True),
        ("2.0", False),
        ("1!1.0", False),
    ],
)
def test_listed_versions_are_equal_as_pep_440_has_it(version: str, expected: bool) -> None:
    """Trailing zeros don't matter, nor does the local part of the version that is asked about; epochs do."""
    assert affects(_advisory(versions=("1", "2+x")), parse_version(version)) is expected


def test_an_advisory_that_tells_no_versions_apart_affects_all() -> None:
    """It clears none."""
    assert affects(_advisory(unbounded=True), parse_version("99!1"))


def _finding(identifier: str, *aliases: str, **fields: object) -> Finding:
    return Finding(**{"id": identifier, "aliases": aliases, **fields})  # type: ignore[arg-type]  # test data


def test_records_that_share_an_identifier_are_one_finding() -> None:
    """Also over several steps; the worst severity, the highest score and all fixes of them count."""
    joined = join_findings(
        [
            _finding("GHSA-1", "CVE-1", severity=Severity.LOW, score="3.1", fixed=("1.10",), summary="from GitHub"),
            _finding("BIT-1", "CVE-2", severity=Severity.MEDIUM, fixed=("1.9", "1.10")),
            _finding("PYSEC-1", "CVE-1", "CVE-2", severity=Severity.UNKNOWN, score="10.0"),
            _finding("PYSEC-2", "CVE-3"),
        ]
    )

    assert joined == (
        Finding(
            id="PYSEC-1",
            aliases=("BIT-1", "CVE-1", "CVE-2", "GHSA-1"),
            severity=Severity.MEDIUM,
            score="10.0",
            fixed=("1.9", "1.10"),
            summary="from GitHub",
        ),
        Finding(id="PYSEC-2", aliases=("CVE-3",)),
    )


@pytest.mark.parametrize(
    ("ids", "first"),
    [
        (("CVE-1", "GHSA-1", "PYSEC-1", "MAL-1", "A-1"), "MAL-1"),
        (("CVE-1", "GHSA-1", "PYSEC-2", "PYSEC-1"), "PYSEC-1"),
        (("CVE-1", "GHSA-1", "A-1"), "GHSA-1"),
        (("OSV-1", "CVE-1"), "CVE-1"),
        (("OSV-1", "A-1"), "A-1"),
    ],
)
def test_a_flaw_is_called_by_its_best_known_identifier(ids: tuple[str, ...], first: str) -> None:
    """Whichever record it came from."""
    (finding,) = join_findings([_finding(ids[0], *ids[1:])])

    assert (finding.id, sorted(finding.ids)) == (first, sorted(ids))


def test_a_malware_alias_makes_malware() -> None:
    """A record of another database that says so is enough."""
    (finding,) = join_findings([_finding("PYSEC-1", "MAL-1")])

    assert finding == Finding(id="MAL-1", aliases=("PYSEC-1",), malware=True)


def test_findings_come_worst_first() -> None:
    """Malware, then by severity, then by score, then by name; unknown after all that is known."""
    findings = [
        _finding("CVE-1"),
        _finding("CVE-2", severity=Severity.HIGH, score="7.5"),
        _finding("CVE-4", severity=Severity.HIGH, score="8.1"),
        _finding("CVE-3", severity=Severity.HIGH, score="8.1"),
        _finding("CVE-5", severity=Severity.CRITICAL),
        _finding("CVE-6", severity=Severity.NONE, score="0.0"),
        _finding("MAL-1"),
    ]

    assert [finding.id for finding in join_findings(findings)] == [
        "MAL-1",
        "CVE-5",
        "CVE-3",
        "CVE-4",
        "CVE-2",
        "CVE-6",
        "CVE-1",
    ]


def test_fixes_are_later_versions_in_order() -> None:
    """A fix of an older branch is no help; order is PEP 440's, not the alphabet's."""
    events = [
        ("introduced", "0"),
        ("fixed", "1.9"),
        ("introduced", "2"),
        ("fixed", "2.10"),
        ("introduced", "3"),
        ("fixed", "3.0.1"),
    ]

    (finding,) = join(parse_version("2.1"), [_advisory("CVE-1", *events)])

    assert finding.fixed == ("2.10", "3.0.1")
    assert fixes_of([_advisory("CVE-1", *events)]) == {parse_version(text) for text in ("1.9", "2.10", "3.0.1")}


def test_a_package_is_found_by_version_or_by_the_digest_of_a_file() -> None:
    """Bytes known to be malicious are, under whatever name and version they come."""
    package = Package(parse_name("a"), parse_version("1.0"), frozenset({DIGEST}))
    advisories = [
        _advisory("CVE-1", versions=("1",), aliases=("CVE-2",)),
        _advisory("CVE-3", versions=("2",)),
        _advisory("CVE-4", name="b", unbounded=True),
        _advisory("MAL-1", name="b", versions=("7",), digests=(DIGEST.hex,)),
    ]

    assert find(package, advisories) == (
        Finding(id="MAL-1", malware=True),
        Finding(id="CVE-1", aliases=("CVE-2",)),
    )


def test_only_sha256_digests_are_compared() -> None:
    """The same digits of another algorithm mean nothing."""
    package = Package(parse_name("a"), parse_version("1.0"), frozenset({Digest("blake2s", DIGEST.hex)}))

    assert find(package, [_advisory("MAL-1", name="b", digests=(DIGEST.hex,))]) == ()


@pytest.mark.parametrize(
    ("score", "severity"),
    [
        (0.0, Severity.NONE),
        (0.1, Severity.LOW),
        (3.9, Severity.LOW),
        (4.0, Severity.MEDIUM),
        (6.9, Severity.MEDIUM),
        (7.0, Severity.HIGH),
        (8.9, Severity.HIGH),
        (9.0, Severity.CRITICAL),
        (10.0, Severity.CRITICAL),
    ],
)
def test_severity_of_a_score(score: float, severity: Severity) -> None:
    """CVSS v3.1, section 5."""
    assert severity_of(score) is severity


def test_the_worst_of_nothing_is_unknown() -> None:
    """And anything known is worse than unknown."""
    assert [worst([]), worst([Severity.UNKNOWN, Severity.NONE])] == [Severity.UNKNOWN, Severity.NONE]
