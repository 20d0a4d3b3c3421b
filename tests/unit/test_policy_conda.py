"""What the rules say of conda packages: what they hold, what their channel may give, and their own versions."""

from datetime import timedelta

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from policy_samples import (
    LISTS,
    MIXED,
    MIXED_POLICY,
    NOW,
    SNAPSHOT,
    conda,
    flaw,
    judged,
    mixed_files,
)

from quarantine.errors import ConfigError
from quarantine.model import Digest, Finding, Item, Verdict
from quarantine.policy.conda_versions import CondaSpecifier, parse_conda_specifier
from quarantine.policy.entries import Entry, NamePattern
from quarantine.policy.load import load
from quarantine.policy.rules import Evidence, judge, verdict

PRODUCTION = MIXED_POLICY.stage("production")
LIST = "its file list can't be read"


def told(rule: str, of: Item, *findings: Finding, **known: object) -> str:
    """The rule's kind of answer and its message on one line."""
    outcome = judged(rule, of, stage=PRODUCTION, findings=findings, **known)  # type: ignore[arg-type]  # a table
    return f"{outcome.kind}: {outcome.message}"


def test_an_ordinary_conda_package_is_allowed() -> None:
    """An old file of an open channel that holds a distribution without findings passes."""
    outcomes = judge(PRODUCTION, Evidence(item=conda("demo", "1.0", "demo 1.0"), findings=()), SNAPSHOT, NOW)

    assert verdict(outcomes) is Verdict.ALLOWED
    assert [o.rule for o in outcomes if o.kind == "pass"] == [
        "repository",
        "deny-entry",
        "direct-reference",
        "malware",
        "vulnerability",
        "minimum-age",
        "integrity",
    ]


VULNERABLE = [
    (
        conda("mypkg", "1.0", "requests 2.19.0"),
        (flaw("CVE-2018-18074", fixed="2.20.0"),),
        (
            "fail: mypkg 1.0 (holds requests 2.19.0) has CVE-2018-18074 (high; fixed in 2.20.0): "
            "expected none from medium up; take a version that fixes it"
        ),
    ),
    (
        conda("requests", "2.19.0", "requests 2.19.0"),
        (flaw("CVE-2018-18074", fixed="2.20.0"),),
        (
            "fail: requests 2.19.0 has CVE-2018-18074 (high; fixed in 2.20.0): "
            "expected none from medium up; take a version that fixes it"
        ),
    ),
    (
        conda("mypkg", "1.0", "requests 2.19.0", "flawed 1"),
        (flaw("CVE-2020-1"),),
        (
            "pass: mypkg 1.0 (holds requests 2.19.0, flawed 1) has no flaw that counts in production: CVE-2020-1 "
            "(ignored until 2027-01-01 by ann, policy.yaml:31: unreachable)"
        ),
    ),
    (conda("mypkg", "1.0", "requests 2.33"), (), "pass: no known flaw affects mypkg 1.0 (holds requests 2.33)"),
    (
        conda("openssl", "1.1.1w"),
        (),
        "not-applicable: openssl 1.1.1w holds no Python distribution, so no advisory speaks of it: see native",
    ),
    (
        conda(holds=None, unread="the server has no ranges"),
        (),
        f"unknown: demo 1.0: {LIST}, so what it holds is not known: the server has no ranges",
    ),
    (
        conda("gone", "1.0", upstream=None),
        (),
        "not-applicable: gone 1.0: no upstream has it, so what it holds is not known",
    ),
    (
        conda("gone", None, upstream=None),
        (),
        "not-applicable: gone: its version is not known, so no advisory can be held against it",
    ),
]


@pytest.mark.parametrize(("of", "findings", "expected"), VULNERABLE)
def test_vulnerability(of: Item, findings: tuple[Finding, ...], expected: str) -> None:
    """A conda package has the flaws of the distributions inside it; what can't be looked into is never clean."""
    assert told("vulnerability", of, *findings) == expected


