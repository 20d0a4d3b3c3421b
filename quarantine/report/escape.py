"""Text from outside, made harmless for the place where it will be shown.

`escape` is for a terminal, a log, and whatever reads a log: a character that moves the cursor, hides, turns the reading
direction or ends the line becomes visible, and what a CI system would take for a command no longer is one. Each other
function does the same and then what its own sink needs. Backslashes stand as they are: the result is for reading and
can't be turned back; where the exact text matters, the JSON verdict has it.
"""

import re
import unicodedata
from functools import lru_cache
from urllib.parse import urlsplit, urlunsplit

from quarantine.audit.redact import redact

__all__ = [
    "ascii_json",
    "escape",
    "escape_azure_data",
    "escape_azure_property",
    "escape_github_data",
    "escape_github_property",
    "escape_markdown",
    "escape_prose",
    "public_url",
    "well_formed",
]

# Controls, format characters (bidi, zero-width, tags), surrogates, private use, unassigned, line and paragraph ends.
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Unicode's Default_Ignorable_Code_Point beyond those categories (DerivedCoreProperties.txt): drawn as nothing, and
# skipped by comparisons that follow a culture, so that they could be slipped into a command's prefix.
_IGNORABLE = frozenset(
    {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x3164, 0xFFA0}
    | set(range(0xFE00, 0xFE10))
    | set(range(0xE0100, 0xE01F0))
)
_PRINTABLE_ASCII = re.compile(r"[ -~]*")
# Azure Pipelines and the GitHub runner look for `##vso[` and `##[` anywhere in a line, not only at its start.
_HASHES = re.compile(r"(?<=#)#")
# The GitHub runner looks for `::` after trimming the start of the line; text may be wrapped at any space.
_COLONS = re.compile(r"(^|\s):(?=:)")


def escape(text: str) -> str:
    r"""The text on one line, with everything that acts or hides as a visible `\xNN` or `\u{…}`.

    No `##` is left, and no `::` at the start or after a space. Escaping twice changes nothing more.
    """
    if not _PRINTABLE_ASCII.fullmatch(text):
        text = "".join(map(_visible, text))
    if "##" in text:
        text = _HASHES.sub(r"\\x23", text)
    return _COLONS.sub(r"\1\\x3a", text) if "::" in text else text


@lru_cache(maxsize=4096)
def _visible(character: str) -> str:
    if " " <= character <= "~":
        return character
    code = ord(character)
    category = unicodedata.category(character)
    if category in _HIDDEN_CATEGORIES or category == "Zs" or code in _IGNORABLE:
        return f"\\x{code:02x}" if code <= 0xFF else f"\\u{{{code:x}}}"
    return character


_MARKDOWN = re.compile(r"[\\`*_{}\[\]~$]")
_MARKDOWN_START = re.compile(r"^(?=[-+=#])|^(\d+)(?=[.)](?:\s|$))")
# An empty comment ends a text node, so that neither the parser nor a later filter joins the two sides into a link,
# a mention or a reference to an issue.
_BREAK = "<!-- -->"
_MARKDOWN_LINKS = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?<=@)(?=\w)|(?<=mailto:)|(?<=xmpp:)", re.IGNORECASE)
_MARKDOWN_REFERENCES = re.compile(r"(?<=[^&]#)(?=\d)|(?<=^#)(?=\d)|(?<=GH-)(?=\d)", re.IGNORECASE)


def escape_markdown(text: str) -> str:
    """`escape`, and shown as it is by GitHub Flavored Markdown: in running text, a list item or a cell of a table.

    No HTML, no link (bare ones too), no mention, no code span and no further cell comes of it.
    """
    text = _MARKDOWN.sub(r"\\\g<0>", escape(text.strip()))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "&#124;")
    text = _MARKDOWN_START.sub(lambda found: f"{found[1]}\\" if found[1] else "\\", text)
    return _MARKDOWN_REFERENCES.sub(_BREAK, _MARKDOWN_LINKS.sub(_BREAK, text))


def escape_github_data(text: str) -> str:
    """`escape`, and safe as the message of a GitHub Actions workflow command."""
    return escape(text).replace("%", "%25")


def escape_github_property(text: str) -> str:
    """`escape`, and safe as the value of a property of a GitHub Actions workflow command."""
    return escape_github_data(text).replace(":", "%3A").replace(",", "%2C")


def escape_azure_data(text: str) -> str:
    """`escape`, and safe as the message of an Azure Pipelines logging command."""
    return escape(text).replace("%", "%AZP25")


def escape_azure_property(text: str) -> str:
    """`escape`, and safe as the value of a property of an Azure Pipelines logging command."""
    return escape_azure_data(text).replace(";", "%3B").replace("]", "%5D")


_PARAGRAPH = re.compile(r"[ \t]*\r?\n[ \t]*")


@lru_cache(maxsize=8192)  # a large verdict says the same few things of hundreds of packages
def escape_prose(text: str) -> str:
    """`escape` of a sentence: line breaks, which mean nothing in one, are single spaces, and secrets are redacted."""
    text = text.strip()
    return escape(redact(_PARAGRAPH.sub(" ", text) if "\n" in text else text))


_SURROGATE = re.compile(r"[\ud800-\udfff]")


def well_formed(text: str) -> str:
    """The text with lone surrogates, which no encoding has a form for, as U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


_NOT_PLAIN_JSON = re.compile(r"[^\n -~]|##")


def ascii_json(document: str) -> str:
    """The same JSON document (well-formed text) in printable ASCII and without `##`: only strings have any of those.

    Its values stay what they were.
    """
    if document.isascii() and "##" not in document and document.replace("\n", "").isprintable():
        return document
    return _NOT_PLAIN_JSON.sub(_json_escape, document)


def _json_escape(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def public_url(url: str) -> str | None:
    """The URL without what may be secret in it (userinfo, query, fragment), None when it can't be read as one."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
