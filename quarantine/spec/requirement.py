"""One requirement: PEP 508, or one of the bare references that pip takes in its place.

Direct references are classified from their text and never looked at, so what they hold is for the policy to judge.
"""

import re
from urllib.parse import unquote

from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as Pep508
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import NormalizedName

from quarantine.model import Digest, Location, Reference, ReferenceKind, Requirement, parse_name, parse_wheel_name
from quarantine.spec.markers import decidable, first_line, parse_marker, shallow
from quarantine.spec.redact import redact
from quarantine.spec.text import only_ascii, quote

__all__ = [
    "digest",
    "fragment_digests",
    "is_reference",
    "parse_pep508",
    "parse_python",
    "parse_requirement",
    "reference_to",
]

MAX_TEXT = 16 * 1024
MAX_SPECIFIER = 1024
_HASH_DIGITS = {"sha256": 64, "sha384": 96, "sha512": 128}
# pip looks for hashes behind any "#" or "&" of a URL; installers take those of weak algorithms as well
_URL_HASH = re.compile(r"[#&]((?:md|sha|blake|ripemd|shake)[A-Za-z0-9_-]*)=([^&#]*)", re.IGNORECASE)

_VCS = frozenset({"git", "hg", "svn", "bzr", "ssh", "sftp"})
_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar", ".tar.bz2", ".tbz", ".tar.xz", ".txz", ".tlz", ".tar.lz")
_COMMANDS = ("pip", "pip3", "python", "python3", "conda", "mamba", "uv", "poetry", "!pip", "%pip", "$", "sudo", "RUN")


def parse_pep508(
    text: str, location: Location, *, editable: bool = False, digests: frozenset[Digest] = frozenset()
) -> Requirement:
    """The requirement that a PEP 508 string stands for, raising ValueError that says what is wrong with it.

    `digests` are those that stand beside it; those that a URL carries are added.
    """
    if len(text) > MAX_TEXT:
        raise ValueError(f"a requirement of {len(text)} characters: at most {MAX_TEXT} are read")
    shallow(text)
    try:
        parsed = Pep508(text)
    except InvalidRequirement as error:
        only_ascii(text)
        hint = _advice(text)
        raise ValueError(f"{quote(text)} is not a requirement: {hint or first_line(error)}") from error
    if len(str(parsed.specifier)) > MAX_SPECIFIER:
        raise ValueError(f"a version specifier of more than {MAX_SPECIFIER} characters")
    only_ascii(f"{parsed.name}{parsed.specifier}{''.join(sorted(parsed.extras))}")
    return Requirement(
        name=parse_name(parsed.name),
        specifier=parsed.specifier,
        extras=tuple(sorted({parse_name(extra) for extra in parsed.extras})),
        marker=None if parsed.marker is None else decidable(parsed.marker),
        reference=None if parsed.url is None else reference_to(parsed.url, editable=editable),
        digests=digests if parsed.url is None else digests | fragment_digests(parsed.url),
        location=location,
    )


def parse_requirement(
    text: str, location: Location, *, editable: bool = False, digests: frozenset[Digest] = frozenset()
) -> Requirement:
    """The requirement of a requirements file's line (options cut off), raising ValueError for what pip refuses."""
    if not editable and not is_reference(text):
        return parse_pep508(text, location, digests=digests)
    if len(text) > MAX_TEXT:
        raise ValueError(f"a requirement of {len(text)} characters: at most {MAX_TEXT} are read")
    if _pep508_url(text):
        return parse_pep508(text, location, editable=editable, digests=digests)
    # pip splits a marker off a URL at "; " only, since a URL may hold a semicolon
    bare, _, condition = text.partition("; " if _scheme(text) else ";")
    bare, extras = _split_extras(bare.strip())
    if not bare:
        raise ValueError("a reference to nothing: expected a path or a URL")
    if "@" in condition:
        raise ValueError(f"{quote(text)} is not a reference: an '@' stands behind its ';'")
    digests |= fragment_digests(bare)
    return Requirement(
        name=_said_name(bare),
        extras=extras,
        marker=parse_marker(condition.strip()) if condition.strip() else None,
        reference=reference_to(bare, editable=editable),
        digests=digests,
        location=location,
    )


def parse_python(text: str) -> SpecifierSet:
    """A `requires-python`, raising ValueError when it is no version specifier."""
    try:
        if text.isascii() and len(text) <= MAX_SPECIFIER:
            return SpecifierSet(text)
    except InvalidSpecifier:
        pass
    raise ValueError(f"requires-python is {quote(text)}: expected a specifier like '>=3.10'")


def digest(text: str) -> Digest:
    """The digest that `sha256:…` (also sha384, sha512) stands for, raising ValueError for any other."""
    algorithm, colon, value = text.partition(":")
    lowered = value.lower()
    if not colon:
        raise ValueError(f"{quote(text)} is not a hash: expected sha256: and 64 hexadecimal digits")
    if algorithm not in _HASH_DIGITS:
        raise ValueError(f"{quote(algorithm)} is not accepted as a hash: expected one of {', '.join(_HASH_DIGITS)}")
    if len(lowered) != _HASH_DIGITS[algorithm] or not set(lowered) <= set("0123456789abcdef"):
        raise ValueError(f"{quote(text)} is not a {algorithm}: {_HASH_DIGITS[algorithm]} hexadecimal digits expected")
    return Digest(algorithm, lowered)


