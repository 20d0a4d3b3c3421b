"""A file as a whole, with all its parts: what it pins, which channels it names, and what can't be read or known of it."""

import pytest
from msgspec.structs import replace
from packaging.version import Version
from policy_samples import MIXED_POLICY, NOW, POLICY_IN_FORCE, reference

from quarantine.errors import Problem
from quarantine.model import (
    Channel,
    CondaSection,
    CuratedEnvironment,
    Digest,
    Directive,
    EnvironmentSpec,
    Location,
    LockedCondaPackage,
    LockedPackage,
    MatchSpec,
    Outcome,
    OutcomeKind,
    Reference,
    ReferenceKind,
    Requirement,
    Unverifiable,
    parse_name,
)
from quarantine.policy.rules import judge_spec

PRODUCTION = MIXED_POLICY.stage("production")
DEVELOPMENT = MIXED_POLICY.stage("development")
SHA = Digest.sha256("a" * 64)


def at(line: int, file: str = "environment.yaml") -> Location:
    """A place."""
    return Location(file=file, line=line)


def spec(file: str = "environment.yaml", **more: object) -> EnvironmentSpec:
    """A file that asks for nothing yet."""
    return replace(EnvironmentSpec(file=file, format="conda"), **more)


LOOSE = CondaSection(specs=(MatchSpec(name="python", location=at(4)),))
PINNED = CondaSection(locked=(LockedCondaPackage(name="python", version="3.11", sha256=SHA, location=at(4)),))
PIP = Requirement(name=parse_name("numpy"), location=at(6))
PIP_PINNED = LockedPackage(name=parse_name("numpy"), version=Version("2.0"), digests=frozenset({SHA}), location=at(6))
TAGGED = replace(reference("images.example.org/azureml/x:1"), location=at(2))
BY_DIGEST = replace(TAGGED, digest=SHA)
VERSION = CuratedEnvironment(registry="azureml", name="sklearn-1.5", version="3", location=at(3))
LABEL = replace(VERSION, version=None, label="latest")

LOCK = "write a lock with check --lock FILE and build from that"
DIGEST = "name each image by its digest, which the verdict gives"
NO_DIGEST = "images.example.org/azureml/x:1 has no digest"
NO_VERSION = "azureml://registries/azureml/environments/sklearn-1.5/labels/latest names no version"


LOCKED = [
    (spec(), None, "not-applicable: environment.yaml asks for nothing"),
    (spec(conda=CondaSection()), None, "not-applicable: environment.yaml asks for nothing"),
    (spec(conda=LOOSE), None, f"fail: environment.yaml pins no digests, which production expects: {LOCK}"),
    (
        spec(conda=LOOSE, requirements=(PIP,)),
        None,
        f"fail: environment.yaml pins no digests, which production expects: {LOCK}",
    ),
    (spec(conda=PINNED), None, "pass: environment.yaml pins every package by digest"),
    (spec(conda=PINNED, locked=(PIP_PINNED,)), None, "pass: environment.yaml pins every package by digest"),
    (
        spec(conda=PINNED, requirements=(PIP,)),
        None,
        f"fail: environment.yaml: its pip packages have no digests, which production expects: {LOCK}",
    ),
    (
        spec(conda=LOOSE, locked=(PIP_PINNED,)),
        None,
        f"fail: environment.yaml: its conda packages have no digests, which production expects: {LOCK}",
    ),
    (spec(images=(BY_DIGEST,), curated=(VERSION,)), None, "pass: environment.yaml pins everything that it names"),
    (
        spec(images=(TAGGED, BY_DIGEST)),
        at(2),
        f"fail: environment.yaml: {NO_DIGEST}, which production expects: {DIGEST}",
    ),
    (
        spec(curated=(LABEL,)),
        at(3),
        f"fail: environment.yaml: {NO_VERSION}, which production expects: name a version of the environment",
    ),
    (
        spec(images=(TAGGED, TAGGED), parts=(spec("conda.yaml", conda=LOOSE, requirements=(PIP,)),)),
        at(2),
        (
            f"fail: environment.yaml: {NO_DIGEST}, the conda packages of conda.yaml have no digests, "
            f"the pip packages of conda.yaml have no digests, which production expects: {DIGEST}; {LOCK}"
        ),
    ),
    (
        spec("Dockerfile", images=(BY_DIGEST,), parts=(spec("Dockerfile", requirements=(PIP,)),)),
        None,
        f"fail: Dockerfile: its pip packages have no digests, which production expects: {LOCK}",
    ),
    (
        spec("Dockerfile", parts=(spec("a.yaml", conda=PINNED), spec("b.txt", locked=(PIP_PINNED,)))),
        None,
        "pass: Dockerfile pins every package by digest",
    ),
]


