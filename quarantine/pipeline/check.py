"""The check: may these environments be built?

Under another policy than the one that is expected nobody is asked anything: the policy and the configuration say who
is asked, and with whose login. Otherwise: (1) Read the files. (2) Prove that the advisories can be trusted, and see what exceptions there are. (3) Plan every file
for every target: what would be installed; once more where a security fix is younger than the cutoff. (4) Gather evidence and judge every item by every
rule. (5) Find the nearest version of what is refused. (6) Render the lock, if one was asked for and all is allowed.
(7) Put the whole verdict into the store and its summary into the audit log. (8) Write the lock.

No package code runs, nothing is fetched but index pages and metadata, and a verdict that can't be recorded is
undecided.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

import msgspec
from msgspec.structs import replace

from quarantine.audit.chain import CLOCK_TOLERANCE
from quarantine.audit.record import VERDICTS, Draft, Json
from quarantine.errors import QuarantineError, UpstreamError
from quarantine.exceptions import Grants, State
from quarantine.model import (
    CheckResult,
    Digest,
    Ecosystem,
    Elsewhere,
    EnvironmentSpec,
    Item,
    JudgedItem,
    Location,
    Outcome,
    OutcomeKind,
    Subject,
    Target,
    Verdict,
    combine,
)
from quarantine.pipeline.evidence import Judge
from quarantine.pipeline.lock import Lock, fits, lock_files
from quarantine.pipeline.locked import Plan
from quarantine.pipeline.overlay import Overlay
from quarantine.pipeline.pages import Pages
from quarantine.pipeline.plan import Planner
from quarantine.pipeline.read import read_specs
from quarantine.policy import rules
from quarantine.policy.stage import Policy, StagePolicy
from quarantine.ports import (
    AdvisoryService,
    ArtifactStore,
    AuditLog,
    CondaPackages,
    CondaSolver,
    ImageRegistry,
    Index,
    PythonResolver,
    Tell,
)

__all__ = ["CheckPorts", "CheckRequest", "Records", "check", "refuse"]

MAX_REASONS = 20
MAX_SUBJECT = 1000
_NOWHERE = Location(file="")


class Records(msgspec.Struct, frozen=True, kw_only=True):
    """Where a verdict is recorded. `write` replaces a file in one step, raising UpstreamError."""

    log: AuditLog
    store: ArtifactStore
    write: Callable[[Path, bytes], None]


class CheckPorts(Records, frozen=True, kw_only=True):
    """Everything outside that a check needs; the makers make what only some checks need.

    `exceptions` is the state of all exceptions, None where nobody ever asked for one (UpstreamError, IntegrityError).
    `metadata` is core metadata that was published, by its digest, None where it isn't there (UpstreamError).
    """

    resolver: Callable[[], PythonResolver]
    solver: Callable[[], CondaSolver]
    packages: Callable[[], CondaPackages]
    registry: Callable[[], ImageRegistry]
    index: Index
    advisories: AdvisoryService
    exceptions: Callable[[], State | None]
    metadata: Callable[[Digest], bytes | None]


class CheckRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be checked, for whom, and what the entry in the audit log is called.

    `local_policy` is one that may only tighten `policy`, None where there is none. `local_users` is whether users of the
    operating system may decide on exceptions, as on the embedded default. `given` are the files by their paths, where they
    were read before; then nothing else is read for them.
    """

    paths: tuple[Path, ...]
    given: Mapping[Path, bytes] | None = None
    working_directory: Path
    targets: tuple[Target, ...]
    policy: Policy
    local_policy: Policy | None = None
    local_users: bool
    policy_sha256: str
    expected_policy: str | None
    stage: str
    project: str
    advisory_max_age: timedelta
    now: datetime
    lock: Lock | None
    context: Path | None = None
    stream: str
    entry_id: str
    before: str
    after: str
    actor: Mapping[str, Json]
    tool_version: str

    @property
    def unexpected(self) -> bool:
        """Whether another policy is in force than the one that is expected."""
        return self.expected_policy not in (None, self.policy_sha256)


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
    if request.unexpected:
        return refuse(request, ports, encode, tell)
    # (1)
    specs = read_specs(request.paths, request.working_directory, request.context, tell, given=request.given)
    if request.lock is not None:
        fits(request.lock, specs, request.working_directory)
    stage = request.policy.stage(request.stage)
    # (2)
    state, unread = _state(ports)
    judge = _judge(request, stage, ports, state, unread, tell)
    # (3)
    overlay = Overlay(judge.grants, ports.metadata, request.policy.upstream_of_reserved)
    pages = Pages(ports.index, tell, overlay)
    planner = Planner(
        judge=judge,
        pages=pages,
        resolver=ports.resolver,
        solver=ports.solver,
        packages=ports.packages,
        registry=ports.registry,
        locks=request.lock is not None,
        tell=tell,
    )
    todo = [(spec, target) for spec in specs for target in request.targets]
    planned = []
    for index, (spec, target) in enumerate(todo):
        if len(todo) > 1:
            tell(f"{index + 1} of {len(todo)}: {spec.file}")
        planned.append(_Planned(spec=spec, target=target, plan=planner.plan(spec, target, index)))
    # (4)
    tell("judging")
    judged = judge.judge(_merged(item for entry in planned for item in entry.plan.items))
    # (5)
    if any(entry.verdict is not Verdict.ALLOWED for entry in judged):
        from quarantine.pipeline.nearest import Nearest  # noqa: PLC0415  # only what is refused has another version

        nearest = Nearest(judge=judge, pages=pages, solver=ports.solver, packages=ports.packages, tell=tell)
        judged = _elsewhere(nearest.versions(judged), state, request)
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
        unverifiable=tuple(entry for spec in specs for leaf in spec.leaves for entry in leaf.unverifiable),
        default_stage=request.policy.default_stages.get("check", ""),
        lock_stage=request.policy.default_stages.get("lock", ""),
    )
    # (6) to (8)
    return _record(result, specs, request, ports, encode, tell)


