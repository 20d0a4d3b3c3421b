"""Each rule about an item, as a table: what is known, what it answers, and in which words."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from policy_samples import (
    DEVELOPMENT,
    LINUX,
    MACOS,
    NOW,
    POLICY,
    PRODUCTION,
    PYPI,
    SNAPSHOT,
    flaw,
    item,
    judged,
    policy,
    wheel,
)

from quarantine.model import Digest, Ecosystem, Finding, Item, Reference, ReferenceKind, Target, Verdict
from quarantine.policy.rules import RULES, Evidence, judge, verdict
from quarantine.policy.stage import StagePolicy

DAYS = timedelta(days=1)
STAGES = {"development": DEVELOPMENT, "production": PRODUCTION}
GIT = Reference(kind=ReferenceKind.VCS, text="git+https://git.example.org/demo")
URL = Reference(kind=ReferenceKind.URL, text="https://files.example.org/demo.whl")
PATH = Reference(kind=ReferenceKind.PATH, text="./demo")


def told(rule: str, of: Item, **known: object) -> str:
    """The rule's kind of answer and its message on one line."""
    outcome = judged(rule, of, **known)  # type: ignore[arg-type]  # the tables name the arguments
    return f"{outcome.kind}: {outcome.message}"


def test_every_rule_answers_once_and_an_ordinary_package_is_allowed() -> None:
    """An old wheel of an open index, without findings, passes or isn't concerned by each of the rules."""
    outcomes = judge(PRODUCTION, Evidence(item=item(), findings=()), SNAPSHOT, NOW)

    assert [outcome.rule for outcome in outcomes] == [rule for rule, _ in RULES]
    assert verdict(outcomes) is Verdict.ALLOWED


REPOSITORY = [
    (item(), "pass: demo 1.0 is from pypi, which is open"),
    (
        item(upstream=None),
        "fail: demo is in no upstream of the policy (acme, vetted, pypi): check its spelling, or file an exception",
    ),
    (
        item(upstream="elsewhere"),
        "fail: demo 1.0 is from elsewhere, which is no upstream of the policy: expected acme, vetted, pypi",
    ),
    (
        item("zeta", upstream="vetted"),
        (
            "fail: zeta 1.0 is from vetted, which is curated, and no entry of its list names zeta: "
            "ask its curators for an entry, or file an exception"
        ),
    ),
    (item("alpha", upstream="vetted"), "pass: alpha 1.0 is from vetted, whose list names it"),
    (item(reference=GIT), "not-applicable: demo 1.0 is a direct reference: no upstream is asked for it"),
]


@pytest.mark.parametrize(("of", "expected"), REPOSITORY)
def test_repository(of: Item, expected: str) -> None:
    """A package comes from an upstream of the policy; from a curated one only if its list names it."""
    assert told("repository", of) == expected


