"""What several reports read out of a result: who pulled an item in, what went wrong, how many of what.

Texts that come from here are escaped already.
"""

import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import assert_never

import msgspec
from msgspec.structs import replace

from quarantine.model import (
    CheckResult,
    Ecosystem,
    ImageReference,
    Item,
    JudgedItem,
    Location,
    Outcome,
    OutcomeKind,
    Purl,
    Subject,
    Verdict,
)
from quarantine.report.escape import escape, escape_prose

__all__ = [
    "ID_SHOWN",
    "VOID",
    "Problem",
    "Requirers",
    "against",
    "by_verdict",
    "counted",
    "headline",
    "holding",
    "is_native",
    "label",
    "let_in",
    "pinned",
    "problems",
    "subject_label",
    "taken_for",
    "timestamp",
    "tolerated",
    "troubles",
]


def timestamp(moment: datetime) -> str:
    """An aware time as RFC 3339 in UTC, to the second."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def label(item: Item) -> str:
    """What people call the item: `name version`, or `name @ …` for one that is named by where it lies.

    A conda package says that it is one, since its name may be another one's on PyPI. An image and an environment that is
    named go by their references, with only the beginning of a digest.
    """
    name = item.name if item.version is None else f"{item.name} {item.version}"
    if item.version is None and item.reference is not None:
        name = f"{item.name} @ {item.reference.text}"
    match item.ecosystem:
        case Ecosystem.PYPI:
            return escape(name)
        case Ecosystem.CONDA:
            return escape(f"{name} (conda)")
        case Ecosystem.OCI:
            return escape(name if item.image is None else _short(item.image))
        case Ecosystem.AZUREML:
            return escape(name if item.curated is None else str(item.curated))
        case _:
            assert_never(item.ecosystem)


def _short(image: ImageReference) -> str:
    digest = "" if image.digest is None else f"@{str(image.digest)[:_DIGEST_SHOWN]}…"
    return f"{replace(image, digest=None)}{digest}"


def pinned(item: Item) -> str | None:
    """The reference that means this image and no other, whatever becomes of its tag; None for what isn't a known image."""
    digest = next((artifact.digest for artifact in item.artifacts if artifact.digest is not None), None)
    return None if item.image is None or digest is None else f"{item.image.name}@{digest}"


def is_native(item: Item) -> bool:
    """Whether it is a conda package that was looked into and holds no Python distribution."""
    return item.ecosystem is Ecosystem.CONDA and item.record is not None and item.holds == ()


def holding(item: Item) -> str:
    """The Python distributions that a conda package installs under another name or version than its own, or ""."""
    own = (item.name, str(item.version))
    others = [f"{package.name} {package.version}" for package in item.holds or ()]
    if item.ecosystem is not Ecosystem.CONDA or others == [" ".join(own)]:
        return ""
    more = f" and {len(others) - _MOST_HELD} more" if len(others) > _MOST_HELD else ""
    return escape(", ".join(others[:_MOST_HELD])) + more


_DIGEST_SHOWN = len("sha256:") + 12
_MOST_HELD = 3


def subject_label(subject: Subject) -> str:
    """The file and the target that it was judged for."""
    return f"{escape(subject.file)} ({subject.target})"


def taken_for(form: str) -> str:
    """What a file was read as (a spec's `format`), in words."""
    ours, _, theirs = form.partition("-")
    if ours == "azureml" and theirs:
        # of managedOnlineDeployment and its like the last two words tell enough
        return escape(" ".join(("Azure ML", *_CAPITAL.sub(" ", theirs).lower().split()[-2:])))
    return escape(_FORMATS.get(form, form))


_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])|[-_]")
_FORMATS = {
    "azureml": "Azure ML",
    "conda-environment": "conda environment",
    "conda-lock": "conda lock",
    "dockerfile": "Dockerfile",
    "pylock": "pylock",
    "pyproject": "project",
    "python-env": "MLflow Python environment",
    "requirements": "requirements",
    "uv.lock": "uv lock",
}


def troubles(outcomes: Iterable[Outcome]) -> tuple[Outcome, ...]:
    """The outcomes that keep something from being allowed: failures first, then what is unknown."""
    found = tuple(outcomes)
    return tuple(o for kind in (OutcomeKind.FAIL, OutcomeKind.UNKNOWN) for o in found if o.kind is kind)


def by_verdict(result: CheckResult, verdict: Verdict) -> tuple[JudgedItem, ...]:
    """The items with that verdict, in the result's order."""
    return tuple(judged for judged in result.items if judged.verdict is verdict)