def refuse(request: CheckRequest, records: Records, encode: Callable[[CheckResult], bytes], tell: Tell) -> CheckResult:
    """The verdict under another policy than the one that is expected, recorded: undecided. Nobody is asked anything.

    SpecError when a file can't be read as what it is.
    """
    specs = read_specs(request.paths, request.working_directory, request.context, tell, given=request.given)
    if request.lock is not None:
        fits(request.lock, specs, request.working_directory)
    request.policy.stage(request.stage)
    message = f"the policy in force is {request.policy_sha256}, expected {request.expected_policy}"
    result = CheckResult(
        verdict=Verdict.UNDECIDED,
        stage=request.stage,
        project=request.project,
        now=request.now,
        subjects=tuple(
            Subject(
                file=spec.file,
                sha256=_sha256_of(spec),
                target=target,
                format=spec.format,
                locked=spec.is_locked,
                verdict=Verdict.UNDECIDED,
                outcomes=(),
            )
            for spec in specs
            for target in request.targets
        ),
        preconditions=(Outcome(rule="policy", kind=OutcomeKind.FAIL, message=message),),
        items=(),
        policy_sha256=request.policy_sha256,
        snapshot=None,
        before=request.before,
        after=request.after,
    )
    return _record(result, specs, request, records, encode, tell)


# --- evidence ---------------------------------------------------------------------------------------------------------


def _judge(
    request: CheckRequest,
    stage: StagePolicy,
    ports: CheckPorts,
    state: State | None,
    unread: tuple[Outcome, ...],
    tell: Tell,
) -> Judge:
    snapshot, problem = None, None
    try:
        snapshot = ports.advisories.snapshot()
    except UpstreamError as error:
        problem = str(error)
    grants, doubts = _exceptions(request, state)
    return Judge(
        stage=stage,
        preconditions=(
            *rules.preconditions(snapshot, problem, request.advisory_max_age, request.now),
            *unread,
            *(_clock(request, ports.log) or doubts),
        ),
        snapshot=snapshot,
        advisories=ports.advisories,
        now=request.now,
        tell=tell,
        grants=grants,
        local=None if request.local_policy is None else request.local_policy.stage(request.stage),
    )


