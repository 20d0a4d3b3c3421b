"""The evidence about one exception as one page, worst first: what a curator reads before they decide.

Values in, sections out, for the text and the Markdown report alike; every text in them is escaped. What an approval would
waive stands with the very keys that `--waive` takes.
"""

import shlex
from collections.abc import Iterable, Iterator

import msgspec

from quarantine.exceptions import (
    MIRROR,
    Approved,
    Decision,
    Dossier,
    DossierFile,
    DossierSummary,
    ExceptionCase,
    ExceptionFile,
    Identity,
    Pending,
    PublicationKind,
    Rejected,
    Ruling,
    RulingKind,
    Status,
)
from quarantine.model import EvidenceValue, Finding, Outcome, OutcomeKind
from quarantine.policy.decide import is_vetted, may_rule, status
from quarantine.policy.waivers import keys_of, scoped
from quarantine.report.escape import escape, escape_prose
from quarantine.report.view import timestamp

__all__ = [
    "NEEDS_WHEEL",
    "Against",
    "Line",
    "Page",
    "PageSection",
    "against",
    "needs_wheel",
    "next_commands",
    "page",
    "passes_alone",
    "standing",
    "what",
]

NEEDS_WHEEL = "needs a wheel"

_MOST_LABELS = 3
_MOST_PASSED = 200
_MOST_MESSAGES = 5
_MOST_NAMED = 3
# what vetting says of a source distribution, which a wheel that is attached takes the place of
_SOURCE_RULE = "source"


class Line(msgspec.Struct, frozen=True):
    """One thing: what it is, what is said of it, and what is there to be copied, such as a digest or a command; "" for none."""

    key: str
    text: str
    code: str = ""


class PageSection(msgspec.Struct, frozen=True):
    """Things of one kind under their title."""

    title: str
    lines: tuple[Line, ...]


class Page(msgspec.Struct, frozen=True):
    """The whole page: what it is about, where it stands, and the sections that have something in them."""

    headline: str
    status: Status
    sections: tuple[PageSection, ...]


class Against(msgspec.Struct, frozen=True, kw_only=True):
    """Something that speaks against the files: by its key, with what vetting said of it, None where only the key is known."""

    key: str
    kind: str
    outcome: Outcome | None
    filename: str = ""


def page(case: ExceptionCase, decision: Decision, dossier: Dossier | None, lost: str = "") -> Page:
    """The page of a case. `dossier` is that of its newest summary; where it can't be read, `lost` says why."""
    stands = status(case, decision)
    found = against(case.dossier, dossier)
    every = (
        PageSection("what no approval can waive", tuple(_against(found, "final", waits_for_wheel=needs_wheel(case)))),
        PageSection("what it waits for", tuple(_waits(case, decision))),
        PageSection("what an approval would waive: failures", tuple(_against(found, "failure"))),
        PageSection("what an approval would waive: what isn't known", tuple(_against(found, "unknown"))),
        PageSection("asked for", tuple(_asked(case))),
        PageSection("files", tuple(_files(case))),
        PageSection("known flaws", tuple(_flaws(dossier))),
        PageSection("licence", tuple(_of_rule(dossier, ("licence",)))),
        PageSection("provenance", tuple(_of_rule(dossier, ("provenance",)))),
        PageSection("what it needs", tuple(_of_rule(dossier, ("dependencies",)))),
        PageSection("what speaks for it", tuple(_passed(dossier))),
        PageSection("decided", tuple(_decided(case, decision))),
        PageSection("published", tuple(_published(case))),
        PageSection("evidence", tuple(_evidence(case, dossier, lost))),
        PageSection("next", next_commands(case, decision)),
    )
    return Page(
        headline=f"exception {case.id[:12]} ({what(case)}): {standing(case, decision)}",
        status=stands,
        sections=tuple(section for section in every if section.lines),
    )


def what(case: ExceptionCase) -> str:
    """What the case is about, in a few words."""
    labels = tuple(dict.fromkeys(file.label for file in case.files))
    more = "" if len(labels) <= _MOST_LABELS else f" and {len(labels) - _MOST_LABELS} more"
    return escape(", ".join(labels[:_MOST_LABELS]) + more)


def needs_wheel(case: ExceptionCase) -> bool:
    """Whether a source distribution of it still stands without a wheel, which a curator has to build and attach.

    Not where more is found of it that no approval can waive: then a wheel wouldn't help.
    """
    final = () if case.dossier is None or not is_vetted(case) else case.dossier.final
    return any(file.is_source for file in case.files) and all(map(_is_of_source, final))


def _is_of_source(key: str) -> bool:
    return key.rpartition(" ")[2] == _SOURCE_RULE


