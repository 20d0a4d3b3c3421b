"""Conda packages, images and named environments in the reports, and files of several kinds."""

import json
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from jsonschema import Draft202012Validator
from msgspec.structs import replace
from packaging.version import Version
from report_samples import ALLOWED, ENVIRONMENT, LINUX, MIXED, conda, curated, image, item, judged

from quarantine.model import CheckResult, Item, JudgedItem, Location, Outcome, OutcomeKind, Subject, Target, Verdict
from quarantine.report.json_verdict import schema
from quarantine.report.render import render
from quarantine.report.view import against, headline, holding, is_native, label, pinned, taken_for
from quarantine.report.wayout import Step, exception_command, next_steps

FAIL = Outcome(rule="vulnerability", kind=OutcomeKind.FAIL, message="it is bad")
LOCKED = Outcome(rule="locked", kind=OutcomeKind.FAIL, message="no digests")
AT = Location(file="env.yaml", line=3)
LOCK = "write the lock to build from: an unlocked file proves nothing about a later build"


def _of(kind: str, *items: JudgedItem, file: str = "env.yaml", verdict: Verdict = Verdict.DENIED) -> CheckResult:
    outcomes = () if verdict is Verdict.ALLOWED else (LOCKED,)
    subject = replace(ALLOWED.subjects[0], file=file, format=kind, verdict=verdict, outcomes=outcomes)
    return replace(ALLOWED, verdict=verdict, subjects=(subject,), items=items, lock=None)


def _lines(result: CheckResult, key: str) -> list[str]:
    return [line for line in render("text", result).splitlines() if line.startswith(f"{key}: ")]


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (item("numpy", "1.26.4"), "numpy 1.26.4"),
        (conda("numpy", "1.21.2"), "numpy 1.21.2 (conda)"),
        (replace(conda("numpy", "1"), version=None, record=None), "numpy (conda)"),
        (image("azureml/x", tag="7", at=AT), "mcr.microsoft.com/azureml/x:7"),
        (image("azureml/x", tag=None, at=AT, pinned=True), "mcr.microsoft.com/azureml/x@sha256:1642c66e4a1b…"),
        (curated("x", "3", AT), "azureml://registries/azureml/environments/x/versions/3"),
    ],
)
def test_what_an_item_is_called(of: Item, expected: str) -> None:
    """A conda package says that it is one, an image and a named environment go by their references."""
    assert label(of) == expected


def test_the_pinned_reference_has_the_digest_that_was_found() -> None:
    """An image is pinned to what its registry said; nothing else is pinned."""
    found = image("azureml/x", tag="7", at=AT)
    assert pinned(found) == f"mcr.microsoft.com/azureml/x@{found.artifacts[0].digest}"
    assert pinned(replace(found, artifacts=())) is None
    assert pinned(conda("numpy", "1")) is None


def test_native_is_only_what_was_looked_into() -> None:
    """A conda package that no channel has, or whose file list can't be read, isn't called native."""
    assert is_native(conda("libgcc", "13.2"))
    assert not is_native(conda("numpy", "1", holds=("numpy==1",)))
    assert not is_native(conda("odd", "1", holds=None))
    assert not is_native(replace(conda("ghost", "1"), record=None))
    assert not is_native(item("numpy", "1"))


def test_what_a_conda_package_holds_is_told_where_its_name_does_not_say_it() -> None:
    """Distributions under other names or versions are named, three of them, and the rest counted."""
    assert holding(conda("numpy", "1.2", holds=("numpy==1.2",))) == ""
    assert holding(conda("numpy", "1.2", holds=("numpy==1.3",))) == "numpy 1.3"
    many = tuple(f"part-{number}==1" for number in range(5))
    assert holding(conda("bundle", "1", holds=many)) == "part-0 1, part-1 1, part-2 1 and 2 more"
    assert holding(item("numpy", "1")) == ""


def test_native_packages_are_counted_and_the_first_are_listed() -> None:
    """A single one is told in the singular; of many, eight are named and the rest counted."""
    one = _of("conda-environment", judged(conda("libgcc", "13.2")), verdict=Verdict.ALLOWED)
    assert _lines(one, "native") == [
        "native: 1 conda package holds no Python distribution, so no advisory speaks of it: libgcc 13.2"
    ]
    many = replace(one, items=tuple(judged(conda(f"lib{number}", "1")) for number in range(10)))
    (line,) = _lines(many, "native")
    assert line == (
        "native: 10 conda packages hold no Python distribution, so no advisory speaks of them: "
        "lib0 1, lib1 1, lib2 1, lib3 1, lib4 1, lib5 1, lib6 1, lib7 1, and 2 more"
    )


