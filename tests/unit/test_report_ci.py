"""Annotations, the summary page, SARIF and JUnit: what a CI system reads."""

import json
import re
from xml.etree import ElementTree as ET

import pytest
from msgspec.structs import replace
from report_samples import ALLOWED, DENIED, UNDECIDED, item, judged

from quarantine.model import CheckResult, Location, Outcome, OutcomeKind, Verdict
from quarantine.policy.rules import RULES
from quarantine.report.annotations import MAX_SUMMARY_BYTES, azure_pipelines, github, summary
from quarantine.report.render import render


def _refused(number: int) -> CheckResult:
    items = tuple(
        judged(
            item(f"p{n}", "1", line=n + 1),
            Outcome(rule="yanked", kind=OutcomeKind.FAIL, message="it is yanked"),
            Outcome(rule="minimum-age", kind=OutcomeKind.UNKNOWN, message="no upload time"),
        )
        for n in range(number)
    )
    return replace(ALLOWED, verdict=Verdict.DENIED, items=items)


def test_nothing_wrong_is_no_annotation() -> None:
    """An allowed result says nothing in the log."""
    assert azure_pipelines(ALLOWED) == ""
    assert github(ALLOWED) == ""


@pytest.mark.parametrize(("number", "shown", "rest"), [(10, 10, 0), (11, 9, 2), (250, 9, 241)])
def test_github_gets_ten_of_a_kind(number: int, shown: int, rest: int) -> None:
    """GitHub shows ten annotations of a kind: beyond that the tenth counts what is left out."""
    lines = github(_refused(number)).splitlines()
    for kind in ("error", "warning"):
        own = [line for line in lines if line.startswith(f"::{kind} ")]
        assert len(own) == 10
        assert sum(",title=quarantine%3A" in line for line in own) == shown
        if rest:
            assert own[-1] == f"::{kind} title=quarantine::and {rest} more problems, all in the report"


def test_azure_gets_all() -> None:
    """Azure Pipelines has no such limit: each problem is an issue."""
    assert len(azure_pipelines(_refused(250)).splitlines()) == 500


def test_an_annotation_without_a_file_has_no_place() -> None:
    """A precondition of a run that has no subject is announced without a place."""
    nowhere = replace(UNDECIDED, subjects=(), items=())
    assert github(nowhere) == (
        "::warning title=quarantine%3A advisory-snapshot::"
        "precondition: there is no advisory database: run `quarantine advisories sync`\n"
    )
    assert azure_pipelines(nowhere) == (
        "##vso[task.logissue type=warning;code=advisory-snapshot;]"
        "precondition: there is no advisory database: run `quarantine advisories sync`\n"
    )
    (result,) = json.loads(render("sarif", nowhere))["runs"][0]["results"]
    assert result["locations"] == []


def test_a_summary_is_cut_at_a_line_and_says_so() -> None:
    """A summary longer than GitHub takes keeps its beginning, and says where the rest is."""
    long = _refused(12_000)
    whole = render("markdown", long)
    assert len(whole.encode()) > MAX_SUMMARY_BYTES
    text = summary(long)
    assert len(text.encode()) <= MAX_SUMMARY_BYTES
    body, _, note = text.rpartition("\n\n")
    assert whole.startswith(body)
    assert note == (
        "Cut here: the whole is longer than 1048576 bytes. The JSON verdict (`--report json=FILE`) has all.\n"
    )
    assert summary(DENIED) == render("markdown", DENIED)


@pytest.mark.parametrize("result", [ALLOWED, DENIED, UNDECIDED])
def test_sarif_holds_together(result: CheckResult) -> None:
    """What SARIF 2.1.0 requires: a version, one run, results that point to rules, regions from line 1."""
    log = json.loads(render("sarif", result))
    assert (log["version"], len(log["runs"])) == ("2.1.0", 1)
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert rules == sorted(set(rules))
    assert run["invocations"][0]["executionSuccessful"] is (result.verdict is not Verdict.UNDECIDED)
    for found in run["results"]:
        assert rules[found["ruleIndex"]] == found["ruleId"]
        assert found["level"] in {"error", "warning"}
        assert found["message"]["text"]
        assert re.fullmatch(r"[0-9a-f]{64}", found["partialFingerprints"]["quarantine/v1"])
        for location in found["locations"]:
            place = location["physicalLocation"]
            assert place["region"]["startLine"] >= 1
            assert re.fullmatch(r"[A-Za-z0-9._~%/-]+", place["artifactLocation"]["uri"])


def test_an_undecided_run_has_results() -> None:
    """Code scanning would read a run without results as clean: what is undecided is always among them."""
    results = json.loads(render("sarif", UNDECIDED))["runs"][0]["results"]
    assert [found["ruleId"] for found in results] == ["advisory-snapshot", "none", "vulnerability"]


def test_sarif_shows_a_transitive_package_at_the_line_that_pulled_it_in() -> None:
    """A package that the file doesn't name is shown where the one stands that needs it."""
    results = json.loads(render("sarif", DENIED))["runs"][0]["results"]
    lines = {
        found["message"]["text"].split(":")[0]: found["locations"][0]["physicalLocation"]["region"]["startLine"]
        for found in results
    }
    assert lines["torchtriton 3.0.0"] == 7


