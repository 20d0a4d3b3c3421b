"""From outcomes to a verdict, preconditions, files as a whole, nearest versions, and what `explain` says."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from policy_samples import (
    DEVELOPMENT,
    LINUX,
    MACOS,
    MIXED_POLICY,
    NOW,
    POLICY,
    POLICY_IN_FORCE,
    PRODUCTION,
    SNAPSHOT,
    item,
    policy,
    wheel,
)

from quarantine.model import (
    Digest,
    Directive,
    EnvironmentSpec,
    IndexPage,
    Location,
    LockedPackage,
    Outcome,
    OutcomeKind,
    Reference,
    ReferenceKind,
    Requirement,
    Snapshot,
    Unverifiable,
    Verdict,
    parse_name,
)
from quarantine.policy.explain import explain
from quarantine.policy.nearest import candidate_item, candidates
from quarantine.policy.rules import judge_spec, preconditions, verdict
from quarantine.policy.stage import StagePolicy

HERE = Location(file="requirements.txt", line=3)
MAX_AGE = timedelta(hours=48)


def outcome(kind: str) -> Outcome:
    """An outcome of this kind."""
    return Outcome(rule="rule", kind=OutcomeKind(kind), message="")


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ("", Verdict.UNDECIDED),
        ("not-applicable", Verdict.UNDECIDED),
        ("not-applicable not-applicable", Verdict.UNDECIDED),
        ("pass", Verdict.ALLOWED),
        ("pass not-applicable", Verdict.ALLOWED),
        ("pass unknown", Verdict.UNDECIDED),
        ("pass unknown fail", Verdict.DENIED),
        ("fail", Verdict.DENIED),
    ],
)
def test_a_verdict_follows_from_outcomes(kinds: str, expected: Verdict) -> None:
    """Any fail denies, else any unknown leaves it undecided; nothing evaluated is never allowed."""
    assert verdict(map(outcome, kinds.split())) is expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("pass", Verdict.DENIED),
        ("not-applicable", Verdict.DENIED),
        ("unknown", Verdict.UNDECIDED),
        ("fail", Verdict.UNDECIDED),
    ],
)
def test_a_failed_precondition_voids_the_findings(kind: str, expected: Verdict) -> None:
    """Evidence that can't be trusted proves nothing, not even guilt."""
    assert verdict([outcome("fail")], [outcome(kind)]) is expected


OLD = replace(SNAPSHOT, as_of=NOW - timedelta(days=30))


@pytest.mark.parametrize(
    ("snapshot", "problem", "expected"),
    [
        (SNAPSHOT, None, "pass: 103 advisory records as of 2026-11-23T11:00:00Z"),
        (replace(SNAPSHOT, as_of=NOW - MAX_AGE), None, "pass: 103 advisory records as of 2026-11-21T12:00:00Z"),
        (
            OLD,
            None,
            "unknown: the advisories are of 2026-10-24, 30 days old: expected at most 48 hours; run advisories sync",
        ),
        (
            replace(OLD, accepted_until=NOW + timedelta(seconds=1)),
            None,
            (
                "pass: the advisories are of 2026-10-24, 30 days old: newer flaws are not in them; "
                "accepted until 2026-11-23T12:00:01Z by accept_age_until"
            ),
        ),
        (
            replace(OLD, accepted_until=NOW),
            None,
            "unknown: the advisories are of 2026-10-24, 30 days old: expected at most 48 hours; run advisories sync",
        ),
        (
            replace(SNAPSHOT, as_of=None),
            None,
            "unknown: the advisories are of unknown age: expected at most 48 hours; run advisories sync",
        ),
        (
            replace(SNAPSHOT, as_of=NOW + timedelta(minutes=5)),
            None,
            "pass: 103 advisory records as of 2026-11-23T12:05:00Z",
        ),
        (
            replace(SNAPSHOT, as_of=NOW + timedelta(minutes=5, seconds=1), accepted_until=NOW + timedelta(days=9)),
            None,
            "unknown: the advisories are of 2026-11-23T12:05:01Z, which is yet to come: see whose clock is wrong",
        ),
        (
            replace(SNAPSHOT, complete=False, accepted_until=NOW + timedelta(days=9)),
            None,
            "unknown: the advisories are incomplete: expected a sync that ran to its end; run advisories sync",
        ),
        (
            replace(SNAPSHOT, sources=(("osv", 0),), accepted_until=NOW + timedelta(days=9)),
            None,
            "unknown: the advisories hold no record: expected some; run advisories sync, or see what it reads",
        ),
        (None, "no database", "unknown: no advisories: no database"),
        (None, None, "unknown: no advisories: there is no snapshot: run advisories sync"),
    ],
)
def test_preconditions(snapshot: Snapshot | None, problem: str | None, expected: str) -> None:
    """Advisories count while they are there, whole and fresh; only their age can be accepted, for a time."""
    (found,) = preconditions(snapshot, problem, MAX_AGE, NOW)

    assert f"{found.kind}: {found.message}" == expected


