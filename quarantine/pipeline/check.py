"""The check: may these environments be built?

(1) Read the files. (2) Prove that the advisories can be trusted. (3) Plan every file for every target: what would be
installed; once more where a security fix is younger than the cutoff. (4) Gather evidence and judge every item by every
rule. (5) Find the nearest version of what is refused. (6) Render the lock, if one was asked for and all is allowed.
(7) Put the whole verdict into the evidence store and its summary into the audit log. (8) Write the lock.

No package code runs, nothing is fetched but index pages and metadata, and a verdict that can't be recorded is
undecided.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

import msgspec
from msgspec.structs import replace
from packaging.utils import NormalizedName

from quarantine.audit.chain import CLOCK_TOLERANCE
from quarantine.audit.record import Draft, Json
from quarantine.errors import QuarantineError, UpstreamError
from quarantine.model import (
    CheckResult,
    EnvironmentSpec,
    Item,
    JudgedItem,
    Outcome,
    OutcomeKind,
    Subject,
    Target,
    Verdict,
    combine,
)
from quarantine.pipeline.evidence import Judge, nearest_versions
from quarantine.pipeline.locked import Plan, plan_locked, unclosed
from quarantine.pipeline.pages import Pages
from quarantine.pipeline.read import read_specs
from quarantine.policy import rules
from quarantine.policy.stage import Policy, StagePolicy
from quarantine.ports import AdvisoryService, ArtifactStore, AuditLog, Index, PythonResolver, Tell
from quarantine.spec.write_pylock import write_pylock

__all__ = ["CheckPorts", "CheckRequest", "check"]

MAX_REASONS = 20
MAX_SUBJECT = 1000


class CheckPorts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything outside that a check needs; `resolver` makes the resolver, which a lock needs none of. `write` replaces a file in one step, raising UpstreamError."""

    resolver: Callable[[], PythonResolver]
    index: Index
    advisories: AdvisoryService
    log: AuditLog
    store: ArtifactStore
    write: Callable[[Path, bytes], None]


class CheckRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be checked, for whom, and what the entry in the audit log is called."""

    paths: tuple[Path, ...]
    working_directory: Path
    targets: tuple[Target, ...]
    policy: Policy
    policy_sha256: str
    expected_policy: str | None
    stage: str
    project: str
    advisory_max_age: timedelta
    now: datetime
    lock: Path | None
    stream: str
    entry_id: str
    before: str
    after: str
    actor: Mapping[str, Json]
    tool_version: str


class _Planned(msgspec.Struct, frozen=True, kw_only=True):
    """One subject on its way: a spec, a target, and what the one comes to on the other."""

    spec: EnvironmentSpec
    target: Target
    plan: Plan


def check(request: CheckRequest, ports: CheckPorts, encode: Callable[[CheckResult], bytes], tell: Tell) -> CheckResult:
    """The verdict, recorded. `encode` gives the bytes that stand for it in the evidence store.

    SpecError when a file can't be read as what it is; then nothing was judged and nothing is recorded. An index or a
    resolver that fails leaves the verdict undecided. IntegrityError when bytes are not what they must be.
    """
    # (1)
    specs = read_specs(request.paths, request.working_directory)
    stage = request.policy.stage(request.stage)
    # (2)
    judge = _judge(request, specs, stage, ports, tell)
    # (3)
    pages = Pages(ports.index, tell)
    planned = [
        _Planned(spec=spec, target=target, plan=_plan(spec, target, index, judge, request, ports, pages, tell))
        for index, (spec, target) in enumerate((spec, target) for spec in specs for target in request.targets)
    ]
    # (4)
    tell("judging")
    judged = judge.judge(_merged(item for entry in planned for item in entry.plan.items))
    # (5)
    judged = nearest_versions(judged, judge, pages, tell)
    subjects = tuple(_subject(entry, index, judged, request, judge) for index, entry in enumerate(planned))
    preconditions = _preconditions(judge)
    result = CheckResult(
        verdict=Verdict.UNDECIDED if judge.void else combine(subject.verdict for subject in subjects),
        stage=request.stage,
        project=request.project,
        now=request.now,
        subjects=subjects,
        preconditions=preconditions,
        items=judged,
        policy_sha256=request.policy_sha256,
        snapshot=judge.snapshot,
        before=request.before,
        after=request.after,
        unverifiable=tuple(entry for spec in specs for entry in spec.unverifiable),
    )
    # (6) to (8)
    return _record(result, request, ports, encode, tell)


# --- evidence ---------------------------------------------------------------------------------------------------------


def _judge(
    request: CheckRequest, specs: tuple[EnvironmentSpec, ...], stage: StagePolicy, ports: CheckPorts, tell: Tell
) -> Judge:
    snapshot, problem = None, None
    try:
        snapshot = ports.advisories.snapshot()
    except UpstreamError as error:
        problem = str(error)
    return Judge(
        stage=stage,
        preconditions=(
            *rules.preconditions(snapshot, problem, request.advisory_max_age, request.now),
            *_expected_policy(request),
            *_clock(request, ports.log),
        ),
        snapshot=snapshot,
        advisories=ports.advisories,
        targets=request.targets * len(specs),
        now=request.now,
        tell=tell,
    )


def _expected_policy(request: CheckRequest) -> tuple[Outcome, ...]:
    if request.expected_policy is None or request.expected_policy == request.policy_sha256:
        return ()
    message = f"the policy in force is {request.policy_sha256}, expected {request.expected_policy}"
    return (Outcome(rule="policy", kind=OutcomeKind.FAIL, message=message),)


def _clock(request: CheckRequest, log: AuditLog) -> tuple[Outcome, ...]:
    """A last entry from the future: one of the clocks is wrong, and ages and expiries can't be told by either."""
    try:
        latest = log.latest(request.stream)
    except QuarantineError:
        return ()  # the verdict can't be recorded either, and that says why
    if latest is None or latest.time <= request.now + CLOCK_TOLERANCE:
        return ()
    message = f"the last entry of the audit log is of {latest.time:%Y-%m-%dT%H:%M:%SZ}, which is yet to come"
    return (Outcome(rule="clock", kind=OutcomeKind.UNKNOWN, message=f"{message}: see whose clock is wrong"),)


