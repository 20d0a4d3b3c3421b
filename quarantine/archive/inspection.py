"""What a held file says when it is looked into: the answers to a fixed list of checks, and what it declares of itself.

A check that could not be made answers "unknown"; none is left out.
"""

from collections.abc import Collection, Iterable, Sequence

import msgspec

from quarantine.exceptions import ExceptionFile
from quarantine.model import EvidenceValue, Licences, Outcome, OutcomeKind

__all__ = [
    "ARCHIVE",
    "CHECKS",
    "CONTENTS",
    "METADATA",
    "PICKLE",
    "RECORD",
    "Found",
    "Inspection",
    "answer",
    "complete",
    "judged",
    "some",
]

ARCHIVE, METADATA, RECORD, CONTENTS, PICKLE = "archive", "metadata", "record", "contents", "pickle"
CHECKS = (ARCHIVE, METADATA, RECORD, CONTENTS, PICKLE)
"""What is asked of every file. Whether it is the right one, by its digest, is asked by whoever holds it."""

MAX_LISTED = 50
MAX_TEXT = 200


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in a file. `metadata` are the bytes of its METADATA or PKG-INFO, `requires` what it says it needs.

    Of a conda package `index` is the text of its `info/index.json`, and `holds` the Python distributions in it, each as
    `name==version`.
    """

    outcomes: tuple[Outcome, ...]
    metadata: bytes | None = None
    requires: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()
    index: str = ""
    licences: Licences = Licences()


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """A file and what was found in it (`Found`). `sha256` and `size` are those of the bytes that were looked into."""

    filename: str
    sha256: str
    size: int
    outcomes: tuple[Outcome, ...]
    metadata: bytes | None = None
    requires: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()
    index: str = ""
    licences: Licences = Licences()


def answer(rule: str, kind: OutcomeKind, message: str, **evidence: EvidenceValue) -> Outcome:
    """The answer to one check."""
    return Outcome(rule=rule, kind=kind, message=message, evidence=tuple(evidence.items()))


def judged(rule: str, problems: Sequence[str], good: str, **evidence: EvidenceValue) -> Outcome:
    """A fail that says the first problems and has the others as evidence; else a pass."""
    if not problems:
        return answer(rule, OutcomeKind.PASS, good, **evidence)
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    message = "; ".join(problems[:3]) + more
    return answer(rule, OutcomeKind.FAIL, message, problems=some(problems), **evidence)


def some(texts: Collection[str]) -> tuple[str, ...]:
    """The first 50 of them, each cut to 200 characters; the last one says how many are left out."""
    listed = tuple(text[:MAX_TEXT] for text in list(texts)[:MAX_LISTED])
    return (*listed, f"and {len(texts) - MAX_LISTED} more") if len(texts) > MAX_LISTED else listed


def complete(file: ExceptionFile, outcomes: Iterable[Outcome], why: str) -> tuple[Outcome, ...]:
    """The answers, in order of the checks; those that are missing are unknown, and `why`."""
    by_rule = {outcome.rule: outcome for outcome in outcomes}
    return tuple(
        by_rule.get(rule) or answer(rule, OutcomeKind.UNKNOWN, f"{file.filename} was not looked into: {why}")
        for rule in CHECKS
    )
