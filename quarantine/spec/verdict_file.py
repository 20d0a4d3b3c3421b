"""What a verdict file (`quarantine/verdict/1`) says that exceptions may be asked for.

The file may have been changed since the check wrote it, so that it names what is asked for and proves nothing: whoever
files the request holds its digests to what the owners list, and vetting judges anew. Keys that are not read here are left
alone, since later checks may add some.
"""

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from quarantine.errors import Problem, SpecError
from quarantine.exceptions import ExceptionFile
from quarantine.model import Ecosystem, parse_name, parse_version
from quarantine.spec.asked import CondaAsked, PythonAsked, parse_asked, shown
from quarantine.spec.json_text import JsonText, load_json
from quarantine.spec.text import quote

__all__ = ["LeftOut", "Refused", "VerdictFile", "checked", "parse_verdict"]

MAX_BYTES = 32 * 1024 * 1024
"""A verdict over a thousand packages with all their flaws has 10 MB."""
MAX_ITEMS = 20_000

_SHA256 = re.compile(r"sha256:([0-9a-f]{64})")
_PACKAGES = (Ecosystem.PYPI, Ecosystem.CONDA)
_AGAINST = ("fail", "unknown")
_SOURCES = (".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz")


class _Advisory(msgspec.Struct, frozen=True):
    malware: bool


class _Reason(msgspec.Struct, frozen=True):
    rule: Annotated[str, Meta(max_length=200)]
    outcome: Literal["pass", "fail", "unknown", "not-applicable"]


class _Artifact(msgspec.Struct, frozen=True):
    filename: Annotated[str, Meta(max_length=4096)]
    digest: Annotated[str, Meta(max_length=200)] | None
    size: Annotated[int, Meta(ge=0, le=2**53 - 1)] | None


class _Item(msgspec.Struct, frozen=True):
    purl: Annotated[str, Meta(max_length=8192)]
    ecosystem: Ecosystem
    name: Annotated[str, Meta(max_length=4096)]
    version: Annotated[str, Meta(max_length=4096)] | None
    upstream: Annotated[str, Meta(max_length=64)] | None
    verdict: Literal["allowed", "denied", "undecided"]
    artifacts: Annotated[tuple[_Artifact, ...], Meta(max_length=20_000)]
    advisories: Annotated[tuple[_Advisory, ...], Meta(max_length=100_000)] | None
    reasons: Annotated[tuple[_Reason, ...], Meta(max_length=1000)]


class _Verdict(msgspec.Struct, frozen=True, kw_only=True):
    schema: Literal["quarantine/verdict/1"]
    verdict: Literal["allowed", "denied", "undecided"]
    stage: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z")]
    preconditions: Annotated[tuple[_Reason, ...], Meta(max_length=1000)] = ()
    items: Annotated[tuple[_Item, ...], Meta(max_length=MAX_ITEMS)]


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A package that isn't allowed: as it can be asked for, with the files that were judged; none where only its source is there.

    `rules` are those that failed, or, where it is `undecided`, those that couldn't tell. `line` is where it stands in the
    verdict file.
    """

    asked: PythonAsked | CondaAsked
    upstream: str
    files: tuple[ExceptionFile, ...]
    rules: frozenset[str]
    line: int
    undecided: bool = False


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """An item that isn't allowed and that no exception can be for, and why."""

    label: str
    why: str


class VerdictFile(msgspec.Struct, frozen=True, kw_only=True):
    """What a verdict refuses, or leaves for a person to decide, and what of it is left out."""

    file: str
    stage: str
    refused: tuple[Refused, ...]
    left_out: tuple[LeftOut, ...]


def parse_verdict(file: str, data: bytes) -> VerdictFile:
    """What a verdict file doesn't allow, raising SpecError with the line of whatever isn't as a check writes it."""
    document = load_json(file, data, MAX_BYTES)
    verdict = document.to(_Verdict)
    refused: list[Refused] = []
    left_out: list[LeftOut] = []
    problems: list[Problem] = []
    void = any(outcome.outcome in _AGAINST for outcome in verdict.preconditions)
    for index, item in enumerate(verdict.items):
        if item.verdict == "allowed":
            continue
        why = _never(item) or (_undecidable(item, void=void) if item.verdict == "undecided" else None)
        if why is not None:
            left_out.append(LeftOut(label=_label(item), why=why))
            continue
        try:
            refused.append(_refused(item, document.problem(("items", index), "").line or 1))
        except ValueError as error:
            problems.append(_at(document, index, item, str(error)))
    if problems:
        raise SpecError(problems)
    return VerdictFile(file=file, stage=verdict.stage, refused=tuple(refused), left_out=tuple(left_out))


