"""Version expressions as conda writes them (`>=1.8,<2|2.0.*`), validated and made canonical.

Only what conda and the solver (rattler) read alike is taken: conda knows patterns that the solver does not, loses
parentheses, and takes some globs and blanks otherwise.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from quarantine.spec.text import quote

__all__ = ["check_build", "check_version", "parse_version_and_build", "parse_version_expression"]

# components between dots and underscores; dashes stand for underscores where there are none
_VERSION = re.compile(r"(?:[0-9]+!)?[0-9a-z]+(?:[._-][0-9a-z]+)*_?(?:\+[0-9a-z]+(?:[._-][0-9a-z]+)*)?")
_COMPATIBLE = re.compile(r"(?:[0-9]+!)?[0-9a-z]+(?:\.[0-9a-z]+)+")
# the solver counts in 64 bits
_LONG_NUMBER = re.compile(r"[0-9]{19}")
_BUILD = re.compile(r"[A-Za-z0-9_.+*]+")
_TOKEN = re.compile(
    r"(?P<blank> +)|(?P<operator>==|!=|<=|>=|~=|=|<|>)|(?P<word>(?:[A-Za-z0-9._*+-]|!(?!=))+)|(?P<mark>[,|])|(?P<other>.)"
)


@dataclass(frozen=True, slots=True)
class _Term:
    """One comparison: an operator ("" where there is none) and what stands behind it."""

    operator: str
    word: str

    def __str__(self) -> str:
        return self.operator + self.word


@dataclass(frozen=True, slots=True)
class _Expression:
    """A term, further ones with the mark before each, and the build behind them: "=" or a blank joins it."""

    first: _Term
    more: Sequence[tuple[str, _Term]]
    build: str
    joint: str


def check_version(text: str) -> str:
    """A single version in lower case, raising ValueError for what conda's grammar of versions does not have."""
    version = text.lower()
    if not version:
        raise ValueError("an empty version")
    if not _VERSION.fullmatch(version) or ("-" in version and "_" in version):
        raise ValueError(f"{quote(text)} is not a version: expected one like 1.21.2, 1!2.0 or 2.0+cu118")
    if _LONG_NUMBER.search(version):
        raise ValueError(f"{quote(text)} is not a version: a number of more than 18 digits")
    return version


def check_build(text: str) -> str:
    """A build, "" for any, raising ValueError for what is none. It may hold `*`."""
    if not _BUILD.fullmatch(text):
        what = "a regular expression: write" if text[:1] == "^" or text[-1:] == "$" else "not a build: expected"
        raise ValueError(f"{quote(text)} is {what} one like py38h_0 or py38*")
    return "" if text.strip("*") == "" else text


def parse_version_and_build(text: str) -> tuple[str, str]:
    """The canonical version expression and the build of what stands behind a name, each "" for any.

    As conda reads it: `=1.2` means `1.2.*`, but `=1.2=build` means exactly 1.2, and so does `1.2`.
    """
    found = _read(text, bracketed=False)
    build = check_build(found.build) if found.build else ""
    term = found.first
    if found.more or term.operator not in {"=", "=="}:
        return _joined(found), build
    stem, glob = _split_glob(term.word)
    if not stem and (term.operator == "=" or not found.joint):
        return "", build
    if stem and glob and (term.operator == "=" or not found.joint):
        return f"{check_version(stem)}.*", build
    if term.operator == "=" and found.joint == "=":
        return f"=={check_version(stem)}", build
    if term.operator == "=" and found.joint:
        exact, fuzzy = f"={stem}={found.build}", f"{stem}.* {found.build}"
        raise ValueError(
            f"{quote(f'{term} {found.build}')} is read in two ways: write {quote(exact)}, or {quote(fuzzy)}"
        )
    return _joined(found), build


def parse_version_expression(text: str) -> str:
    """The canonical form of an expression in brackets (`[version='...']`), "" for any version."""
    return _joined(_read(text, bracketed=True))


# --- reading ----------------------------------------------------------------------------------------------------------


def _tokens(text: str) -> Iterator[tuple[str, str, bool]]:
    """The parts of an expression: their kind, their text, and whether a blank stands before them."""
    blank = False
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup or "other"
        if kind != "blank":
            yield kind, found[0], blank
        blank = kind == "blank"