def passes_alone(case: ExceptionCase) -> bool:
    """Whether vetting found nothing against it, so that the policy lets it in without an exception.

    What was built here, or is in the mirror alone, gets in by an exception only.
    """
    dossier = case.dossier
    if dossier is None or not is_vetted(case) or case.attached or dossier.final or dossier.waivable:
        return False
    return all(file.upstream != MIRROR for file in case.files)


def standing(case: ExceptionCase, decision: Decision) -> str:
    """Where the case stands, and what it waits for or why it ended."""
    stands = status(case, decision).value
    if isinstance(decision, Pending) and needs_wheel(case):
        return f"{stands}: {NEEDS_WHEEL}, which a curator builds of its source and attaches"
    match decision:
        case Approved():
            who = ", ".join(map(_who, decision.approvers))
            return f"{stands} until {timestamp(decision.expires_at)} by {who}"
        case Pending(status=Status.VETTED, why=why, counted=counted, needed=needed):
            have = f"{len(counted)} of {needed} approvals"
            return f"{stands}, {have}" if why == f"has {have}" else f"{stands}, {have}: {escape_prose(why)}"
        case Pending(why=why):
            return f"{stands}: {escape_prose(why)}"
        case Rejected(why=why):
            # it begins with the status itself
            return escape_prose(why)


def against(summary: DossierSummary | None, dossier: Dossier | None) -> tuple[Against, ...]:
    """All that speaks against the files by the newest dossier, worst first, each key once for each file that it is said of."""
    if summary is None:
        return ()
    kinds = [("final", key) for key in summary.final]
    kinds += [("failure", key) for key in summary.failures] + [("unknown", key) for key in summary.unknowns]
    said: dict[str, list[tuple[Outcome, str]]] = {}
    for entry in () if dossier is None else dossier.files:
        for outcome in entry.outcomes:
            for key in keys_of(outcome):
                said.setdefault(scoped(entry.file.label, key), []).append((outcome, entry.file.filename))
    found: list[Against] = []
    for kind, key in kinds:
        known = list(dict.fromkeys((o, name) for o, name in said.get(key, ())))
        same = len({(o.message, o.evidence) for o, _ in known}) <= 1
        if not known:
            found.append(Against(key=key, kind=kind, outcome=None))
        elif same:
            found.append(Against(key=key, kind=kind, outcome=known[0][0]))
        else:
            found += [Against(key=key, kind=kind, outcome=outcome, filename=name) for outcome, name in known]
    return tuple(found)


def next_commands(case: ExceptionCase, decision: Decision) -> tuple[Line, ...]:
    """What a curator can do now, as commands."""
    me = case.id[:12]
    command = "quarantine exception"
    reason = "--reason 'why'"
    reject = Line("", "turn it down, for good", f"{command} reject {me} {reason}")
    revoke = Line(
        "",
        "end it, for good; from then on its files are denied, also where they would pass by themselves",
        f"{command} revoke {me} {reason}",
    )
    attach = Line("", "attach the wheel that was built of its source", f"{command} attach-wheel {me} FILE")
    match decision:
        case Approved():
            lines = [
                Line(
                    "",
                    f"let it hold longer{_not_by(case)}",
                    f"{command} renew {me} {reason} --expires 90d{_waive(case)}{_seen(case)}",
                ),
                revoke,
            ]
            if status(case, decision) is Status.APPROVED:
                lines.insert(0, Line("", "put it into the mirror", f"{command} publish {me}"))
            return tuple(lines)
        case Rejected():
            return ()
        case Pending(status=Status.REQUESTED):
            vet = Line("", "gather the evidence", f"{command} vet {me}")
            return (*([attach] if needs_wheel(case) else []), vet, reject)
        case Pending():
            if needs_wheel(case):
                return (attach, reject)
            if case.dossier is not None and case.dossier.final:
                return (revoke if decision.status is Status.SUSPENDED else reject,)
            again = decision.status in (Status.SUSPENDED, Status.EXPIRED)
            verb = "renew" if again else "approve"
            approve = Line(
                "", f"let it in{_not_by(case)}", f"{command} {verb} {me} {reason}{_waive(case)}{_seen(case)}"
            )
            return (approve, revoke if again else reject)


def _not_by(case: ExceptionCase) -> str:
    """Who can't, since they asked for it."""
    request = case.request
    return (
        ""
        if request is None
        else f": somebody else than {escape_prose(request.requester.name or request.requester.id)}"
    )


def _waive(case: ExceptionCase) -> str:
    """The options that name all that an approval would waive."""
    keys = () if case.dossier is None else sorted(case.dossier.waivable)
    if len(keys) > 3:
        return " --waive all"
    return escape_prose("x" + "".join(f" --waive {shlex.quote(key)}" for key in keys))[1:]


