"""Vetting: what is known of the files of an exception request, gathered into one dossier.

(1) Prove that the advisories can be trusted. (2) Ask the owners of the names what they list today. (3) Bring every file
into the holding area. (4) Look into each without running it, (5) verify who published it, (6) hold its licence against the
policy, (7) see what it needs, and (8) judge it by every rule of the stage that it is asked for. (9) Put the dossier into
the evidence store, and what it comes to into the log.

Evidence that can't be had leaves no dossier at all: then nothing is decided, and the next run tries again.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace
from packaging.utils import NormalizedName

from quarantine.archive.metadata import parse_metadata
from quarantine.audit.events import vetted_draft
from quarantine.audit.record import EVIDENCE
from quarantine.errors import IntegrityError, UpstreamError
from quarantine.exceptions import (
    Dossier,
    DossierFile,
    DossierSummary,
    ExceptionCase,
    ExceptionFile,
    Grants,
    Identity,
)
from quarantine.model import (
    Artifact,
    Digest,
    Ecosystem,
    EvidenceValue,
    Finding,
    JudgedItem,
    Outcome,
    OutcomeKind,
    Target,
    parse_version,
)
from quarantine.pipeline.evidence import Judge
from quarantine.pipeline.holding import Held, hold
from quarantine.pipeline.pages import Pages
from quarantine.pipeline.vet_needs import Beside, dependencies
from quarantine.pipeline.vet_subject import (
    OwnersToday,
    Subject,
    digest_outcome,
    held_inside,
    reconstructed,
    sound,
    subjects_of,
)
from quarantine.policy import rules
from quarantine.policy.licence import licence
from quarantine.policy.stage import Policy, StagePolicy
from quarantine.policy.waivers import FINAL, keys_of, scoped
from quarantine.ports import (
    AdvisoryService,
    ArtifactStore,
    Attestations,
    AuditLog,
    CondaPackages,
    CondaSolver,
    FileSource,
    Index,
    Inspector,
    Tell,
)

__all__ = ["VetPorts", "Vetting"]

MAX_KEYS_BYTES = 6 * 1024
"""With the digests of the most files that an exception may have, and a reason, an approval of these fits into a record."""
TOO_MUCH = "more than one approval can name: ask for the packages in several requests"
_AGAIN = frozenset(
    {
        "repository", "deny-entry", "allow-entry", "reserved-name", "typosquat", "malware", "vulnerability", "minimum-age",
        "yanked", "native",
    }
)  # fmt: skip
"""Rules that need nothing that may have changed with the owner: today's advisories, today's policy, and the file's own past."""