@pytest.mark.parametrize(("of", "where", "expected"), LOCKED)
def test_locked(of: EnvironmentSpec, where: Location | None, expected: str) -> None:
    """One outcome a file: everything in all its parts is pinned, or the outcome lists what is not."""
    (found,) = judge_spec(PRODUCTION, of, locks=False, now=NOW)

    assert (found.rule, f"{found.kind}: {found.message}", found.location) == ("locked", expected, where)


def test_unpinned_files_are_told_where_they_are_tolerated() -> None:
    """Where pins aren't required, and where a lock is being written, the file passes, and the verdict says why."""
    of = spec(images=(TAGGED,), conda=LOOSE)
    (told,) = judge_spec(DEVELOPMENT, of, locks=False, now=NOW)
    (locking,) = judge_spec(PRODUCTION, of, locks=True, now=NOW)

    assert (told.kind, told.message) == (
        "pass",
        (
            f"environment.yaml: its conda packages have no digests, {NO_DIGEST}, "
            f"so a later build may differ from what was judged: {LOCK}; {DIGEST}"
        ),
    )
    assert (locking.kind, locking.message) == ("pass", "environment.yaml is being locked: the verdict is on the lock")


KNOWN = ("forge", "lab", "conda-forge", "main")


def _refused(name: str, where: Location) -> Outcome:
    return Outcome(
        rule="channel",
        kind=OutcomeKind.FAIL,
        message=(
            f"{name} is no conda channel of the policy (forge, lab, conda-forge, main): name those instead (channels: "
            "[forge, lab, conda-forge, main, nodefaults]), or ask the curators to add it as an upstream"
        ),
        evidence=(("channel", name), ("upstreams", KNOWN)),
        location=where,
    )


def _known(name: str, upstream: str, where: Location) -> Outcome:
    return Outcome(
        rule="channel",
        kind=OutcomeKind.PASS,
        message=f"{name} is the upstream {upstream}",
        evidence=(("channel", name), ("upstream", upstream)),
        location=where,
    )


def test_channels() -> None:
    """Every channel of a file and of its specs is an upstream, or is refused at its line, in parts too."""
    section = CondaSection(
        channels=(Channel(name="conda-forge", location=at(2)), Channel(name="nvidia", location=at(3))),
        specs=(
            MatchSpec(name="x", channel="evil", location=at(5)),
            MatchSpec(name="y", channel="forge", location=at(6)),
            MatchSpec(name="z", channel="evil", location=at(7)),
            MatchSpec(name="w", location=at(8)),
        ),
    )
    part = spec("part.yaml", conda=CondaSection(channels=(Channel(name="defaults", location=at(1, "part.yaml")),)))

    found = judge_spec(PRODUCTION, spec(conda=section, parts=(part,)), locks=True, now=NOW)

    assert found[1:] == (
        _known("conda-forge", "conda-forge", at(2)),
        _refused("nvidia", at(3)),
        _refused("evil", at(5)),
        _known("forge", "forge", at(6)),
        _refused("evil", at(7)),
        _known("defaults", "main", at(1, "part.yaml")),
    )


