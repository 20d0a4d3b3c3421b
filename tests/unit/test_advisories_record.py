"""OSV records: bytes -> what they say about each package."""

from datetime import UTC, datetime

import pytest
from osv_records import Json, affected, before, record, version_range

from quarantine.model import Severity
from quarantine.policy.advisories import Advisory, Bound, Event, Record
from quarantine.policy.osv_record import parse_record, plain_line, score_of

NOON = datetime(2026, 11, 20, 8, tzinfo=UTC)
V3 = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"
V4 = "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"
V2 = "AV:N/AC:L/Au:N/C:P/I:P/A:P"
DIGEST = "ab" * 32


def _only(data: bytes) -> Advisory:
    (advisory,) = parse_record(data).advisories
    return advisory


def test_a_record_becomes_what_it_says_about_its_package() -> None:
    """Names and versions are normalised, aliases sorted, vectors scored."""
    data = record(
        "GHSA-x",
        affected(
            "Py_YAML",
            versions=["1.0", "1.0.0", "2.0-beta1", "2004d"],
            ranges=[version_range(("introduced", "0"), ("fixed", "2.0"))],
        ),
        aliases=["CVE-2020-2", "CVE-2020-1", "GHSA-x"],
        summary="Loads too much",
        severity=[{"type": "CVSS_V3", "score": V3}],
    )

    assert parse_record(data) == Record(
        id="GHSA-x",
        modified=NOON,
        withdrawn=False,
        advisories=(
            Advisory(
                id="GHSA-x",
                aliases=("CVE-2020-1", "CVE-2020-2"),
                ecosystem="PyPI",
                name="py-yaml",
                summary="Loads too much",
                severity=Severity.HIGH,
                score="7.5",
                versions=("1", "2b1"),
                ranges=((Event(Bound.INTRODUCED, "0"), Event(Bound.FIXED, "2.0")),),
            ),
        ),
    )


def test_several_entries_about_one_package_are_one_advisory() -> None:
    """A record names a package once for each of its branches."""
    data = record(
        "CVE-1",
        affected("a", ranges=[version_range(("introduced", "1"), ("fixed", "1.5"))]),
        affected("A", ranges=[version_range(("introduced", "2"), ("fixed", "2.5"))]),
        affected("a", ecosystem="npm", versions=["9.9.9-x"]),
    )

    assert [(one.ecosystem, one.name, len(one.ranges), one.versions) for one in parse_record(data).advisories] == [
        ("PyPI", "a", 2, ()),
        ("npm", "a", 0, ("9.9.9-x",)),
    ]


def test_a_withdrawn_record_says_nothing() -> None:
    """It is known to be withdrawn, and affects nothing."""
    data = before("CVE-1", "a", "2", withdrawn="2026-01-01T00:00:00Z")

    assert parse_record(data) == Record(id="CVE-1", modified=NOON, withdrawn=True, advisories=())


@pytest.mark.parametrize("withdrawn", ["", "yes", "0001-01-01T00:00:00Z"])
def test_a_withdrawal_that_is_no_date_does_not_count(withdrawn: str) -> None:
    """What can't be read never clears a package."""
    assert not parse_record(before("CVE-1", "a", "2", withdrawn=withdrawn)).withdrawn


