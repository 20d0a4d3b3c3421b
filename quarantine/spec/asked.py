"""What an exception is asked for by name: one version of one package, as `numpy==1.26.4` or as a package URL.

A package URL of a conda package tells one build of one channel; one of a Python distribution has a name and a version only.
"""

import re
from urllib.parse import unquote

import msgspec
from packaging.version import Version

from quarantine.model import Ecosystem, Location, parse_name, parse_version
from quarantine.spec.conda_version import check_build, check_version
from quarantine.spec.requirement import is_reference, parse_pep508
from quarantine.spec.text import quote

__all__ = ["CONDA_KINDS", "CondaAsked", "PythonAsked", "parse_asked", "shown"]

MAX_TEXT = 1024
MAX_SHOWN = 200
CONDA_KINDS = {"conda": ".conda", "tar.bz2": ".tar.bz2"}
"""What the `type` of a package URL calls a format, and how its files end."""

_CONDA_NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,127}")
_SUBDIR = re.compile(r"noarch|[a-z][a-z0-9]{0,15}-[a-z0-9]{1,15}")
_CHANNEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_QUALIFIERS = ("build", "channel", "subdir", "type")
_EXAMPLES = "expected NAME==VERSION, pkg:pypi/NAME@VERSION, or the pkg:conda/... URL that a verdict has"


class PythonAsked(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a Python distribution."""

    name: str
    version: Version

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class CondaAsked(msgspec.Struct, frozen=True, kw_only=True):
    """One build of a conda package. `channel` is an upstream's name, "" for whichever owns it; `kind` is how its file ends, "" for any."""

    name: str
    version: str
    build: str
    subdir: str
    channel: str = ""
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.version} {self.build} ({self.subdir})"


def parse_asked(text: str) -> PythonAsked | CondaAsked:
    """What the text names, raising ValueError that says what is wrong with it."""
    if len(text) > MAX_TEXT:
        raise ValueError(f"{quote(text)} is longer than {MAX_TEXT} characters: {_EXAMPLES}")
    return _package_url(text) if text.lower().startswith("pkg:") else _requirement(text)


def shown(purl: str) -> str:
    """A package URL for a message, without what qualifies it. Its `@` is not the end of a password, as `quote` would think."""
    place = purl.partition("?")[0]
    return quote(place) if "://" in place or len(place) > MAX_SHOWN else ascii(place)


def _requirement(text: str) -> PythonAsked:
    if is_reference(text):
        raise ValueError(
            f"{quote(text)} names a package by where it lies, and an exception is for files of an upstream: {_EXAMPLES}"
        )
    parsed = parse_pep508(text, Location(file=""))
    clauses = list(parsed.specifier)
    if parsed.reference is not None or parsed.extras or parsed.marker is not None:
        raise ValueError(f"{quote(text)} has an extra, a marker or a URL, which an exception can't be for: {_EXAMPLES}")
    if len(clauses) != 1 or clauses[0].operator != "==" or clauses[0].version.endswith(".*") or parsed.name is None:
        raise ValueError(f"{quote(text)} is not exactly one version: {_EXAMPLES}")
    return PythonAsked(name=parsed.name, version=parse_version(clauses[0].version))


def _package_url(text: str) -> PythonAsked | CondaAsked:
    if not text.isascii() or "#" in text:
        raise ValueError(f"{shown(text)} is not the URL of a package: {_EXAMPLES}")
    kind, slash, rest = text[len("pkg:") :].partition("/")
    place, _, query = rest.partition("?")
    name, at, version = place.partition("@")
    if not slash or not at or not version:
        raise ValueError(f"{shown(text)} doesn't name one version: {_EXAMPLES}")
    name, version, said = _decoded(name), _decoded(version), _qualifiers(text, query)
    match kind.lower():
        case Ecosystem.PYPI:
            if said:
                raise ValueError(f"{shown(text)}: a Python distribution has no {' or '.join(said)}: {_EXAMPLES}")
            return PythonAsked(name=parse_name(name), version=parse_version(version))
        case Ecosystem.CONDA:
            return _conda(text, name, version, said)
        case _:
            raise ValueError(
                f"{shown(text)} is no package of PyPI or conda, and exceptions are for those alone: {_EXAMPLES}"
            )


def _conda(text: str, name: str, version: str, said: dict[str, str]) -> CondaAsked:
    build, channel, subdir, kind = (said.get(key, "") for key in _QUALIFIERS)
    if not build or not subdir:
        raise ValueError(f"{shown(text)} doesn't name one build: expected build and subdir, as a verdict has them")
    if not _CONDA_NAME.fullmatch(name) or not _SUBDIR.fullmatch(subdir):
        raise ValueError(f"{shown(text)} is not the URL of a conda package: {_EXAMPLES}")
    if channel and not _CHANNEL.fullmatch(channel):
        raise ValueError(f"{shown(text)}: {quote(channel)} is no upstream's name: expected what the policy calls it")
    if kind and kind not in CONDA_KINDS:
        raise ValueError(f"{shown(text)}: type is {quote(kind)}: expected {' or '.join(CONDA_KINDS)}")
    if "*" in check_build(build):
        raise ValueError(f"{shown(text)}: {quote(build)} is more than one build: {_EXAMPLES}")
    check_version(version)
    return CondaAsked(
        name=name, version=version, build=build, subdir=subdir, channel=channel, kind=CONDA_KINDS.get(kind, "")
    )


def _qualifiers(text: str, query: str) -> dict[str, str]:
    said: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        key, equals, value = pair.partition("=")
        if not equals or key not in _QUALIFIERS or key in said:
            raise ValueError(f"{shown(text)}: {quote(pair)} qualifies no package: expected {', '.join(_QUALIFIERS)}")
        said[key] = _decoded(value)
    return said


def _decoded(text: str) -> str:
    # what is no UTF-8 becomes U+FFFD, which nothing here accepts
    return unquote(text) if "%" in text else text