ALLOW = [
    (item("alpha", "1.5", upstream="vetted"), "pass: alpha 1.5 is allowed by alpha<2,>=1 (vetted.yaml:3): reviewed"),
    (
        item("alpha", "2.0", upstream="vetted"),
        "fail: alpha 2.0 is outside the allow entries of vetted: alpha<2,>=1 (vetted.yaml:3): take a version that they allow",
    ),
    (
        item("alpha", "1!1.5", upstream="vetted"),
        (
            "fail: alpha 1!1.5 is outside the allow entries of vetted: alpha<2,>=1 (vetted.yaml:3): "
            "take a version that they allow"
        ),
    ),
    (
        item("alpha", "1.5rc1", upstream="vetted"),
        (
            "fail: alpha 1.5rc1 is outside the allow entries of vetted: alpha<2,>=1 (vetted.yaml:3): "
            "take a version that they allow"
        ),
    ),
    (
        item("alpha", "1.5.post1", upstream="vetted"),
        "pass: alpha 1.5.post1 is allowed by alpha<2,>=1 (vetted.yaml:3): reviewed",
    ),
    (
        item("beta", "1", upstream="vetted"),
        "fail: beta 1: the allow entry beta (vetted.yaml:4) expired on 2026-11-23: ask ann to renew it",
    ),
    (
        item("gamma", "2.0+cu118", upstream="vetted"),
        "pass: gamma 2.0+cu118 is allowed by gamma==2.0+cu118 (vetted.yaml:5): reviewed",
    ),
    (
        item("delta", "2.0+evil", upstream="vetted"),
        (
            "fail: delta 2.0+evil is outside the allow entries of vetted: delta==2.0 (vetted.yaml:6): "
            "a local version needs an entry that names it with '=='"
        ),
    ),
    (
        item("alpha", "1.5+evil", upstream="vetted"),
        (
            "fail: alpha 1.5+evil is outside the allow entries of vetted: alpha<2,>=1 (vetted.yaml:3): "
            "a local version needs an entry that names it with '=='"
        ),
    ),
    (
        item("azureml-core", "1.5+evil", upstream="vetted"),
        (
            "fail: azureml-core 1.5+evil is outside the allow entries of vetted: azureml-* (vetted.yaml:8): "
            "a local version needs an entry that names it with '=='"
        ),
    ),
    (
        item("azureml-core", "1.5b1", upstream="vetted"),
        "pass: azureml-core 1.5b1 is allowed by azureml-* (vetted.yaml:8): reviewed",
    ),
    (
        item("alpha", None, upstream="vetted"),
        "unknown: alpha: its version is not known, so no allow entry can be held against it",
    ),
    (item(), "not-applicable: no allow entry names demo"),
    (item("old", "2"), "not-applicable: no allow entry reaches old 2, and pypi is open: none is needed"),
    (item("old", None), "not-applicable: pypi is open: no allow entry is needed"),
    (item("flaskk"), "not-applicable: no allow entry reaches flaskk 1.0, and pypi is open: none is needed"),
    (item("alpha", reference=URL), "not-applicable: no allow entry names alpha"),
]


@pytest.mark.parametrize(("of", "expected"), ALLOW)
def test_allow_entry(of: Item, expected: str) -> None:
    """A curated upstream gives only what an entry allows that hasn't expired, and local versions only by name."""
    assert told("allow-entry", of) == expected


DENY = [
    (item("bad"), "fail: bad 1.0 is denied by bad (pypi.yaml:7): steals: use another package, or ask sec"),
    (
        item("bad", upstream="vetted"),
        "fail: bad 1.0 is denied by bad (pypi.yaml:7): steals: use another package, or ask sec",
    ),
    (item("bad", None), "fail: bad is denied by bad (pypi.yaml:7): steals: use another package, or ask sec"),
    (
        item("worse", "1.9"),
        "fail: worse 1.9 is denied by worse<2.0 (pypi.yaml:8): broken: take another version, or ask sec",
    ),
    (
        item("worse", "2.0rc1"),
        "fail: worse 2.0rc1 is denied by worse<2.0 (pypi.yaml:8): broken: take another version, or ask sec",
    ),
    (item("worse", "2.0"), "pass: no deny entry reaches worse 2.0"),
    (item("worse", "1!1.0"), "pass: no deny entry reaches worse 1!1.0"),
    (
        item("worse", None),
        "unknown: worse: its version is not known, and some versions are denied by worse<2.0 (pypi.yaml:8): name a version",
    ),
    (item("lapsed"), "pass: no deny entry reaches lapsed 1.0"),
    (
        item("evil-x"),
        "fail: evil-x 1.0 is denied by evil-* (pypi.yaml:10): all of them: use another package, or ask sec",
    ),
    (item("evilx"), "pass: no deny entry reaches evilx 1.0"),
    (item("evil"), "pass: no deny entry reaches evil 1.0"),
]


@pytest.mark.parametrize(("of", "expected"), DENY)
def test_deny_entry(of: Item, expected: str) -> None:
    """A deny entry wins from whichever list, on its prefix's segment boundary, until it expires."""
    assert told("deny-entry", of) == expected


