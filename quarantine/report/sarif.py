"""The verdict as SARIF 2.1.0 (OASIS), each result at the line of the user's file that asks for what it is about.

The document is what GitHub code scanning and the SARIF viewers read; paths are relative as the user gave them.
"""

import re
from collections.abc import Iterator
from hashlib import sha256
from urllib.parse import quote

import msgspec

from quarantine import __version__
from quarantine.model import CheckResult, Verdict
from quarantine.report.escape import ascii_json, escape, well_formed
from quarantine.report.view import Problem, Requirers, headline, label, let_in, problems, timestamp

__all__ = ["MAX_RESULTS", "render"]

MAX_RESULTS = 25_000  # GitHub refuses a run with more

# What each rule expects; a rule that isn't here is described by its name.
_DESCRIPTIONS = {
    "advisory-snapshot": "the advisories can be read, are complete and fresh enough",
    "allow-entry": "a curated upstream lets through only what an entry in force allows",
    "audit-log": "a verdict is recorded before it counts",
    "channel": "every conda channel that the file names is an upstream of the policy",
    "clock": "the clocks of this machine and of the audit log agree",
    "deny-entry": "no deny entry reaches the package",
    "direct-reference": "a package is named by name and version, not by where it lies",
    "exception": "what an exception lets in is said, and what was revoked or suspended doesn't come in",
    "exceptions": "what exceptions there are can be read",
    "index-option": "no line of the file changes where packages come from or how they are trusted",
    "integrity": "every accepted digest is of a file that the owner of the name lists",
    "locked": "the file pins every package by digest",
    "malware": "no record names the package as malware",
    "minimum-age": "every file has been public long enough",
    "native": "a conda package without a Python distribution, of which no advisory speaks, is one that the policy takes",
    "none": "at least one rule can be evaluated",
    "platform": "an image is there for every platform that is judged",
    "policy": "the policy in force is the expected one",
    "project-status": "the index hasn't quarantined the project",
    "readable": "an environment file that a folder holds can be read as what it is",
    "repository": "an upstream of the policy owns the name and lets the package through",
    "reserved-name": "a private name comes from its own upstream",
    "resolution": "the requirements can be resolved under the policy",
    "source-only": "every target has a wheel that it can install",
    "typosquat": "the name resembles no well-known one",
    "unverifiable": "what the file does can be known without running it",
    "vulnerability": "no known flaw reaches the threshold",
    "yanked": "no file was withdrawn by its maintainers",
}
_LINK = re.compile(r"\](?=\()")


