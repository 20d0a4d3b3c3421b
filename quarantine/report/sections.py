"""What a person is told after a check, section by section, for the text and the Markdown report alike."""

from collections import Counter
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import msgspec

from quarantine.model import CheckResult, JudgedItem, Location, Outcome, OutcomeKind, Target, Verdict
from quarantine.report.escape import escape, escape_prose
from quarantine.report.view import (
    ID_SHOWN,
    Requirers,
    against,
    by_verdict,
    counted,
    holding,
    is_native,
    label,
    let_in,
    pinned,
    taken_for,
    timestamp,
    tolerated,
    troubles,
)
from quarantine.report.wayout import next_steps

__all__ = ["Row", "Section", "sections"]


class Row(msgspec.Struct, frozen=True):
    """One thing: as cells of a table, and as a line that stands alone. Escaped; a newline in a cell is a new line."""

    cells: tuple[str, ...]
    line: str


class Section(msgspec.Struct, frozen=True):
    """Things of one kind. `key` starts each of their lines; without headers they are lines only."""

    key: str
    title: str
    rows: tuple[Row, ...]
    headers: tuple[str, ...] = ()


_MOST_TOLERATED = 5
_MOST_NATIVE = 8
_ABOUT_ADVISORIES = frozenset({"malware", "vulnerability"})


def sections(result: CheckResult) -> tuple[Section, ...]:
    """All sections that have something in them, in the order in which a person needs them."""
    requirers = Requirers(result)
    every = (
        _subjects(result),
        _preconditions(result),
        _items("denied", "refused", by_verdict(result, Verdict.DENIED), requirers),
        _items("undecided", "undecided", by_verdict(result, Verdict.UNDECIDED), requirers, _echoes(result)),
        _elsewhere(result),
        _files(result),
        _let_in(result),
        _held_back(result),
        _unverifiable(result),
        _images(result),
        _upstreams(result),
        Section("", "", tuple(Row((line,), line) for line in _facts(result))),
        _next(result),
        Section("", "", tuple(Row((line,), line) for line in _receipt(result))),
    )
    return tuple(section for section in every if section.rows)


def _subjects(result: CheckResult) -> Section:
    """Only where there are several: a single one stands in the headline. A target that all have stands in the title."""
    several = result.subjects if len(result.subjects) > 1 else ()
    targets = {subject.target for subject in several}
    told = any(subject.format for subject in several)
    rows = []
    for subject in several:
        kind, locked = taken_for(subject.format), "yes" if subject.locked else "no"
        cells = [escape(subject.file), *([kind] if told else []), str(subject.target), locked, str(subject.verdict)]
        if len(targets) == 1:
            cells.remove(str(subject.target))
        words = (kind, str(subject.target), "locked" if subject.locked else "not locked")
        line = f"{escape(subject.file)}: {subject.verdict} ({', '.join(filter(None, words))})"
        rows.append(Row(tuple(cells), line))
    title = f"judged for {next(iter(targets))}" if len(targets) == 1 else "judged"
    headers = [
        "file",
        *(["taken for"] if told else []),
        *(["target"] if len(targets) > 1 else []),
        "locked",
        "verdict",
    ]
    return Section("subject", title, tuple(rows), tuple(headers))


def _echoes(result: CheckResult) -> dict[Outcome, int]:
    """What is said of many items alike because a precondition isn't met, and of how many: it is told once."""
    if not troubles(result.preconditions):
        return {}
    undecided = by_verdict(result, Verdict.UNDECIDED)
    counts = Counter(o for judged in undecided for o in against(judged) if o.kind is OutcomeKind.UNKNOWN)
    return {outcome: count for outcome, count in counts.items() if count > 1 and outcome.rule in _ABOUT_ADVISORIES}


def _items(
    key: str,
    title: str,
    items: tuple[JudgedItem, ...],
    requirers: Requirers,
    echoes: Mapping[Outcome, int] = MappingProxyType({}),
) -> Section:
    rows: list[Row] = []
    for outcome, count in echoes.items():
        about, rule, message = counted(count, "package"), escape(outcome.rule), escape_prose(outcome.message)
        rows.append(Row((about, rule, message, ""), f"{about}: {rule}: {message}"))
    for judged in items:
        origin = _origin(judged, requirers)
        nearest = "" if judged.nearest is None else escape(str(judged.nearest))
        about = label(judged.item)
        own = [outcome for outcome in against(judged) if outcome not in echoes]
        for number, outcome in enumerate(own):
            rule = escape(outcome.rule) + (" (unknown)" if _unusual(judged, outcome) else "")
            message = escape_prose(outcome.message)
            details = "; ".join(part for part in (origin, f"nearest {nearest}" if nearest else "") if part)
            line = f"{about}: {rule}: {message}" + (f" ({details})" if details else "")
            first = number == 0
            cells = (about if first else "", rule, f"{message}\n{origin}" if first and origin else message)
            rows.append(Row((*cells, nearest if first else ""), line))
    return Section(key, title, tuple(rows), ("package", "rule", "why, and where from", "nearest"))


