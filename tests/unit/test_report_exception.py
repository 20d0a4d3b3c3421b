"""The evidence page and the list of exceptions. `python tests/exception_samples.py` draws the golden files anew."""

import json
import re

import pytest
from exception_records import NOON
from exception_samples import AT, CASES, DOSSIERS, GOLDEN, RULES, documents
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from markdown_it import MarkdownIt
from msgspec.structs import replace

from quarantine.exceptions import MIRROR, Dossier, ExceptionCase, Status
from quarantine.model import Outcome, OutcomeKind
from quarantine.policy.decide import decide
from quarantine.report.exception import FORMATS, listed, render_page
from quarantine.report.exception_json import schema
from quarantine.report.exception_page import against, page, passes_alone

DOCUMENTS = documents()


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_a_page_is_what_was_reviewed(name: str) -> None:
    """Each page and list is, to the character, the one that stands in the golden file."""
    assert DOCUMENTS[name] == (GOLDEN / name).read_text(encoding="utf-8")


def test_there_is_no_golden_file_without_a_page() -> None:
    """What is no longer drawn is no longer kept."""
    assert {file.name for file in GOLDEN.iterdir()} == set(DOCUMENTS)


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_nothing_from_outside_acts(name: str) -> None:
    """No control character, no command of a CI system, no secret."""
    text = DOCUMENTS[name]

    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text.replace("\t", "") if "list" in name else text)
    assert "##vso" not in text
    assert not re.search(r"^\s*::", text, re.MULTILINE)
    assert "canary" not in text


@pytest.mark.parametrize("name", sorted(name for name in DOCUMENTS if name.endswith(".md")))
def test_markdown_is_ours_alone(name: str) -> None:
    """No link, image, HTML or further block comes of a text."""
    assert_ours(DOCUMENTS[name])


def assert_ours(document: str) -> None:
    """Headings, list items and code spans, and nothing else."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(document)
    blocks = {
        f"{kind}_{end}" for kind in ("heading", "bullet_list", "list_item", "paragraph") for end in ("open", "close")
    }
    children = [child for token in tokens for child in token.children or ()]
    spans = {"text", "text_special", "html_inline", "code_inline", "strong_open", "strong_close"}
    assert {token.type for token in tokens} <= blocks | {"inline"}
    assert {child.type for child in children} <= spans
    assert {child.content for child in children if child.type == "html_inline"} <= {"<!-- -->"}


TEXTS = st.text(max_size=60) | st.text(alphabet="`*_[]()<>!#:\n\\|~&;@ab/.- ", max_size=60)


@given(texts=st.lists(TEXTS.map(lambda text: text if text.strip() else "x"), min_size=6, max_size=6))
def test_no_text_makes_anything_of_a_page(texts: list[str]) -> None:
    """Whatever a reason, a name, a message, a rule, a flaw or a licence says."""
    reason, name, message, rule, flaw, licence = texts
    case, dossier = CASES["hostile"], DOSSIERS["hostile"]
    assert case.request is not None
    (entry,) = dossier.files
    request = replace(case.request, reason=reason, requester=replace(case.request.requester, name=name))
    outcomes = tuple(replace(outcome, message=message, evidence=((rule, flaw),)) for outcome in entry.outcomes)
    findings = tuple(replace(finding, id=flaw, summary=message) for finding in entry.findings)
    judged = replace(entry, outcomes=outcomes, findings=findings, licence=licence)
    shown = replace(case, request=request)
    drawn = [
        render_page(form, shown, decide(shown, RULES, AT, local=False), replace(dossier, files=(judged,)), lost=message)
        for form in FORMATS
    ]

    for text in drawn:
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", text)
        assert "##vso" not in text
    json.loads(drawn[FORMATS.index("json")])
    assert_ours(drawn[FORMATS.index("markdown")])
    assert len(drawn[0].splitlines()) == len(DOCUMENTS["hostile.txt"].splitlines())


def test_the_worst_comes_first() -> None:
    """What no approval can waive, then failures, then what isn't known, before everything else."""
    case, dossier = CASES["waiting"], DOSSIERS["waiting"]
    summary = replace(case.dossiers[0], final=("numpy 1.26.4 malware",))
    drawn = page(replace(case, dossiers=(summary,)), decide(case, RULES, AT, local=False), dossier)

    assert [section.title for section in drawn.sections][:4] == [
        "what no approval can waive",
        "what an approval would waive: failures",
        "what an approval would waive: what isn't known",
        "asked for",
    ]