RESERVED = [
    (item("acme-x", upstream="acme"), "pass: acme-x is reserved for acme, where it is from"),
    (
        item("acme-x", "99.0"),
        "fail: acme-x is reserved for acme (acme-*: ours) but is from pypi: publish it in acme, or rename what is not yours",
    ),
    (
        item("acme-x", upstream=None),
        "fail: acme-x is reserved for acme (acme-*: ours) but is not there: publish it in acme, or rename what is not yours",
    ),
    (item("acmex"), "not-applicable: acmex is not a reserved name"),
]


@pytest.mark.parametrize(("of", "expected"), RESERVED)
def test_reserved_name(of: Item, expected: str) -> None:
    """A reserved name comes from its own upstream or from nowhere: a public 99.0 doesn't stand in for a private 1.0."""
    assert told("reserved-name", of) == expected


def _squat(name: str, like: str, kind: str = "fail") -> tuple[str, str]:
    message = f"{name} resembles {like}, which is listed, and is on no list itself"
    return name, f"{kind}: {message}: write {like} if that is meant, else ask the curators to list {name}"


SQUATS = [
    _squat("reqeusts", "requests"),
    _squat("requets", "requests"),
    _squat("requestss", "requests"),
    _squat("rexuests", "requests"),
    _squat("requests-python", "requests"),
    _squat("python3-requests", "requests"),
    _squat("python-dateutils", "python-dateutil"),
    _squat("pythondateutil", "python-dateutil"),
    _squat("dateutil", "python-dateutil"),
    _squat("flaskk", "flask"),
    ("reqests", "pass: reqests is on a list of the policy"),
    ("requests", "pass: requests is on a list of the policy"),
    ("acme-requests", "pass: acme-requests is on a list of the policy"),
    ("nump", "pass: nump resembles no well-known name"),
    ("reqeustz", "pass: reqeustz resembles no well-known name"),
    ("requests-mock", "pass: requests-mock resembles no well-known name"),
]


@pytest.mark.parametrize(("name", "expected"), SQUATS)
def test_typosquat(name: str, expected: str) -> None:
    """A name that is one slip or one dressing-up away from a listed one, and not listed, is refused."""
    assert told("typosquat", item(name)) == expected


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("deny", _squat("requets", "requests")[1]),
        ("review", _squat("requets", "requests", "unknown")[1]),
        (
            "tolerate",
            "pass: requets resembles requests, which is listed, and is on no list itself: tolerated in production",
        ),
    ],
)
def test_typosquat_by_action(action: str, expected: str) -> None:
    """What a resemblance comes to is the stage's to say."""
    stage = policy(POLICY.replace("typosquat: {action: deny}", f"typosquat: {{action: {action}}}")).stage("production")

    assert told("typosquat", item("requets"), stage=stage) == expected


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (
            GIT,
            (
                "fail: demo is taken from a version control system (git+https://git.example.org/demo): "
                "expected a name and a version from an upstream; name those, or file an exception"
            ),
        ),
        (
            URL,
            (
                "fail: demo is taken from a URL (https://files.example.org/demo.whl): "
                "expected a name and a version from an upstream; name those, or file an exception"
            ),
        ),
        (
            PATH,
            (
                "fail: demo is taken from a path (./demo): "
                "expected a name and a version from an upstream; name those, or file an exception"
            ),
        ),
        (None, "pass: demo 1.0 is named by name and version"),
    ],
)
def test_direct_reference(reference: Reference | None, expected: str) -> None:
    """What is named by where it lies is refused, whatever kind of place it is."""
    assert told("direct-reference", item(reference=reference)) == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("active", "pass: demo is an active project"),
        ("archived", "pass: demo is archived by its maintainers: plan to replace it"),
        ("deprecated", "pass: demo is deprecated by its maintainers: plan to replace it"),
        ("quarantined", "fail: demo is quarantined by pypi: remove it from the environment"),
        ("odd", "unknown: demo has the status 'odd', which means nothing here: ask pypi"),
    ],
)
def test_project_status(status: str, expected: str) -> None:
    """A quarantined project is always refused, and a status that nobody knows is never taken for a good one."""
    assert told("project-status", item(status=status)) == expected


MALWARE = (replace(flaw("MAL-2024-1", aliases="GHSA-x"), malware=True),)