def _unusual(judged: JudgedItem, outcome: Outcome) -> bool:
    """Whether the outcome is of another kind than the item's verdict lets expect."""
    return judged.verdict is Verdict.DENIED and outcome.kind is OutcomeKind.UNKNOWN


def _origin(judged: JudgedItem, requirers: Requirers) -> str:
    item, told = judged.item, any("holds" in outcome.message for outcome in against(judged))
    held, wanted_by = "" if told else holding(item), requirers.wanted_by(item)
    place = requirers.place(item)
    parts = (f"holds {held}" if held else "", f"required by {wanted_by}" if wanted_by else "", _at(place))
    return ", ".join(part for part in parts if part)


def _at(place: Location | None) -> str:
    return "" if place is None else escape(str(place))


def _files(result: CheckResult) -> Section:
    """Rules about a file as a whole, and about its lines that are no packages; what holds for all its targets once."""
    targets: dict[str, list[Target]] = {}
    found: dict[tuple[str, Outcome], list[Target]] = {}
    for subject in result.subjects:
        targets.setdefault(subject.file, []).append(subject.target)
        for outcome in dict.fromkeys(troubles(subject.outcomes)):
            found.setdefault((subject.file, outcome), []).append(subject.target)
    rows = []
    for (file, outcome), of in found.items():
        some = "" if of == targets[file] else f" ({', '.join(map(str, of))})"
        where, rule = (_at(outcome.location) or escape(file)) + some, escape(outcome.rule)
        message = escape_prose(outcome.message)
        line = f"{where}: {rule} ({outcome.kind}): {message}"
        rows.append(Row((where, rule, str(outcome.kind), message), line))
    title = "about the file" if len(targets) == 1 else "about the files"
    return Section("file", title, tuple(dict.fromkeys(rows)), ("where", "rule", "outcome", "why"))


def _preconditions(result: CheckResult) -> Section:
    rows = []
    for outcome in troubles(result.preconditions):
        rule, message = escape(outcome.rule), escape_prose(outcome.message)
        rows.append(Row((rule, str(outcome.kind), message), f"{rule} ({outcome.kind}): {message}"))
    return Section("precondition", "preconditions not met", tuple(rows), ("precondition", "outcome", "why"))


def _let_in(result: CheckResult) -> Section:
    """Everything that an exception stands behind, whatever the verdict on it, and whether or not it needs it."""
    rows = []
    for judged in result.items:
        found = judged.exception
        if found is None:
            continue
        about, waives = label(judged.item), ", ".join(map(escape_prose, found.waives)) or "nothing"
        cells = (about, escape(found.exception[:ID_SHOWN]), timestamp(found.until), waives)
        rows.append(Row(cells, f"{about}: {let_in(judged)}"))
    headers = ("package", "exception", "until", "waives")
    return Section("let in", "let in by an exception", tuple(rows), headers)


def _elsewhere(result: CheckResult) -> Section:
    """Exceptions that hold for what isn't allowed, but in another stage: asked for in this one, they would have let it in."""
    rows = []
    for judged in result.items:
        found = judged.elsewhere
        if found is None:
            continue
        about, known, stage = label(judged.item), escape(found.exception[:ID_SHOWN]), escape(found.stage)
        line = f"{about}: exception {known} holds for {stage} only, and this verdict is for {escape(result.stage)}"
        rows.append(Row((about, known, stage), line))
    headers = ("package", "exception", "holds for")
    return Section("elsewhere", f"let in by an exception, but not for {escape(result.stage)}", tuple(rows), headers)


def _held_back(result: CheckResult) -> Section:
    rows = []
    for judged in result.items:
        newer = judged.item.held_back_from
        if newer is not None:
            about, version = label(judged.item), escape(str(newer))
            by = escape_prose(judged.item.held_back_by) or "the policy"
            rows.append(Row((about, version, by), f"{about}: {version} is held back by {by}"))
    return Section("held back", "held back by the policy", tuple(rows), ("package", "newer version", "by"))