class VetPorts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything outside that vetting needs; the makers make what only some files need."""

    index: Index
    advisories: AdvisoryService
    solver: Callable[[], CondaSolver]
    packages: Callable[[], CondaPackages]
    source: Callable[[], FileSource]
    inspector: Callable[[], Inspector]
    attestations: Attestations
    store: ArtifactStore
    log: AuditLog


class Vetting:
    """Vets cases under one policy, at one instant: pages and advisories are asked once in a run.

    `stream` is where dossiers are recorded, `by` who does it, `new_id` makes ids of entries.
    """

    def __init__(
        self,
        *,
        ports: VetPorts,
        policy: Policy,
        policy_sha256: str,
        targets: tuple[Target, ...],
        advisory_max_age: timedelta,
        now: datetime,
        by: Identity,
        stream: str,
        new_id: Callable[[], str],
        tell: Tell,
    ) -> None:
        self._ports = ports
        self._policy = policy
        self._policy_sha256 = policy_sha256
        self._targets = targets
        self._max_age = advisory_max_age
        self._now = now
        self._by = by
        self._stream = stream
        self._new_id = new_id
        self._tell = tell
        self._owners = OwnersToday(
            pages=Pages(ports.index, tell), solver=ports.solver, packages=ports.packages, targets=targets, tell=tell
        )
        self._judges: dict[str, Judge] = {}

    def vet(self, case: ExceptionCase, grants: Grants | None = None) -> DossierSummary:
        """The dossier of a case, recorded. UpstreamError when evidence can't be had; IntegrityError as the store's.

        `grants` are the exceptions of its project and stage that hold already: what they let in may be needed.
        """
        if case.request is None:
            raise UpstreamError(f"exception {case.id[:12]}: its request isn't in the log")
        judge = self._judge(case.request.stage)  # (1)
        subjects = subjects_of(case, self._owners, judge)  # (2) and (8)
        requested = frozenset(NormalizedName(f.name) for f in case.files if f.ecosystem is Ecosystem.PYPI)
        files: list[DossierFile] = []
        for number, subject in enumerate(subjects, 1):
            self._tell(f"vetting {subject.file.filename} ({number} of {len(subjects)})")
            files.append(self._look(subject, judge, Beside(requested, grants or Grants())))
        return self._recorded(case, tuple(files), judge)

    def again(self, case: ExceptionCase) -> DossierSummary | None:
        """The dossier of a case by today's advisories and today's policy, recorded if that is something else; None if it isn't.

        Nothing is fetched or looked into again: the bytes haven't changed. UpstreamError, IntegrityError.
        """
        if case.request is None or case.dossier is None:
            return None
        judge = self._judge(case.request.stage)
        before = _dossier(self._ports.store, case.dossier)
        attached = {attached.file.sha256 for attached in case.attached}
        items = [reconstructed(entry, self._targets, attached) for entry in before.files]
        judged = judge.judge(items)
        sound(judge)
        files = tuple(
            replace(
                entry,
                outcomes=_judged_again(entry, now),
                findings=now.findings or (),
            )
            for entry, now in zip(before.files, judged, strict=True)
        )
        if _recordable(*_against(files)) == (case.dossier.failures, case.dossier.unknowns, case.dossier.final):
            return None
        return self._recorded(case, files, judge)

    def judged_by(self, stage: str) -> tuple[str, str]:
        """The sha256 of policy and advisories that are judged by. UpstreamError when the advisories can't be trusted."""
        judge = self._judge(stage)
        return self._policy_sha256, "" if judge.snapshot is None else judge.snapshot.sha256

    def _recorded(self, case: ExceptionCase, files: tuple[DossierFile, ...], judge: Judge) -> DossierSummary:  # (9)
        assert case.request is not None  # noqa: S101 - the callers looked
        advisories = "" if judge.snapshot is None else judge.snapshot.sha256
        dossier = Dossier(
            exception=case.id,
            project=case.request.project,
            stage=case.request.stage,
            time=self._now,
            policy=self._policy_sha256,
            advisories=advisories,
            files=files,
        )
        failures, unknowns, final = _recordable(*_against(files))
        summary = DossierSummary(
            time=self._now,
            sha256=self._ports.store.put(EVIDENCE, dossier.encode()).hex,
            files=tuple(entry.file.sha256 for entry in files),
            failures=failures,
            unknowns=unknowns,
            final=final,
            policy=self._policy_sha256,
            advisories=advisories,
            binding=case.binding,
            by=self._by,
        )
        self._ports.log.append(self._stream, [vetted_draft(case.request, summary, self._new_id())])
        return summary

    # --- evidence -----------------------------------------------------------------------------------------------------

    def _judge(self, stage: str) -> Judge:
        """The judge of a stage, whose advisories were proved to be trustworthy; UpstreamError otherwise."""
        if stage not in self._judges:
            snapshot = self._ports.advisories.snapshot()
            self._judges[stage] = Judge(
                stage=self._policy.stage(stage),
                preconditions=rules.preconditions(snapshot, None, self._max_age, self._now),
                snapshot=snapshot,
                advisories=self._ports.advisories,
                now=self._now,
                tell=self._tell,
            )
        return sound(self._judges[stage])

    # --- one file -----------------------------------------------------------------------------------------------------

    def _look(self, subject: Subject, judge: Judge, beside: Beside) -> DossierFile:
        file, judged = subject.file, subject.judged
        own = list(judged.outcomes)
        if file.is_source:
            own.append(_source(file))
        known = DossierFile(
            file=file,
            outcomes=(),
            findings=judged.findings or (),
            yanked=None if subject.dated is None else subject.dated.yanked,
            upload_time=None if subject.dated is None else subject.dated.upload_time,
            holds=tuple(f"{package.name}=={package.version}" for package in judged.item.holds or ()),
        )
        if subject.owner not in (None, file.upstream):
            # how many people must approve goes by the upstream, so that a request may not choose it
            message = (
                f"{file.filename} was asked for as {file.upstream}'s, and {subject.owner} has the name {file.name}"
            )
            return replace(known, outcomes=(Outcome(rule="digest", kind=OutcomeKind.FAIL, message=message), *own))
        if file.ecosystem is Ecosystem.CONDA and subject.subdir not in (None, file.subdir):
            message = (
                f"{file.filename} was asked for as one of {file.subdir}, and {subject.owner} has it in {subject.subdir}"
            )
            return replace(known, outcomes=(Outcome(rule="digest", kind=OutcomeKind.FAIL, message=message), *own))
        limit = judge.stage.rules.exceptions.max_file_mib * 1024 * 1024
        try:
            with hold(file, subject.listed, self._ports.store, self._ports.source, limit, self._tell) as held:  # (3)
                return self._inside(known, subject, held, own, judge, beside)
        except IntegrityError as error:
            outcome = Outcome(rule="digest", kind=OutcomeKind.FAIL, message=str(error))
            return replace(known, outcomes=(outcome, *own))

    def _inside(
        self,
        known: DossierFile,
        subject: Subject,
        held: Held,
        own: list[Outcome],
        judge: Judge,
        beside: Beside,
    ) -> DossierFile:
        file = subject.file
        inspection = self._ports.inspector().inspect(held.path, file, self._tell)  # (4)
        reports = [self._kept(msgspec.json.encode(inspection))]
        provenance, raw = self._provenance(subject, judge.stage)  # (5)
        if raw is not None:
            reports.append(self._kept(raw))
        outcomes = [
            digest_outcome(subject, inspection, held),
            *held_inside(subject, inspection),
            *inspection.outcomes,
            provenance,
            licence(inspection.licences, judge.stage.rules.licence, file.filename),  # (6)
            dependencies(file, inspection, self._owners.pages, self._targets, judge, beside),  # (7)
            *own,
        ]
        metadata, python = "", ""
        if inspection.metadata is not None and file.ecosystem is Ecosystem.PYPI:
            metadata = self._kept(inspection.metadata)
            parsed = parse_metadata(file.filename, inspection.metadata)
            python = "" if parsed.requires_python is None else str(parsed.requires_python)
        return replace(
            known,
            file=replace(file, size=held.size),
            outcomes=tuple(outcomes),
            metadata=metadata,
            requires_python=python,
            licence=inspection.licences.expression or inspection.licences.text or "",
            requires=inspection.requires,
            index=inspection.index,
            md5=held.md5,
            reports=tuple(reports),
        )

    def _kept(self, data: bytes) -> str:
        """The sha256 under which evidence is stored from now on. UpstreamError when it can't be.

        That its name is taken by other bytes says nothing of the file that it is about, so it doesn't fail it.
        """
        try:
            return self._ports.store.put(EVIDENCE, data).hex
        except IntegrityError as error:
            raise UpstreamError(str(error)) from error

    def _provenance(self, subject: Subject, stage: StagePolicy) -> tuple[Outcome, bytes | None]:
        file = subject.file
        if file.ecosystem is not Ecosystem.PYPI or subject.attached is not None or file.is_source:
            message = "only wheels of an index are attested (PEP 740)"
            return Outcome(rule="provenance", kind=OutcomeKind.NOT_APPLICABLE, message=message), None
        version = parse_version(file.version)
        entries = stage.policy.allow_entries(file.upstream, file.name)
        named = (e.publisher for e in entries if e.publisher is not None and e.live(self._now) and e.allows(version))
        expected = next(named, None)
        listed = subject.listed
        url = listed.provenance if isinstance(listed, Artifact) else None
        raw = None if url is None else self._ports.source().provenance(file.upstream, url, self._tell)
        if expected is None and stage.rules.provenance.required:
            message = f"{file.filename}: no allow entry names its publisher, so who may attest it isn't known"
            return Outcome(rule="provenance", kind=OutcomeKind.FAIL, message=message), raw
        return self._ports.attestations.verify(file, raw, expected, self._tell), raw