@pytest.mark.parametrize(
    ("of", "known", "expected"),
    [
        (item(), {}, "pass: no record says that demo 1.0 is malware"),
        (
            item(),
            {"findings": MALWARE},
            "fail: demo 1.0 is known malware (GHSA-x, MAL-2024-1): remove it, and look at where it has been installed",
        ),
        (
            item(),
            {"findings": MALWARE, "snapshot": None},
            "fail: demo 1.0 is known malware (GHSA-x, MAL-2024-1): remove it, and look at where it has been installed",
        ),
        (
            item(),
            {"findings": None},
            "unknown: demo 1.0: the advisories could not be had: run advisories sync, or see why the service failed",
        ),
        (
            item(),
            {"snapshot": replace(SNAPSHOT, sources=(("osv", 100), ("malware", 0)))},
            "unknown: demo 1.0: the advisory source has no malware records: sync one that has them",
        ),
        (
            item(version=None),
            {},
            "unknown: demo: its version is not known, so no advisory can be held against it",
        ),
    ],
)
def test_malware(of: Item, known: dict[str, object], expected: str) -> None:
    """Malware is refused, and its absence counts only where a source of malware records was asked."""
    assert told("malware", of, **known) == expected


def test_malware_can_not_be_ignored() -> None:
    """An ignored alias of a malware record changes nothing: neither rule looks away."""
    finding = replace(flaw("MAL-2024-1", aliases="CVE-2020-1"), malware=True)

    assert judged("malware", item("flawed"), findings=(finding,)).kind == "fail"
    assert judged("vulnerability", item("flawed"), findings=(finding,)).message == "no known flaw affects flawed 1.0"


FLAWS: list[tuple[Item, str, tuple[Finding, ...] | None, str]] = [
    (item(), "production", (), "pass: no known flaw affects demo 1.0"),
    (
        item(),
        "production",
        (flaw("PYSEC-1", "high", "7.5", aliases="GHSA-1 CVE-2024-1"),),
        "fail: demo 1.0 has CVE-2024-1 (high, 7.5; fixed in 2.0): expected none from medium up; take a version that fixes it",
    ),
    (
        item(),
        "production",
        (flaw("CVE-1", "medium", fixed=""), flaw("CVE-2", "critical")),
        (
            "fail: demo 1.0 has CVE-1 (medium; not fixed), CVE-2 (critical; fixed in 2.0): expected none from medium up; "
            "no version fixes all of it: replace the package, or file an exception"
        ),
    ),
    (
        item(),
        "production",
        (flaw("CVE-1", "low"), flaw("CVE-2", "none")),
        "pass: demo 1.0 has no flaw that counts in production: CVE-1 (low, below medium), CVE-2 (none, below medium)",
    ),
    (
        item(),
        "development",
        (flaw("CVE-1", "medium", "6.9"),),
        "pass: demo 1.0 has no flaw that counts in development: CVE-1 (medium, 6.9, below high)",
    ),
    (
        item(),
        "production",
        (flaw("PYSEC-1", "unknown"),),
        (
            "fail: demo 1.0 has PYSEC-1 (unknown severity; fixed in 2.0): expected none from medium up, "
            "and none of unknown severity; take a version that fixes it"
        ),
    ),
    (
        item(),
        "development",
        (flaw("PYSEC-1", "unknown", fixed=""),),
        (
            "unknown: demo 1.0 has PYSEC-1 (unknown severity; not fixed): its severity has to be known; "
            "no version fixes all of it: replace the package, or file an exception, or have the curators rate it"
        ),
    ),
    (
        item(),
        "development",
        (flaw("PYSEC-1", "unknown", "9.8"),),
        (
            "fail: demo 1.0 has PYSEC-1 (unknown severity, 9.8; fixed in 2.0): expected none from high up; "
            "take a version that fixes it"
        ),
    ),
    (
        item(),
        "development",
        (flaw("CVE-1", "low", "9.8"),),
        "fail: demo 1.0 has CVE-1 (low, 9.8; fixed in 2.0): expected none from high up; take a version that fixes it",
    ),
    (
        item(),
        "production",
        None,
        "unknown: demo 1.0: the advisories could not be had: run advisories sync, or see why the service failed",
    ),
    (
        item(version=None),
        "production",
        (),
        "unknown: demo: its version is not known, so no advisory can be held against it",
    ),
    (
        item(version=None, upstream=None),
        "production",
        (),
        "not-applicable: demo: its version is not known, so no advisory can be held against it",
    ),
    (
        item("flawed"),
        "production",
        (flaw("PYSEC-1", aliases="CVE-2020-1"),),
        (
            "pass: flawed 1.0 has no flaw that counts in production: CVE-2020-1 "
            "(ignored until 2027-01-01 by ann, policy.yaml:22: unreachable)"
        ),
    ),
    (
        item("other"),
        "production",
        (flaw("CVE-2020-1"),),
        "fail: other 1.0 has CVE-2020-1 (high; fixed in 2.0): expected none from medium up; take a version that fixes it",
    ),
    (
        item("flawed"),
        "production",
        (flaw("CVE-2020-2"),),
        (
            "fail: flawed 1.0 has CVE-2020-2 (high; fixed in 2.0; its ignore in policy.yaml:23 expired on 2026-11-23): "
            "expected none from medium up; take a version that fixes it"
        ),
    ),
    (
        item("flawed"),
        "production",
        (flaw("CVE-2020-3"),),
        "fail: flawed 1.0 has CVE-2020-3 (high; fixed in 2.0): expected none from medium up; take a version that fixes it",
    ),
    (
        item("flawed"),
        "development",
        (flaw("CVE-2020-3"),),
        (
            "pass: flawed 1.0 has no flaw that counts in development: CVE-2020-3 "
            "(ignored until 2027-01-01 by ann, policy.yaml:24: only here)"
        ),
    ),
    (
        item(),
        "production",
        tuple(flaw(f"CVE-{number}") for number in range(7)),
        (
            "fail: demo 1.0 has CVE-0 (high; fixed in 2.0), CVE-1 (high; fixed in 2.0), CVE-2 (high; fixed in 2.0), "
            "CVE-3 (high; fixed in 2.0), CVE-4 (high; fixed in 2.0) and 2 more: expected none from medium up; "
            "take a version that fixes it"
        ),
    ),
]


