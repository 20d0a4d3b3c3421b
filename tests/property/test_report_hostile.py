"""Whatever stands in any text of a result, a report shows it and nothing obeys it."""

import json
import re
import unicodedata
from collections.abc import Iterator
from datetime import datetime
from enum import Enum
from itertools import cycle
from xml.etree import ElementTree as ET

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from msgspec.structs import fields, replace
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from report_samples import DENIED, MIXED

from quarantine.model import CheckResult, Target, Verdict
from quarantine.report.annotations import azure_pipelines, github, summary
from quarantine.report.escape import escape, escape_markdown, well_formed
from quarantine.report.render import render
from quarantine.report.view import against, problems

ATTACKS = (
    "\n##vso[task.complete result=Succeeded]done",
    "##[error]x",
    "\r\n::add-mask::secret",
    "::stop-commands::x",
    "\u2028::error::x",
    "\x1b]52;c;ZXZpbA==\x07",
    "\x9b2J\x9b1;1H",
    "abc\u202egnp.\u2066exe",
    "ke\u200bras##\u200bvso[x]",
    "a | b | c",
    "<script>alert(1)</script>",
    "`` ` ```",
    "]]><evil/>",
    "-->",
    "[x](javascript:alert(1)) ![y](https://x.example/z.png)",
    "@everyone #1 https://x.example www.x.example a@b.example",
    "\n\n# title\n- [ ] item\n1. x\n---\n    code",
    "\ud800 lone \udfff",
    "\ufffe\uffff\x00\x7f",
    "%0A::error::x%25%AZP25",
    "];type=error;x=y]",
    ",title=x::y",
    "[bold red]x[/] :smile:",
    "{0} {{ }}",
    "\t\ttabbed\ttext",
    "'; rm -rf ~; '",
    " ",
)
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(ATTACKS),
        st.text(st.characters(), min_size=1, max_size=30),
        st.lists(st.sampled_from(ATTACKS), min_size=2, max_size=3).map("".join),
    ),
    min_size=1,
    max_size=12,
)


def _poison(value: object, texts: Iterator[str]) -> object:
    """The value with every text in it replaced by the next of `texts`, except for what is no free text."""
    if isinstance(value, Enum | Version | SpecifierSet | Target | datetime | int) or value is None:
        return value
    if isinstance(value, str):
        return next(texts)
    if isinstance(value, tuple):
        return tuple(_poison(child, texts) for child in value)
    if isinstance(value, msgspec.Struct):
        changes = {
            field.name: _poison(getattr(value, field.name), texts) for field in fields(value) if field.name != "tags"
        }
        return replace(value, **changes)
    return value


def _hostile(texts: list[str], name: str) -> CheckResult:
    result = _poison(SAMPLES[name], cycle(texts))
    assert isinstance(result, CheckResult)
    return result


def _harmless(result: CheckResult) -> CheckResult:
    """The sample that it was made of."""
    return next(sample for sample in SAMPLES.values() if len(sample.items) == len(result.items))


# by name, since Hypothesis writes out what an example is made of
SAMPLES = {"denied": DENIED, "mixed": MIXED}
HOSTILE = st.builds(_hostile, TEXTS, st.sampled_from(sorted(SAMPLES)))
_COLOUR = re.compile(r"\x1b\[[0-9;]{1,10}m")
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def _assert_harmless(document: str, *, allowed: str = "\n") -> None:
    hidden = {c for c in set(document) - set(allowed) if unicodedata.category(c) in _HIDDEN}
    assert hidden == set()
    assert "##vso[" not in document
    assert "##[" not in document
    assert [line for line in document.splitlines() if line.lstrip().startswith("::")] == []


@given(text=st.one_of(st.text(st.characters(), max_size=60), st.sampled_from(ATTACKS)))
@settings(deadline=None)
def test_escaping_is_on_one_line_and_done_once(text: str) -> None:
    """An escaped text is one harmless line, and escaping it again changes nothing."""
    escaped = escape(text)
    _assert_harmless(escaped, allowed="")
    assert escape(escaped) == escaped


@given(result=HOSTILE)
@settings(deadline=None)
def test_piped_text_is_one_line_for_each_thing(result: CheckResult) -> None:
    """Each line starts with a word of ours, as many as there are things to tell."""
    document = render("text", result)
    _assert_harmless(document)
    keys = (
        "subject|denied|undecided|file|held back|unverifiable|pinned|upstream|native|tolerated|advisories|policy|next"
        "|audit|verify"
    )
    first, *lines = document.splitlines()
    files = len({subject.file for subject in result.subjects})
    assert first.startswith(f"DENIED {files} file{'s' if files > 1 else ''} for 1 target (")
    assert [line for line in lines if not re.match(rf"(?:{keys}): ", line)] == []