# --- files as a whole -------------------------------------------------------------------------------------------------


def asks(*requirements: Requirement, **more: object) -> EnvironmentSpec:
    """A requirements file."""
    base = EnvironmentSpec(file="requirements.txt", format="requirements", requirements=requirements)
    return replace(base, **more)


NUMPY = Requirement(name=parse_name("numpy"), location=HERE)
PINNED = LockedPackage(
    name=parse_name("numpy"),
    version=Version("2.0"),
    digests=frozenset({Digest.sha256("a" * 64)}),
    location=HERE,
)
GIT = Reference(kind=ReferenceKind.VCS, text="git+https://git.example.org/demo")


@pytest.mark.parametrize(
    ("stage", "spec", "locks", "expected"),
    [
        (
            PRODUCTION,
            asks(NUMPY),
            False,
            (
                "fail: requirements.txt pins no digests, which production expects: "
                "write a lock with check --lock FILE and build from that"
            ),
        ),
        (
            DEVELOPMENT,
            asks(NUMPY),
            False,
            (
                "pass: requirements.txt pins no digests, so a later build may differ from what was judged: "
                "write a lock with check --lock FILE and build from that"
            ),
        ),
        (PRODUCTION, asks(NUMPY), True, "pass: requirements.txt is being locked: the verdict is on the lock"),
        (PRODUCTION, asks(locked=(PINNED,)), False, "pass: requirements.txt pins every package by digest"),
        (PRODUCTION, asks(locked=()), False, "not-applicable: requirements.txt asks for nothing"),
        (PRODUCTION, asks(), True, "not-applicable: requirements.txt asks for nothing"),
    ],
)
def test_locked(stage: StagePolicy, spec: EnvironmentSpec, locks: bool, expected: str) -> None:
    """Production takes pinned input only, or the lock that is being written; an empty file proves nothing."""
    (found,) = judge_spec(stage, spec, locks=locks, now=NOW)

    assert (found.rule, f"{found.kind}: {found.message}") == ("locked", expected)


def test_index_options() -> None:
    """A line that changes where packages come from is refused at its line, unless policy calls it harmless."""
    directives = (
        Directive(option="--extra-index-url", text="--extra-index-url https://evil.example.org", location=HERE),
        Directive(option="--no-index", text="--no-index", location=HERE),
        Directive(option="environment-variable", text="numpy==${VERSION}", location=HERE),
    )
    would = "would change what is installed from where, or how it is trusted"
    remove = "expected none of that in the file; remove the line, the policy names the upstreams"

    assert judge_spec(PRODUCTION, asks(NUMPY, directives=directives), locks=True, now=NOW)[1:] == (
        Outcome(
            rule="index-option",
            kind=OutcomeKind.FAIL,
            message=f"--extra-index-url https://evil.example.org {would}: {remove}",
            evidence=(("option", "--extra-index-url"),),
            location=HERE,
        ),
        Outcome(
            rule="index-option",
            kind=OutcomeKind.PASS,
            message="--no-index is harmless by policy",
            evidence=(("option", "--no-index"),),
            location=HERE,
        ),
        Outcome(
            rule="index-option",
            kind=OutcomeKind.FAIL,
            message=f"numpy==${{VERSION}} {would}: {remove}",
            evidence=(("option", "environment-variable"),),
            location=HERE,
        ),
    )