def _source(file: ExceptionFile) -> Outcome:
    message = (
        f"{file.filename} is source, which would run its own code to be installed: attach a wheel that you built of it "
        "(quarantine exception attach-wheel)"
    )
    return Outcome(rule="source", kind=OutcomeKind.FAIL, message=message)


def _recordable(
    failures: tuple[str, ...], unknowns: tuple[str, ...], final: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The keys as they fit into one record, with room for an approval that names them; what doesn't can't be approved."""
    if sum(len(key.encode()) + 3 for key in (*failures, *unknowns, *final)) <= MAX_KEYS_BYTES:
        return failures, unknowns, final
    return (), (), (*final[:20], TOO_MUCH)


def _against(files: Iterable[DossierFile]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The keys of what failed, of what isn't known, and of what no approval can waive."""
    failures: set[str] = set()
    unknowns: set[str] = set()
    final: set[str] = set()
    for entry in files:
        for outcome in entry.outcomes:
            keys = {scoped(entry.file.label, key) for key in keys_of(outcome)}
            if outcome.rule in FINAL:
                final |= keys
            elif outcome.kind is OutcomeKind.FAIL:
                failures |= keys
            else:
                unknowns |= keys
    return tuple(sorted(failures)), tuple(sorted(unknowns - failures)), tuple(sorted(final))


def _judged_again(before: DossierFile, now: JudgedItem) -> tuple[Outcome, ...]:
    """The outcomes of a file, each rule that can be judged again by what it says now."""
    again = {o.rule: _as_known(o, now.findings or (), before) for o in now.outcomes if o.rule in _AGAIN}
    kept = tuple(again.pop(outcome.rule, outcome) for outcome in before.outcomes)
    return (*kept, *again.values())


def _as_known(outcome: Outcome, findings: Iterable[Finding], before: DossierFile) -> Outcome:
    """The outcome with flaws under the identifiers that they were known by: another name for one makes it no later flaw."""
    known = {key for was in before.outcomes for name, value in was.evidence if name == "ids" for key in _texts(value)}
    called: dict[str, str] = {}
    for finding in findings:
        said = next((identifier for identifier in finding.ids if identifier in known), None)
        called |= {} if said is None else dict.fromkeys(finding.ids, said)
    evidence = tuple(
        (name, tuple(called.get(key, key) for key in _texts(value)) if name == "ids" else value)
        for name, value in outcome.evidence
    )
    return replace(outcome, evidence=evidence)


def _texts(value: EvidenceValue) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else ()


def _dossier(store: ArtifactStore, summary: DossierSummary) -> Dossier:
    try:
        return Dossier.decode(store.get(EVIDENCE, Digest("sha256", summary.sha256)))
    except ValueError as error:
        raise IntegrityError(f"{EVIDENCE}/{summary.sha256}: {error}") from error