# --- references -------------------------------------------------------------------------------------------------------


def is_reference(text: str) -> bool:
    """Whether the text names a package by where it lies, as pip decides it without looking at the disk."""
    bare = text.partition(";")[0].strip()
    return (
        bool(_scheme(text))
        or _pep508_url(text)
        or "/" in bare
        or ("\\" in bare and " " not in bare)
        or bare.startswith(".")
        or _split_at_bracket(bare)[0].lower().endswith(_ARCHIVES)
    )


def reference_to(text: str, *, editable: bool = False) -> Reference:
    """The reference that a URL or path stands for, its credentials left out."""
    scheme = _scheme(text)
    if scheme in _VCS or "+" in scheme:
        kind = ReferenceKind.VCS
    elif scheme in {"http", "https", "ftp"}:
        kind = ReferenceKind.URL
    else:
        kind = ReferenceKind.PATH
    return Reference(kind=kind, text=redact(text), editable=editable)


def _scheme(text: str) -> str:
    """The URL scheme that pip knows at the start of a text, else nothing (`C:` is a drive)."""
    scheme = text.partition(":")[0].lower() if ":" in text[:32] else ""
    if scheme in {"http", "https", "ftp", "file"} or scheme in _VCS or scheme.partition("+")[0] in _VCS:
        return scheme
    return ""


def _pep508_url(text: str) -> bool:
    """Whether it is `name @ reference`, perhaps with extras after the name."""
    name, at, _ = text.partition("@")
    name = _split_at_bracket(name.strip())[0].strip()
    return bool(at and name) and all(c.isascii() and (c.isalnum() or c in "-_.") for c in name)


def _split_at_bracket(text: str) -> tuple[str, str]:
    """`path[extra]` as its two parts; the second is empty where there is none."""
    if not text.endswith("]"):
        return text, ""
    before, _, inside = text[:-1].rpartition("[")
    return (before, inside) if before else (text, "")


def _split_extras(text: str) -> tuple[str, tuple[NormalizedName, ...]]:
    bare, inside = _split_at_bracket(text)
    return bare, tuple(sorted({parse_name(extra.strip()) for extra in inside.split(",")})) if inside else ()


def _said_name(url: str) -> NormalizedName | None:
    """The name that a URL or path gives away: `#egg=`, or a wheel's file name."""
    path, _, fragment = url.partition("#")
    for part in fragment.split("&"):
        if part.startswith("egg="):
            egg = _split_at_bracket(unquote(part.removeprefix("egg=")))[0]
            only_ascii(egg)
            return parse_name(egg)
    filename = unquote(path.partition("?")[0].replace("\\", "/").rpartition("/")[2])
    if not filename.endswith(".whl") or not filename.isascii():
        return None
    try:
        return parse_wheel_name(filename)[0]
    except ValueError:
        return None


def fragment_digests(url: str) -> frozenset[Digest]:
    """The digests that a URL carries, raising ValueError for one by another algorithm, which installers would take."""
    return frozenset(digest(f"{algorithm}:{value}") for algorithm, value in _URL_HASH.findall(url))


# --- advice -----------------------------------------------------------------------------------------------------------


def _advice(text: str) -> str | None:
    """What the writer of a line that is no requirement probably meant."""
    words = text.split()
    if not words:
        return "it is empty"
    lowered = text.lower()
    if words[0] in _COMMANDS and len(words) > 1:
        return "a shell command; write only the names and versions that it installs"
    if words[0] in {"import", "from"} and len(words) > 1:
        return "Python code; write the name of the distribution that provides the module"
    if lowered.startswith(("<html", "<!doctype", "<head", "<body", "<?xml")):
        return "HTML; save the raw file, not the web page that shows it"
    if text.startswith(("<<<<<<<", "=======", ">>>>>>>")):
        return "a mark of an unresolved merge; resolve it first"
    if text.startswith("[") and text.endswith("]"):
        return "a section of a TOML or INI file; name the file by its format"
    if text[0] in "\"'" and text.rstrip(",")[-1:] == text[0]:
        return "a quoted string; write it without the quotes"
    if text.endswith(":"):
        return "a key of a YAML file; conda environments are not read as requirements"
    if redact(text) != text:
        return None  # what it holds is not to be shown in another form
    body = text.partition(";")[0]
    for wrong, right in (("=>", ">="), ("=<", "<=")):
        if wrong in body:
            return _did_you_mean(body.replace(wrong, right).strip())
    name, equals, rest = body.partition("=")
    if equals and name and name[-1] not in "=<>!~" and not rest.startswith("="):
        return _did_you_mean(f"{name.strip()}=={rest.partition('=')[0].strip()}")
    if len(words) == 2 and words[1][:1].isdigit():
        return _did_you_mean("==".join(words))
    if "\t-" in text:
        return "a tab stands before an option; pip needs a blank there"
    return None


def _did_you_mean(text: str) -> str | None:
    """A proposal, if it would be read."""
    try:
        Pep508(text)
    except InvalidRequirement:
        return None
    return f"did you mean {quote(text)}?"