def _seen(case: ExceptionCase) -> str:
    """The option that binds an approval to what this page says."""
    return "" if case.dossier is None else f" --dossier {case.dossier.sha256[:12]}"


# --- sections ---------------------------------------------------------------------------------------------------------


def _waits(case: ExceptionCase, decision: Decision) -> Iterator[Line]:
    """What nobody's word can stand for, and what needs nobody's word."""
    if not isinstance(decision, Pending):
        return
    for file in case.files if needs_wheel(case) else ():
        if file.is_source:
            yield Line(
                escape(file.label),
                "a wheel: it is source, which would run its own code to be installed; a curator builds one where nothing else "
                "is reachable, and attaches it",
                escape(file.filename),
            )
    if passes_alone(case):
        yield Line("nothing", "the policy lets it in by itself, so a check passes without an exception")


def _against(found: Iterable[Against], kind: str, *, waits_for_wheel: bool = False) -> Iterator[Line]:
    for one in found:
        if one.kind != kind:
            continue
        if waits_for_wheel and _is_of_source(one.key):
            continue
        if one.outcome is None:
            yield Line("", "", escape_prose(one.key))
            continue
        about = f" ({escape(one.filename)})" if one.filename else ""
        said = f"{one.outcome.message} {one.key}"
        evidence = "; ".join(
            f"{escape(name)}: {_value(value)}" for name, value in one.outcome.evidence if not _is_said(value, said)
        )
        text = escape_prose(one.outcome.message) + about + (f" [{evidence}]" if evidence else "")
        yield Line("", text, escape_prose(one.key))


def _is_said(value: EvidenceValue, text: str) -> bool:
    """Whether the text says all of the value already."""
    parts = value if isinstance(value, tuple) else ("" if value is None else str(value),)
    return value is not None and all(part in text for part in parts)


def _value(value: EvidenceValue) -> str:
    match value:
        case tuple():
            return escape_prose(", ".join(value))
        case None:
            return "unknown"
        case _:
            return escape_prose(str(value))


def _asked(case: ExceptionCase) -> Iterator[Line]:
    request = case.request
    if request is None:
        return
    until = "" if request.until is None else f", until {timestamp(request.until)}"
    yield Line("for", f"project {escape(request.project)}, stage {escape(request.stage)}{until}")
    yield Line("by", f"{_who(request.requester)} on {timestamp(request.time)}: {escape_prose(request.reason)}")
    for joined in case.joined:
        yield Line("also", f"{_who(joined.by)} on {timestamp(joined.time)}: {escape_prose(joined.reason)}")


def _files(case: ExceptionCase) -> Iterator[Line]:
    stands_for = {attached.file.sha256: attached for attached in case.attached}
    for file in case.files:
        attached = stands_for.get(file.sha256)
        size = "" if file.size is None else f", {file.size:,} bytes"
        source = " (source: nobody may install it as it is)" if file.is_source else ""
        owner = escape(file.upstream)
        origin = (
            f"from {owner}"
            if attached is None
            else f"built from the source that {owner} lists (sha256:{attached.source}), attached by {_who(attached.by)}"
        )
        yield Line(escape(file.label), f"{escape(_path(file))} {origin}{size}{source}", str(file.digest))


def _path(file: ExceptionFile) -> str:
    return f"{file.subdir}/{file.filename}" if file.subdir else file.filename


def _flaws(dossier: Dossier | None) -> Iterator[Line]:
    seen: dict[tuple[str, Finding], None] = {}
    for entry in () if dossier is None else dossier.files:
        seen |= dict.fromkeys((entry.file.label, finding) for finding in entry.findings)
    for label, finding in seen:
        severity = "malware" if finding.malware else finding.severity.value
        score = "" if finding.score is None else f" {finding.score}"
        others = f" ({', '.join(finding.aliases)})" if finding.aliases else ""
        fixed = f", fixed in {', '.join(finding.fixed)}" if finding.fixed else "" if finding.malware else ", not fixed"
        summary = f": {finding.summary}" if finding.summary else ""
        yield Line(escape(label), escape_prose(f"{severity}{score} {finding.id}{others}{fixed}{summary}"))


def _of_rule(dossier: Dossier | None, rules: tuple[str, ...]) -> Iterator[Line]:
    """What was found by some rules, each sentence once for each package."""
    lines: dict[Line, None] = {}
    for entry in () if dossier is None else dossier.files:
        for outcome in entry.outcomes:
            if outcome.rule in rules:
                said = f"{outcome.kind.value}: {outcome.message}"
                lines[Line(escape(entry.file.label), escape_prose(said))] = None
    yield from lines


