"""Vetting: what is known of the files of an exception request, gathered into one dossier.

(1) Prove that the advisories can be trusted. (2) Ask the owners of the names what they list today. (3) Bring every file
into the holding area. (4) Look into each without running it, (5) verify who published it, (6) hold its licence against the
policy, (7) see what it needs, and (8) judge it by every rule of the stage that it is asked for. (9) Put the dossier into
the evidence store, and what it comes to into the log.

Evidence that can't be had leaves no dossier at all: then nothing is decided, and the next run tries again.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace
from packaging.utils import NormalizedName

from quarantine.archive.inspection import Inspection
from quarantine.archive.metadata import parse_metadata
from quarantine.audit.events import vetted_draft
from quarantine.errors import IntegrityError, UpstreamError
from quarantine.exceptions import (
    MIRROR,
    Attached,
    Dossier,
    DossierFile,
    DossierSummary,
    ExceptionCase,
    ExceptionFile,
    Grants,
    Identity,
)
from quarantine.model import (
    MIRRORED,
    Artifact,
    CondaRecord,
    Digest,
    Ecosystem,
    EvidenceValue,
    Finding,
    IndexPage,
    Item,
    JudgedItem,
    Outcome,
    OutcomeKind,
    Package,
    PackageFile,
    Requirement,
    Target,
    Verdict,
    parse_name,
    parse_version,
    parse_wheel_name,
)
from quarantine.pipeline.conda import conda_item
from quarantine.pipeline.evidence import Judge
from quarantine.pipeline.holding import Held, hold
from quarantine.pipeline.pages import Pages
from quarantine.policy import rules
from quarantine.policy.licence import licence
from quarantine.policy.nearest import candidate_item, candidates
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

__all__ = ["EVIDENCE", "VetPorts", "Vetting"]

EVIDENCE = "evidence"
MAX_CANDIDATES = 8
"""How many versions of what a package needs are looked at for one that passes."""
MAX_KEYS_BYTES = 6 * 1024
"""With the digests of the most files that an exception may have, and a reason, an approval of these fits into a record."""
TOO_MUCH = "more than one approval can name: ask for the packages in several requests"
_AGAINST = (OutcomeKind.FAIL, OutcomeKind.UNKNOWN)
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


class _Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A file, what its owner lists under its digest, and the item that the rules judge with its neighbours.

    `owner` is the upstream that has the name now, None where none has. `attached` is what a curator said of a wheel that
    they built, None for any other file; `dated` is the file whose upload and withdrawal count: there its source.
    """

    file: ExceptionFile
    owner: str | None
    listed: PackageFile | None
    judged: JudgedItem
    dated: PackageFile | None
    attached: Attached | None = None
    subdir: str | None = None