def _read(text: str, *, bracketed: bool) -> _Expression:
    """The terms of an expression in their order, raising ValueError for what is no expression."""
    terms: list[tuple[str, _Term]] = []
    mark = operator = build = joint = ""
    wanted = True
    for kind, value, blank in _tokens(text):
        if build or kind == "other":
            raise ValueError(_strange(text, value, build))
        if blank and (joint or (operator and bracketed) or (value == "=" and terms)):
            # conda takes what follows for a build, the solver for a build that begins with "="
            raise ValueError(
                f"the blank before {quote(value)} in {quote(text.strip())} is read in several ways: remove it"
            )
        if wanted and kind == "operator" and not operator:
            operator = value
        elif wanted and kind == "word":
            terms.append((mark, _Term(operator, value)))
            operator, wanted = "", False
        elif not wanted and not joint and kind == "mark":
            mark, wanted = value, True
        elif not wanted and not joint and not bracketed and value == "=":
            joint = value
        elif not wanted and not bracketed and kind == "word" and (joint or blank):
            joint, build = joint or " ", value
        else:
            raise ValueError(_misplaced(text, kind, value, wanted=wanted, operator=operator))
    if wanted or (joint and not build):
        what = "build" if joint else "version"
        raise ValueError(f"no {what} behind {quote(text.strip())}" if text.strip() else "an empty version")
    return _Expression(terms[0][1], terms[1:], build, joint)


def _strange(text: str, value: str, build: str) -> str:
    """What is wrong with something that has no place in an expression at all."""
    if build:
        return f"{quote(value)} stands behind the build {quote(build)}, where nothing can stand"
    if value in {"(", ")"}:
        return f"{quote(text.strip())} has parentheses, which conda loses: write the alternatives out, as in >=1.8,<2|>=2.2"
    if value in {"^", "$"}:
        return f"{quote(text.strip())} is a regular expression, which the solver does not know: write a range, or a build like py38*"
    return f"{quote(value)} has no place in a version: expected one like 1.21.2, 1.21.*, >=1.8,<2 or 1.21.2 py38h_0"


def _misplaced(text: str, kind: str, value: str, *, wanted: bool, operator: str) -> str:
    """What is wrong with something that stands at the wrong place of an expression."""
    if kind == "operator" and wanted:
        return f"{quote(operator + value)} is no operator: expected one of == = != ~= < <= > >="
    if wanted:
        return f"no version before {quote(value)} in {quote(text.strip())}"
    return f"{quote(value)} in {quote(text.strip())}: write ',' (and) or '|' (or) between two conditions"


# --- the canonical form -----------------------------------------------------------------------------------------------


def _joined(found: _Expression) -> str:
    """The expression with every term canonical, "" for any version."""
    text = _canonical(found.first) + "".join(mark + _canonical(term) for mark, term in found.more)
    return "" if text == "*" else text


def _canonical(term: _Term) -> str:
    """One comparison as it stands in brackets or beside others, so that it cannot be read in two ways."""
    stem, glob = _split_glob(term.word)
    if not stem and not term.operator:
        return "*"
    if not stem:
        raise ValueError(f"{quote(str(term))}: '*' alone means any version; write it without the operator")
    version = check_version(stem)
    if version.endswith("_") and term.operator == "=":
        # for conda that is a '*' behind the '_', too
        raise ValueError(f"{quote(str(term))}: a '*' behind '_' is read in several ways; write a range")
    match term.operator:
        case "":
            return f"{version}.*" if glob else f"=={version}"
        case "=" if glob != "*":
            return f"{version}.*"
        case "!=" if glob != "*":
            return f"!={version}{glob}"
        case "<" | "<=" | ">=" as operator if glob != "*":
            return f"{operator}{version}"
        case "==" | ">" as operator if not glob:
            return f"{operator}{version}"
        case "~=" if not glob and _COMPATIBLE.fullmatch(version):
            return f"~={version}"
        case "~=" if not glob:
            raise ValueError(
                f"{quote(str(term))}: '~=' wants parts with a '.' between them and nothing else, such as ~=1.0"
            )
        case "=" | "==":
            better = f"{version}.*"
        case "!=":
            better = f"!={version}.*"
        case operator:
            better = f"{operator}{version}"
    raise ValueError(f"{quote(str(term))} is read in several ways: write {better}")


def _split_glob(word: str) -> tuple[str, str]:
    """A word without the glob at its end, and that glob: ".*", "*" or nothing."""
    stem = word.rstrip("*")
    if stem == word and "*" not in word:
        return word, ""
    if word == "*":
        return "", "*"
    dotted = stem.endswith(".")
    if "*" in stem or word != f"{stem}*" or not stem.strip("."):
        raise ValueError(
            f"{quote(word)}: one '*' can stand at the end of a version; else write a range, such as >=1.2,<1.3"
        )
    if stem.endswith(("_", "_.")):
        raise ValueError(f"{quote(word)}: a '*' behind '_' is read in several ways; write a range")
    return (stem[:-1], ".*") if dotted else (stem, "*")