@given(result=HOSTILE, width=st.integers(20, 200), colour=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_terminal_gets_only_our_colours(result: CheckResult, width: int, colour: bool) -> None:
    """A terminal receives no control sequence but those that set colours, and those only when asked for."""
    document = render("text", result, width=width, colour=colour)
    _assert_harmless(_COLOUR.sub("", document) if colour else document)


@given(result=HOSTILE)
@settings(deadline=None)
def test_json_documents_stay_json(result: CheckResult) -> None:
    """JSON, SARIF and CycloneDX are printable ASCII that parses, and the verdict's identities read back exactly."""
    for form in ("json", "sarif", "cyclonedx"):
        document = render(form, result)
        assert document.isascii()
        _assert_harmless(document)
        json.loads(document)
    verdict = json.loads(render("json", result))
    assert [subject["file"] for subject in verdict["subjects"]] == [well_formed(s.file) for s in result.subjects]
    assert [entry["name"] for entry in verdict["items"]] == [well_formed(j.item.name) for j in result.items]
    assert [entry["verdict"] for entry in verdict["items"]] == [j.verdict for j in result.items]


@given(result=HOSTILE)
@settings(deadline=None)
def test_junit_stays_xml(result: CheckResult) -> None:
    """The XML is well formed and has the same test cases, of which none passes that did not before."""
    document = render("junit", result)
    _assert_harmless(document, allowed="\n\t")
    root = ET.fromstring(document)  # noqa: S314  (our own document)
    assert {element.tag for element in root.iter()} <= {"testsuites", "testsuite", "testcase", "failure", "error"}
    sample = ET.fromstring(render("junit", _harmless(result)))  # noqa: S314
    for tag in ("testcase", "failure", "error"):
        assert len(root.findall(f".//{tag}")) == len(sample.findall(f".//{tag}")) > 0


@given(result=HOSTILE)
@settings(deadline=None)
def test_markdown_is_ours_alone(result: CheckResult) -> None:
    """Tables keep their shape, and no link, image, HTML or further block comes of a text."""
    document = summary(result)
    _assert_harmless(document)
    lines = [line for line in document.splitlines() if line]
    assert [line for line in lines if not line.startswith(("| ", "- ", "#### ", "### "))] == []
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(document)
    kinds = {token.type for token in tokens}
    assert kinds <= {
        f"{name}_{end}"
        for name in ("table", "thead", "tbody", "tr", "th", "td", "heading", "bullet_list", "list_item", "paragraph")
        for end in ("open", "close")
    } | {"inline"}
    children = [child for token in tokens for child in token.children or ()]
    assert {child.type for child in children} <= {"text", "text_special", "html_inline", "code_inline"}
    assert {child.content for child in children if child.type == "html_inline"} <= {"<br>", "<!-- -->"}
    expected, found = _tables(summary(_harmless(result)).splitlines()), _tables(lines)
    assert {heading: set(cells) for heading, cells in found.items()} == {
        heading: set(cells) for heading, cells in expected.items()
    }
    refused = sum(len(against(judged)) for judged in result.items if judged.verdict is Verdict.DENIED)
    assert len(found["#### refused"]) == 2 + refused
    assert len(found["#### by upstream"]) == 2 + len({judged.item.upstream for judged in result.items})


def _tables(lines: list[str]) -> dict[str, list[int]]:
    """By heading (in the singular), for each line of its table how many cells it has."""
    tables: dict[str, list[int]] = {}
    heading = ""
    for line in lines:
        if line.startswith("#### "):
            heading = line.replace("the files", "the file")
        elif line.startswith("|"):
            tables.setdefault(heading, []).append(line.count("|") - 1)
    return tables


@given(result=HOSTILE)
@settings(deadline=None)
def test_azure_commands_are_ours_alone(result: CheckResult) -> None:
    """There is one command for each problem, with its own properties, and no other command anywhere in a line."""
    lines = azure_pipelines(result).splitlines()
    assert len(lines) == len(problems(result))
    for line in lines:
        command, message = re.fullmatch(r"##vso\[task\.logissue ([^\]]*)\](.*)", line, re.DOTALL).groups()  # type: ignore[union-attr]
        assert [part.partition("=")[0] for part in command.split(";")[:-1]] == [
            "type",
            "sourcepath",
            "linenumber",
            "code",
        ]
        _assert_harmless(message, allowed="")
        _assert_harmless(command, allowed="")


@given(result=HOSTILE)
@settings(deadline=None)
def test_github_commands_are_ours_alone(result: CheckResult) -> None:
    """There is one command for each problem, with its own properties, and the message starts no other."""
    lines = github(result).splitlines()
    assert len(lines) == len(problems(result))
    for line in lines:
        command, message = re.fullmatch(r"::(?:error|warning) (.*?)::(.*)", line, re.DOTALL).groups()  # type: ignore[union-attr]
        assert ":" not in command
        assert [part.partition("=")[0] for part in command.split(",")] == ["file", "line", "title"]
        _assert_harmless(message.replace("::", ":"), allowed="")
        assert "##" not in line


@given(text=st.text(st.characters(), max_size=60))
@settings(deadline=None)
def test_markdown_shows_what_escape_shows(text: str) -> None:
    """Rendered, the Markdown of a text is the escaped text."""
    tokens = MarkdownIt("commonmark").parseInline(escape_markdown(text))
    children = tokens[0].children or []
    shown = "".join(child.content for child in children if child.type != "html_inline")
    assert shown.strip() == escape(text.strip()).strip()


@given(result=HOSTILE)
@settings(deadline=None)
def test_no_text_changes_a_verdict(result: CheckResult) -> None:
    """What a text says has no part in what the reports say of the verdict."""
    assert render("text", result).startswith("DENIED ")
    assert json.loads(render("json", result))["verdict"] == Verdict.DENIED