def test_all_that_would_be_waived_is_on_the_page() -> None:
    """Every key of the summary is there, also where the dossier can't be read."""
    case = CASES["waiting"]
    summary = case.dossier
    assert summary is not None

    for dossier in (DOSSIERS["waiting"], None):
        assert {one.key for one in against(summary, dossier)} == summary.waivable


def test_files_that_fail_differently_are_told_apart() -> None:
    """One key may stand for several files; each message is shown with its file."""
    case, dossier = CASES["published"], DOSSIERS["published"]
    (entry,) = dossier.files
    other = replace(
        entry,
        file=replace(entry.file, filename="numpy-1.26.4-cp311-cp311-linux_x86_64.whl"),
        outcomes=(replace(entry.outcomes[0], message="1 day of 7"),),
    )

    found = against(case.dossier, replace(dossier, files=(entry, other)))

    assert [(one.key, one.filename, one.outcome.message if one.outcome else "") for one in found] == [
        ("numpy 1.26.4 minimum-age", "numpy-1.26.4-py3-none-any.whl", "2 days of 7"),
        ("numpy 1.26.4 minimum-age", "numpy-1.26.4-cp311-cp311-linux_x86_64.whl", "1 day of 7"),
    ]


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_json_is_of_its_schema(name: str) -> None:
    """Every page validates, and is printable ASCII."""
    text = DOCUMENTS[f"{name}.json"]

    Draft202012Validator(schema()).validate(json.loads(text))
    assert text.isascii()


def test_a_case_without_its_request_is_not_listed() -> None:
    """Entries about an exception that nobody asked for are no exception."""
    orphan = ExceptionCase(id="f" * 32)

    assert listed([(orphan, decide(orphan, RULES, NOON, local=False))], "age") == ()


def test_what_waits_comes_first() -> None:
    """Then by age, or by risk: the worst first."""
    every = [(case, decide(case, RULES, AT, local=False)) for case in CASES.values()]

    by_age, by_risk = listed(every, "age"), listed(every, "risk")

    waits = [row.status in (Status.REQUESTED, Status.VETTED, Status.SUSPENDED) for row in by_age]
    assert waits == sorted(waits, reverse=True)
    assert [row.risk.words.partition(":")[0] for row in by_risk[:5]] == [
        "final",
        "fails",
        "fails",
        "needs a wheel",
        "not vetted",
    ]


def test_a_page_needs_its_request() -> None:
    """There is no JSON of nothing."""
    orphan = ExceptionCase(id="f" * 32)

    with pytest.raises(ValueError, match="a case without its request has no page"):
        render_page("json", orphan, decide(orphan, RULES, NOON, local=False), None)


def _drawn(case: ExceptionCase, dossier: Dossier | None, width: int | None = None) -> str:
    return render_page("text", case, decide(case, RULES, AT, local=False), dossier, width=width)


def _section(text: str, title: str) -> list[str]:
    """The lines of a section of a page."""
    _, _, rest = text.partition(f"\n{title}\n")
    return [line.strip() for line in rest.partition("\n\n")[0].splitlines()]