def _unverifiable(result: CheckResult) -> Section:
    """What the policy tolerates of it: the rest stands among the rules about the files."""
    judged = {o.location for subject in result.subjects for o in troubles(subject.outcomes) if o.rule == "unverifiable"}
    rows = []
    for thing in dict.fromkeys(result.unverifiable):
        if thing.location in judged:
            continue
        place, what, why = _at(thing.location), escape_prose(thing.what), escape_prose(thing.why)
        rows.append(Row((place, what, why), f"{place}: {what}: {why}"))
    return Section("unverifiable", "can't be verified by reading", tuple(rows), ("where", "what", "why"))


def _images(result: CheckResult) -> Section:
    """The reference of each image that always means what was judged, whole, so that it can be copied."""
    rows = []
    for judged in result.items:
        reference = pinned(judged.item)
        if reference is None:
            continue
        place = _at(judged.item.location)
        state = "" if judged.verdict is Verdict.ALLOWED else f", {judged.verdict}"
        what = label(judged.item) + (f" ({place}{state})" if place else state)
        rows.append(Row((what, escape(reference)), f"{what}: {escape(reference)}"))
    return Section("pinned", "images by digest", tuple(dict.fromkeys(rows)))


def _upstreams(result: CheckResult) -> Section:
    counts: dict[str, dict[Verdict, int]] = {}
    for judged in result.items:
        upstream = "no upstream" if judged.item.upstream is None else escape(judged.item.upstream)
        of_one = counts.setdefault(upstream, dict.fromkeys(Verdict, 0))
        of_one[judged.verdict] += 1
    rows = []
    for upstream, of_one in sorted(counts.items()):
        parts = ", ".join(f"{count} {verdict}" for verdict, count in of_one.items() if count)
        cells = (upstream, *(str(count) for count in of_one.values()))
        rows.append(Row(cells, f"{upstream}: {parts}"))
    return Section("upstream", "by upstream", tuple(rows), ("upstream", *map(str, Verdict)))


def _facts(result: CheckResult) -> Iterator[str]:
    native = tuple(
        dict.fromkeys(f"{judged.item.name} {judged.item.version}" for judged in result.items if is_native(judged.item))
    )
    if native:
        hold = "holds" if len(native) == 1 else "hold"
        who = f"{counted(len(native), 'conda package')} {hold} no Python distribution, so no advisory speaks of"
        shown = ", ".join(map(escape, native[:_MOST_NATIVE]))
        more = f", and {len(native) - _MOST_NATIVE} more" if len(native) > _MOST_NATIVE else ""
        yield f"native: {who} {'it' if len(native) == 1 else 'them'}: {shown}{more}"
    advisories, packages = tolerated(result)
    if advisories:
        known = "1 advisory" if advisories == 1 else f"{advisories} advisories"
        affected = [judged for judged in by_verdict(result, Verdict.ALLOWED) if judged.findings]
        which = [
            f"{label(j.item)} ({', '.join(escape(f.id) for f in j.findings or ())})" for j in affected[:_MOST_TOLERATED]
        ]
        more = f" and {packages - len(which)} more packages" if packages > len(which) else ""
        yield f"tolerated: {known} on {counted(packages, 'allowed package')}: {'; '.join(which)}{more}"
    snapshot = result.snapshot
    if snapshot is None:
        yield "advisories: none could be read"
    else:
        age = "of unknown age" if snapshot.as_of is None else f"as of {timestamp(snapshot.as_of)}"
        sources = ", ".join(f"{escape(name)} {count}" for name, count in snapshot.sources) or "no source"
        whole = "" if snapshot.complete else ", incomplete"
        yield f"advisories: {age} ({sources}{whole}) sha256 {escape(snapshot.sha256)}"
        if snapshot.accepted_until is not None:
            yield f"advisories: their age is accepted until {timestamp(snapshot.accepted_until)} by the configuration"
    yield f"policy: sha256 {escape(result.policy_sha256)}"
    if result.lock is not None:
        yield f"lock: {escape(result.lock)}"


def _next(result: CheckResult) -> Section:
    rows = []
    for step in next_steps(result):
        line = f"{step.what}: {step.command}" if step.command else step.what
        rows.append(Row((step.what, step.command), line))
    return Section("next", "what to do next", tuple(rows))


def _receipt(result: CheckResult) -> Iterator[str]:
    receipt = result.receipt
    if receipt is None:
        yield "audit: not recorded"
        return
    digest = escape(receipt.sha256)
    yield f"audit: {escape(receipt.stream)} entry {receipt.seq} sha256 {digest}"
    yield f"verify: quarantine audit verify --head {receipt.seq}:{digest}"