def test_images_are_listed_by_digest() -> None:
    """Each image has the reference to copy, and one that isn't allowed says so beside it."""
    found = image("azureml/x", tag="7", at=AT)
    result = _of("dockerfile", judged(found), file="Dockerfile", verdict=Verdict.ALLOWED)
    assert _lines(result, "pinned") == [f"pinned: mcr.microsoft.com/azureml/x:7 (env.yaml:3): {pinned(found)}"]
    assert _lines(replace(result, items=(judged(found, FAIL),)), "pinned") == [
        f"pinned: mcr.microsoft.com/azureml/x:7 (env.yaml:3, denied): {pinned(found)}"
    ]


@pytest.mark.parametrize("width", [80, 120])
def test_the_tables_fit_the_terminal(width: int) -> None:
    """No line of a table is wider than the terminal: only the headline, facts and what is to be copied may be."""
    kept = ("DENIED", "  ", "native:", "advisories:", "policy:", "audit:", "verify:")
    drawn = render("text", MIXED, width=width).splitlines()
    tables = [line for line in drawn if not line.startswith(kept) or line.startswith("   " * 3)]
    assert len(tables) > 40
    assert [line for line in tables if len(line) > width] == []


def test_headline_counts_each_kind() -> None:
    """Packages, images and named environments are counted apart, those without trouble as allowed."""
    items = (judged(conda("a", "1")), judged(item("b", "1")), judged(image("c", tag="1", at=AT)))
    allowed = _of("azureml-environment", *items, verdict=Verdict.ALLOWED)
    assert headline(allowed) == (
        "ALLOWED env.yaml (Azure ML environment, cp311-linux-x86_64, development): 2 packages and 1 image"
    )
    denied = _of(
        "azureml-environment", *items[:2], judged(image("c", tag="1", at=AT), FAIL), judged(curated("d", "1", AT))
    )
    assert headline(denied) == (
        "DENIED env.yaml (Azure ML environment, cp311-linux-x86_64, development): 2 packages allowed, 1 of 1 image refused, "
        "1 Azure ML environment allowed, 1 rule of the file failed"
    )


def test_a_files_rule_is_told_once_for_all_targets() -> None:
    """What holds for all targets of a file names the file alone; what holds for some names those."""
    subject = replace(_of("requirements").subjects[0], file="a.txt")
    other = replace(subject, target=Target("3.12", "linux-x86_64"))
    both = replace(_of("requirements"), subjects=(subject, other))
    assert _lines(both, "file") == ["file: a.txt: locked (fail): no digests"]
    one = replace(both, subjects=(subject, replace(other, outcomes=())))
    assert _lines(one, "file") == ["file: a.txt (cp311-linux-x86_64): locked (fail): no digests"]


def test_several_targets_stand_in_the_table() -> None:
    """Where the targets differ each file says its own; what it was taken for is told in words."""
    subject = replace(_of("conda-environment").subjects[0], outcomes=())
    result = replace(_of(""), subjects=(subject, replace(subject, target=Target("3.12", "linux-x86_64"))))
    table = render("text", result, width=100).split("\n\n")[1]
    assert table == (
        "judged\n"
        "file      taken for          target              locked  verdict\n"
        "env.yaml  conda environment  cp311-linux-x86_64  no      denied\n"
        "env.yaml  conda environment  cp312-linux-x86_64  no      denied"
    )


def test_an_unknown_format_is_named_as_it_is() -> None:
    """A format without words of its own is shown by its name, escaped."""
    assert taken_for("brand-new\n") == "brand-new\\x0a"


def test_what_is_tolerated_stands_apart_from_what_is_not() -> None:
    """A line that a rule speaks against isn't listed a second time among those that can't be verified."""
    assert _lines(MIXED, "unverifiable") == [
        "unverifiable: serving/Dockerfile:3: RUN apt-get install -y libgomp1: packages of the distribution are not read"
    ]


def test_that_a_package_could_not_be_looked_into_is_told_once() -> None:
    """Of the rules that don't know what a conda package holds one speaks; what fails is told all the same."""
    unknown = [
        Outcome(rule=r, kind=OutcomeKind.UNKNOWN, message="unread") for r in ("malware", "vulnerability", "native")
    ]
    denied = Outcome(rule="deny-entry", kind=OutcomeKind.FAIL, message="denied by name")
    found = against(judged(conda("odd", "1", holds=None), denied, *unknown))
    assert [outcome.rule for outcome in found] == ["deny-entry", "vulnerability"]
    assert [outcome.rule for outcome in against(judged(conda("odd", "1"), *unknown))] == [o.rule for o in unknown]