@pytest.mark.parametrize(("of", "stage", "findings", "expected"), FLAWS)
def test_vulnerability(of: Item, stage: str, findings: tuple[Finding, ...] | None, expected: str) -> None:
    """Flaws from the threshold up deny, unrated ones do what the stage says, and an ignore holds until it expires."""
    assert told("vulnerability", of, stage=STAGES[stage], findings=findings) == expected


def _with_vulnerability(text: str) -> StagePolicy:
    before = "vulnerability: {threshold: {severity: medium}, unknown_severity: deny}"
    assert before in POLICY
    return policy(POLICY.replace(before, f"vulnerability: {text}")).stage("production")


@pytest.mark.parametrize(
    ("severity", "score", "kind"),
    [
        ("high", "8.0", "fail"),
        ("high", "7.9", "pass"),
        ("high", None, "unknown"),
        ("critical", None, "fail"),
        ("medium", None, "pass"),
        ("unknown", None, "unknown"),
        ("unknown", "nan", "unknown"),
        ("unknown", "a lot", "unknown"),
        ("critical", "1.0", "fail"),  # of two ratings that disagree the worse one counts
    ],
)
def test_a_threshold_by_score(severity: str, score: str | None, kind: str) -> None:
    """A score is compared as it is; a mere severity only where all of its scores lie on one side."""
    stage = _with_vulnerability("{threshold: {score: 8.0}, unknown_severity: review}")
    assert judged("vulnerability", item(), stage=stage, findings=(flaw("CVE-1", severity, score),)).kind == kind


