"""What an approval waives: this failure of this package in these files, and nothing that is final."""

from datetime import timedelta

import pytest
from cases import file
from msgspec.structs import replace
from policy_samples import LINUX, NOW, POLICY, PRODUCTION, SNAPSHOT, conda, flaw, image, item, policy, wheel

from quarantine.exceptions import MIRROR, Grant, Grants
from quarantine.model import MIRRORED, Digest, Finding, Item, Outcome, OutcomeKind, Verdict
from quarantine.policy.rules import Evidence, judge, tightened, verdict
from quarantine.policy.waivers import FINAL, covered, exception_rule, keys_of, waive

ONE, TWO = Digest.sha256("1" * 64), Digest.sha256("2" * 64)
ID = "5ee7c0de" * 4


def grant(*waives: str, digest: Digest = ONE, days: int = 10, exception: str = ID, **more: object) -> Grant:
    """An approved file of `demo 1.0`."""
    given = {
        "exception": exception,
        "file": file(digest=digest.hex),
        "waives": frozenset(f"demo 1.0 {key}" for key in waives),
        "expires_at": NOW + timedelta(days=days),
        **more,
    }
    return Grant(**given)  # type: ignore[arg-type]  # spelled out by the callers


def live(*found: Grant) -> Grants:
    """Exceptions that hold."""
    return Grants(live={one.file.digest: one for one in found})


def failed(rule: str, kind: OutcomeKind = OutcomeKind.FAIL, **evidence: tuple[str, ...]) -> Outcome:
    """An outcome against the item."""
    return Outcome(rule=rule, kind=kind, message="so it is", evidence=tuple(evidence.items()))


def outcomes(of: Item, grants: Grants | None, *findings: Finding) -> dict[str, Outcome]:
    """What all rules say in production."""
    evidence = Evidence(item=replace(of, targets=(LINUX,)), findings=findings, grants=grants)
    return {outcome.rule: outcome for outcome in judge(PRODUCTION, evidence, SNAPSHOT, NOW)}


TWO_FILES = item(artifacts=(wheel(), replace(wheel(digest="2" * 64), filename="demo-1.0-py2-none-any.whl")))


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (failed("minimum-age"), ("minimum-age",)),
        (failed("typosquat", OutcomeKind.UNKNOWN), ("typosquat",)),
        (failed("minimum-age", OutcomeKind.PASS), ()),
        (failed("minimum-age", OutcomeKind.NOT_APPLICABLE), ()),
        (failed("vulnerability", ids=("CVE-1", "CVE-2")), ("vulnerability:CVE-1", "vulnerability:CVE-2")),
        (failed("vulnerability", OutcomeKind.UNKNOWN), ("vulnerability",)),
        (failed("vulnerability", ids=()), ("vulnerability",)),
    ],
)
def test_keys_mean_this_failure(outcome: Outcome, expected: tuple[str, ...]) -> None:
    """What speaks for a package has none; flaws go by their identifiers, so that a new one is another key."""
    assert keys_of(outcome) == expected


def test_covered_means_every_file_that_may_be_installed() -> None:
    """One file without an exception, or bytes that the owner doesn't list, and none stands behind the item."""
    other = replace(file(digest=TWO.hex), filename="demo-1.0-py2-none-any.whl")
    first, second = grant(), grant(file=other, exception="f" * 32)
    assert covered(item(), live(first)) == (first,)
    assert covered(TWO_FILES, live(first, second)) == (first, second)
    assert covered(TWO_FILES, live(first)) == ()
    assert covered(TWO_FILES, live(first, grant(digest=TWO))) == ()  # the bytes, but under another name
    assert covered(item(artifacts=(wheel(digest=None),)), live(first)) == ()
    assert covered(item(missing_digests=frozenset({TWO})), live(first)) == ()
    assert covered(item(artifacts=()), live(first)) == ()
    assert covered(item(), Grants()) == ()


def test_a_waived_failure_passes_and_says_so() -> None:
    """Its message and its evidence name the exception and its end; what isn't waived stays."""
    said = (failed("minimum-age"), failed("yanked"))
    assert waive(said, item(), (), live(grant("minimum-age"))) == (
        Outcome(
            rule="minimum-age",
            kind=OutcomeKind.PASS,
            message="waived by exception 5ee7c0de5ee7 until 2026-12-03T12:00:00Z: so it is",
            evidence=(("exception", ID), ("expires", "2026-12-03T12:00:00Z")),
        ),
        failed("yanked"),
    )