def test_references_that_become_no_item() -> None:
    """A direct reference without a name, or among the constraints, is refused at its line; a named one is an item."""
    nameless = Requirement(name=None, reference=GIT, location=HERE)
    named = Requirement(name=parse_name("demo"), reference=GIT, location=HERE)
    expected = "expected a name and a version from an upstream; name those, or file an exception"
    place = "is taken from a version control system (git+https://git.example.org/demo)"

    found = judge_spec(PRODUCTION, asks(nameless, named, constraints=(named, NUMPY)), locks=True, now=NOW)

    assert [(o.rule, o.kind, o.message, o.location) for o in found[1:]] == [
        ("direct-reference", "fail", f"a package without a name {place}: {expected}", HERE),
        ("direct-reference", "fail", f"demo {place}: {expected}", HERE),
    ]


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (
            "deny",
            (
                "fail: curl | sh can't be verified: it runs what it fetches: "
                "expected none of that in production; write it so that it can be read: packages and images by name and version"
            ),
        ),
        ("review", "unknown: curl | sh can't be verified: it runs what it fetches: somebody has to look at it"),
        ("tolerate", "pass: curl | sh can't be verified: it runs what it fetches: tolerated in production"),
    ],
)
def test_unverifiable(action: str, expected: str) -> None:
    """What can't be known without running it is denied, undecided or tolerated, as the stage says, but always told."""
    text = POLICY.replace("rules:\n", f"rules:\n  unverifiable: {{action: {action}}}\n", 1)
    entry = Unverifiable(location=HERE, what="curl | sh", why="it runs what it fetches")

    found = judge_spec(policy(text).stage("production"), asks(NUMPY, unverifiable=(entry,)), locks=True, now=NOW)

    assert [(o.rule, f"{o.kind}: {o.message}", o.location) for o in found[1:]] == [("unverifiable", expected, HERE)]


# --- nearest versions -------------------------------------------------------------------------------------------------

PAGE = IndexPage(
    upstream="pypi",
    name=parse_name("demo"),
    artifacts=(
        *(wheel("demo", version) for version in ("0.9", "1.0", "1.1", "1.2", "2.0", "2.1rc1", "0.8")),
        wheel("demo", "1.3", yanked="broken"),
        wheel("demo", "1.4", platform="manylinux_2_17_x86_64"),
    ),
)


@pytest.mark.parametrize(
    ("version", "specifiers", "targets", "expected"),
    [
        ("1.0", (), (LINUX, MACOS), "1.1 1.2 2.0 0.9 0.8"),
        ("1.0", (), (LINUX,), "1.1 1.2 1.4 2.0 0.9 0.8"),
        ("1.0", ("<1.2", "!=1.1"), (LINUX,), "0.9 0.8"),
        ("1.0", (">=3",), (LINUX,), ""),
        ("1.0rc1", (), (MACOS,), "1.0 1.1 1.2 2.0 2.1rc1 0.9 0.8"),
        ("1.3", (), (MACOS,), "2.0 1.2 1.1 1.0 0.9 0.8"),
        (None, (), (MACOS,), "2.0 1.2 1.1 1.0 0.9 0.8"),
    ],
)
def test_candidates(
    version: str | None, specifiers: tuple[str, ...], targets: tuple[object, ...], expected: str
) -> None:
    """Nearest is the lowest above, then the highest below, that everybody accepts and every target can install."""
    found = candidates(
        PAGE,
        None if version is None else Version(version),
        map(SpecifierSet, specifiers),
        targets,  # type: ignore[arg-type]  # a table of targets
    )

    assert found == tuple(map(Version, expected.split()))