@pytest.mark.parametrize("severity", ["critical", "unknown"])
def test_a_flaw_that_no_version_fixes_can_be_tolerated(severity: str) -> None:
    """`unless_no_fix` lets a flaw pass while nothing fixes it, and not a day longer."""
    stage = _with_vulnerability("{unless_no_fix: true, unknown_severity: deny}")
    word = "unknown severity" if severity == "unknown" else severity

    assert told("vulnerability", item(), stage=stage, findings=(flaw("CVE-1", severity, fixed=""),)) == (
        f"pass: demo 1.0 has no flaw that counts in production: CVE-1 ({word}, which no version fixes)"
    )
    assert judged("vulnerability", item(), stage=stage, findings=(flaw("CVE-1", severity),)).kind == "fail"


def test_what_is_to_be_rated_is_told_beside_what_is_denied() -> None:
    """Whoever answers for the rated flaw must name the others, too: none of them passes unseen."""
    stage = _with_vulnerability("{threshold: {severity: high}, unknown_severity: review}")
    findings = (flaw("CVE-1", "critical"), flaw("CVE-2", "unknown", fixed=""), flaw("CVE-3", "low"))

    outcome = judged("vulnerability", item(), stage=stage, findings=findings)

    assert (outcome.kind, dict(outcome.evidence)["ids"]) == ("fail", ("CVE-1", "CVE-2"))
    assert "; and to be rated, CVE-2: expected none from high up" in outcome.message


def test_the_evidence_of_a_flaw() -> None:
    """The outcome carries the identifiers and the versions that fix it, for machines."""
    findings = (flaw("PYSEC-1", fixed="2.0 3.0", aliases="CVE-1"), flaw("CVE-2", fixed="2.0"))

    assert judged("vulnerability", item(), findings=findings).evidence == (
        ("ids", ("CVE-1", "CVE-2")),
        ("fixed", ("2.0", "3.0")),
    )


AGES = [
    ((wheel(),), False, "pass: the youngest file of demo 1.0 is of 2026-10-24, at least 7 days ago"),
    ((wheel(age=7 * DAYS),), False, "pass: the youngest file of demo 1.0 is of 2026-11-16, at least 7 days ago"),
    (
        (wheel(age=7 * DAYS - timedelta(seconds=1)),),
        False,
        (
            "fail: demo-1.0-py3-none-any.whl was uploaded 2026-11-16, 6 days ago: expected at least 7 days; "
            "wait until 2026-11-23T12:00:01Z, or take an older version"
        ),
    ),
    (
        (wheel(age=900 * DAYS), wheel(age=timedelta(hours=1), platform="linux_x86_64")),
        False,
        (
            "fail: demo-1.0-py3-none-linux_x86_64.whl was uploaded 2026-11-23, 1 hour ago: expected at least 7 days; "
            "wait until 2026-11-30T11:00:00Z, or take an older version"
        ),
    ),
    (
        (wheel(age=2 * DAYS),),
        True,
        "pass: the youngest file of demo 1.0 is of 2026-11-21, at least 1 day for a version that fixes a known flaw ago",
    ),
    (
        (wheel(age=timedelta(minutes=5)),),
        True,
        (
            "fail: demo-1.0-py3-none-any.whl was uploaded 2026-11-23, less than an hour ago: "
            "expected at least 1 day for a version that fixes a known flaw; wait until 2026-11-24T11:55:00Z, "
            "or take an older version"
        ),
    ),
    (
        (wheel(age=2 * DAYS),),
        False,
        (
            "fail: demo-1.0-py3-none-any.whl was uploaded 2026-11-21, 2 days ago: expected at least 7 days; "
            "wait until 2026-11-28T12:00:00Z, or take an older version"
        ),
    ),
    (
        (wheel(age=None),),
        False,
        "unknown: pypi gives no upload time for demo-1.0-py3-none-any.whl: expected one, to tell its age",
    ),
    (
        (wheel(), wheel(age=None, platform="linux_x86_64")),
        False,
        "unknown: pypi gives no upload time for demo-1.0-py3-none-linux_x86_64.whl: expected one, to tell its age",
    ),
    (
        (wheel(age=timedelta(minutes=-5, seconds=-1)),),
        False,
        "unknown: demo-1.0-py3-none-any.whl was uploaded 2026-11-23T12:05:01Z, which is yet to come: see whose clock is wrong",
    ),
    (
        (wheel(age=timedelta(minutes=-5)),),
        False,
        (
            "fail: demo-1.0-py3-none-any.whl was uploaded 2026-11-23, less than an hour ago: expected at least 7 days; "
            "wait until 2026-11-30T12:05:00Z, or take an older version"
        ),
    ),
    ((), False, "not-applicable: demo 1.0 has no file that could be installed: see source-only"),
]


