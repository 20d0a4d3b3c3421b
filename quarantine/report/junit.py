"""The verdict as JUnit XML: a test case for the whole, for each precondition, each rule of a file and each package.

What is denied is a failure and what is undecided an error, so neither can be taken for a passed test; the case for the
whole sees to it that a run which judged nothing doesn't pass either.
"""

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, assert_never

from quarantine.model import CheckResult, JudgedItem, Outcome, OutcomeKind, Verdict
from quarantine.report.escape import escape, escape_prose
from quarantine.report.view import VOID, Requirers, against, headline, label, subject_label, timestamp

if TYPE_CHECKING:
    from junitparser import TestCase
    from junitparser.junitparser import FinalResult

__all__ = ["render"]


def render(result: CheckResult) -> str:
    """The XML document, indented, ending in a newline."""
    from junitparser import JUnitXml, TestSuite  # noqa: PLC0415

    requirers = Requirers(result)
    suites = [("verdict", [_case("quarantine", "verdict", result.verdict, [headline(result)])])]
    suites.append(("preconditions", [_precondition(outcome) for outcome in result.preconditions]))
    for subject in result.subjects:
        about = subject_label(subject)
        suites.append((about, [_rule(about, outcome) for outcome in subject.outcomes]))
    suites.append(("packages", [_item(judged, requirers) for judged in result.items]))
    document = JUnitXml("quarantine")
    for name, cases in suites:
        if cases:
            suite = TestSuite(name)
            suite.timestamp = timestamp(result.now)
            suite.add_testcases(cases)
            document.add_testsuite(suite)
    out = BytesIO()
    document.write(out, pretty=True)
    return out.getvalue().decode()


def _precondition(outcome: Outcome) -> "TestCase":
    """What isn't met leaves everything undecided, whether it failed or is unknown."""
    met = outcome.kind in {OutcomeKind.PASS, OutcomeKind.NOT_APPLICABLE}
    verdict = Verdict.ALLOWED if met else Verdict.UNDECIDED
    return _case("preconditions", escape(outcome.rule), verdict, [escape_prose(outcome.message)])


def _rule(about: str, outcome: Outcome) -> "TestCase":
    match outcome.kind:
        case OutcomeKind.FAIL:
            verdict = Verdict.DENIED
        case OutcomeKind.UNKNOWN:
            verdict = Verdict.UNDECIDED
        case OutcomeKind.PASS | OutcomeKind.NOT_APPLICABLE:
            verdict = Verdict.ALLOWED
        case _:
            assert_never(outcome.kind)
    place = [] if outcome.location is None else [f"at {escape(str(outcome.location))}"]
    return _case(about, escape(outcome.rule), verdict, [escape_prose(outcome.message), *place])


def _item(judged: JudgedItem, requirers: Requirers) -> "TestCase":
    item = judged.item
    reasons = against(judged) or (VOID,)
    lines = [f"{escape(outcome.rule)}: {escape_prose(outcome.message)}" for outcome in reasons]
    wanted_by, place = requirers.wanted_by(item), requirers.place(item)
    lines += [f"required by {wanted_by}"] if wanted_by else []
    lines += [] if place is None else [f"at {escape(str(place))}"]
    lines += [] if judged.nearest is None else [f"nearest version {escape(str(judged.nearest))}"]
    return _case(f"packages.{item.ecosystem}", label(item), judged.verdict, lines)


def _case(group: str, name: str, verdict: Verdict, lines: Sequence[str]) -> "TestCase":
    """A test case with what was found, one thing a line: the first is its message. All escaped."""
    from junitparser import Error, Failure, TestCase  # noqa: PLC0415

    case = TestCase(name, classname=group)
    match verdict:
        case Verdict.ALLOWED:
            return case
        case Verdict.DENIED:
            found: FinalResult = Failure(lines[0], "denied")
        case Verdict.UNDECIDED:
            found = Error(lines[0], "undecided")
        case _:
            assert_never(verdict)
    found.text = "\n".join(lines)
    case.result = found
    return case