# --- what to do next --------------------------------------------------------------------------------------------------


def test_a_nearest_version_is_written_as_the_file_would_have_it() -> None:
    """Conda's lines have one equals sign; what conda pulled in is held by a dependency more, in want of constraints."""
    root = conda("root", "1", line=4)
    leaf = conda("leaf", "1", required_by=(root.purl,))
    result = _of(
        "conda-environment",
        replace(judged(root, FAIL), nearest="1.21.3"),
        replace(judged(leaf, FAIL), nearest="2.0"),
        replace(judged(conda("orphan", "1"), FAIL), nearest="3.0"),
        replace(judged(replace(conda("pinned", "1", line=9), locked=True), FAIL), nearest="4.0"),
        replace(judged(item("pip-one", "1", line=7), FAIL), nearest=Version("1.1")),
    )
    assert [step.what for step in next_steps(result) if not step.command] == [
        "edit training/conda.yaml:4: root=1.21.3",
        "add leaf=2.0 to the conda dependencies (pulled in by training/conda.yaml:4)",
        "add orphan=3.0 to the conda dependencies",
        "lock again with pinned=4.0",
        "edit requirements.txt:7: pip-one==1.1",
    ]


def test_an_exception_for_a_conda_package_names_the_build() -> None:
    """A conda package is asked for by its package URL; what no exception is granted to has no command."""
    assert exception_command(conda("numpy", "1.21.2"), ALLOWED) == (
        "quarantine exception request 'pkg:conda/numpy@1.21.2?build=h0_0&channel=conda-forge&subdir=linux-64&type=conda'"
        " --reason 'why the project needs it' --project forecasting"
    )
    assert exception_command(replace(conda("numpy", "1"), record=None), ALLOWED) is None
    assert exception_command(image("azureml/x", tag="1", at=AT), ALLOWED) is None
    assert exception_command(curated("x", "1", AT), ALLOWED) is None


@pytest.mark.parametrize(
    ("kind", "items", "lock"),
    [
        ("requirements", (item("a", "1"),), "pylock.toml"),
        ("conda-environment", (conda("a", "1"), item("b", "1")), "conda-lock.yml"),
        ("azureml-environment", (image("x", tag="1", at=AT, role="image"), conda("a", "1")), "azureml=build"),
        ("azureml-environment", (image("x", tag="1", at=AT, role="image"),), "azureml=build"),
        ("azureml-environment", (image("x", tag="1", at=AT, role="image"), item("a", "1")), None),
        ("azureml-environment", (image("x", tag="1", at=AT), conda("a", "1")), None),
        ("azureml-deployment", (curated("x", "1", AT),), None),
        ("dockerfile", (image("x", tag="1", at=AT, pinned=True),), None),
    ],
)
def test_the_lock_fits_the_file(kind: str, items: tuple[Item, ...], lock: str | None) -> None:
    """The lock that is offered can hold all that the file asks for; where none can, none is offered."""
    steps = next_steps(_of(kind, *map(judged, items), verdict=Verdict.ALLOWED))
    assert [step for step in steps if step.command] == (
        [] if lock is None else [Step(LOCK, f"quarantine check env.yaml --lock {lock}")]
    )


def test_a_dockerfile_is_pinned_by_hand() -> None:
    """No lock stands for a Dockerfile: its images are to be pinned, and its packages kept in files that are locked."""
    found = image("azureml/x", tag="1", at=Location(file="Dockerfile", line=1))
    result = _of("dockerfile", judged(found), judged(item("a", "1")), file="Dockerfile")
    assert next_steps(result) == (
        Step(f"edit Dockerfile:1: {pinned(found)}"),
        Step("keep what it installs in files of their own, lock those, and install the locks instead"),
    )


def test_an_image_that_is_refused_is_not_pinned() -> None:
    """Nobody is invited to pin what is denied for another reason than its tag; a digest that is there is left."""
    at = Location(file="Dockerfile", line=1)
    found = image("azureml/x", tag="1", at=at)
    assert next_steps(_of("dockerfile", judged(found, FAIL), file="Dockerfile")) == ()
    assert next_steps(_of("dockerfile", judged(found, LOCKED), file="Dockerfile")) == (
        Step(f"edit Dockerfile:1: {pinned(found)}"),
    )
    again = image("azureml/x", tag="1", at=at, pinned=True)
    assert next_steps(_of("dockerfile", judged(again), file="Dockerfile")) == ()