def _state(ports: CheckPorts) -> tuple[State | None, tuple[Outcome, ...]]:
    """What exceptions there are, None where nobody ever asked for one, and the doubt where that can't be read.

    Without them neither what is let in nor what is stopped can be told, so it leaves all undecided.
    """
    try:
        return ports.exceptions(), ()
    except UpstreamError as error:
        message = f"what exceptions there are can't be read: {error}"
        return None, (Outcome(rule="exceptions", kind=OutcomeKind.UNKNOWN, message=message),)


def _exceptions(request: CheckRequest, state: State | None) -> tuple[Grants | None, tuple[Outcome, ...]]:
    """What exceptions come to for the project and the stage, and the doubts about them."""
    if state is None:
        return None, ()
    from quarantine.policy.decide import clock, grants  # noqa: PLC0415  # most stores have no exception yet

    found = grants(state, request.policy, request.project, request.stage, request.now, local=request.local_users)
    return found, clock(state, request.now)


def _elsewhere(judged: tuple[JudgedItem, ...], state: State | None, request: CheckRequest) -> tuple[JudgedItem, ...]:
    """The items, those that aren't allowed with the exception that would let them in, did it hold for this stage."""
    if state is None or not state.cases:
        return judged
    from quarantine.policy.decide import grants  # noqa: PLC0415  # most stores have no exception yet
    from quarantine.policy.waivers import covered  # noqa: PLC0415

    others = {
        stage: grants(state, request.policy, request.project, stage, request.now, local=request.local_users)
        for stage in request.policy.stages
        if stage != request.stage
    }

    def told(one: JudgedItem) -> JudgedItem:
        if one.verdict is Verdict.ALLOWED or one.exception is not None:
            return one
        found = ((stage, covered(one.item, known)) for stage, known in others.items())
        first = next(((stage, behind) for stage, behind in found if behind), None)
        if first is None:
            return one
        return replace(one, elsewhere=Elsewhere(exception=first[1][0].exception, stage=first[0]))

    return tuple(map(told, judged))


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