def _preconditions(judge: Judge) -> tuple[Outcome, ...]:
    if judge.unanswered is None:
        return judge.preconditions
    return (
        *judge.preconditions,
        Outcome(rule="advisory-snapshot", kind=OutcomeKind.UNKNOWN, message=judge.unanswered),
    )


def _plan(
    spec: EnvironmentSpec,
    target: Target,
    subject: int,
    judge: Judge,
    request: CheckRequest,
    ports: CheckPorts,
    pages: Pages,
    tell: Tell,
) -> Plan:
    """What the spec comes to on the target; an upstream or a solver that fails leaves that unknown."""
    try:
        if spec.locked is not None:
            tell(f"{spec.file}: reading index pages for {target}")
            plan = plan_locked(spec, target, subject, pages)
            return replace(plan, outcomes=(*plan.outcomes, *unclosed(spec, plan, target, pages)))
        from quarantine.pipeline.resolve import Resolve  # noqa: PLC0415  # a lock is not resolved

        tell(f"{spec.file}: resolving for {target}")
        resolve = Resolve(
            stage=judge.stage,
            resolver=ports.resolver(),
            pages=pages,
            now=request.now,
            tell=tell,
            locks=request.lock is not None,
        )
        plan = resolve.plan(spec, target, subject)
        fixes = _young_fixes(plan, judge, target, pages)
        if fixes:
            tell(f"{spec.file}: resolving for {target} again, with security fixes")
            again = resolve.plan(spec, target, subject, fixes)
            plan = plan if again.outcomes else again
    except UpstreamError as error:
        message = f"what {spec.file} comes to on {target} is not known: {error}"
        return Plan(items=(), outcomes=(Outcome(rule="resolution", kind=OutcomeKind.UNKNOWN, message=message),))
    return plan


def _young_fixes(plan: Plan, judge: Judge, target: Target, pages: Pages) -> tuple[tuple[NormalizedName, datetime], ...]:
    """For flawed packages whose fix is younger than the cutoff but old enough for the lane: the instant to let in."""
    lane = judge.stage.security_fix_age
    known = judge.findings(plan.items)
    if lane is None or known is None:
        return ()
    cutoff, latest = judge.now - judge.stage.minimum_age, judge.now - lane
    found: list[tuple[NormalizedName, datetime]] = []
    for item in plan.items:
        findings = () if item.package is None else known[item.package]
        fixed = {version for finding in findings if not finding.malware for version in finding.fixed}
        page = pages.one(item.name) if fixed else None
        if page is None:
            continue
        times = [
            max(a.upload_time for a in artifacts if a.upload_time is not None)
            for version in page.versions()
            if str(version) in fixed
            and (artifacts := [a for a in page.of_version(version) if a.may_fit(target)])
            and all(a.upload_time is not None and a.upload_time <= latest for a in artifacts)
        ]
        if times and min(times) > cutoff:
            found.append((item.name, min(times) + timedelta(seconds=1)))
    return tuple(found)


def _merged(items: Iterable[Item]) -> tuple[Item, ...]:
    """The same package in several subjects is one item, with the files of all of them."""
    merged: dict[Item, Item] = {}
    for item in items:
        key = replace(item, subjects=(), artifacts=(), required_by=(), location=None, missing_digests=frozenset())
        seen = merged.get(key)
        if seen is None:
            merged[key] = item
            continue
        merged[key] = replace(
            seen,
            subjects=tuple(sorted({*seen.subjects, *item.subjects})),
            artifacts=tuple(sorted({*seen.artifacts, *item.artifacts}, key=lambda artifact: artifact.filename)),
            required_by=tuple(dict.fromkeys((*seen.required_by, *item.required_by))),
            location=seen.location or item.location,
            missing_digests=seen.missing_digests | item.missing_digests,
        )
    return tuple(sorted(merged.values(), key=lambda item: (item.name, str(item.version))))


