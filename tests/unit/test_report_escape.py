"""Text from outside, made harmless for each sink."""

import json

import pytest

from quarantine.report.escape import (
    ascii_json,
    escape,
    escape_azure_data,
    escape_azure_property,
    escape_github_data,
    escape_github_property,
    escape_markdown,
    escape_prose,
    public_url,
    well_formed,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("numpy 2.1.0", "numpy 2.1.0"),
        ("prüfung 数", "prüfung 数"),
        ("a\nb\tc\rd", r"a\x0ab\x09c\x0dd"),
        ("\x1b]52;c;ZXZpbA==\x07", r"\x1b]52;c;ZXZpbA==\x07"),
        ("\x9b31m\x7f\x00", r"\x9b31m\x7f\x00"),
        ("abc\u202egnp.exe", r"abc\u{202e}gnp.exe"),
        ("ke\u200bras\u2060\ufeff", r"ke\u{200b}ras\u{2060}\u{feff}"),
        ("a\u2028b\u2029c\x85d", r"a\u{2028}b\u{2029}c\x85d"),
        ("\ud800 \udfff", r"\u{d800} \u{dfff}"),
        ("x\U000e0041\ufe0f\u3164\u00a0", r"x\u{e0041}\u{fe0f}\u{3164}\xa0"),
        ("##vso[task.complete result=Succeeded]", r"#\x23vso[task.complete result=Succeeded]"),
        ("x ##[error]y", r"x #\x23[error]y"),
        ("###[group]", r"#\x23\x23[group]"),
        ("#\u200b#vso[a]", r"#\u{200b}#vso[a]"),
        ("::add-mask::x", r"\x3a:add-mask::x"),
        ("  ::add-mask::x", r"  \x3a:add-mask::x"),
        ("conda-forge::numpy", "conda-forge::numpy"),
        ("\n::error::x", r"\x0a::error::x"),
    ],
)
def test_what_acts_or_hides_is_shown(text: str, shown: str) -> None:
    """Controls, bidi, invisible characters and the starts of CI commands become visible; all else stays."""
    assert escape(text) == shown
    assert escape(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" because a\n  and b\r\n", "because a and b"),
        ("a\n##vso[x]\n::b", r"a #\x23vso[x] \x3a:b"),
        ("from https://me:canary@index.example.org/x", "from https://***@index.example.org/x"),
    ],
)
def test_sentences_are_one_line_without_secrets(text: str, shown: str) -> None:
    """Line breaks in a sentence are spaces, and credentials in it are redacted."""
    assert escape_prose(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a | b", "a &#124; b"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("`code` ``more``", r"\`code\` \`\`more\`\`"),
        ("[x](https://a.example)", r"\[x\](https:<!-- -->//a.example)"),
        ("![x](y) *b* _i_ ~s~ $m$", r"!\[x\](y) \*b\* \_i\_ \~s\~ \$m\$"),
        ("@team www.a.example me@a.example", "@<!-- -->team www<!-- -->.a.example me@<!-- -->a.example"),
        ("#12 GH-7 a&#124;", r"\#<!-- -->12 GH-<!-- -->7 a&amp;#<!-- -->124;"),
        ("# title", r"\# title"),
        ("- item", r"\- item"),
        ("1. item", r"1\. item"),
        ("2.31.0", "2.31.0"),
        ("a\\b", r"a\\b"),
        ("x\ny", r"x\\x0ay"),
    ],
)
def test_markdown_shows_the_text_and_makes_nothing_of_it(text: str, shown: str) -> None:
    """No table cell, HTML, code span, link, mention or list comes of a text from outside."""
    assert escape_markdown(text) == shown


def test_github_commands_keep_their_parts() -> None:
    """Percent signs in messages, and colons and commas in properties too, are escaped as the runner expects."""
    assert escape_github_data("100%: a,b\r\n") == r"100%25: a,b\x0d\x0a"
    assert escape_github_property("100%: a,b\r\n") == r"100%25%3A a%2Cb\x0d\x0a"


def test_azure_commands_keep_their_parts() -> None:
    """Percent signs in messages, and semicolons and brackets in properties too, are escaped as the agent expects."""
    assert escape_azure_data("100%; [a]\n") == r"100%AZP25; [a]\x0a"
    assert escape_azure_property("100%; [a]\n") == r"100%AZP25%3B [a%5D\x0a"


def test_json_becomes_ascii_and_keeps_its_values() -> None:
    """Everything outside printable ASCII, and `##`, is written as an escape that reads back as the same text."""
    value = {"é😀": "##vso[x] \x9b \u202e ###"}
    written = ascii_json(json.dumps(value, ensure_ascii=False))
    assert written == (r'{"\u00e9\ud83d\ude00": "\u0023\u0023vso[x] \u009b \u202e \u0023\u0023#"}')
    assert json.loads(written) == value


def test_lone_surrogates_become_replacement_characters() -> None:
    """A text that no encoding can write is made one that can be written."""
    assert well_formed("a\ud800b") == "a\ufffdb"
    assert well_formed("plain") == "plain"


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://me:secret@index.example.org:8443/a/b.whl?sig=x#sha256=y", "https://index.example.org:8443/a/b.whl"),
        ("https://a@b@index.example.org/x", "https://index.example.org/x"),
        ("http://[broken/x", None),
    ],
)
def test_urls_lose_what_may_be_secret(url: str, public: str | None) -> None:
    """Userinfo, query and fragment are left out; what can't be read as a URL is left out whole."""
    assert public_url(url) == public