def _merged(items: Iterable[Item]) -> tuple[Item, ...]:
    """The same package in several subjects is one item, with the files of all of them."""
    merged: dict[Item, Item] = {}
    for item in items:
        key = replace(
            item,
            subjects=(),
            targets=(),
            artifacts=(),
            required_by=(),
            location=None,
            missing_digests=frozenset(),
            # where and how a file names them is no difference
            image=None if item.image is None else replace(item.image, location=_NOWHERE, role=""),
            curated=None if item.curated is None else replace(item.curated, location=_NOWHERE),
        )
        seen = merged.get(key)
        if seen is None:
            merged[key] = item
            continue
        merged[key] = replace(
            seen,
            subjects=tuple(sorted({*seen.subjects, *item.subjects})),
            targets=tuple(dict.fromkeys((*seen.targets, *item.targets))),
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
    told = rules.judge_spec(judge.stage, entry.spec, locks=request.lock is not None, now=request.now)
    if judge.local is not None:
        local = rules.judge_spec(judge.local, entry.spec, locks=request.lock is not None, now=request.now)
        told = rules.tightened(told, local)
    outcomes = (*told, *entry.plan.outcomes)
    kinds = {outcome.kind for outcome in outcomes}
    of_spec: list[Verdict] = []
    if OutcomeKind.FAIL in kinds:
        of_spec.append(Verdict.DENIED)
    elif OutcomeKind.UNKNOWN in kinds:
        of_spec.append(Verdict.UNDECIDED)
    return Subject(
        file=entry.spec.file,
        sha256=_sha256_of(entry.spec),
        target=entry.plan.target or entry.target,
        format=entry.spec.format,
        locked=entry.spec.is_locked,
        verdict=Verdict.UNDECIDED if judge.void else combine((*of_spec, *(item.verdict for item in own))),
        outcomes=outcomes,
    )


def _sha256_of(spec: EnvironmentSpec) -> str:
    """The digest of a file, or of the digests of all files that it and its parts are made of."""
    sources = tuple(dict.fromkeys(source for leaf in spec.leaves for source in leaf.sources))
    if len(sources) == 1:
        return sources[0].sha256
    digests = "".join(f"{source.sha256} {source.path}\n" for source in sources)
    return sha256(digests.encode()).hexdigest()


# --- effects ----------------------------------------------------------------------------------------------------------


def _record(
    result: CheckResult,
    specs: tuple[EnvironmentSpec, ...],
    request: CheckRequest,
    ports: Records,
    encode: Callable[[CheckResult], bytes],
    tell: Tell,
) -> CheckResult:
    files: Mapping[Path, bytes] = {}
    if request.lock is not None and result.verdict is Verdict.ALLOWED:
        try:
            channels = tuple(u.name for u in request.policy.upstreams if u.type is Ecosystem.CONDA)
            created_by = f"quarantine {request.tool_version}"
            files = lock_files(request.lock, result, specs, request.targets, channels, created_by)
            result = replace(result, lock=str(request.lock))
        except ValueError as error:
            outcome = Outcome(rule="lock", kind=OutcomeKind.UNKNOWN, message=f"no lock can be written: {error}")
            result = replace(result, verdict=Verdict.UNDECIDED, preconditions=(*result.preconditions, outcome))
    tell("writing the audit log")
    try:
        evidence = ports.store.put(VERDICTS, encode(result))
        draft = Draft(
            id=request.entry_id,
            source=f"//{request.project}",
            type="quarantine.verdict.v1",
            time=request.now,
            subject=_subject_of_entry(result),
            data=_data(result, request, str(evidence), files),
        )
        (receipt,) = ports.log.append(request.stream, [draft])
    except QuarantineError as error:
        outcome = Outcome(
            rule="audit-log",
            kind=OutcomeKind.UNKNOWN,
            message=f"the verdict can't be recorded, so it does not count: {error}",
        )
        return replace(result, verdict=Verdict.UNDECIDED, lock=None, preconditions=(*result.preconditions, outcome))
    for path, data in files.items():
        ports.write(path, data)
    return replace(result, receipt=receipt)


def _subject_of_entry(result: CheckResult) -> str:
    """The files that were judged; a name for many of them, since an entry has its limits and the evidence has all."""
    files = tuple(dict.fromkeys(subject.file for subject in result.subjects))
    text = " ".join(files)
    return text if len(text) <= MAX_SUBJECT else f"{text[: MAX_SUBJECT // 2]} and others, {len(files)} files in all"


def _data(result: CheckResult, request: CheckRequest, evidence: str, files: Mapping[Path, bytes]) -> dict[str, Json]:
    """What the entry says: enough to answer for the verdict, with the rest in the store by digest."""
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
    let_in = {entry.exception.exception for entry in result.items if entry.exception is not None}
    return {
        "actor": dict(request.actor),
        "outcome": result.verdict.value,
        "stage": result.stage,
        "project": result.project,
        "reasons": reasons[:MAX_REASONS],
        "reasons_total": len(reasons),
        "items_total": len(result.items),
        "exceptions": [*sorted(let_in)[:MAX_REASONS]],
        "policy": {"digest": {"sha256": result.policy_sha256}},
        "advisories": None if snapshot is None else {"digest": {"sha256": snapshot.sha256}},
        "resources": resources,
        "resources_total": len(result.subjects),
        "evidence": evidence,
        "lock": [{"name": path.name, "digest": {"sha256": sha256(data).hexdigest()}} for path, data in files.items()],
        "tool": {"version": request.tool_version},
    }
