"""The headline, the way from a package to the user's line, and what to do next."""

import json
import shlex

from msgspec.structs import replace
from packaging.version import Version
from report_samples import ALLOWED, DENIED, UNDECIDED, item, judged

from quarantine.model import (
    CheckResult,
    Elsewhere,
    Item,
    Location,
    Outcome,
    OutcomeKind,
    Purl,
    Target,
    Verdict,
)
from quarantine.report.render import render
from quarantine.report.view import Requirers, against, headline, problems
from quarantine.report.wayout import Step, exception_command, exception_for, next_steps

FAIL = Outcome(rule="vulnerability", kind=OutcomeKind.FAIL, message="it is bad")
UNKNOWN = Outcome(rule="minimum-age", kind=OutcomeKind.UNKNOWN, message="no upload time")


def _of(result: CheckResult, *items: Item) -> CheckResult:
    return replace(result, items=tuple(map(judged, items)))


def test_headline_of_one_file() -> None:
    """One subject is named with its target and stage, then come the counts."""
    result = replace(
        ALLOWED,
        verdict=Verdict.DENIED,
        items=(judged(item("a", "1"), FAIL), judged(item("b", "1"), UNKNOWN), judged(item("c", "1"))),
    )
    assert headline(result) == (
        "DENIED requirements.txt (cp311-linux-x86_64, development): 1 of 3 packages refused, 1 undecided"
    )


def test_headline_of_several_files_and_targets() -> None:
    """Several subjects are counted, and so is what is wrong with the files themselves."""
    subject = ALLOWED.subjects[0]
    other = replace(subject, target=Target("3.12", "linux-aarch64"), outcomes=(FAIL, UNKNOWN, UNKNOWN))
    result = replace(ALLOWED, verdict=Verdict.DENIED, subjects=(subject, other), items=ALLOWED.items[:1])
    assert headline(result) == (
        "DENIED 1 file for 2 targets (development): 1 package, 1 rule of the file failed, 2 rules of the file unknown"
    )


def test_headline_of_nothing() -> None:
    """A run that judged nothing says so."""
    assert headline(replace(UNDECIDED, subjects=(), items=())) == (
        "UNDECIDED nothing (development): 0 packages, 1 precondition not met"
    )


def test_chain_is_the_shortest_way_to_a_line() -> None:
    """Of several requirers, those that lead soonest to a line of the user's file are named."""
    leaf = item("leaf", "1", required_by=("deep==1", "near==1"))
    deep = item("deep", "1", required_by=("near==1",))
    near = item("near", "1", required_by=("root==1",))
    root = item("root", "1", line=4)
    requirers = Requirers(_of(ALLOWED, leaf, deep, near, root))
    assert requirers.chain(leaf) == (near, root)
    assert requirers.place(leaf) == Location(file="requirements.txt", line=4)
    assert requirers.wanted_by(leaf) == "near 1 < root 1 and 1 more"
    assert requirers.chain(root) == ()
    assert requirers.wanted_by(root) == ""


def test_a_cycle_without_a_line_has_no_chain() -> None:
    """Packages that only require each other lead to no line; the file's first line stands in for it."""
    one, two = item("one", "1", required_by=("two==1",)), item("two", "1", required_by=("one==1",))
    requirers = Requirers(_of(ALLOWED, one, two))
    assert requirers.chain(one) == ()
    assert requirers.place(one) is None
    assert requirers.wanted_by(one) == "two 1"
    assert requirers.place_or_file(one) == Location(file="requirements.txt", line=1)


def test_a_chain_stays_within_its_subjects() -> None:
    """What another subject asks for did not pull a package in here."""
    leaf = replace(item("leaf", "1", required_by=("root==1",)), subjects=(1,))
    root = item("root", "1", line=4)
    assert Requirers(_of(DENIED, leaf, root)).chain(leaf) == ()


def test_a_requirer_that_was_not_judged_is_named_by_its_purl() -> None:
    """A requirer that isn't an item is still shown."""
    leaf = replace(item("leaf", "1"), required_by=(Purl("pkg:pypi/ghost@2"),))
    assert Requirers(_of(ALLOWED, leaf)).wanted_by(leaf) == "pkg:pypi/ghost@2"


def test_an_item_no_rule_spoke_on_is_a_problem() -> None:
    """Nothing evaluated is a problem, never silence."""
    found = problems(UNDECIDED)
    assert [(p.about, p.rule, p.failed, p.message) for p in found] == [
        ("precondition", "advisory-snapshot", False, "there is no advisory database: run `quarantine advisories sync`"),
        ("numpy 2.1.0", "none", False, "no rule could be evaluated"),
        ("pandas 2.2.3", "vulnerability", False, "no advisories could be read"),
    ]
    assert problems(ALLOWED) == ()


