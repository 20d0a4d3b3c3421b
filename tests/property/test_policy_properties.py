"""What must hold of the policy for every input: it can only be talked into less, never into more."""

import itertools
import time
from datetime import UTC, date, datetime, timedelta

from hypothesis import assume, given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from policy_samples import (
    NOW,
    POLICY,
    POLICY_IN_FORCE,
    PRODUCTION,
    PYPI,
    SNAPSHOT,
    VETTED,
    flaw,
    item,
    policy,
    wheel,
)

from quarantine.errors import ConfigError, Problem
from quarantine.model import Outcome, OutcomeKind, Verdict, combine, parse_name
from quarantine.policy.entries import Entry, NamePattern, parse_pattern
from quarantine.policy.load import load
from quarantine.policy.near import NearNames
from quarantine.policy.rules import Evidence, judge, verdict

KINDS = st.sampled_from(OutcomeKind)
OUTCOMES = st.lists(st.builds(Outcome, rule=st.just("rule"), kind=KINDS, message=st.just("")), max_size=6)
RANK = {Verdict.DENIED: 0, Verdict.UNDECIDED: 1, Verdict.ALLOWED: 2}
NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,12}[a-z0-9])?", fullmatch=True).map(parse_name)
VERSIONS = st.builds(
    lambda epoch, release, suffix, local: Version(f"{epoch}{'.'.join(map(str, release))}{suffix}{local}"),
    st.sampled_from(["", "1!"]),
    st.lists(st.integers(0, 3), min_size=1, max_size=3),
    st.sampled_from(["", "rc1", ".post1", ".dev1", "a2"]),
    st.sampled_from(["", "+evil", "+cu118"]),
)
SPECIFIERS = st.builds(
    lambda operator, version: SpecifierSet(f"{operator}{version.public}"),
    st.sampled_from(["==", "!=", "<", ">", "<=", ">="]),
    VERSIONS,
)
DAYS = st.dates(date(2024, 1, 1), date(2028, 12, 31))


def fail() -> Outcome:
    """A failure."""
    return Outcome(rule="rule", kind=OutcomeKind.FAIL, message="")


@given(OUTCOMES, OUTCOMES)
def test_a_fail_can_only_lower_a_verdict(outcomes: list[Outcome], preconditions: list[Outcome]) -> None:
    """Whatever else is known, one more failure never makes more of it than undecided."""
    before, after = verdict(outcomes, preconditions), verdict([*outcomes, fail()], preconditions)

    assert after is not Verdict.ALLOWED
    assert RANK[after] <= RANK[before]


@given(OUTCOMES, st.randoms(use_true_random=False))
def test_order_does_not_matter(outcomes: list[Outcome], random: object) -> None:
    """A verdict is on a set of outcomes."""
    assert {verdict(order) for order in itertools.islice(itertools.permutations(outcomes), 24)} == {verdict(outcomes)}


@given(st.integers(0, 9), OUTCOMES)
def test_nothing_evaluated_is_never_allowed(count: int, preconditions: list[Outcome]) -> None:
    """However many rules have nothing to say, nobody has said yes."""
    silent = [Outcome(rule="rule", kind=OutcomeKind.NOT_APPLICABLE, message="")] * count

    assert verdict(silent, preconditions) is Verdict.UNDECIDED


@given(OUTCOMES)
def test_a_verdict_is_what_its_outcomes_combine_to(outcomes: list[Outcome]) -> None:
    """Judging together and combining single verdicts agree, silent rules left out."""
    speaking = [outcome for outcome in outcomes if outcome.kind is not OutcomeKind.NOT_APPLICABLE]

    assert verdict(outcomes) is combine(verdict([outcome]) for outcome in speaking)


def entry(specifier: SpecifierSet, added: date = date(2024, 1, 1), expires: date | None = None) -> Entry:
    """An entry for one name."""
    return Entry(
        pattern=NamePattern("demo"), specifier=specifier, owner="", reason="", added=added, expires=expires, place="l:1"
    )


@given(DAYS, st.timedeltas(timedelta(days=-400), timedelta(days=400)))
def test_an_expired_entry_never_allows(expires: date, offset: timedelta) -> None:
    """An entry holds up to the first instant of its last day's morrow, in UTC, and not from then on."""
    end = datetime(expires.year, expires.month, expires.day, tzinfo=UTC)

    assert entry(SpecifierSet(), expires=expires).live(end + offset) is (offset < timedelta(0))


@given(st.timedeltas(timedelta(0), timedelta(days=4000)))
def test_an_item_of_an_expired_entry_is_denied(after: timedelta) -> None:
    """From the instant at which its only entry expires on, a curated package is denied."""
    now = datetime(2026, 11, 23, tzinfo=UTC) + after
    of = item("beta", "1.0", upstream="vetted", artifacts=(wheel("beta", "1.0", age=timedelta(days=90), now=now),))

    assert verdict(judge(PRODUCTION, Evidence(item=of, findings=()), SNAPSHOT, now)) is Verdict.DENIED


@given(SPECIFIERS, VERSIONS)
def test_deny_reaches_at_least_what_allow_does(specifier: SpecifierSet, version: Version) -> None:
    """The same specifier denies whatever it would allow, and what PEP 440 says it contains."""
    one = entry(specifier)

    assert one.denies(version) or not one.allows(version)
    assert one.denies(version) or not specifier.contains(version, prereleases=True)


@given(SPECIFIERS, VERSIONS)
def test_a_local_version_needs_its_name(specifier: SpecifierSet, version: Version) -> None:
    """No specifier of public versions lets a local version in."""
    assume(version.local is not None)

    assert not entry(specifier).allows(version)
    assert entry(SpecifierSet(f"=={version}")).allows(version)


