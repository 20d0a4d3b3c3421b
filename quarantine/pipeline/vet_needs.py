"""Whether what a file needs would be there: let in by itself or by an exception, or asked for in the same request.

It is a local claim, one name at a time: whether all of it fits together isn't looked into here.
"""

from collections.abc import Iterable, Sequence

import msgspec
from packaging.utils import NormalizedName

from quarantine.archive.inspection import Inspection
from quarantine.archive.metadata import parse_metadata
from quarantine.exceptions import MIRROR, ExceptionFile, Grants
from quarantine.model import Ecosystem, IndexPage, Item, Outcome, OutcomeKind, Requirement, Target, Verdict
from quarantine.pipeline.evidence import Judge
from quarantine.pipeline.pages import Pages
from quarantine.pipeline.vet_subject import sound, unlisted
from quarantine.policy.nearest import candidate_item, candidates

__all__ = ["Beside", "dependencies"]

MAX_CANDIDATES = 8
"""How many versions of what a package needs are looked at for one that passes."""


class Beside(msgspec.Struct, frozen=True):
    """What is there besides what passes by itself: the names that are asked for, and what exceptions let in already."""

    requested: frozenset[NormalizedName]
    grants: Grants


def dependencies(
    file: ExceptionFile,
    inspection: Inspection,
    pages: Pages,
    targets: tuple[Target, ...],
    judge: Judge,
    beside: Beside,
) -> Outcome:
    """Whether what the package needs would be let in by itself, is let in by an exception, or is asked for, too.

    UpstreamError when an index can't say, or the judge can't be trusted.
    """
    rule = "dependencies"
    if file.ecosystem is not Ecosystem.PYPI:
        message = "what a conda package needs is judged where an environment is solved"
        return Outcome(rule=rule, kind=OutcomeKind.NOT_APPLICABLE, message=message)
    if inspection.metadata is None:
        message = f"{file.filename}: what it needs can't be read"
        return Outcome(rule=rule, kind=OutcomeKind.UNKNOWN, message=message)
    parsed = parse_metadata(file.filename, inspection.metadata)
    needs: dict[NormalizedName, list[Requirement]] = {}
    for line in parsed.requires:
        if line.name is not None and any(line.applies_to(target) for target in targets):
            needs.setdefault(line.name, []).append(line)
    listed = pages.get(sorted(needs.keys() - beside.requested))
    refused: list[str] = []
    let_in: list[str] = []
    for name, lines in sorted(needs.items()):
        if name in beside.requested or _passes(name, lines, listed[name], targets, judge):
            continue
        (let_in if _is_let_in(name, lines, listed[name], targets, beside.grants) else refused).append(name)
    sound(judge)
    unreadable = tuple(problem for problem in parsed.problems if problem.startswith("Requires-Dist"))
    if refused:
        message = (
            f"{file.label} needs {', '.join(refused[:10])}, which would be denied, too: ask for them in one request"
        )
        return Outcome(rule=rule, kind=OutcomeKind.FAIL, message=message, evidence=(("names", tuple(refused)),))
    if unreadable:
        message = f"{file.label}: some of what it needs can't be read: {unreadable[0]}"
        return Outcome(rule=rule, kind=OutcomeKind.UNKNOWN, message=message)
    count = "1 package, which" if len(needs) == 1 else f"{len(needs)} packages, each of which"
    message = f"{file.label} needs {count} has a version that passes, or is asked for"
    if let_in:
        message += f", or is let in by an exception ({', '.join(let_in[:10])})"
    return Outcome(
        rule=rule,
        kind=OutcomeKind.PASS,
        message=message if needs else f"{file.label} needs no other package",
        evidence=(("let_in", tuple(let_in)),) if let_in else (),
    )


def _is_let_in(
    name: NormalizedName,
    lines: Sequence[Requirement],
    page: IndexPage | None,
    targets: tuple[Target, ...],
    grants: Grants,
) -> bool:
    """Whether exceptions that hold let in a version of what is needed, with a wheel for every target."""
    covered: dict[str, set[Target]] = {}
    for grant in grants.live.values():
        file = grant.file
        if file.ecosystem is not Ecosystem.PYPI or file.name != name or file.is_source:
            continue
        if page is not None and file.upstream not in (page.upstream, MIRROR):
            continue  # the name has another owner now, and a check takes no file of the former one
        wheel = unlisted(file)
        if all(line.specifier.contains(wheel.version, prereleases=True) for line in lines):
            covered.setdefault(str(wheel.version), set()).update(t for t in targets if wheel.fits(t))
    return any(fitting.issuperset(targets) for fitting in covered.values())


def _passes(
    name: NormalizedName,
    lines: Iterable[Requirement],
    page: IndexPage | None,
    targets: tuple[Target, ...],
    judge: Judge,
) -> bool:
    """Whether some version of what is needed passes every rule by itself; a local claim, as that of the nearest is."""
    if page is None:
        return False
    found = candidates(page, None, [line.specifier for line in lines], targets)[:MAX_CANDIDATES]
    base = Item(name=name, version=None, upstream=page.upstream, targets=targets)
    items = [candidate_item(base, page, version, targets) for version in found]
    return any(judged.verdict is Verdict.ALLOWED for judged in judge.judge(items))