def test_exception_command_survives_a_shell() -> None:
    """The command is split by a shell into the words that were meant, whatever the project's name is."""
    command = exception_command(item("torch", "1!2.0+cu121"), replace(ALLOWED, project="it's; rm -rf ~"))
    assert command == (
        "quarantine exception request 'torch==1!2.0+cu121' --reason 'why the project needs it' "
        "--project 'it'\"'\"'s; rm -rf ~'"
    )
    assert shlex.split(command)[-1] == "it's; rm -rf ~"


def test_exception_command_is_for_what_was_judged() -> None:
    """It names the stage where another one would be taken without it, and the configuration that was given."""
    result = replace(ALLOWED, stage="production", before=" --config other/quarantine.yaml")
    assert exception_command(item("acme", "1"), result) == (
        "quarantine --config other/quarantine.yaml exception request acme==1 --reason 'why the project needs it' "
        "--project forecasting --stage production"
    )


def test_exception_command_needs_a_version() -> None:
    """Without a version there are no digests that an exception could be granted to."""
    assert exception_command(item("acme", None), ALLOWED) is None
    assert exception_command(item("acme", "1"), replace(ALLOWED, project="")) == (
        "quarantine exception request acme==1 --reason 'why the project needs it'"
    )


def test_many_refusals_are_filed_from_the_verdict() -> None:
    """Several refused packages are asked for by one command over the JSON verdict: their closure is one request."""
    items = tuple(judged(item(f"p{number}", "1"), FAIL) for number in range(2))
    result = replace(ALLOWED, verdict=Verdict.DENIED, items=items)
    assert next_steps(result) == (
        Step("or keep the verdict", "quarantine check requirements.txt --report json=verdict.json"),
        Step(
            "and file an exception for its 2 refused packages",
            "quarantine exception request --from verdict.json --reason 'why the project needs it' "
            "--project forecasting",
        ),
    )


def test_a_verdict_that_was_kept_is_what_is_filed_from() -> None:
    """The file that was written is named, quoted, and nobody is told to write another one."""
    items = tuple(judged(item(f"p{number}", "1"), FAIL) for number in range(2))
    result = replace(ALLOWED, verdict=Verdict.DENIED, items=items, kept="-out of/it.json")
    assert next_steps(result) == (
        Step(
            "or file an exception for its 2 refused packages",
            "quarantine exception request --from './-out of/it.json' --reason 'why the project needs it' "
            "--project forecasting",
        ),
    )


def test_what_is_undecided_may_be_for_a_person_to_decide() -> None:
    """An exception is offered where files are known and what couldn't be told can be waived, and nowhere else."""
    unrated = judged(item("unrated", "1"), UNKNOWN)
    unseen = judged(item("unseen", "1"), replace(UNKNOWN, rule="integrity"))
    nowhere = judged(replace(item("nowhere", "1"), artifacts=()), UNKNOWN)
    result = replace(ALLOWED, verdict=Verdict.UNDECIDED, items=(unrated, unseen, nowhere))
    command = "quarantine exception request unrated==1 --reason 'why the project needs it' --project forecasting"
    void = Outcome(rule="clock", kind=OutcomeKind.UNKNOWN, message="whose clock is wrong")

    assert [exception_for(one, result) for one in result.items] == [command, None, None]
    assert exception_for(replace(unrated, findings=None), result) is None
    assert exception_for(unrated, replace(result, preconditions=(void,))) is None
    assert next_steps(result)[-1] == Step("or file an exception, for a person to decide", command)
    both = replace(result, items=(unrated, judged(item("old", "1"), FAIL)))
    assert next_steps(both)[-1].what == "and file an exception for its 1 refused and 1 undecided packages"


def test_a_lock_names_the_stage_that_it_is_judged_for() -> None:
    """Where that is another stage, so that a second verdict surprises nobody."""
    result = replace(ALLOWED, lock=None, stage="development", lock_stage="production")
    assert next_steps(result) == (
        Step(
            "write the lock to build from: an unlocked file proves nothing about a later build; it is judged for production, "
            "which may refuse what development lets in",
            "quarantine check requirements.txt --lock pylock.toml --stage production",
        ),
    )