def test_a_flaw_is_waived_by_any_of_its_names_and_all_must_be() -> None:
    """Records are joined differently over time, and a flaw stays the same one; another one isn't waived with it."""
    known = (flaw("GHSA-1", aliases="CVE-1"), flaw("CVE-2"))
    one = failed("vulnerability", ids=("GHSA-1",))
    both = failed("vulnerability", ids=("GHSA-1", "CVE-2"))
    by_alias = live(grant("vulnerability:CVE-1"))
    assert waive((one,), item(), known, by_alias)[0].kind is OutcomeKind.PASS
    assert waive((both,), item(), known, by_alias) == (both,)
    assert waive((both,), item(), known, live(grant("vulnerability:CVE-1", "vulnerability:CVE-2")))[0].kind is (
        OutcomeKind.PASS
    )


@pytest.mark.parametrize("rule", sorted(FINAL))
def test_what_is_final_is_never_waived(rule: str) -> None:
    """Whatever an approval says that it waives."""
    assert waive((failed(rule),), item(), (), live(grant(rule))) == (failed(rule),)


def test_every_exception_behind_an_item_must_waive_it() -> None:
    """Of two files one is let in despite its age: the item isn't. The end that is told is the first."""
    said = (failed("minimum-age"),)
    second = replace(file(digest=TWO.hex), filename="demo-1.0-py2-none-any.whl")
    other = {"file": second, "exception": "f" * 32, "days": 2}
    assert waive(said, TWO_FILES, (), live(grant("minimum-age"), grant(**other))) == said  # type: ignore[arg-type]  # all of their kinds
    (waived,) = waive(said, TWO_FILES, (), live(grant("minimum-age"), grant("minimum-age", **other)))  # type: ignore[arg-type]  # all of their kinds
    assert waived.message == "waived by exception ffffffffffff until 2026-11-25T12:00:00Z: so it is"


def test_a_waiver_is_of_one_package() -> None:
    """The same failure of another version isn't waived, though the digest is the same."""
    assert waive((failed("minimum-age"),), item(version="2.0"), (), live(grant("minimum-age"))) == (
        failed("minimum-age"),
    )


@pytest.mark.parametrize(
    ("of", "grants", "kind", "message"),
    [
        (item(), Grants(), OutcomeKind.NOT_APPLICABLE, "no exception is about demo 1.0"),
        (image("images.example.org/python:3"), Grants(), OutcomeKind.NOT_APPLICABLE, "exceptions are for packages"),
        (
            item(),
            live(grant()),
            OutcomeKind.PASS,
            "demo 1.0 is let in by exception 5ee7c0de5ee7 until 2026-12-03T12:00:00Z, 10 days more",
        ),
        (
            TWO_FILES,
            live(grant()),
            OutcomeKind.NOT_APPLICABLE,
            (
                "demo 1.0: exception 5ee7c0de5ee7 is for 1 of its 2 files, and any of them may be installed: "
                "lock it, so that only those count"
            ),
        ),
        (
            item(),
            Grants(stopped={ONE: "exception 1 is expired (long ago)"}),
            OutcomeKind.NOT_APPLICABLE,
            "demo 1.0: exception 1 is expired (long ago), so it counts for nothing",
        ),
        (
            item(),
            Grants(blocked={ONE: "exception 1 is revoked (by ann)"}),
            OutcomeKind.FAIL,
            "demo 1.0: exception 1 is revoked (by ann): take another version, or file a new exception",
        ),
        (
            item(artifacts=(), missing_digests=frozenset({ONE})),
            Grants(blocked={ONE: "exception 1 is revoked (by ann)"}),
            OutcomeKind.FAIL,
            "demo 1.0: exception 1 is revoked (by ann): take another version, or file a new exception",
        ),
    ],
)
def test_the_rule_says_what_stands_behind_an_item(of: Item, grants: Grants, kind: OutcomeKind, message: str) -> None:
    """What was revoked or suspended fails; whatever else there is to say of exceptions is said."""
    found = exception_rule(of, grants, NOW)
    assert (found.rule, found.kind, found.message) == ("exception", kind, message)


# --- in the rules -----------------------------------------------------------------------------------------------------