def test_malware() -> None:
    """A malicious distribution is found under another name; a package that can't be read is not cleared."""
    bad = Finding(id="MAL-2024-1", malware=True)

    assert told("malware", conda("mypkg", "1.0", "stealer 3"), bad) == (
        "fail: mypkg 1.0 (holds stealer 3) is known malware (MAL-2024-1): remove it, and look at where it has been installed"
    )
    assert (
        told("malware", conda("mypkg", "1.0", "ok 3")) == "pass: no record says that mypkg 1.0 (holds ok 3) is malware"
    )
    assert told("malware", conda(holds=None, unread="torn")) == (
        f"unknown: demo 1.0: {LIST}, so what it holds is not known: torn"
    )
    assert told("malware", conda("libgcc", "13")) == (
        "not-applicable: libgcc 13 holds no Python distribution, so no advisory speaks of it: see native"
    )


NATIVE = "is native: it holds no Python distribution, so no advisory was held against it"


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (conda("libgcc", "13"), f"pass: libgcc 13 {NATIVE}: tolerated from forge in production"),
        (conda("libgcc", "13", upstream="lab"), f"unknown: libgcc 13 {NATIVE}: somebody has to look at it"),
        (
            conda("libgcc", "13", upstream="conda-forge"),
            (
                f"fail: libgcc 13 {NATIVE}: expected none of that from conda-forge in production; "
                "leave it out, or file an exception"
            ),
        ),
        (conda("a", "1", "b 2", "c 3"), "not-applicable: a 1 holds a Python distribution: b 2, c 3"),
        (
            conda(holds=None, unread="torn"),
            f"unknown: demo 1.0: {LIST}, so whether it is native is not known: torn",
        ),
        (conda(upstream=None), "not-applicable: no channel was found to have demo"),
    ],
)
def test_native(of: Item, expected: str) -> None:
    """A package that no advisory can speak of is denied, undecided or tolerated, as the policy says of its channel."""
    assert told("native", of) == expected


def test_native_packages_are_denied_where_nobody_says_otherwise() -> None:
    """A policy without the key tolerates none."""
    text = MIXED.replace("  conda: {native: deny, channels: {forge: tolerate, lab: review}}\n", "")
    loaded = load(mixed_files(text), now=NOW)

    assert [loaded.stage(stage).native("forge") for stage in loaded.stages] == ["deny", "deny"]


def test_a_package_that_cannot_be_read_is_undecided() -> None:
    """Without its file list nothing is released, and nothing denied."""
    of = conda(holds=None, unread="torn")

    assert verdict(judge(PRODUCTION, Evidence(item=of, findings=()), SNAPSHOT, NOW)) is Verdict.UNDECIDED


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (conda("xz", "5.4.6"), "pass: no deny entry reaches xz 5.4.6"),
        (conda("xz", "5.6.2"), "pass: no deny entry reaches xz 5.6.2"),
        *(
            (
                conda("xz", version),
                (
                    f"fail: xz {version} is denied by xz<5.6.2,>=5.6.0 (forge.yaml:5): a back door: "
                    "take another version, or ask sec"
                ),
            )
            for version in ("5.6", "5.6.0", "5.6.1", "5.6.1+local", "5.6.1_3", "rubbish!")
        ),
        (
            conda("XZ", "5.6.1"),
            (
                "fail: XZ 5.6.1 is denied by xz<5.6.2,>=5.6.0 (forge.yaml:5): a back door: "
                "take another version, or ask sec"
            ),
        ),
        (
            conda("xz", None),
            (
                "unknown: xz: its version is not known, and some versions are denied by xz<5.6.2,>=5.6.0 (forge.yaml:5): "
                "name a version"
            ),
        ),
        (
            conda("miner", "1"),
            "fail: miner 1 is denied by miner (forge.yaml:6): it mines: use another package, or ask sec",
        ),
        (
            conda("mypkg", "9", "fine 1", "worse 1.9"),
            (
                "fail: mypkg 9 holds worse 1.9, which is denied by worse<2.0 (pypi.yaml:8): broken: "
                "take another version, or ask sec"
            ),
        ),
        (conda("bad", "1"), "pass: no deny entry reaches bad 1"),
    ],
)
def test_deny_entry(of: Item, expected: str) -> None:
    """A deny entry reaches conda's versions in conda's order, what nobody can read, and the distributions inside."""
    assert told("deny-entry", of) == expected