def test_channels_of_a_lock() -> None:
    """A lock repeats its channels with every package: each is judged once, where it first stands."""
    locked = tuple(
        LockedCondaPackage(name=f"p{line}", version="1", channel=channel, sha256=SHA, location=at(line))
        for line, channel in enumerate(("conda-forge", "evil", "evil", None, "lab", "conda-forge"), start=10)
    )
    of = spec(conda=CondaSection(channels=(Channel(name="conda-forge", location=at(2)),), locked=locked))

    assert judge_spec(PRODUCTION, of, locks=False, now=NOW)[1:] == (
        _known("conda-forge", "conda-forge", at(2)),
        _refused("evil", at(11)),
        _known("lab", "lab", at(14)),
    )


def test_a_policy_without_channels() -> None:
    """Where the policy has no channel, none is good."""
    section = CondaSection(channels=(Channel(name="conda-forge", location=at(2)),))
    (_, found) = judge_spec(POLICY_IN_FORCE.stage("production"), spec(conda=section), locks=True, now=NOW)

    assert (found.kind, found.message) == (
        "fail",
        (
            "conda-forge is no conda channel of the policy (it has none): take them from elsewhere, "
            "or ask the curators to add it as an upstream"
        ),
    )


def test_what_can_not_be_read_is_undecided() -> None:
    """A file that can't be read, in a folder or as a part, leaves the verdict open at its place."""
    torn = Problem(file="sub/environment.yaml", line=3, column=1, message="not YAML: an alias")
    gone = Problem(file="other.yaml", message="can't be decoded")

    found = judge_spec(
        PRODUCTION, spec(unreadable=(torn,), parts=(spec("b", unreadable=(gone,)),)), locks=True, now=NOW
    )

    assert found[1:] == (
        Outcome(
            rule="readable",
            kind=OutcomeKind.UNKNOWN,
            message="can't be read, so nothing that it asks for was judged: not YAML: an alias",
            location=Location(file="sub/environment.yaml", line=3, column=1),
        ),
        Outcome(
            rule="readable",
            kind=OutcomeKind.UNKNOWN,
            message="can't be read, so nothing that it asks for was judged: can't be decoded",
            location=Location(file="other.yaml"),
        ),
    )


def test_package_files_among_the_specs() -> None:
    """A conda package that is named by where it lies is refused at its line."""
    url = "https://files.example.org/x-1-0.conda"
    named = MatchSpec(name="x", reference=Reference(kind=ReferenceKind.URL, text=url), location=at(9))

    (_, found) = judge_spec(PRODUCTION, spec(conda=CondaSection(specs=(named,))), locks=True, now=NOW)

    assert found == Outcome(
        rule="direct-reference",
        kind=OutcomeKind.FAIL,
        message=(
            f"x is taken from a URL ({url}): expected a name and a version from an upstream; "
            "name those, or file an exception"
        ),
        evidence=(("reference", url), ("kind", "url")),
        location=at(9),
    )


def test_parts_are_judged_like_the_file_itself_and_once() -> None:
    """Directives, references and what can't be verified are told for every leaf; the same thing twice is told once."""
    directive = Directive(option="--index-url", text="--index-url https://evil.example.org", location=at(1, "r.txt"))
    curl = Unverifiable(location=at(4, "Dockerfile"), what="curl | sh", why="it runs what it fetches")
    git = Requirement(
        name=None,
        reference=Reference(kind=ReferenceKind.VCS, text="git+https://g.example.org/x"),
        location=at(2, "r.txt"),
    )
    part = spec("r.txt", directives=(directive,), requirements=(git,), constraints=(PIP,), unverifiable=(curl,))
    of = spec("Dockerfile", unverifiable=(curl,), parts=(part, spec("again", parts=(part,))))

    found = judge_spec(PRODUCTION, of, locks=True, now=NOW)

    assert [(outcome.rule, outcome.kind.value, outcome.location) for outcome in found] == [
        ("locked", "pass", None),
        ("unverifiable", "fail", at(4, "Dockerfile")),
        ("index-option", "fail", at(1, "r.txt")),
        ("direct-reference", "fail", at(2, "r.txt")),
    ]
