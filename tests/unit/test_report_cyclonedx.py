"""The bill of materials: valid, deterministic, and honest about what it doesn't know."""

import json
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from msgspec.structs import replace
from packaging.utils import NormalizedName
from packaging.version import Version
from report_samples import ALLOWED, DENIED, UNDECIDED, item, judged, wheel

from quarantine.model import CheckResult, Digest, Finding, Purl, Severity
from quarantine.report.render import render


def _bom(result: CheckResult) -> dict[str, Any]:
    document = json.loads(render("cyclonedx", result))
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize("result", [ALLOWED, DENIED, UNDECIDED, replace(UNDECIDED, items=(), subjects=())])
def test_it_is_valid_cyclonedx(result: CheckResult) -> None:
    """The library's own strict schema of CycloneDX 1.6 accepts it, and each reference within it exists."""
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(render("cyclonedx", result)) is None
    bom = _bom(result)
    known = {entry["bom-ref"] for entry in bom.get("components", [])} | {bom["metadata"]["component"]["bom-ref"]}
    for dependency in bom["dependencies"]:
        assert {dependency["ref"], *dependency.get("dependsOn", [])} <= known
    for vulnerability in bom.get("vulnerabilities", []):
        assert {target["ref"] for target in vulnerability["affects"]} <= known


def test_the_same_result_is_the_same_document() -> None:
    """Serial number and time come from the result alone, and another result has another number."""
    assert render("cyclonedx", DENIED) == render("cyclonedx", DENIED)
    other = replace(DENIED, stage="development")
    assert _bom(DENIED)["serialNumber"] != _bom(other)["serialNumber"]
    assert _bom(DENIED)["metadata"]["timestamp"] == "2026-11-23T12:00:00+00:00"


def test_a_package_found_twice_is_two_components() -> None:
    """The same package from two places keeps both, with references of their own."""
    items = (judged(item("a", "1", line=1)), judged(replace(item("a", "1", line=2), upstream="private")))
    bom = _bom(replace(ALLOWED, items=items))
    assert sorted(entry["bom-ref"] for entry in bom["components"]) == ["pkg:pypi/a@1", "pkg:pypi/a@1#2"]


def test_several_files_have_a_hash_each() -> None:
    """Where several wheels may be installed, none of their hashes is the component's own."""
    files = (wheel("a", "1"), replace(wheel("a", "1"), filename="a-1-py2.py3-none-any.whl", url="https://x.example/b"))
    (component,) = _bom(replace(ALLOWED, items=(judged(replace(item("a", "1"), artifacts=files)),)))["components"]
    assert "hashes" not in component
    assert [len(reference["hashes"]) for reference in component["externalReferences"]] == [1, 1]


@pytest.mark.parametrize("score", ["7.5", "ten", "NaN", "11", None])
def test_only_a_score_between_0_and_10_is_a_score(score: str | None) -> None:
    """A score that is no CVSS score is left out; the severity stays."""
    finding = Finding(id="X-1", severity=Severity.HIGH, score=score)
    (known,) = _bom(replace(ALLOWED, items=(judged(item("a", "1"), findings=(finding,)),)))["vulnerabilities"]
    assert known["ratings"] == [{"severity": "high"} | ({"score": 7.5} if score == "7.5" else {})]


def test_the_graph_leads_from_the_file_to_all() -> None:
    """Direct requirements hang on the root, the others on what requires them; a cycle is kept."""
    items = (
        judged(item("a", "1", line=1)),
        judged(item("b", "1", required_by=("a==1", "c==1"))),
        judged(item("c", "1", required_by=("b==1",))),
        judged(replace(item("d", "1"), required_by=(Purl("pkg:pypi/ghost@1"),))),
    )
    graph = {entry["ref"]: entry.get("dependsOn", []) for entry in _bom(replace(ALLOWED, items=items))["dependencies"]}
    assert graph == {
        "quarantine:subject": ["pkg:pypi/a@1", "pkg:pypi/d@1"],
        "pkg:pypi/a@1": ["pkg:pypi/b@1"],
        "pkg:pypi/b@1": ["pkg:pypi/c@1"],
        "pkg:pypi/c@1": ["pkg:pypi/b@1"],
        "pkg:pypi/d@1": [],
    }


def test_what_is_unknown_is_said() -> None:
    """A component whose advisories could not be looked up says so, instead of looking clean."""
    numpy = next(entry for entry in _bom(UNDECIDED)["components"] if entry["name"] == "numpy")
    assert {"name": "quarantine:advisories", "value": "unknown"} in numpy["properties"]
    assert numpy["version"] == str(Version("2.1.0"))


def test_what_fits_no_field_is_left_out() -> None:
    """A digest, a URL or a name of no known form is left out of its field; the component stays."""
    odd = replace(
        wheel("a", "1"), filename="odd", digest=Digest("sha256", "xyz"), url="https://[broken/a", yanked="why not"
    )
    spaced = replace(wheel("a", "1"), url="https://x.example/{a b}", digest=Digest("md5", "0" * 32))
    of = replace(item("a", "1"), name=NormalizedName(""), artifacts=(odd, spaced))
    document = render("cyclonedx", replace(ALLOWED, items=(judged(of),)))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(document) is None
    (component,) = json.loads(document)["components"]
    assert "purl" not in component
    assert [set(reference) for reference in component["externalReferences"]] == [{"comment", "type", "url"}]