def _passed(dossier: Dossier | None) -> Iterator[Line]:
    """What passed, rule by rule: of how many of the files, and in which words where these aren't many."""
    own = ("licence", "provenance", "dependencies")
    files = () if dossier is None else dossier.files
    rules: dict[str, dict[str, list[str]]] = {}
    for entry in files:
        for outcome in entry.outcomes:
            if outcome.kind is OutcomeKind.PASS and outcome.rule not in own:
                rules.setdefault(outcome.rule, {}).setdefault(outcome.message, []).append(_path(entry.file))
    lines = [line for rule, said in rules.items() for line in _passed_rule(rule, said, len(files))]
    yield from lines[:_MOST_PASSED]
    if len(lines) > _MOST_PASSED:
        yield Line("", f"and {len(lines) - _MOST_PASSED} more: the dossier has all")


def _passed_rule(rule: str, said: dict[str, list[str]], total: int) -> Iterator[Line]:
    """`said` are the files by what the rule says of them, of `total` files in all."""
    if total == 1:
        yield from (Line(escape(rule), escape_prose(message)) for message in said)
        return
    if len(said) > _MOST_MESSAGES:
        passing = len({name for names in said.values() for name in names})
        message, names = next(iter(said.items()))
        text = f"passes for {_of(passing, total)}, such as {escape(names[0])}: {escape_prose(message)}"
        yield Line(escape(rule), text)
        return
    for message, names in said.items():
        every = len(names) == total
        shown = ", ".join(map(escape, names[:_MOST_NAMED]))
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        yield Line(escape(rule), f"{escape_prose(message)} ({f'each of {total} files' if every else shown + more})")


def _of(some: int, total: int) -> str:
    return f"each of {total} files" if some == total else f"{some} of {total} files"


def _decided(case: ExceptionCase, decision: Decision) -> Iterator[Line]:
    for ruling in case.rulings:
        yield Line(_WORDS[ruling.kind], _ruling(ruling, case))
    if isinstance(decision, Approved):
        yield Line("holds", f"since {timestamp(decision.since)}, until {timestamp(decision.expires_at)}")


_WORDS = {
    RulingKind.APPROVE: "approved",
    RulingKind.REJECT: "rejected",
    RulingKind.RENEW: "renewed",
    RulingKind.REVOKE: "revoked",
}


def _ruling(ruling: Ruling, case: ExceptionCase) -> str:
    end = "" if ruling.expires_at is None else f", until {timestamp(ruling.expires_at)}"
    waives = f", waives {escape_prose(', '.join(ruling.waives))}" if ruling.waives else ""
    own = " (they asked for it, so it doesn't count)" if not may_rule(case, ruling.by.key) and ruling.dossier else ""
    return f"{_who(ruling.by)} on {timestamp(ruling.time)}{end}{waives}{own}: {escape_prose(ruling.reason)}"


def _published(case: ExceptionCase) -> Iterator[Line]:
    steps = {
        PublicationKind.PUBLISHING: "put into the mirror: begun",
        PublicationKind.PUBLISHED: "put into the mirror",
        PublicationKind.UNLISTING: "taken out of the mirror: begun",
        PublicationKind.UNLISTED: "taken out of the mirror",
        PublicationKind.SUSPENDED: "suspended",
        PublicationKind.WARNED: "people were told that it ends soon",
        PublicationKind.DROPPED: "taken out of the holding area",
    }
    for step in case.publications:
        why = f": {escape_prose(step.why)}" if step.why else ""
        files = "1 file, " if len(step.files) == 1 else f"{len(step.files)} files, " if step.files else ""
        yield Line(timestamp(step.time), f"{files}{steps[step.kind]}{why}")


def _evidence(case: ExceptionCase, dossier: Dossier | None, lost: str) -> Iterator[Line]:
    yield Line("request", "this exception, whole", case.id)
    summary = case.dossier
    if summary is None:
        return
    by = f"vetted on {timestamp(summary.time)} by {_who(summary.by)}"
    yield Line(
        "dossier", by + (f"; it can't be read: {escape_prose(lost)}" if lost else ""), f"sha256:{summary.sha256}"
    )
    yield Line("policy", "what it was judged by", f"sha256:{summary.policy}")
    if summary.advisories:
        yield Line("advisories", "the snapshot that was asked", escape(summary.advisories))
    for entry in () if dossier is None else dossier.files:
        yield from _reports(entry)


def _reports(entry: DossierFile) -> Iterator[Line]:
    for report in entry.reports:
        yield Line("report", f"raw, about {escape(entry.file.filename)}", escape_prose(f"sha256:{report}"))
    if entry.metadata:
        yield Line("metadata", f"of {escape(entry.file.filename)}", escape_prose(f"sha256:{entry.metadata}"))


def _who(identity: Identity) -> str:
    return escape_prose(str(identity))