def _subject(
    entry: _Planned, index: int, judged: tuple[JudgedItem, ...], request: CheckRequest, judge: Judge
) -> Subject:
    own = [item for item in judged if index in item.item.subjects]
    outcomes = (
        *rules.judge_spec(judge.stage, entry.spec, locks=request.lock is not None, now=request.now),
        *entry.plan.outcomes,
    )
    kinds = {outcome.kind for outcome in outcomes}
    of_spec: list[Verdict] = []
    if OutcomeKind.FAIL in kinds:
        of_spec.append(Verdict.DENIED)
    elif OutcomeKind.UNKNOWN in kinds:
        of_spec.append(Verdict.UNDECIDED)
    digests = "".join(f"{source.sha256} {source.path}\n" for source in entry.spec.sources)
    return Subject(
        file=entry.spec.file,
        sha256=entry.spec.sources[0].sha256 if len(entry.spec.sources) == 1 else sha256(digests.encode()).hexdigest(),
        target=entry.target,
        locked=entry.spec.locked is not None,
        verdict=Verdict.UNDECIDED if judge.void else combine((*of_spec, *(item.verdict for item in own))),
        outcomes=outcomes,
    )


# --- effects ----------------------------------------------------------------------------------------------------------


def _record(
    result: CheckResult,
    request: CheckRequest,
    ports: CheckPorts,
    encode: Callable[[CheckResult], bytes],
    tell: Tell,
) -> CheckResult:
    lock: bytes | None = None
    if request.lock is not None and result.verdict is Verdict.ALLOWED:
        lock = write_pylock(result, request.targets, f"quarantine {request.tool_version}")
        result = replace(result, lock=str(request.lock))
    tell("writing the audit log")
    try:
        evidence = ports.store.put("evidence", encode(result))
        draft = Draft(
            id=request.entry_id,
            source=f"//{request.project}",
            type="quarantine.verdict.v1",
            time=request.now,
            subject=_subject_of_entry(result),
            data=_data(result, request, str(evidence), None if lock is None else sha256(lock).hexdigest()),
        )
        (receipt,) = ports.log.append(request.stream, [draft])
    except QuarantineError as error:
        outcome = Outcome(
            rule="audit-log",
            kind=OutcomeKind.UNKNOWN,
            message=f"the verdict can't be recorded, so it does not count: {error}",
        )
        return replace(result, verdict=Verdict.UNDECIDED, lock=None, preconditions=(*result.preconditions, outcome))
    if request.lock is not None and lock is not None:
        ports.write(request.lock, lock)
    return replace(result, receipt=receipt)


def _subject_of_entry(result: CheckResult) -> str:
    """The files that were judged; a name for many of them, since an entry has its limits and the evidence has all."""
    files = tuple(dict.fromkeys(subject.file for subject in result.subjects))
    text = " ".join(files)
    return text if len(text) <= MAX_SUBJECT else f"{text[: MAX_SUBJECT // 2]} and others, {len(files)} files in all"


def _data(result: CheckResult, request: CheckRequest, evidence: str, lock: str | None) -> dict[str, Json]:
    """What the entry says: enough to answer for the verdict, with the rest in the evidence store by digest."""
    reasons: list[Json] = [
        {"purl": str(entry.item.purl), "rule": outcome.rule, "outcome": outcome.kind.value}
        for entry in result.items
        for outcome in entry.outcomes
        if outcome.kind in (OutcomeKind.FAIL, OutcomeKind.UNKNOWN)
    ]
    reasons += [
        {"file": subject.file, "rule": outcome.rule, "outcome": outcome.kind.value}
        for subject in result.subjects
        for outcome in subject.outcomes
        if outcome.kind in (OutcomeKind.FAIL, OutcomeKind.UNKNOWN)
    ]
    reasons += [
        {"rule": outcome.rule, "outcome": outcome.kind.value}
        for outcome in result.preconditions
        if outcome.kind is not OutcomeKind.PASS
    ]
    resources: list[Json] = [
        {
            "name": subject.file,
            "digest": {"sha256": subject.sha256},
            "target": str(subject.target),
            "locked": subject.locked,
            "outcome": subject.verdict.value,
        }
        for subject in result.subjects[:MAX_REASONS]
    ]
    snapshot = result.snapshot
    return {
        "actor": dict(request.actor),
        "outcome": result.verdict.value,
        "stage": result.stage,
        "project": result.project,
        "reasons": reasons[:MAX_REASONS],
        "reasons_total": len(reasons),
        "items_total": len(result.items),
        "policy": {"digest": {"sha256": result.policy_sha256}},
        "advisories": None if snapshot is None else {"digest": {"sha256": snapshot.sha256}},
        "resources": resources,
        "resources_total": len(result.subjects),
        "evidence": evidence,
        "lock": None
        if lock is None
        else {"name": request.lock.name if request.lock else "", "digest": {"sha256": lock}},
        "tool": {"version": request.tool_version},
    }