def let_in(judged: JudgedItem) -> str:
    """The exception that stands behind the item, until when, and what it waives; "" where none does. Escaped."""
    found = judged.exception
    if found is None:
        return ""
    waived = f", waiving {', '.join(map(escape_prose, found.waives))}" if found.waives else ""
    return f"exception {escape(found.exception[:ID_SHOWN])} until {timestamp(found.until)}{waived}"


ID_SHOWN = 12
"""How much of an exception's id people are shown."""


def tolerated(result: CheckResult) -> tuple[int, int]:
    """How many advisories affect allowed items, and how many such items there are."""
    affected = [judged for judged in by_verdict(result, Verdict.ALLOWED) if judged.findings]
    return len({finding.id for judged in affected for finding in judged.findings or ()}), len(affected)


class Requirers:
    """Who pulled whom in, over all items of a result."""

    def __init__(self, result: CheckResult) -> None:
        self._result = result
        self._items: dict[Purl, list[Item]] = {}
        for judged in result.items:
            self._items.setdefault(judged.item.purl, []).append(judged.item)

    def chain(self, item: Item) -> tuple[Item, ...]:
        """The shortest way from the item's requirer to a line of the user's file; empty where it has one itself.

        Also empty where no way leads to one.
        """
        if item.location is not None:
            return ()
        ways: deque[tuple[Item, ...]] = deque([(item,)])
        seen: set[Purl] = {item.purl}
        while ways:
            way = ways.popleft()
            for requirer in self._requirers(way[-1], seen):
                longer = (*way, requirer)
                if requirer.location is not None:
                    return longer[1:]
                ways.append(longer)
        return ()

    def _requirers(self, item: Item, seen: set[Purl]) -> Iterator[Item]:
        for purl in item.required_by:
            if purl in seen:
                continue
            seen.add(purl)
            yield from (other for other in self._items.get(purl, ()) if set(other.subjects) & set(item.subjects))

    def place(self, item: Item) -> Location | None:
        """The line of the user's file that asks for the item, or for what pulled it in; None where none is known."""
        if item.location is not None:
            return item.location
        chain = self.chain(item)
        return chain[-1].location if chain else None

    def place_or_file(self, item: Item) -> Location:
        """The same, else the first line of the first file that the item was judged for."""
        place = self.place(item)
        if place is not None:
            return place
        files = [self._result.subjects[index].file for index in item.subjects if index < len(self._result.subjects)]
        return Location(file=files[0] if files else "", line=1)

    def wanted_by(self, item: Item) -> str:
        """The requirers from the nearest to the direct one, as `a 1.0 < b 2.0`; "" for a direct requirement."""
        if not item.required_by:
            return ""
        others = len(set(item.required_by)) - 1
        known = (other for purl in item.required_by[:1] for other in self._items.get(purl, ())[:1])
        chain = self.chain(item) or tuple(known)
        nearest = " < ".join(map(label, chain)) if chain else escape(item.required_by[0])
        return nearest + (f" and {others} more" if others else "")


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One outcome that stands in the way: what it is about (escaped), its rule, and the place to show it at."""

    about: str
    rule: str
    failed: bool
    message: str
    place: Location | None
    judged: JudgedItem | None = None


def problems(result: CheckResult) -> tuple[Problem, ...]:
    """Everything that keeps the result from being allowed: preconditions, then files, then items in their order.

    An item that isn't allowed although no rule speaks against it (nothing was evaluated) is a problem too.
    """
    requirers = Requirers(result)
    first = Location(file=result.subjects[0].file, line=1) if result.subjects else None
    found = [_problem("precondition", outcome, outcome.location or first) for outcome in troubles(result.preconditions)]
    for subject in result.subjects:
        start = Location(file=subject.file, line=1)
        found += [_problem(subject_label(subject), o, o.location or start) for o in troubles(subject.outcomes)]
    for judged in result.items:
        place = requirers.place_or_file(judged.item)
        about = label(judged.item)
        found += [_problem(about, outcome, outcome.location or place, judged) for outcome in against(judged)]
    return tuple(found)


def against(judged: JudgedItem) -> tuple[Outcome, ...]:
    """What speaks against an item, each reason once.

    Where its files, or what is inside them, aren't known, one rule says why, and not every rule that would have looked
    at them. That nothing was evaluated speaks against it; that a precondition failed is told once, not here.
    """
    found = troubles(judged.outcomes)
    if judged.item.contradiction:
        echoes = _ABOUT_FILES | (_ABOUT_VERSIONS if judged.item.version is None else frozenset())
        found = tuple(o for o in found if o.kind is OutcomeKind.FAIL or o.rule not in echoes)
    if judged.item.holds is None and any(o.rule == _ABOUT_CONTENTS for o in found):
        found = tuple(o for o in found if o.kind is OutcomeKind.FAIL or o.rule not in _ECHOES_OF_CONTENTS)
    if found or judged.verdict is Verdict.ALLOWED or any(o.kind is OutcomeKind.PASS for o in judged.outcomes):
        return found
    return (NOT_EVALUATED,)


_ABOUT_FILES = frozenset({"minimum-age", "yanked", "source-only"})
_ABOUT_VERSIONS = frozenset({"malware", "vulnerability"})
_ABOUT_CONTENTS = "vulnerability"
_ECHOES_OF_CONTENTS = frozenset({"malware", "native"})
VOID = Outcome(
    rule="precondition", kind=OutcomeKind.UNKNOWN, message="a precondition is not met, so no evidence counts"
)
NOT_EVALUATED = Outcome(rule="none", kind=OutcomeKind.UNKNOWN, message="no rule could be evaluated")


def _problem(about: str, outcome: Outcome, place: Location | None, judged: JudgedItem | None = None) -> Problem:
    return Problem(
        about=about,
        rule=escape(outcome.rule),
        failed=outcome.kind is OutcomeKind.FAIL,
        message=escape_prose(outcome.message),
        place=place,
        judged=judged,
    )


def headline(result: CheckResult) -> str:
    """The verdict in one line, the word in capitals first."""
    stage = escape(result.stage)
    match result.subjects:
        case ():
            what = f"nothing ({stage})"
        case (subject,):
            # the name of a YAML file doesn't say what it is
            kind = (
                f"{taken_for(subject.format)}, " if subject.format and subject.file.endswith((".yml", ".yaml")) else ""
            )
            what = f"{escape(subject.file)} ({kind}{subject.target}, {stage})"
        case subjects:
            files, targets = ({s.file for s in subjects}, {s.target for s in subjects})
            what = f"{counted(len(files), 'file')} for {counted(len(targets), 'target')} ({stage})"
    return f"{result.verdict.upper()} {what}: {', '.join(_counts(result))}"


def counted(number: int, noun: str) -> str:
    """The number with its noun, in the plural where it must be."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _counts(result: CheckResult) -> Iterator[str]:
    kinds: dict[str, list[Verdict]] = {}
    for judged in result.items:
        kinds.setdefault(_NOUNS[judged.item.ecosystem], []).append(judged.verdict)
    if result.verdict is Verdict.ALLOWED or not kinds:
        yield " and ".join(counted(len(kinds[noun]), noun) for noun in _ORDER if noun in kinds) or "0 packages"
    else:
        for noun in _ORDER:
            yield from _count(noun, kinds.get(noun, []), alone=len(kinds) == 1)
    against = [outcome for subject in result.subjects for outcome in troubles(subject.outcomes)]
    failed = sum(outcome.kind is OutcomeKind.FAIL for outcome in against)
    files = "the file" if len({subject.file for subject in result.subjects}) == 1 else "the files"
    if failed:
        yield f"{counted(failed, 'rule')} of {files} failed"
    if len(against) > failed:
        yield f"{counted(len(against) - failed, 'rule')} of {files} unknown"
    unmet = len(troubles(result.preconditions))
    if unmet:
        yield f"{counted(unmet, 'precondition')} not met"


_NOUNS = {
    Ecosystem.PYPI: "package",
    Ecosystem.CONDA: "package",
    Ecosystem.OCI: "image",
    Ecosystem.AZUREML: "Azure ML environment",
}
_ORDER = tuple(dict.fromkeys(_NOUNS.values()))


def _count(noun: str, verdicts: list[Verdict], *, alone: bool) -> Iterator[str]:
    """How many of one kind there are, and what became of them; no word of allowed ones where there is no other kind."""
    counts, total = Counter(verdicts), counted(len(verdicts), noun)
    refused, undecided = counts[Verdict.DENIED], counts[Verdict.UNDECIDED]
    if refused:
        yield f"{refused} of {total} refused"
    if undecided:
        yield f"{undecided} undecided" if refused else f"{undecided} of {total} undecided"
    if verdicts and not refused and not undecided:
        yield total if alone else f"{total} allowed"