def test_several_files_are_locked_one_by_one() -> None:
    """A lock is one environment's: with several files the way to each is told, without a command."""
    one = _of("requirements", file="a.txt")
    result = replace(one, subjects=(*one.subjects, replace(one.subjects[0], file="b.txt")))
    assert next_steps(result) == (
        Step(
            "check each file by itself with --lock, and build from the lock: conda-lock.yml where conda installs, "
            "azureml=DIR for an Azure ML environment, else pylock.toml"
        ),
    )


def test_many_files_are_not_listed_in_a_command() -> None:
    """A verdict over a folder of files is kept by checking the same again, not by a line of all their names."""
    one = replace(_of("requirements"), items=tuple(judged(item(f"p{number}", "1"), FAIL) for number in range(6)))
    subjects = tuple(
        Subject(file=f"{n}.txt", sha256="", target=LINUX, locked=True, verdict=Verdict.DENIED) for n in range(6)
    )
    result = replace(one, subjects=subjects, before=" --config 'q b.yaml'")
    assert next_steps(result)[0] == Step("or keep the verdict: check the same again with --report json=verdict.json")
    assert next_steps(replace(result, subjects=subjects[:1]))[0] == Step(
        "or keep the verdict", "quarantine --config 'q b.yaml' check 0.txt --report json=verdict.json"
    )


# --- for programs -----------------------------------------------------------------------------------------------------


def _json(form: str, result: CheckResult) -> dict[str, Any]:
    document = json.loads(render(form, result))
    assert isinstance(document, dict)
    return document


def test_json_tells_what_is_held_and_what_is_pinned() -> None:
    """What a conda package holds, null where nobody could look; an image's platforms and its reference by digest."""
    document = _json("json", MIXED)
    Draft202012Validator(schema()).validate(document)
    found = {entry["purl"]: entry for entry in document["items"]}
    assert found[conda("http-client", "3.1.0").purl]["holds"] == ["pkg:pypi/requests@2.19.0"]
    assert found[conda("openssl", "1.2.3").purl]["holds"] == []
    assert found[conda("odd", "1.0").purl]["holds"] is None
    base = image("azureml/openmpi5.0-ubuntu24.04", tag="20261101.v1", at=AT)
    assert found[base.purl]["pinned"] == pinned(base)
    assert found[base.purl]["platforms"] == ["linux/amd64", "linux/arm64"]
    assert found[base.purl]["targets"] == ["cp311-linux-x86_64"]
    assert found[conda("odd", "1.0").purl]["pinned"] is None
    assert document["subjects"][0]["format"] == "azureml-environment"
    assert document["subjects"][0]["file"] == ENVIRONMENT


def test_a_bill_of_materials_holds_what_conda_packages_hold() -> None:
    """Images are containers, and a distribution inside a conda package is a component of it, by its own package URL."""
    text = render("cyclonedx", MIXED)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    found = {entry["name"]: entry for entry in json.loads(text)["components"]}
    assert found["mcr.microsoft.com/azureml/openmpi5.0-ubuntu24.04"]["type"] == "container"
    assert found["sklearn-1.5"]["type"] == "container"
    assert found["http-client"]["type"] == "library"
    purl = conda("http-client", "3.1.0").purl
    assert found["http-client"]["components"] == [
        {
            "bom-ref": f"{purl}#pkg:pypi/requests@2.19.0",
            "name": "requests",
            "purl": "pkg:pypi/requests@2.19.0",
            "type": "library",
            "version": "2.19.0",
        }
    ]
    assert {"name": "quarantine:holds", "value": "unknown"} in found["odd"]["properties"]
    assert len(found["http-client"]["hashes"]) == 1


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("azureml", "Azure ML"),
        ("azureml-environment", "Azure ML environment"),
        ("azureml-managedOnlineDeployment", "Azure ML online deployment"),
        ("azureml-pipeline_component", "Azure ML pipeline component"),
        ("azureml-sparkJob", "Azure ML spark job"),
        ("python-env", "MLflow Python environment"),
        ("uv.lock", "uv lock"),
    ],
)
def test_what_a_file_was_taken_for_is_told_in_words(kind: str, words: str) -> None:
    """The formats of the readers, and the schemas of Azure ML, are told as people call them."""
    assert taken_for(kind) == words