def test_sarif_leaves_out_the_least_and_says_so() -> None:
    """Beyond the limit errors stay and warnings go, and a notification counts them."""
    (run,) = json.loads(render("sarif", _refused(12_502)))["runs"]
    assert [found["level"] for found in run["results"]] == ["error"] * 12_502 + ["warning"] * 12_498
    assert run["invocations"][0]["toolExecutionNotifications"][1] == {
        "level": "warning",
        "message": {"text": "4 more results are left out here: the JSON verdict has all"},
    }


def test_sarif_fingerprints_tell_findings_apart_and_stay_when_lines_move() -> None:
    """The same finding on another line has the same fingerprint; two lines of one rule have two."""

    def prints(*lines: int) -> list[str]:
        outcomes = tuple(
            Outcome(
                rule="directives",
                kind=OutcomeKind.FAIL,
                message=f"option {number}",
                location=Location(file="requirements.txt", line=line),
            )
            for number, line in enumerate(lines)
        )
        result = replace(ALLOWED, subjects=(replace(ALLOWED.subjects[0], outcomes=outcomes),))
        found = json.loads(render("sarif", result))["runs"][0]["results"]
        return [entry["partialFingerprints"]["quarantine/v1"] for entry in found]

    assert prints(1, 2) == prints(5, 9)
    assert len(set(prints(1, 2))) == 2


@pytest.mark.parametrize(
    ("file", "uri"),
    [
        ("a b/ü#1.txt", "a%20b/%C3%BC%231.txt"),
        ("c:odd", "c%3Aodd"),
        ("/abs/x.txt", "file:///abs/x.txt"),
        ("\ud800", "%EF%BF%BD"),
    ],
)
def test_sarif_paths_are_uri_references(file: str, uri: str) -> None:
    """A path is written so that no part of it is taken for a scheme, a query or a fragment (RFC 3986)."""
    subject = replace(ALLOWED.subjects[0], file=file, outcomes=(Outcome(rule="r", kind=OutcomeKind.FAIL, message="m"),))
    (found,) = json.loads(render("sarif", replace(ALLOWED, subjects=(subject,))))["runs"][0]["results"]
    assert found["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == uri


def test_sarif_messages_hold_no_link() -> None:
    """Text in SARIF's form of a link is shown as text."""
    refused = judged(item("a", "1"), Outcome(rule="r", kind=OutcomeKind.FAIL, message="[click](https://x.example)"))
    (found,) = json.loads(render("sarif", replace(ALLOWED, items=(refused,))))["runs"][0]["results"]
    assert found["message"]["text"] == r"a 1: [click\](https://x.example)"


@pytest.mark.parametrize(
    ("result", "failures", "errors", "cases"), [(ALLOWED, 0, 0, 6), (DENIED, 7, 1, 10), (UNDECIDED, 0, 4, 4)]
)
def test_junit_counts(result: CheckResult, failures: int, errors: int, cases: int) -> None:
    """What is denied fails, what is undecided is an error, what is allowed passes; each is counted."""
    root = ET.fromstring(render("junit", result))  # noqa: S314  (our own document)
    assert len(root.findall(".//failure")) == failures
    assert len(root.findall(".//error")) == errors
    assert len(root.findall(".//testcase")) == cases
    assert sum(int(suite.attrib["failures"]) for suite in root) == failures
    assert sum(int(suite.attrib["errors"]) for suite in root) == errors


def test_junit_of_nothing_does_not_pass() -> None:
    """A run that judged nothing at all still has a case, and it is an error."""
    root = ET.fromstring(render("junit", replace(UNDECIDED, items=(), subjects=(), preconditions=())))  # noqa: S314
    assert len(root.findall(".//testcase")) == 1
    assert len(root.findall(".//error")) == 1


@pytest.mark.parametrize("kind", list(OutcomeKind))
def test_junit_of_a_rule_of_a_file(kind: OutcomeKind) -> None:
    """A rule of a file passes, fails or is an error by its outcome."""
    subject = replace(ALLOWED.subjects[0], outcomes=(Outcome(rule="r", kind=kind, message="m"),))
    root = ET.fromstring(render("junit", replace(ALLOWED, subjects=(subject,))))  # noqa: S314
    found = [child.tag for child in root.findall(".//testcase[@name='r']/*")]
    expected = {OutcomeKind.FAIL: ["failure"], OutcomeKind.UNKNOWN: ["error"]}
    assert found == expected.get(kind, [])


def test_every_rule_is_described() -> None:
    """The rules table of a SARIF log says what each of the policy's rules expects."""
    rules = [rule for rule, _ in RULES]
    against = tuple(Outcome(rule=rule, kind=OutcomeKind.FAIL, message="m") for rule in (*rules, "brand-new"))
    log = json.loads(render("sarif", replace(ALLOWED, items=(judged(item("a", "1"), *against),))))
    texts = {rule["id"]: rule["shortDescription"]["text"] for rule in log["runs"][0]["tool"]["driver"]["rules"]}
    assert texts.pop("brand-new") == "brand new"
    assert [rule for rule in rules if texts[rule] == rule.replace("-", " ")] == []