def _at(document: JsonText, index: int, item: _Item, message: str) -> Problem:
    return document.problem(("items", index), f"items[{index}] ({shown(item.purl)}): {message}")


def _label(item: _Item) -> str:
    return item.name if item.version is None else f"{item.name} {item.version}"


def _never(item: _Item) -> str | None:
    """Why no exception can be for the item, None where one can."""
    if any(advisory.malware for advisory in item.advisories or ()) or _failed(item, "malware"):
        return "it is malware, which nobody may let in"
    if item.ecosystem not in _PACKAGES:
        return "exceptions are for packages of PyPI and conda"
    if item.version is None:
        return "it is named by where it lies: an exception is for files of an upstream"
    if item.upstream is None:
        return "no upstream has it: see that its name is right, or let curators add the upstream that has it"
    return None


def _undecidable(item: _Item, *, void: bool) -> str | None:
    """Why nobody can answer for what isn't known of the item, None where somebody can: it is about known files alone."""
    mend = "mend the evidence (quarantine doctor), and check again"
    if void:
        return f"it is undecided, and a precondition of the check wasn't met: {mend}"
    if not item.artifacts:
        return f"it is undecided, and its files aren't known: {mend}"
    if item.advisories is None and item.ecosystem is Ecosystem.PYPI:
        return f"it is undecided, and its advisories couldn't be read: {mend}"
    if not _rules(item, "unknown"):
        return f"it is undecided, and no rule could be evaluated: {mend}"
    return None


def _failed(item: _Item, rule: str) -> bool:
    return rule in _rules(item, "fail")


def _rules(item: _Item, outcome: str) -> frozenset[str]:
    return frozenset(reason.rule for reason in item.reasons if reason.outcome == outcome)


def _refused(item: _Item, line: int) -> Refused:
    asked = parse_asked(item.purl)
    if str(asked).split(maxsplit=1)[0] != _normal_name(item) or not _same_version(asked, item):
        raise ValueError(f"its name and version are {quote(_label(item))}: expected those of its package URL")
    assert item.upstream is not None  # noqa: S101 - `_never` looked
    if isinstance(asked, CondaAsked) and asked.channel != item.upstream:
        raise ValueError(f"its upstream is {quote(item.upstream)}: expected the channel of its package URL")
    files = tuple(_file(artifact, asked, item.upstream) for artifact in item.artifacts)
    wheels = tuple(file for file in files if not file.is_source)
    undecided = item.verdict == "undecided"
    return Refused(
        asked=asked,
        upstream=item.upstream,
        # what can be installed as it is needs nobody to build the rest
        files=tuple(sorted(set(wheels or files))),
        rules=_rules(item, "unknown" if undecided else "fail"),
        line=line,
        undecided=undecided,
    )


def _normal_name(item: _Item) -> str:
    return parse_name(item.name) if item.ecosystem is Ecosystem.PYPI else item.name


def _same_version(asked: PythonAsked | CondaAsked, item: _Item) -> bool:
    if isinstance(asked, PythonAsked):
        return item.ecosystem is Ecosystem.PYPI and parse_version(item.version or "") == asked.version
    return item.ecosystem is Ecosystem.CONDA and item.version == asked.version


def _file(artifact: _Artifact, asked: PythonAsked | CondaAsked, upstream: str) -> ExceptionFile:
    found = _SHA256.fullmatch(artifact.digest or "")
    if found is None:
        raise ValueError(
            f"{quote(artifact.filename)} has {quote(artifact.digest or 'no digest')}: an exception binds the sha256"
        )
    subdir, build = (asked.subdir, asked.build) if isinstance(asked, CondaAsked) else ("", "")
    if not subdir and not artifact.filename.endswith((".whl", *_SOURCES)):
        raise ValueError(f"{quote(artifact.filename)} is no file of a Python distribution")
    return checked(
        ExceptionFile(
            ecosystem=Ecosystem.CONDA if subdir else Ecosystem.PYPI,
            upstream=upstream,
            name=asked.name,
            version=str(asked.version),
            filename=artifact.filename,
            sha256=found[1],
            size=artifact.size,
            subdir=subdir,
            build=build,
        )
    )


def checked(file: ExceptionFile) -> ExceptionFile:
    """The file, after its form and its parts were looked at; ValueError where they aren't right."""
    try:
        msgspec.convert(msgspec.to_builtins(file), ExceptionFile)
    except msgspec.ValidationError as error:
        raise ValueError(f"{quote(file.filename)}: {str(error)[:1].lower()}{str(error)[1:]}") from None
    file.check()
    return file