class _Beside(msgspec.Struct, frozen=True):
    """What is there besides what passes by itself: the names that are asked for, and what exceptions let in already."""

    requested: frozenset[NormalizedName]
    grants: Grants


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
        self._pages = Pages(ports.index, tell)
        self._judges: dict[str, Judge] = {}

    def vet(self, case: ExceptionCase, grants: Grants | None = None) -> DossierSummary:
        """The dossier of a case, recorded. UpstreamError when evidence can't be had; IntegrityError as the store's.

        `grants` are the exceptions of its project and stage that hold already: what they let in may be needed.
        """
        if case.request is None:
            raise UpstreamError(f"exception {case.id[:12]}: its request isn't in the log")
        judge = self._judge(case.request.stage)  # (1)
        subjects = self._subjects(case, judge)  # (2) and (8)
        requested = frozenset(NormalizedName(f.name) for f in case.files if f.ecosystem is Ecosystem.PYPI)
        files: list[DossierFile] = []
        for number, subject in enumerate(subjects, 1):
            self._tell(f"vetting {subject.file.filename} ({number} of {len(subjects)})")
            files.append(self._look(subject, judge, _Beside(requested, grants or Grants())))
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
        items = [_reconstructed(entry, self._targets, attached) for entry in before.files]
        judged = judge.judge(items)
        _sound(judge)
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
        return _sound(self._judges[stage])

    def _subjects(self, case: ExceptionCase, judge: Judge) -> tuple[_Subject, ...]:
        """Every file of the case, with what its owner lists and what the rules make of its package."""
        attached = {attached.file.sha256: attached for attached in case.attached}
        packages: dict[tuple[str, str, str], list[ExceptionFile]] = {}
        for file in case.files:
            packages.setdefault((file.ecosystem.value, file.name, file.version), []).append(file)
        names = {NormalizedName(f.name) for f in case.files if f.ecosystem is Ecosystem.PYPI}
        pages = self._pages.get(sorted(names))
        found: list[_Subject] = []
        for (ecosystem, name, _), files in packages.items():
            if ecosystem == Ecosystem.PYPI.value:
                found += self._of_index(files, pages[NormalizedName(name)], attached, judge)
            else:
                found += [self._of_channel(file, judge) for file in files]
        _sound(judge)
        return tuple(found)

    def _of_index(
        self, files: Sequence[ExceptionFile], page: IndexPage | None, attached: Mapping[str, Attached], judge: Judge
    ) -> list[_Subject]:
        """The files of one version: the rules judge them together, as an installer may take any of them."""
        first = files[0]
        version = parse_version(first.version)
        sources = {
            file.sha256: Digest("sha256", attached[file.sha256].source) for file in files if file.sha256 in attached
        }
        digests = {*(file.digest for file in files), *sources.values()}
        listed = {} if page is None else {a.digest: a for a in page.of_version(version, digests)}
        # what its owner lists is the owner's, whoever attached it
        built = {
            sha256: listed.get(source) for sha256, source in sources.items() if Digest("sha256", sha256) not in listed
        }
        artifacts = [
            _built(file, built[file.sha256]) if file.sha256 in built else listed.get(file.digest) or _unlisted(file)
            for file in files
        ]
        wheels = tuple(artifact for artifact in artifacts if artifact.is_wheel)
        targets = tuple(t for t in self._targets if any(wheel.fits(t) for wheel in wheels)) or self._targets
        item = Item(
            name=first.name,
            version=version,
            # a wheel that a curator built of a source distribution is still the owner's package
            upstream=first.upstream
            if page is None and first.sha256 in attached
            else None
            if page is None
            else page.upstream,
            status="active" if page is None else page.status,
            artifacts=wheels or tuple(artifacts),
            targets=targets,
            source_only=not wheels,
        )
        (judged,) = judge.judge([item])
        return [
            _Subject(
                file=file,
                owner=None if page is None else page.upstream,
                listed=listed.get(file.digest),
                judged=judged,
                dated=built[file.sha256] if file.sha256 in built else listed.get(file.digest),
                attached=attached[file.sha256] if file.sha256 in built else None,
            )
            for file in files
        ]

    def _of_channel(self, file: ExceptionFile, judge: Judge) -> _Subject:
        targets = [t for t in self._targets if file.subdir in ("noarch", t.conda_subdir)] or list(self._targets)
        listing = self._ports.solver().listed({file.name: frozenset({file.digest})}, targets[0], self._tell)[file.name]
        record = next((r for r in listing.records if r.sha256 == file.digest), None)
        if record is None:
            item = Item(
                ecosystem=Ecosystem.CONDA,
                name=file.name,
                version=file.version,
                upstream=listing.owner,
                missing_digests=frozenset({file.digest}),
                targets=tuple(targets),
                holds=None,
                unread="its channel doesn't list the file",
            )
            (judged,) = judge.judge([item])
            return _Subject(file=file, owner=listing.owner, listed=None, judged=judged, dated=None)
        contents = self._ports.packages().contents([record], self._tell)[record]
        item = replace(conda_item(record, contents, listing.owner, 0, targets[0]), targets=tuple(targets))
        (judged,) = judge.judge([item])
        found = _package_file(item, record)
        return _Subject(file=file, owner=listing.owner, listed=found, judged=judged, dated=found, subdir=record.subdir)

    # --- one file -----------------------------------------------------------------------------------------------------

    def _look(self, subject: _Subject, judge: Judge, beside: "_Beside") -> DossierFile:
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
            with hold(file, subject.listed, self._ports.store, self._ports.source, limit, self._tell) as held:
                return self._inside(known, subject, held, own, judge, beside)
        except IntegrityError as error:
            outcome = Outcome(rule="digest", kind=OutcomeKind.FAIL, message=str(error))
            return replace(known, outcomes=(outcome, *own))

    def _inside(
        self,
        known: DossierFile,
        subject: _Subject,
        held: Held,
        own: list[Outcome],
        judge: Judge,
        beside: "_Beside",
    ) -> DossierFile:
        file = subject.file
        inspection = self._ports.inspector().inspect(held.path, file, self._tell)  # (4)
        reports = [self._kept(msgspec.json.encode(inspection))]
        provenance, raw = self._provenance(subject, judge.stage)  # (5)
        if raw is not None:
            reports.append(self._kept(raw))
        outcomes = [
            _digest(subject, inspection, held),
            *_held_inside(subject, inspection),
            *inspection.outcomes,
            provenance,
            licence(inspection.licences, judge.stage.rules.licence, file.filename),  # (6)
            self._dependencies(file, inspection, judge, beside),  # (7)
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

    def _provenance(self, subject: _Subject, stage: StagePolicy) -> tuple[Outcome, bytes | None]:
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

    def _dependencies(self, file: ExceptionFile, inspection: Inspection, judge: Judge, beside: "_Beside") -> Outcome:
        """Whether what the package needs would be let in by itself, is let in by an exception, or is asked for, too."""
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
            if line.name is not None and any(line.applies_to(target) for target in self._targets):
                needs.setdefault(line.name, []).append(line)
        pages = self._pages.get(sorted(needs.keys() - beside.requested))
        refused: list[str] = []
        let_in: list[str] = []
        for name, lines in sorted(needs.items()):
            if name in beside.requested or self._passes(name, lines, pages[name], judge):
                continue
            (let_in if self._is_let_in(name, lines, pages[name], beside.grants) else refused).append(name)
        _sound(judge)
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
        self, name: NormalizedName, lines: Sequence[Requirement], page: IndexPage | None, grants: Grants
    ) -> bool:
        """Whether exceptions that hold let in a version of what is needed, with a wheel for every target."""
        covered: dict[str, set[Target]] = {}
        for grant in grants.live.values():
            file = grant.file
            if file.ecosystem is not Ecosystem.PYPI or file.name != name or file.is_source:
                continue
            if page is not None and file.upstream not in (page.upstream, MIRROR):
                continue  # the name has another owner now, and a check takes no file of the former one
            wheel = _unlisted(file)
            if all(line.specifier.contains(wheel.version, prereleases=True) for line in lines):
                covered.setdefault(str(wheel.version), set()).update(t for t in self._targets if wheel.fits(t))
        return any(targets.issuperset(self._targets) for targets in covered.values())

    def _passes(self, name: NormalizedName, lines: Iterable[Requirement], page: IndexPage | None, judge: Judge) -> bool:
        """Whether some version of what is needed passes every rule by itself; a local claim, as that of the nearest is."""
        if page is None:
            return False
        found = candidates(page, None, [line.specifier for line in lines], self._targets)[:MAX_CANDIDATES]
        base = Item(name=name, version=None, upstream=page.upstream, targets=self._targets)
        items = [candidate_item(base, page, version, self._targets) for version in found]
        return any(judged.verdict is Verdict.ALLOWED for judged in judge.judge(items))