@given(
    st.sampled_from(["", "==1.0", ">=0.5,<2", "!=0.9", "<=1.0", "~=1.0"]), st.sampled_from(["acme", "vetted", "pypi"])
)
def test_deny_wins(specifier: str, upstream: str) -> None:
    """Whatever allows a version, a deny entry that reaches it makes it denied."""
    line = "{{name: demo, specifier: '{0}', owner: o, reason: r, added: 2026-01-01{1}}}\n"
    allow = "allow:\n  - " + line.format("", ", expires: 2027-01-01")
    loaded = policy(
        POLICY,
        PYPI.replace("deny:\n", "deny:\n  - " + line.format(specifier, "")),
        VETTED.replace("allow:\n", allow),
    )
    outcomes = judge(
        loaded.stage("development"),
        Evidence(item=item("demo", "1.0", upstream=upstream), findings=()),
        SNAPSHOT,
        NOW,
    )

    assert verdict(outcomes) is Verdict.DENIED


@given(st.datetimes(datetime(2023, 12, 1), datetime(2029, 1, 1)), st.integers(-2, 2))  # noqa: DTZ001  # made aware below
def test_the_age_boundary(uploaded: datetime, seconds: int) -> None:
    """A file is old enough from the second on at which seven times 24 hours are over, over leap days too."""
    instant = uploaded.replace(tzinfo=UTC)
    now = instant + timedelta(days=7, seconds=seconds)
    of = item(artifacts=(wheel(now=instant, age=timedelta(0)),))
    kinds = {o.rule: o.kind for o in judge(PRODUCTION, Evidence(item=of, findings=()), SNAPSHOT, now)}

    assert kinds["minimum-age"] is (OutcomeKind.PASS if seconds >= 0 else OutcomeKind.FAIL)


@given(st.sampled_from(["python-dateutil", "bad", "reqeusts", "acme-x", "evil-y"]), st.data())
def test_two_spellings_one_verdict(name: str, data: st.DataObject) -> None:
    """However a name is spelled, its outcomes are the same."""
    separators = [data.draw(st.sampled_from(["-", "_", ".", "--", "_."])) if c == "-" else c for c in name]
    spelled = "".join(data.draw(st.sampled_from([c, c.upper()])) for c in separators)

    def outcomes(text: str) -> tuple[Outcome, ...]:
        return judge(PRODUCTION, Evidence(item=item(parse_name(text)), findings=(flaw(),)), SNAPSHOT, NOW)

    assert outcomes(spelled) == outcomes(name)


@given(NAMES, NAMES)
def test_a_prefix_keeps_to_its_segment(prefix: str, name: str) -> None:
    """`PREFIX-*` matches what goes on after a hyphen, and nothing else."""
    pattern = parse_pattern(f"{prefix}-*", item().ecosystem)

    assert pattern.matches(f"{prefix}-{name}")
    assert not pattern.matches(f"{prefix}{name}".replace("-", ""))
    assert not pattern.matches(prefix)


@given(st.text(max_size=12))
def test_a_star_elsewhere_is_an_error(text: str) -> None:
    """A pattern is an exact name or a prefix that ends at a boundary, or it isn't read at all."""
    try:
        pattern = parse_pattern(text, item().ecosystem)
    except ValueError:
        return
    assert "*" not in pattern.name
    assert pattern.boundary == ("-" if text.endswith("-*") else "")


@given(NAMES)
def test_likeness_is_mutual_and_never_of_itself(name: str) -> None:
    """A name is not like itself, and two names are alike whichever of them is the known one."""
    assert name not in NearNames([name]).like(name)
    for other in NearNames(POLICY_IN_FORCE.popular).like(name):
        assert name in NearNames([name]).like(other) or name == other


@given(NAMES, st.data())
def test_one_slip_is_found(name: str, data: st.DataObject) -> None:
    """Every single slip of a name of five characters and more is noticed."""
    assume(len(name) >= 6)
    place = data.draw(st.integers(0, len(name) - 2))
    letter = data.draw(st.sampled_from("abcxyz019"))
    slip = data.draw(
        st.sampled_from(
            [
                name[:place] + name[place + 1 :],
                name[:place] + letter + name[place:],
                name[:place] + letter + name[place + 1 :],
                name[:place] + name[place + 1] + name[place] + name[place + 2 :],
            ]
        )
    )
    assume(slip != name)

    assert NearNames([name]).like(slip) == (name,)


def test_the_cost_of_likeness_is_bounded() -> None:
    """A name of 100,000 characters is answered at once, and ten thousand known names don't make it slow."""
    near = NearNames(f"package-number-{number}" for number in range(10_000))
    started = time.perf_counter()
    for name in ("a" * 100_000, "-".join("a" * 50_000), "package-number-" + "1" * 100_000):
        assert near.like(name) == ()
    taken = time.perf_counter() - started

    assert taken < 1


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_load_or_are_a_configuration_error(data: bytes) -> None:
    """Whatever stands in a file, the answer is a policy or an error that names the file."""
    for name in ("policy.yaml", "pypi.yaml"):
        content = {
            "policy.yaml": POLICY.encode(),
            "pypi.yaml": PYPI.encode(),
            "vetted.yaml": VETTED.encode(),
            name: data,
        }
        problems: tuple[Problem, ...] | None = None
        try:
            load(content, now=NOW)
        except ConfigError as error:
            problems = error.problems
        assert problems != ()