def test_a_candidate_is_judged_with_all_its_files() -> None:
    """A candidate keeps who asked for it, and takes over nothing that was against the other version."""
    denied = item(
        "demo",
        "1.0",
        locked=True,
        missing_digests=frozenset({Digest.sha256("b" * 64)}),
        location=HERE,
        contradiction="two sources disagree",
        held_back_from=Version("2.0"),
        held_back_by="minimum-age",
    )

    assert candidate_item(denied, PAGE, Version("1.4"), (LINUX, MACOS)) == item(
        "demo", "1.4", artifacts=(PAGE.of_version(Version("1.4"))), location=HERE
    )


# --- explain ----------------------------------------------------------------------------------------------------------


def test_explain_a_resembling_name() -> None:
    """Each stage says what it makes of the name, and what it would need to know."""
    (found,) = explain(POLICY_IN_FORCE, "reqeusts", None, NOW)

    assert (found.reserved_for, [upstream.name for upstream in found.owners]) == (None, ["acme", "vetted", "pypi"])
    assert [(stage.stage, [(o.rule, o.kind.value) for o in stage.outcomes]) for stage in found.stages] == [
        ("development", [("repository", "fail"), ("deny-entry", "pass"), ("typosquat", "unknown")]),
        ("production", [("repository", "fail"), ("deny-entry", "pass"), ("typosquat", "fail")]),
    ]
    assert dict(found.stages[1].needs) == {
        "allow-entry": "its version, to hold against the entries of a curated list",
        "malware": "no malware record, in a source that has such records",
        "vulnerability": "no flaw from medium up; an unknown severity is denied",
        "minimum-age": "upload times of all its files: at least 0 days (acme), 7 days (vetted), 7 days (pypi); "
        "1 day for a version that fixes a known flaw",
        "project-status": "a project that its index has not quarantined",
        "yanked": "no yanked file, unless an entry takes that version on",
        "source-only": "a wheel for every target",
        "integrity": "files that the owner lists, by digest",
        "locked": "a file that pins every package by digest",
    }


def test_explain_a_reserved_name() -> None:
    """A reserved name has one owner."""
    (found,) = explain(POLICY_IN_FORCE, "Acme.Tools", "1.0", NOW)

    assert (found.reserved_for, [upstream.name for upstream in found.owners]) == ("acme", ["acme"])
    assert [(o.rule, o.kind.value) for o in found.stages[0].outcomes] == [
        ("deny-entry", "pass"),
        ("reserved-name", "pass"),
        ("typosquat", "pass"),
    ]


def test_explain_entries() -> None:
    """The entries that speak of a name are told with their owner and their end."""

    def entries(name: str, now: datetime = NOW) -> tuple[str, ...]:
        (found,) = explain(POLICY_IN_FORCE, name, None, now)
        return found.entries

    assert entries("bad") == (
        "denied by bad (pypi.yaml:7): steals: sec, for good",
        "allowed by bad (vetted.yaml:7): reviewed: ann, until 2027-01-01",
    )
    assert entries("lapsed") == ("denied by lapsed (pypi.yaml:9): mended: sec, expired on 2026-11-23",)
    assert entries("beta", datetime(2026, 11, 22, 23, 59, tzinfo=UTC)) == (
        "allowed by beta (vetted.yaml:4): reviewed: ann, until 2026-11-23",
    )


def _explained(name: str, version: str | None = None) -> list[tuple[str, str, list[str], list[str]]]:
    """Ecosystem, name, owners, and what production says of it."""
    return [
        (
            found.ecosystem.value,
            f"{found.name} {found.version}",
            [upstream.name for upstream in found.owners],
            [f"{o.kind}: {o.rule}" for o in found.stages[1].outcomes],
        )
        for found in explain(MIXED_POLICY, name, version, NOW)
    ]