def test_a_date_of_change_that_is_no_date_is_not_known() -> None:
    """The rest of the record still counts."""
    parsed = parse_record(before("CVE-1", "a", "2", modified="1-01-01T00:00:00Z"))

    assert (parsed.modified, len(parsed.advisories)) == (None, 1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an OSV record: Input data was truncated"),
        (b"[]", "not an OSV record: Expected `object`, got `array`"),
        (b'{"id": 1, "modified": "x"}', "not an OSV record: Expected `str`, got `int` - at `$.id`"),
        (b'{"id": "A"}', "not an OSV record: Object missing required field `modified`"),
        (b'{"id": "A B", "modified": ""}', "not an OSV record: 'A B' is not an identifier"),
        (b'{"id": "", "modified": ""}', "not an OSV record: '' is not an identifier"),
        (
            b'{"id": "A", "modified": "", "schema_version": "2.0"}',
            "OSV schema '2.0': only version 1 can be read",
        ),
        (
            b'{"id": "A", "modified": "", "affected": [{"package": {"ecosystem": "PyPI"}}]}',
            "not an OSV record: Object missing required field `name` - at `$.affected[0].package`",
        ),
        (
            b'{"id": "A", "modified": "", "affected": [{"versions": "1.0"}]}',
            "not an OSV record: Expected `array | null`, got `str` - at `$.affected[0].versions`",
        ),
    ],
)
def test_what_is_no_record_is_refused_with_its_reason(data: bytes, message: str) -> None:
    """Types are held to the schema; the message says where."""
    with pytest.raises(ValueError) as caught:
        parse_record(data)

    assert str(caught.value) == message


def test_deep_nesting_is_refused() -> None:
    """A hostile record costs an error, not the process."""
    data = b'{"id": "A", "modified": "", "database_specific": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"

    with pytest.raises(ValueError, match=r"^not an OSV record: nested too deep$"):
        parse_record(data)


@pytest.mark.parametrize(
    "entry",
    [
        affected("a"),
        affected("a", versions=[], ranges=[]),
        affected("a", versions=None, ranges=None),
        affected("a", ranges=[version_range(("introduced", "0"), ("fixed", "5"), kind="GIT")]),
        affected("a", ranges=[version_range(("fixed", "2"))]),
        affected("a", ranges=[version_range(("introduced", "0"), ("fixed", "2019-09-12"))]),
        affected("a", versions=["1"], ranges=[version_range(("introduced", "0"), ("fixed", "soon"))]),
        affected("a", ranges=[version_range(("introduced", "0"), ("fixed", "2"), kind="DATE")]),
        affected("a", versions=["2004d"]),
    ],
)
def test_what_does_not_tell_versions_apart_affects_them_all(entry: Json) -> None:
    """Neither list nor range, or a bound that can't be compared: no version is cleared by it."""
    assert _only(record("CVE-1", entry)).unbounded


def test_commit_ranges_say_nothing_beside_versions() -> None:
    """GIT ranges are passed over where versions are known."""
    git = version_range(("introduced", "0"), ("fixed", "a1b2c3"), kind="GIT")

    advisory = _only(record("CVE-1", affected("a", versions=["1.0"], ranges=[git])))

    assert (advisory.unbounded, advisory.versions, advisory.ranges) == (False, ("1",), ())


@pytest.mark.parametrize("name", ["\u212aeras", "", "-", "a b", "../a"])
def test_a_name_that_no_project_can_have_is_passed_over(name: str) -> None:
    """Nobody can ask about it; folding it into another name would accuse the wrong package."""
    assert parse_record(record("CVE-1", affected(name, versions=["1"]))).advisories == ()


def test_an_entry_without_a_package_is_passed_over() -> None:
    """It speaks of a source repository."""
    assert parse_record(record("CVE-1", {"ranges": []})).advisories == ()


@pytest.mark.parametrize(
    ("kind", "vector", "score"),
    [
        ("CVSS_V3", V3, 7.5),
        ("CVSS_V4", V4, 9.3),
        ("CVSS_V2", V2, 7.5),
        ("CVSS_V3", "7.5", None),
        ("CVSS_V3", V2, None),
        ("CVSS_V3", "", None),
        ("CVSS_V3", f"{V3}/E:X" + "/" * 500, None),
        ("Ubuntu", "medium", None),
    ],
)
def test_vectors_are_scored(kind: str, vector: str, score: float | None) -> None:
    """Base scores of CVSS 2, 3 and 4; nothing else has one."""
    assert score_of(kind, vector) == score