@pytest.mark.parametrize(("artifacts", "fix", "expected"), AGES)
def test_minimum_age(artifacts: tuple[object, ...], fix: bool, expected: str) -> None:
    """The youngest file counts, by the server's word; a fix of a flaw waits less; no word means unknown."""
    assert told("minimum-age", item(artifacts=artifacts), fix=fix) == expected  # type: ignore[arg-type]  # a table


def test_minimum_age_over_a_leap_day() -> None:
    """Seven days are seven days, also where a year has a 29th of February."""
    now = datetime(2028, 3, 7, 12, tzinfo=UTC)
    before = wheel(now=datetime(2028, 2, 29, 12, tzinfo=UTC), age=timedelta(0))
    after = wheel(now=datetime(2028, 2, 29, 12, 0, 1, tzinfo=UTC), age=timedelta(0))

    assert judged("minimum-age", item(artifacts=(before,)), now=now).kind == "pass"
    assert judged("minimum-age", item(artifacts=(after,)), now=now).kind == "fail"


def test_minimum_age_of_an_upstream() -> None:
    """An upstream's own minimum counts instead of the stage's, and none needs no upload times."""
    assert told("minimum-age", item(upstream="acme", artifacts=(wheel(age=None),))) == (
        "not-applicable: production asks for no age of files from acme"
    )


def test_yanked() -> None:
    """A yanked file is refused, but for a version that an entry takes on by name, until the entry expires."""
    yanked = item("old", "1.0", artifacts=(wheel("old"), wheel("old", yanked="", platform="linux_x86_64")))
    other = item("old", "1.1", artifacts=(wheel("old", "1.1", yanked="wrong metadata"),))

    assert told("yanked", item()) == "pass: no file of demo 1.0 is yanked"
    assert told("yanked", yanked) == (
        "pass: old 1.0 is yanked (no reason given), and allowed by old==1.0 (pypi.yaml:5): needed"
    )
    assert told("yanked", yanked, now=datetime(2027, 1, 1, tzinfo=UTC)) == (
        "fail: old 1.0 is yanked by its maintainers (no reason given): take another version, or file an exception"
    )
    assert told("yanked", other) == (
        "fail: old 1.1 is yanked by its maintainers (wrong metadata): take another version, or file an exception"
    )


def test_yanked_local_versions_are_not_the_version_that_was_taken_on() -> None:
    """An entry for 1.0 takes on 1.0 alone, not 1.0+evil."""
    evil = item("old", "1.0+evil", artifacts=(wheel("old", "1.0+evil", yanked=""),))

    assert judged("yanked", evil).kind == "fail"


ON_LINUX = (wheel(platform="manylinux_2_17_x86_64"),)


