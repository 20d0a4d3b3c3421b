"""Properties of matching and joining."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from quarantine.model import Finding, Severity, parse_version
from quarantine.policy.advisories import Advisory, Bound, Event, affects, join_findings
from quarantine.policy.osv_record import parse_record

VERSIONS = st.builds(
    "{}{}{}".format,
    st.lists(st.integers(0, 3), min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts))),
    st.sampled_from(["", "a1", "rc2", ".post1", ".dev3"]),
    st.sampled_from(["", "", "+cu118"]),
)
EVENTS = st.lists(st.builds(Event, st.sampled_from(Bound), VERSIONS), max_size=6)
IDS = st.builds("{}-{}".format, st.sampled_from(["CVE", "PYSEC", "GHSA", "MAL", "X"]), st.integers(0, 9))
FINDINGS = st.lists(
    st.builds(
        Finding,
        id=IDS,
        aliases=st.frozensets(IDS, max_size=3).map(lambda ids: tuple(sorted(ids))),
        severity=st.sampled_from(Severity),
        score=st.none() | st.sampled_from(["0.0", "5.5", "10.0"]),
        fixed=st.lists(VERSIONS, max_size=2).map(tuple),
    ),
    max_size=8,
)


def _advisory(*ranges: tuple[Event, ...]) -> Advisory:
    return Advisory(id="CVE-1", name="a", ranges=ranges)


@given(events=EVENTS, version=VERSIONS, data=st.data())
def test_the_order_of_events_does_not_matter(events: list[Event], version: str, data: st.DataObject) -> None:
    """OSV: "the events are sorted before they are evaluated"."""
    shuffled = data.draw(st.permutations(events))

    assert affects(_advisory(tuple(events)), parse_version(version)) is affects(
        _advisory(tuple(shuffled)), parse_version(version)
    )


@given(bounds=st.lists(VERSIONS.map(lambda text: text.partition("+")[0]), min_size=2, max_size=6), version=VERSIONS)
@example(bounds=["0", "1"], version="0a1")
@example(bounds=["0a1", "0rc2", "0"], version="1")
def test_alternating_events_are_half_open_intervals(bounds: list[str], version: str) -> None:
    """The last bound at or before the public version decides; "introduced: 0" lies before every version (OSV)."""
    ends = sorted({parse_version(bound) for bound in bounds})
    kinds = [Bound.INTRODUCED, Bound.FIXED]
    events = [Event(kinds[number % 2], str(bound)) for number, bound in enumerate(ends)]
    public = parse_version(parse_version(version).public)

    first = [event for event in events if event == Event(Bound.INTRODUCED, "0")]
    before = [event for event in events if event not in first and parse_version(event.version) <= public]
    expected = [*first, *before][-1:]

    assert affects(_advisory(tuple(events)), parse_version(version)) is (
        expected != [] and expected[0].kind is Bound.INTRODUCED
    )


@given(events=EVENTS, version=VERSIONS, local=st.sampled_from(["x", "1.2"]))
def test_a_local_part_never_clears_a_version(events: list[Event], version: str, local: str) -> None:
    """Whatever the builder calls it, unless an event names that very build."""
    plain = [event for event in events if "+" not in event.version]
    advisory = _advisory(tuple(plain))
    public = parse_version(version).public

    assert affects(advisory, parse_version(f"{public}+{local}")) is affects(advisory, parse_version(public))


@given(findings=FINDINGS, data=st.data())
def test_joining_parts_the_identifiers_whatever_the_order(findings: list[Finding], data: st.DataObject) -> None:
    """Every identifier is in exactly one finding, and no two findings share one."""
    joined = join_findings(findings)

    assert sorted(identifier for finding in joined for identifier in finding.ids) == sorted(
        {identifier for finding in findings for identifier in finding.ids}
    )
    assert join_findings(data.draw(st.permutations(findings))) == joined
    assert join_findings(joined) == joined


@given(findings=FINDINGS)
def test_joining_softens_nothing(findings: list[Finding]) -> None:
    """A finding is at least as bad as each record in it."""
    by_id = {identifier: finding for finding in join_findings(findings) for identifier in finding.ids}
    order = list(Severity)

    for finding in findings:
        whole = by_id[finding.id]
        assert order.index(whole.severity) >= order.index(finding.severity)
        assert float(whole.score or -1) >= float(finding.score or -1)
        assert whole.malware or not any(identifier.startswith("MAL-") for identifier in finding.ids)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    "id", "modified", "withdrawn", "aliases", "summary", "details", "severity", "affected", "database_specific",
    "schema_version",
]  # fmt: skip
ENTRY = st.fixed_dictionaries(
    {"package": st.just({"ecosystem": "PyPI", "name": "a"})},
    optional={
        "versions": st.lists(st.text(max_size=6), max_size=3),
        "ranges": st.lists(
            st.fixed_dictionaries(
                {
                    "type": st.sampled_from(["ECOSYSTEM", "SEMVER", "GIT", "X"]),
                    "events": st.lists(
                        st.dictionaries(st.sampled_from(list(Bound)), st.text(max_size=5) | VERSIONS, max_size=2),
                        max_size=3,
                    ),
                }
            ),
            max_size=2,
        ),
        "database_specific": JSON,
    },
)


@given(fields=st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_any_json_is_read_or_refused(fields: dict[str, object]) -> None:
    """With a ValueError and nothing else."""
    try:
        parsed = parse_record(json.dumps({"id": "CVE-1", "modified": "", **fields}).encode())
    except ValueError as error:
        said = str(error)
    else:
        said = f"not an OSV record: {parsed.id} is one"

    assert said.startswith(("not an OSV record: ", "OSV schema "))


@given(entries=st.lists(ENTRY, min_size=1, max_size=2), version=VERSIONS)
def test_any_extent_can_be_asked_about(entries: list[dict[str, object]], version: str) -> None:
    """What was read can be compared, whatever bounds a record names; and it names some version, or affects all."""
    (advisory,) = parse_record(json.dumps({"id": "CVE-1", "modified": "", "affected": entries}).encode()).advisories

    assert affects(advisory, parse_version(version)) in {True, False}
    assert advisory.unbounded or advisory.versions or advisory.ranges