def _sound(judge: Judge) -> Judge:
    """The judge, raising UpstreamError when what it judges by can't be trusted."""
    if judge.void:
        bad = [outcome.message for outcome in judge.preconditions if outcome.kind in _AGAINST]
        raise UpstreamError(f"nothing can be vetted: {judge.unanswered or '; '.join(bad)}")
    return judge


def _unlisted(file: ExceptionFile) -> Artifact:
    """A file that its owner doesn't list, as one of a page. Nobody has said when it was uploaded."""
    tags = frozenset() if file.is_source else parse_wheel_name(file.filename)[3]
    return Artifact(
        name=parse_name(file.name),
        version=parse_version(file.version),
        filename=file.filename,
        digest=file.digest,
        size=file.size,
        upload_time=None,
        url="",
        tags=tags,
    )


def _built(file: ExceptionFile, source: Artifact | None) -> Artifact:
    """A wheel that a curator attached, as the mirror will have it: as old as its source, and withdrawn where that was."""
    wheel = replace(_unlisted(file), url=f"{MIRRORED}files/{file.sha256}/{file.filename}")
    return wheel if source is None else replace(wheel, upload_time=source.upload_time, yanked=source.yanked)


def _package_file(item: Item, record: CondaRecord) -> PackageFile:
    return next(file for file in item.artifacts if file.filename == record.filename)