@pytest.mark.parametrize(
    ("fields", "entry", "expected"),
    [
        ({}, {}, (Severity.UNKNOWN, None)),
        ({"database_specific": {"severity": "MODERATE"}}, {}, (Severity.MEDIUM, None)),
        ({"database_specific": {"severity": "dire"}}, {}, (Severity.UNKNOWN, None)),
        ({"database_specific": {"severity": 9}}, {}, (Severity.UNKNOWN, None)),
        ({"database_specific": ["HIGH"]}, {}, (Severity.UNKNOWN, None)),
        ({}, {"database_specific": {"severity": "Critical"}}, (Severity.CRITICAL, None)),
        ({}, {"severity": [{"type": "CVSS_V3", "score": V3}]}, (Severity.HIGH, "7.5")),
        (
            {"severity": [{"type": "CVSS_V3", "score": V3}, {"type": "CVSS_V4", "score": V4}]},
            {},
            (Severity.CRITICAL, "9.3"),
        ),
        (
            {"severity": [{"type": "CVSS_V3", "score": V3}], "database_specific": {"severity": "CRITICAL"}},
            {},
            (Severity.CRITICAL, "7.5"),
        ),
        ({"severity": [{"type": "CVSS_V3", "score": V3[:-1] + "Q"}]}, {}, (Severity.UNKNOWN, None)),
        (
            {"severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N"}]},
            {},
            (Severity.NONE, "0.0"),
        ),
    ],
)
def test_severity_is_the_worst_that_is_known(fields: Json, entry: Json, expected: tuple[Severity, str | None]) -> None:
    """Of vectors and the database's own word; with none of them it is unknown."""
    advisory = _only(record("CVE-1", affected("a", versions=["1"], **entry), **fields))

    assert (advisory.severity, advisory.score) == expected


def _indicators(*files: object) -> dict[str, object]:
    return {"indicators": {"package_integrity": list(files)}}


def test_files_of_a_malware_record_are_known_by_their_digest() -> None:
    """Only well-formed sha256s of published files; what is free-form and odd is passed over."""
    odd = [1, {}, {"hashes": []}, {"hashes": {"sha256": 1}}, {"hashes": {"sha256": "abc"}}, {"hashes": {"md5": "00"}}]
    data = record(
        "MAL-1",
        affected("a", database_specific=_indicators({"hashes": {"sha256": DIGEST.upper()}}, *odd)),
        affected("a", database_specific={"indicators": []}),
        affected("a", database_specific={"indicators": {"package_integrity": "none"}}),
    )

    assert _only(data).digests == (DIGEST,)


def test_digests_of_reports_and_of_mere_flaws_are_no_digests_of_malware() -> None:
    """`malicious-packages-origins` holds the sha256 of a report, and a flaw makes no file malicious."""
    report = record(
        "MAL-1",
        affected("a", versions=["1"]),
        database_specific={"malicious-packages-origins": [{"source": "s", "sha256": DIGEST}]},
    )
    flaw = record("CVE-1", affected("a", database_specific=_indicators({"hashes": {"sha256": DIGEST}})))

    assert [_only(report).digests, _only(flaw).digests] == [(), ()]


@pytest.mark.parametrize(
    ("fields", "summary"),
    [
        ({"summary": "One\x1b[2J\u202e two\nthree"}, "One[2J two"),
        ({"summary": "", "details": "\n\n  ### Impact \nmore"}, "### Impact"),
        ({"summary": None, "details": None}, ""),
        ({"details": "x" * 300}, "x" * 199 + "…"),
        ({"details": "y" * 200}, "y" * 200),
    ],
)
def test_a_summary_is_one_plain_short_line(fields: Json, summary: str) -> None:
    """Control and direction characters never reach a terminal through an advisory."""
    assert _only(record("CVE-1", affected("a", versions=["1"]), **fields)).summary == summary


def test_aliases_that_are_no_identifiers_are_dropped() -> None:
    """They would join nothing, and are printed."""
    data = record("CVE-1", affected("a", versions=["1"]), aliases=["", "GHSA-1", "a b", "::error::", "x" * 101])

    assert _only(data).aliases == ("GHSA-1",)


def test_a_long_line_without_a_break_costs_little() -> None:
    """Only the beginning of a text is looked at."""
    assert plain_line("\u202e" * 50_000 + "late") == ""