LAB = "solver<2,>=1.2 (lab.yaml:4)"


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (conda("solver", "1.2", upstream="lab"), f"pass: solver 1.2 is allowed by {LAB}: reviewed"),
        (conda("solver", "1.10", upstream="lab"), f"pass: solver 1.10 is allowed by {LAB}: reviewed"),
        (
            conda("solver", "2.0", upstream="lab"),
            f"fail: solver 2.0 is outside the allow entries of lab: {LAB}: take a version that they allow",
        ),
        (
            conda("solver", "1.5+evil", upstream="lab"),
            (
                f"fail: solver 1.5+evil is outside the allow entries of lab: {LAB}: "
                "a local version needs an entry that names it with '=='"
            ),
        ),
        (
            conda("solver", "rubbish!", upstream="lab"),
            f"fail: solver rubbish! is outside the allow entries of lab: {LAB}: take a version that they allow",
        ),
        (
            conda("lab-x", "1.5+cu118", upstream="lab"),
            "pass: lab-x 1.5+cu118 is allowed by lab-* (lab.yaml:3): reviewed",
        ),
        (conda("held", "2.0.0"), "pass: held 2.0.0 is allowed by held<3,==2.0 (forge.yaml:3): reviewed"),
        (
            conda("solver", None, upstream="lab"),
            "unknown: solver: its version is not known, so no allow entry can be held against it",
        ),
    ],
)
def test_allow_entry(of: Item, expected: str) -> None:
    """An allow entry reaches the versions that its comparisons hold for, and none that can't be compared."""
    assert told("allow-entry", of) == expected


RESERVED = [
    (conda("lab-x", "1", upstream="lab"), "pass: lab-x is reserved for lab, where it is from"),
    (
        conda("lab-x", "1"),
        "fail: lab-x is reserved for lab (lab-*: of the lab) but is from forge: publish it in lab, or rename what is not yours",
    ),
    (
        conda("mypkg", "1", "ok 1", "acme-tools 1"),
        (
            "fail: mypkg 1 from forge holds acme-tools, which is reserved for acme (acme-*: ours): "
            "take it from there, or reserve mypkg for forge"
        ),
    ),
    (conda("lab-tools", "1", "acme-tools 1", upstream="lab"), "pass: lab-tools is reserved for lab, where it is from"),
    (conda("acme-x", "1"), "not-applicable: acme-x is not a reserved name"),
]


@pytest.mark.parametrize(("of", "expected"), RESERVED)
def test_reserved_name(of: Item, expected: str) -> None:
    """A private name is its own upstream's in its own ecosystem, and no other package may bring one along inside."""
    assert told("reserved-name", of) == expected


@pytest.mark.parametrize(
    ("rule", "of", "expected"),
    [
        (
            "repository",
            conda(upstream=None),
            (
                "fail: demo is in no upstream of the policy (forge, lab, conda-forge, main): "
                "check its spelling, or file an exception"
            ),
        ),
        ("typosquat", conda("requets", "1"), "not-applicable: only names of Python distributions are compared"),
        (
            "project-status",
            conda(),
            "not-applicable: only indexes of Python distributions tell the status of a project",
        ),
        ("source-only", conda(), "not-applicable: only Python distributions come as source"),
        ("yanked", conda(), "not-applicable: a channel takes packages away instead of yanking them"),
        (
            "minimum-age",
            conda(age=timedelta(days=1)),
            (
                "fail: demo-1.0-0.conda was uploaded 2026-11-22, 24 hours ago: expected at least 7 days; "
                "wait until 2026-11-29T12:00:00Z, or take an older version"
            ),
        ),
        (
            "minimum-age",
            conda(age=None),
            "unknown: forge gives no upload time for demo-1.0-0.conda: expected one, to tell its age",
        ),
        (
            "minimum-age",
            conda(artifacts=()),
            "not-applicable: demo 1.0 has no file that could be installed: see integrity",
        ),
        ("integrity", conda(), "pass: every file of demo 1.0 is the owner's, by digest"),
        ("integrity", conda(artifacts=()), "fail: forge has no file of demo 1.0: take a version that is there"),
        (
            "integrity",
            conda(artifacts=(), missing_digests=frozenset({Digest.sha256("b" * 64)}), locked=True),
            (
                "fail: demo 1.0: forge owns it and lists no file with sha256:bbbbbbbbbbbb…: "
                "the lock accepts bytes that are not the owner's; lock it again from the policy's upstreams"
            ),
        ),
        (
            "integrity",
            conda(elsewhere=("https://conda.example.org/lab/noarch/demo-1.0-0.conda",)),
            (
                "fail: demo 1.0: it would be taken from https://conda.example.org/lab/noarch/demo-1.0-0.conda, "
                "which is not where forge has its files: an installer would go there; take it from the policy's upstreams"
            ),
        ),
        ("integrity", conda(upstream=None), "not-applicable: no channel was found to have demo"),
        ("platform", conda(), "not-applicable: only images are for a platform"),
    ],
)
def test_other_rules(rule: str, of: Item, expected: str) -> None:
    """What is asked of Python distributions alone is not asked of conda packages; age and bytes are."""
    assert told(rule, of) == expected