def test_what_passes_is_said_of_every_file() -> None:
    """A sentence that all files share stands once, with their number; one of some files names them."""
    (entry,) = DOSSIERS["published"].files
    names = [f"numpy-1.26.4-cp3{minor}-cp3{minor}-linux_x86_64.whl" for minor in range(10, 16)]
    files = tuple(
        replace(
            entry,
            file=replace(entry.file, filename=name),
            outcomes=(
                Outcome(rule="pickle", kind=OutcomeKind.PASS, message="there is none in it"),
                Outcome(rule="archive", kind=OutcomeKind.PASS, message=f"{name} is a sound wheel"),
                Outcome(rule="contents", kind=OutcomeKind.PASS, message="2 names" if number else "1 name"),
            ),
        )
        for number, name in enumerate(names)
    )

    text = _drawn(CASES["published"], replace(DOSSIERS["published"], files=files))

    assert _section(text, "what speaks for it") == [
        "pickle: there is none in it (each of 6 files)",
        f"archive: passes for each of 6 files, such as {names[0]}: {names[0]} is a sound wheel",
        f"contents: 1 name ({names[0]})",
        f"contents: 2 names ({names[1]}, {names[2]}, {names[3]} and 2 more)",
    ]


def _vetted(name: str, **found: tuple[str, ...]) -> ExceptionCase:
    """A case of a request, with a dossier that is about just its files."""
    case = CASES[name]
    summary = CASES["waiting"].dossiers[0]
    about = replace(
        summary,
        files=tuple(file.sha256 for file in case.files),
        binding=case.binding,
        **({"failures": (), "unknowns": (), "final": ()} | found),
    )
    return replace(case, dossiers=(about,), rulings=(), publications=())


def test_a_source_waits_for_its_wheel() -> None:
    """It is nothing final: page, list and next step say what is missing, before it is vetted and after that."""
    for case in (CASES["requested"], _vetted("requested", final=("old-lib 1.0 source",))):
        decision = decide(case, RULES, AT, local=False)
        stands = "requested" if not case.dossiers else "vetted"
        text = _drawn(case, None)

        assert text.splitlines()[0] == (
            f"exception 3a1b2c3d4e5f (old-lib 1.0): {stands}: needs a wheel, which a curator builds of its source and attaches"
        )
        assert "what no approval can waive" not in text
        assert "quarantine exception attach-wheel 3a1b2c3d4e5f FILE" in _section(text, "next")
        assert [row.risk.words for row in listed([(case, decision)], "risk")] == ["needs a wheel"]


def test_a_source_with_worse_than_that_is_final() -> None:
    """A wheel wouldn't help against malware."""
    case = _vetted("requested", final=("old-lib 1.0 malware", "old-lib 1.0 source"))
    text = _drawn(case, None)

    assert _section(text, "what no approval can waive") == ["old-lib 1.0 malware", "old-lib 1.0 source"]
    assert not any("attach-wheel" in line for line in _section(text, "next"))
    assert [row.risk.words for row in listed([(case, decide(case, RULES, AT, local=False))], "risk")] == [
        "final: malware, source"
    ]


def test_what_the_policy_lets_in_by_itself_needs_no_exception() -> None:
    """Vetting found nothing against it, which its page says; what was built here or has no owner gets in by one only."""
    case = _vetted("published")
    said = "nothing: the policy lets it in by itself, so a check passes without an exception"
    request = case.request
    assert request is not None
    unowned = replace(request, files=tuple(replace(file, upstream=MIRROR) for file in request.files))

    assert _section(_drawn(case, None), "what it waits for") == [said]
    assert [
        passes_alone(one)
        for one in (
            case,
            _vetted("published", failures=("numpy 1.26.4 minimum-age",)),
            _vetted("attached"),
            replace(case, request=unowned),
        )
    ] == [True, False, False, False]


@pytest.mark.parametrize("width", [40, 80])
def test_sentences_fit_the_terminal(width: int) -> None:
    """They are broken at spaces; commands, keys and digests stay whole, and nothing is lost."""
    for name in ("waiting", "hostile"):
        text, plain = _drawn(CASES[name], DOSSIERS[name], width), _drawn(CASES[name], DOSSIERS[name])

        assert text.split() == plain.split()
        assert not re.search(r"^\s*::|##", text, re.MULTILINE)
        for line in text.splitlines():
            assert len(line) <= width or line in plain.splitlines() or " " not in line.strip(), line
