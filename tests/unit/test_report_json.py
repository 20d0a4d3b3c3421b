"""The JSON verdict: its shape, its schema, its faithfulness."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from msgspec.structs import replace
from report_samples import ALLOWED, DENIED, UNDECIDED, item, judged

from quarantine.model import CheckResult, Outcome, OutcomeKind, Verdict
from quarantine.report.json_verdict import SCHEMA, schema
from quarantine.report.render import render


def _json(result: CheckResult) -> dict[str, Any]:
    document = json.loads(render("json", result))
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize("result", [ALLOWED, DENIED, UNDECIDED])
def test_a_verdict_is_valid_by_the_exported_schema(result: CheckResult) -> None:
    """What is written is what the JSON Schema promises."""
    Draft202012Validator.check_schema(schema())
    Draft202012Validator(schema()).validate(_json(result))


def test_the_schema_refuses_a_verdict_without_a_part() -> None:
    """Each part of a verdict is required: a reader never meets a missing key."""
    document = _json(ALLOWED)
    for key in document:
        less = {name: value for name, value in document.items() if name != key}
        assert [error.message for error in Draft202012Validator(schema()).iter_errors(less)] == [
            f"{key!r} is a required property"
        ]


def test_keys_stand_in_one_order() -> None:
    """The document's parts come in the order in which the design lists them."""
    assert list(_json(DENIED)) == [
        "schema",
        "verdict",
        "stage",
        "project",
        "time",
        "tool",
        "subjects",
        "preconditions",
        "policy",
        "advisories",
        "items",
        "unverifiable",
        "lock",
        "audit",
    ]
    assert _json(DENIED)["schema"] == SCHEMA


def test_unknown_advisories_are_null_and_not_none_found() -> None:
    """Advisories that could not be looked up are null; an empty list says that there are none."""
    found = {entry["name"]: entry["advisories"] for entry in _json(DENIED)["items"]}
    assert found["orphan"] is None
    assert found["acme-tools"] == []
    assert _json(UNDECIDED)["advisories"] is None
    assert _json(UNDECIDED)["audit"] is None


def test_everything_stays_in_a_large_verdict() -> None:
    """Allowed packages are listed with all that is known of them, however many they are."""
    result = replace(ALLOWED, items=tuple(judged(item(f"package-{number}", "1")) for number in range(2000)))
    document = _json(result)
    assert [entry["name"] for entry in document["items"]] == [f"package-{number}" for number in range(2000)]


def test_paths_are_exact_and_sentences_are_escaped() -> None:
    """A file's name reads back as it is, whatever is in it; a message reads back as it may be printed."""
    path = "über/##vso[x]\n\u202e.txt"
    message = "a\n##vso[x]\x1b[31m"
    subject = replace(
        ALLOWED.subjects[0], file=path, outcomes=(Outcome(rule="r", kind=OutcomeKind.PASS, message=message),)
    )
    written = render("json", replace(ALLOWED, subjects=(subject,)))
    assert written.isascii()
    assert "##" not in written
    read = json.loads(written)["subjects"][0]
    assert read["file"] == path
    assert read["reasons"][0]["message"] == r"a #\x23vso[x]\x1b[31m"


def test_only_denied_items_carry_an_exception_request() -> None:
    """The command that files an exception stands at what is denied, and not at malware."""
    requests = {entry["name"]: entry["exception_request"] is not None for entry in _json(DENIED)["items"]}
    assert requests == {
        "requests": True,
        "urllib3": True,
        "torchtriton": False,
        "acme-tools": False,
        "orphan": False,
        "certifi": False,
    }


@pytest.mark.parametrize("verdict", list(Verdict))
def test_verdicts_have_their_own_words(verdict: Verdict) -> None:
    """The three verdicts are written as the design names them."""
    assert _json(replace(ALLOWED, verdict=verdict))["verdict"] == verdict.value