class _Wire(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A SARIF object; what is left at its default isn't written."""


class _Message(_Wire, frozen=True):
    text: str


class _Rule(_Wire, frozen=True):
    id: str
    short_description: _Message


class _Driver(_Wire, frozen=True):
    name: str
    semantic_version: str
    rules: tuple[_Rule, ...]


class _Tool(_Wire, frozen=True):
    driver: _Driver


class _ArtifactLocation(_Wire, frozen=True):
    uri: str


class _Region(_Wire, frozen=True):
    start_line: int
    start_column: int | None = None


class _PhysicalLocation(_Wire, frozen=True):
    artifact_location: _ArtifactLocation
    region: _Region


class _Location(_Wire, frozen=True):
    physical_location: _PhysicalLocation


class _Result(_Wire, frozen=True):
    rule_id: str
    rule_index: int
    level: str
    message: _Message
    locations: tuple[_Location, ...]
    partial_fingerprints: dict[str, str]
    properties: dict[str, str]


class _Notification(_Wire, frozen=True):
    level: str
    message: _Message


class _Invocation(_Wire, frozen=True):
    execution_successful: bool
    end_time_utc: str
    tool_execution_notifications: tuple[_Notification, ...]


class _Run(_Wire, frozen=True):
    tool: _Tool
    invocations: tuple[_Invocation, ...]
    results: tuple[_Result, ...]
    column_kind: str
    properties: dict[str, str]


class _Log(_Wire, frozen=True):
    version: str
    schema: str = msgspec.field(name="$schema")
    runs: tuple[_Run, ...]


def render(result: CheckResult) -> str:
    """The SARIF log of one run, indented, ending in a newline.

    Failures come before what is unknown, and that before what exceptions let in, so that where more than 25,000 are found
    the least is left out, and said.
    """
    every = [(problem, "error" if problem.failed else "warning") for problem in problems(result)]
    every = [*sorted(every, key=lambda pair: pair[1]), *((note, "note") for note in _let_in(result))]
    shown = every[:MAX_RESULTS]
    rules = sorted({problem.rule for problem, _ in shown})
    indices = {rule: index for index, rule in enumerate(rules)}
    notes = [_Notification(level="none", message=_Message(text=_plain(headline(result))))]
    if len(every) > len(shown):
        text = f"{len(every) - len(shown)} more results are left out here: the JSON verdict has all"
        notes.append(_Notification(level="warning", message=_Message(text=text)))
    run = _Run(
        tool=_Tool(driver=_Driver(name="quarantine", semantic_version=__version__, rules=tuple(map(_rule, rules)))),
        invocations=(
            _Invocation(
                execution_successful=result.verdict is not Verdict.UNDECIDED,
                end_time_utc=timestamp(result.now),
                tool_execution_notifications=tuple(notes),
            ),
        ),
        results=tuple(_result(problem, level, indices[problem.rule]) for problem, level in shown),
        column_kind="unicodeCodePoints",
        properties={"verdict": result.verdict.value, "policy": well_formed(result.policy_sha256)},
    )
    log = _Log(version="2.1.0", schema="https://json.schemastore.org/sarif-2.1.0.json", runs=(run,))
    return ascii_json(msgspec.json.format(msgspec.json.encode(log), indent=2).decode()) + "\n"


def _rule(rule: str) -> _Rule:
    return _Rule(id=rule, short_description=_Message(text=_DESCRIPTIONS.get(rule, rule.replace("-", " "))))


def _let_in(result: CheckResult) -> Iterator[Problem]:
    """What exceptions stand behind: nothing that is in the way, but always to be seen."""
    requirers = Requirers(result)
    for judged in result.items:
        said = let_in(judged)
        if said:
            yield Problem(
                about=label(judged.item),
                rule="exception",
                failed=False,
                message=f"let in by {said}",
                place=requirers.place_or_file(judged.item),
                judged=judged,
            )


def _result(problem: Problem, level: str, rule_index: int) -> _Result:
    judged = problem.judged
    text = f"{problem.about}: {problem.message}"
    # an item has one outcome a rule; a file may have several, which only their messages tell apart
    subject = problem.about if judged is None else well_formed(judged.item.purl)
    parts = (problem.message,) if judged is None else ()
    if judged is not None:
        text += "" if judged.nearest is None else f" (nearest version: {escape(str(judged.nearest))})"
    file = "" if problem.place is None else problem.place.file
    return _Result(
        rule_id=problem.rule,
        rule_index=rule_index,
        level=level,
        message=_Message(text=_plain(text)),
        locations=_locations(problem),
        partial_fingerprints={"quarantine/v1": _fingerprint(problem.rule, subject, file, *parts)},
        properties={"subject": subject},
    )


def _locations(problem: Problem) -> tuple[_Location, ...]:
    place = problem.place
    if place is None or not place.file:
        return ()
    return (
        _Location(
            physical_location=_PhysicalLocation(
                artifact_location=_ArtifactLocation(uri=_uri(place.file)),
                region=_Region(start_line=place.line or 1, start_column=place.column),
            )
        ),
    )


def _uri(path: str) -> str:
    """A path as a URI reference (RFC 3986): relative as it was given, absolute as a file URI."""
    quoted = quote(well_formed(path))
    return f"file://{quoted}" if path.startswith("/") else quoted


def _fingerprint(*parts: str) -> str:
    """The same for the same finding after lines have moved: what it is about, not where."""
    return sha256("\0".join(map(well_formed, parts)).encode()).hexdigest()


def _plain(text: str) -> str:
    """No embedded link (SARIF 2.1.0, 3.11.6) comes of a message from outside."""
    return _LINK.sub(r"\\]", text)