def _source(file: ExceptionFile) -> Outcome:
    message = (
        f"{file.filename} is source, which would run its own code to be installed: attach a wheel that you built of it "
        "(quarantine exception attach-wheel)"
    )
    return Outcome(rule="source", kind=OutcomeKind.FAIL, message=message)


def _digest(subject: _Subject, inspection: Inspection, held: Held) -> Outcome:
    """Whether the bytes that were looked into are those that were asked for, and are the owner's."""
    file = subject.file
    if inspection.sha256 != file.sha256 or inspection.size != held.size:
        message = f"{file.filename}: other bytes were looked into than are held"
        return Outcome(rule="digest", kind=OutcomeKind.FAIL, message=message)
    if subject.attached is not None:
        message = (
            f"{file.filename} was attached by {subject.attached.by}, as built of the source sha256:"
            f"{subject.attached.source[:12]}…: its bytes are those that were attached"
        )
        return Outcome(rule="digest", kind=OutcomeKind.PASS, message=message)
    if subject.listed is None:
        message = f"{file.filename}: {file.upstream} lists no file of this digest any more"
        return Outcome(rule="digest", kind=OutcomeKind.FAIL, message=message)
    if subject.listed.filename != file.filename:
        message = f"{file.upstream} calls the file {subject.listed.filename}, expected {file.filename}"
        return Outcome(rule="digest", kind=OutcomeKind.FAIL, message=message)
    return Outcome(
        rule="digest", kind=OutcomeKind.PASS, message=f"{file.filename} is what {file.upstream} lists, by digest"
    )


def _held_inside(subject: _Subject, inspection: Inspection) -> tuple[Outcome, ...]:
    """What speaks against a conda package that holds other distributions than its channel let us see of it."""
    holds = subject.judged.item.holds
    if subject.file.ecosystem is not Ecosystem.CONDA or holds is None:
        return ()
    seen, there = {f"{package.name}=={package.version}" for package in holds}, set(inspection.holds)
    if seen == there:
        return ()
    message = (
        f"{subject.file.filename} holds {', '.join(sorted(there)) or 'no Python distribution'}, and what its channel showed "
        f"of it {', '.join(sorted(seen)) or 'none'}: advisories were asked about the wrong ones"
    )
    return (Outcome(rule="digest", kind=OutcomeKind.FAIL, message=message),)


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


def _reconstructed(entry: DossierFile, targets: tuple[Target, ...], attached: Collection[str]) -> Item:
    """The item of a file that was vetted before, as far as advisories speak of it."""
    file = entry.file
    if file.ecosystem is Ecosystem.PYPI:
        wheel = _built(file, None) if file.sha256 in attached else _unlisted(file)
        return Item(
            name=file.name,
            version=parse_version(file.version),
            upstream=file.upstream,
            artifacts=(replace(wheel, upload_time=entry.upload_time, yanked=entry.yanked),),
            targets=targets,
        )
    packages = (text.partition("==") for text in entry.holds)
    return Item(
        ecosystem=Ecosystem.CONDA,
        name=file.name,
        version=file.version,
        upstream=file.upstream,
        artifacts=(
            PackageFile(
                filename=file.filename, digest=file.digest, size=file.size, upload_time=entry.upload_time, url=""
            ),
        ),
        targets=targets,
        holds=tuple(Package(parse_name(name), parse_version(version)) for name, _, version in packages),
    )