def test_what_no_advisories_mean_for_every_package_is_told_once() -> None:
    """Not a line for each of a hundred; what only one package has against it still stands there."""
    unread = Outcome(rule="vulnerability", kind=OutcomeKind.UNKNOWN, message="no advisories could be read")
    items = [judged(item(f"p{number}", "1"), unread, replace(unread, rule="malware")) for number in range(3)]
    items.append(judged(item("young", "1"), unread, replace(unread, rule="malware"), UNKNOWN))
    lines = render("text", replace(UNDECIDED, items=tuple(items))).splitlines()

    assert [line for line in lines if line.startswith("undecided: ")] == [
        "undecided: 4 packages: vulnerability: no advisories could be read",
        "undecided: 4 packages: malware: no advisories could be read",
        f"undecided: young 1: {UNKNOWN.rule}: {UNKNOWN.message}",
    ]


def test_an_exception_for_another_stage_is_told() -> None:
    """In every report that lists what isn't allowed: it is why a package that was let in is denied all the same."""
    one = replace(judged(item("core", "1"), FAIL), elsewhere=Elsewhere(exception="ab" * 16, stage="development"))
    result = replace(ALLOWED, verdict=Verdict.DENIED, stage="production", items=(one,))
    line = "core 1: exception abababababab holds for development only, and this verdict is for production"

    assert f"elsewhere: {line}\n" in render("text", result)
    assert "#### let in by an exception, but not for production\n" in render("markdown", result)
    (told,) = json.loads(render("json", result))["items"]
    assert told["exception_elsewhere"] == {"exception": "ab" * 16, "stage": "development"}


def test_an_allowed_unlocked_file_is_to_be_locked() -> None:
    """An allowed file that isn't locked, and for which no lock was written, leads to the lock; odd names are quoted."""
    subject = replace(ALLOWED.subjects[0], file="-my file.txt")
    result = replace(ALLOWED, lock=None, subjects=(subject,))
    assert next_steps(result) == (
        Step(
            "write the lock to build from: an unlocked file proves nothing about a later build",
            "quarantine check './-my file.txt' --lock pylock.toml",
        ),
    )
    assert next_steps(ALLOWED) == ()


def test_a_transitive_package_is_constrained() -> None:
    """A refused package that the user didn't ask for is held to its nearest version where it was pulled in."""
    leaf = replace(judged(item("leaf", "1", required_by=("root==1",)), FAIL), nearest=Version("2"))
    orphan = replace(judged(item("orphan", "1"), UNKNOWN), nearest=Version("3"))
    result = replace(ALLOWED, verdict=Verdict.DENIED, items=(leaf, judged(item("root", "1", line=4)), orphan))
    assert next_steps(result)[:2] == (
        Step("constrain to leaf==2 (pulled in by requirements.txt:4)"),
        Step("constrain to orphan==3"),
    )


def test_an_allowed_environment_fits_a_screen() -> None:
    """With nothing to refuse, even a large environment is told in a few lines."""
    many = replace(ALLOWED, items=tuple(judged(item(f"package-{number}", "1")) for number in range(500)))
    assert len(render("text", many).splitlines()) == 8
    assert len(render("text", many, width=80).splitlines()) < 24


def test_unknown_evidence_is_named() -> None:
    """A snapshot that can't say how old or how whole it is, is reported so."""
    assert ALLOWED.snapshot is not None
    snapshot = replace(ALLOWED.snapshot, as_of=None, sources=(), complete=False, accepted_until=None, sha256="ab")
    assert "advisories: of unknown age (no source, incomplete) sha256 ab\n" in render(
        "text", replace(ALLOWED, snapshot=snapshot)
    )


def test_colour_changes_nothing_but_colour() -> None:
    """Colour is around the same text."""
    import re

    coloured = render("text", DENIED, width=100, colour=True)
    assert coloured.startswith("\x1b[1;31mDENIED")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert [line.rstrip() for line in plain.splitlines()] == render("text", DENIED, width=100).splitlines()


def test_what_is_not_known_of_files_is_said_once() -> None:
    """An item whose files aren't known has one line for that; what fails is told all the same."""
    unknown = [Outcome(rule=rule, kind=OutcomeKind.UNKNOWN, message=f"{rule} can't tell") for rule in
               ("malware", "vulnerability", "minimum-age", "yanked", "source-only", "integrity")]  # fmt: skip
    failed = Outcome(rule="deny-entry", kind=OutcomeKind.FAIL, message="denied by name")
    entry = judged(replace(item("app", None), contradiction="none is listed"), failed, *unknown)

    assert [outcome.rule for outcome in against(entry)] == ["deny-entry", "integrity"]