@pytest.mark.parametrize(
    ("of", "targets", "expected"),
    [
        (item(), (LINUX, MACOS), "pass: demo 1.0 has a wheel for every target"),
        (
            item(artifacts=ON_LINUX),
            (LINUX, MACOS),
            (
                "fail: demo 1.0 has no wheel for cp311-macos-arm64: take a version that has one, "
                "or file an exception to have it built"
            ),
        ),
        (
            item(artifacts=(), locked=True),
            (LINUX,),
            (
                "fail: demo 1.0 has no wheel that the lock accepts for cp311-linux-x86_64: take a version that has one, "
                "or file an exception to have it built"
            ),
        ),
        (
            item(version=None, source_only=True),
            (LINUX,),
            (
                "fail: demo has no wheel that can be installed, only source, which would run its own code: "
                "take a version that has a wheel, or file an exception to have it built"
            ),
        ),
        (item(), (), "unknown: demo 1.0: no target is known to install it on"),
        (item(upstream=None), (LINUX,), "not-applicable: demo is in no upstream: see repository"),
        (item(reference=GIT), (LINUX,), "not-applicable: demo is a direct reference: see direct-reference"),
        (
            item(artifacts=(), contradiction="pypi and acme disagree"),
            (LINUX,),
            "unknown: demo 1.0: its files are not known: pypi and acme disagree",
        ),
    ],
)
def test_source_only(of: Item, targets: tuple[Target, ...], expected: str) -> None:
    """Every target needs a wheel: nothing is built from source."""
    assert told("source-only", of, targets=targets) == expected


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (item(), "pass: every file of demo 1.0 is the owner's, by digest"),
        (
            item(missing_digests=frozenset({Digest.sha256("b" * 64)})),
            (
                "fail: demo 1.0: pypi owns it and lists no file with sha256:bbbbbbbbbbbb…: "
                "the lock accepts bytes that are not the owner's; lock it again from the policy's upstreams"
            ),
        ),
        (item(contradiction="pypi and acme disagree"), "unknown: demo 1.0: pypi and acme disagree"),
        (
            item(artifacts=(wheel(digest=None),)),
            "unknown: pypi gives no sha256 for demo-1.0-py3-none-any.whl: expected one, to know the bytes by",
        ),
        (item(artifacts=()), "not-applicable: demo 1.0 has no file that could be installed: see source-only"),
        (item(upstream=None), "not-applicable: no upstream's page of demo was read"),
    ],
)
def test_integrity(of: Item, expected: str) -> None:
    """Bytes are known by their digest, and a lock may accept none but the owner's."""
    assert told("integrity", of) == expected


@pytest.mark.parametrize(
    "of",
    [
        item(upstream=None),
        item(version=None, upstream=None, reference=GIT),
        item(artifacts=()),
        item(artifacts=(), missing_digests=frozenset({Digest.sha256("b" * 64)})),
        item(version=None, source_only=True),
    ],
)
def test_where_a_rule_does_not_apply_another_denies(of: Item) -> None:
    """An item without files is denied, however many rules have nothing to say of it."""
    outcomes = judge(PRODUCTION, Evidence(item=of, findings=()), SNAPSHOT, NOW)

    assert verdict(outcomes) is Verdict.DENIED


def test_contradicting_evidence_is_undecided() -> None:
    """Where two sources disagree about an item nothing is released, and nothing denied that nobody proved."""
    of = item(artifacts=(), contradiction="pypi and acme disagree")
    outcomes = judge(PRODUCTION, Evidence(item=of, findings=()), SNAPSHOT, NOW)

    assert verdict(outcomes) is Verdict.UNDECIDED


def test_only_python_names_are_compared() -> None:
    """A conda package's name has its own well-known neighbours."""
    assert told("typosquat", item("requets", ecosystem=Ecosystem.CONDA)) == (
        "not-applicable: only names of Python distributions are compared"
    )


def test_a_wildcard_denies_its_versions_only() -> None:
    """`==2.*` reaches every 2, pre-releases and local versions too, and no 3."""
    loaded = policy(pypi=PYPI.replace("'<2.0'", "'==2.*'").replace('"<2.0"', '"==2.*"')).stage("production")
    kinds = [judged("deny-entry", item("worse", v), stage=loaded).kind.value for v in ("2.0rc1", "2.9+x", "3.0", "1.9")]

    assert kinds == ["fail", "fail", "pass", "pass"]


def test_two_spellings_of_a_popular_name_are_one() -> None:
    """Names are compared in normalised form, whichever way a list writes them."""
    assert told("typosquat", item("python.dateutil")) == "pass: python-dateutil is on a list of the policy"


def test_a_new_file_of_an_old_fix_has_no_lane() -> None:
    """Who can add a file to last year's fix can't get it in after a day."""
    files = (wheel(age=400 * DAYS), wheel(age=2 * DAYS))
    evidence = Evidence(item=item(artifacts=files), findings=(), fix=True)
    outcomes = {outcome.rule: outcome.kind for outcome in judge(PRODUCTION, evidence, SNAPSHOT, NOW)}

    assert outcomes["minimum-age"] == "fail"