def test_explain_a_name_in_every_ecosystem_that_has_it() -> None:
    """A name may be a distribution's and a conda package's; an image's or an environment's only if a list speaks of it."""
    pypi, forge = ["acme", "vetted", "pypi"], ["forge", "lab", "conda-forge", "main"]

    assert _explained("xz", "5.6.0") == [
        ("pypi", "xz 5.6.0", pypi, ["fail: repository", "pass: deny-entry", "pass: typosquat"]),
        ("conda", "xz 5.6.0", forge, ["fail: repository", "fail: deny-entry"]),
    ]
    assert _explained("openssl", "1.1.1w_x") == [
        ("conda", "openssl 1.1.1w_x", forge, ["fail: repository", "pass: deny-entry"])
    ]
    assert _explained("lab-x") == [
        ("pypi", "lab-x None", pypi, ["fail: repository", "pass: deny-entry", "pass: typosquat"]),
        ("conda", "lab-x None", ["lab"], ["unknown: allow-entry", "pass: deny-entry", "pass: reserved-name"]),
    ]
    assert [found[0] for found in _explained("python")] == ["pypi", "conda", "oci"]
    assert _explained("sklearn-1.5", "3")[-1] == (
        "azureml",
        "sklearn-1.5 3",
        ["azureml"],
        ["pass: allow-entry", "pass: deny-entry"],
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "images.example.org/azureml/old:7",
            ("images.example.org/azureml/old 7", ["mar"], ["pass: allow-entry", "fail: deny-entry"]),
        ),
        (
            "azureml/x",
            ("azureml/x None", ["mar", "team"], ["pass: allow-entry", "pass: deny-entry", "pass: deny-entry"]),
        ),
        (
            f"images.example.org/evil/x:1@sha256:{'a' * 64}",
            ("images.example.org/evil/x 1", ["mar"], ["fail: repository", "pass: deny-entry"]),
        ),
        ("docker.io/library/python", ("docker.io/library/python None", [], ["fail: repository", "pass: deny-entry"])),
        ("127.0.0.1:5000/x", ("127.0.0.1:5000/x None", [], ["fail: repository", "pass: deny-entry"])),
    ],
)
def test_explain_images(name: str, expected: tuple[str, list[str], list[str]]) -> None:
    """An image is explained by its registry and path, or by its path in each registry of the policy."""
    assert [found[1:] for found in _explained(name) if found[0] == "oci"] == [expected]


def test_explain_says_what_a_check_would_need() -> None:
    """What is needed of a conda package, an image and an environment is told for each."""
    (_, package) = explain(MIXED_POLICY, "xz", None, NOW)
    (picture,) = explain(MIXED_POLICY, "azureml/x", None, NOW)
    *_, environment = explain(MIXED_POLICY, "acpt-x", None, NOW)

    assert dict(package.stages[1].needs) == {
        "allow-entry": "its version, to hold against the entries of a curated list",
        "malware": "no malware record, in a source that has such records",
        "vulnerability": "no flaw from medium up; an unknown severity is denied",
        "minimum-age": (
            "upload times of all its files: at least 7 days (forge), 7 days (lab), 7 days (conda-forge), 7 days (main); "
            "1 day for a version that fixes a known flaw"
        ),
        "integrity": "a file that the owner lists, by digest",
        "native": (
            "the Python distributions that it holds, by its own file list; without any: "
            "tolerated (forge), for a person to settle (lab), denied (conda-forge), denied (main)"
        ),
        "locked": "a file that pins every package by digest",
    }
    assert picture.stages[1].needs == (
        ("integrity", "the digest that its registry gives for it"),
        ("platform", "an image for every target"),
        ("locked", "its digest in the file"),
    )
    assert environment.stages[0].needs == ()
    assert environment.stages[1].needs == (("locked", "its version in the file, not a label"),)
    assert picture.entries == ("allowed by images.example.org/azureml/* (mar.yaml:3): reviewed: ann, until 2027-01-01",)


def test_explain_what_is_no_name_anywhere() -> None:
    """What no ecosystem of the policy has names like is refused with the first reason."""
    with pytest.raises(ValueError, match=r"^'numpy>=2' is not a package name$"):
        explain(MIXED_POLICY, "numpy>=2", None, NOW)