def test_a_file_of_the_mirror_alone_has_no_age_to_wait_for() -> None:
    """Its owner lists it no longer, or never did; one that only claims to be the mirror's is of unknown age."""
    vetted = replace(wheel(age=timedelta(days=1)), url=f"{MIRRORED}files/x")
    assert outcomes(item(artifacts=(vetted,)), live(grant()))["minimum-age"].message == (
        "exceptions let in every file of demo 1.0, and pypi lists none of them: their age was judged when they were vetted"
    )
    assert outcomes(item(artifacts=(vetted,)), None)["minimum-age"].kind is OutcomeKind.FAIL
    assert outcomes(item(artifacts=(vetted,)), live(grant()))["integrity"].message == (
        "demo 1.0: demo-1.0-py3-none-any.whl is not listed by pypi: by its digest it is let in, or not at all"
    )


def test_the_mirrors_own_names_pass_only_by_an_exception() -> None:
    """That a page says `mirror` lets nothing through by itself."""
    of = item(upstream=MIRROR)
    assert outcomes(of, live(grant()))["repository"].message == "demo 1.0 is from the mirror, by an exception"
    for grants in (None, Grants(), live(grant(digest=TWO))):
        refused = outcomes(of, grants)["repository"]
        assert (refused.kind, refused.message) == (
            OutcomeKind.FAIL,
            (
                "demo 1.0 is in no upstream but the mirror, and no exception of this project and stage is for every file of "
                "it: lock it so that only those count that one is for, or file an exception"
            ),
        )


def test_a_name_kept_to_the_mirror_comes_in_by_an_exception_alone() -> None:
    """Nobody publishes to the mirror, so the way out is another one."""
    kept = policy(POLICY.replace("reserved:\n", "reserved:\n  - {name: demo, upstream: mirror, reason: ours}\n"))
    said = []
    for of in (item(), item(upstream=MIRROR)):
        evidence = Evidence(item=of, findings=(), grants=live(grant()))
        outcomes_ = judge(kept.stage("production"), evidence, SNAPSHOT, NOW)
        said += [(o.kind, o.message) for o in outcomes_ if o.rule == "reserved-name"]
    assert said == [
        (
            OutcomeKind.FAIL,
            (
                "demo is reserved for mirror (demo: ours) but is from pypi: file an exception for your own, "
                "or rename what is not yours"
            ),
        ),
        (OutcomeKind.PASS, "demo is reserved for mirror, where it is from"),
    ]


def test_bytes_that_were_let_in_once_are_named_with_what_became_of_it() -> None:
    """A lock of old pins an attached wheel: that nobody lists it is told with the reason."""
    old = item(artifacts=(), missing_digests=frozenset({ONE}), locked=True)
    found = outcomes(old, Grants(stopped={ONE: "exception 1 is expired (expired on Monday)"}))["integrity"]
    assert "bytes that are not the owner's (exception 1 is expired (expired on Monday)); lock it again" in found.message
    assert "not the owner's; lock it again" in outcomes(old, Grants())["integrity"].message


def test_a_conda_package_is_let_in_by_its_digest() -> None:
    """The same waiver, for what a channel lists."""
    of = conda("tool", "1.0", "tool 1.0", age=timedelta(days=1))
    (artifact,) = of.artifacts
    digest = artifact.digest
    assert digest is not None
    let_in = grant(
        file=replace(file(digest=digest.hex), filename=artifact.filename), waives=frozenset({"tool 1.0 minimum-age"})
    )
    evidence = Evidence(item=of, findings=(), grants=Grants(live={digest: let_in}))
    (age,) = [o for o in judge(PRODUCTION, evidence, SNAPSHOT, NOW) if o.rule == "minimum-age"]
    assert age.kind is OutcomeKind.PASS


# --- a local policy ---------------------------------------------------------------------------------------------------


def test_a_local_policy_only_takes_away() -> None:
    """What it has against something is added and marked; what both say is told once; its passes aren't looked at."""
    central = (failed("minimum-age"), failed("yanked", OutcomeKind.PASS))
    local = (
        failed("minimum-age"),
        failed("yanked"),
        failed("typosquat", OutcomeKind.UNKNOWN),
        failed("repository", OutcomeKind.PASS),
    )
    assert tightened(central, local) == (
        *central,
        replace(failed("yanked"), message="local policy: so it is"),
        replace(failed("typosquat", OutcomeKind.UNKNOWN), message="local policy: so it is"),
    )
    assert verdict(tightened((failed("yanked"),), (failed("yanked", OutcomeKind.PASS),))) is Verdict.DENIED