def test_constraints_keep_a_solver_from_denied_versions() -> None:
    """What is denied by its version is told to the solver; what is denied whole is solved and refused with its reason."""
    assert PRODUCTION.conda_constraints() == ("xz[version='>=5.6.2|<5.6.0']",)


@pytest.mark.parametrize(
    "text",
    [
        "1.2",
        "=1.2",
        "~=1.2",
        "===1.2",
        "1.2.*",
        "==1.2.*",
        ">1|<0.5",
        ">=",
        ">=1,",
        "==a b",
        "==1.\u0661",
        f"=={'9' * 19}",
    ],
)
def test_what_is_no_specifier_of_conda_versions(text: str) -> None:
    """Only whole comparisons are read: what conda would complete or read loosely is refused with its place."""
    lists = {"forge": LISTS["forge.yaml"].replace(">=5.6.0,<5.6.2", text)}

    with pytest.raises(ConfigError) as caught:
        load(mixed_files(**lists), now=NOW)

    assert str(caught.value) == (
        f"forge.yaml:5:16: {text!a} is not a specifier of conda versions: "
        "expected comparisons like '==1.2.3' or '>=5.6.0,<5.6.2'"
    )


def test_a_version_of_another_kind_is_never_innocent() -> None:
    """An entry for one kind of version allows none of the other, and denies what it can't compare."""
    python, other = (
        Entry(pattern=NamePattern("x"), specifier=specifier, owner="", reason="", added=NOW.date(), place="l:1")
        for specifier in (SpecifierSet("<2"), parse_conda_specifier("<2"))
    )

    assert (python.allows("1.0"), python.denies("3.0")) == (False, True)
    assert (other.allows(Version("1.0")), other.denies(Version("3.0"))) == (False, True)
    assert (python.exact_version, other.exact_version) == (None, None)


def test_two_orders_of_one_specifier_are_the_same() -> None:
    """Clauses may stand in any order, with or without spaces, once or twice."""
    assert parse_conda_specifier(">= 1.2, <2") == parse_conda_specifier("<2,>=1.2,<2")
    assert str(parse_conda_specifier(">= 1.2, <2")) == "<2,>=1.2"
    assert parse_conda_specifier("") == CondaSpecifier()


def test_conda_rules_of_the_policy() -> None:
    """The channels of the rule are conda upstreams of the policy, in the common rules and in each stage."""
    text = MIXED.replace("forge: tolerate", "forgery: tolerate").replace(
        "  production: {}", "  production: {conda: {native: allow, channels: {pypi: deny}}}"
    )
    both = text.replace("native: allow", "native: deny")

    with pytest.raises(ConfigError) as shape:
        load(mixed_files(text), now=NOW)
    with pytest.raises(ConfigError) as names:
        load(mixed_files(both), now=NOW)

    assert str(shape.value) == (
        "policy.yaml:29:24: invalid enum value 'allow': expected deny, review or tolerate (stages.production.conda.native)"
    )
    assert str(names.value).splitlines() == [
        "policy.yaml:21:36: no upstream 'forgery' of type conda: expected forge or lab or conda-forge or main",
        "policy.yaml:29:49: no upstream 'pypi' of type conda: expected forge or lab or conda-forge or main",
    ]
