"""From the conda section of a spec and one target to the items to judge, and to the environment that pip then finds.

An unlocked section is solved under the policy, in the user's order of channels, and as written when that has no solution.
A locked one is believed as far as the owners of its names list its digests. What a package holds, and since when its
channel has it, its channel's server says.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec
from packaging.utils import NormalizedName

from quarantine.archive.metadata import parse_metadata
from quarantine.errors import UpstreamError
from quarantine.model import (
    CondaRecord,
    Digest,
    Ecosystem,
    EnvironmentSpec,
    Item,
    LockedCondaPackage,
    MatchSpec,
    Outcome,
    OutcomeKind,
    Package,
    PackageFile,
    Purl,
    Requirement,
    Target,
)
from quarantine.pipeline.locked import Plan
from quarantine.policy.channels import upstream_of_channel
from quarantine.policy.stage import StagePolicy
from quarantine.ports import (
    CondaContents,
    CondaFailed,
    CondaListing,
    CondaPackages,
    CondaRequest,
    CondaSolution,
    CondaSolver,
    Installed,
    Tell,
)

__all__ = ["Conda", "CondaPlan", "conda_item"]


class CondaPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a conda section comes to. `target` has the Python that conda installs; `held` is which file holds what."""

    plan: Plan
    target: Target
    held: Mapping[Package, CondaRecord]


class Conda(msgspec.Struct, frozen=True, kw_only=True):
    """Plans conda sections, under one stage's policy, at one instant. `failures` are kept for as long as a run takes.

    `approved` are the files that exceptions let in: no cutoff holds for them.
    """

    stage: StagePolicy
    solver: CondaSolver
    packages: CondaPackages
    now: datetime
    tell: Tell
    failures: dict[tuple[str, ...], UpstreamError]
    approved: frozenset[Digest] = frozenset()

    def plan(self, spec: EnvironmentSpec, target: Target, subject: int) -> CondaPlan:
        """What the spec's conda section comes to. UpstreamError when a channel or the solver fails."""
        section = spec.conda
        if section is not None and section.locked is not None and spec.pins_packages:
            return self._locked(spec, section.locked, target, subject)
        return self._solved(spec, target, subject)

    # --- solved -------------------------------------------------------------------------------------------------------

    def _solved(self, spec: EnvironmentSpec, target: Target, subject: int) -> CondaPlan:
        specs = () if spec.conda is None else tuple(s for s in spec.conda.specs if s.reference is None)
        channels = self._channels(spec)
        asked_for = _asked_python(target, specs)
        if not channels or not specs:
            # that no channel of the file may be used is the file's own failure
            return CondaPlan(plan=Plan(items=()), target=asked_for, held={})
        answer = self._solve(channels, specs, target)
        if isinstance(answer, CondaFailed):
            return CondaPlan(plan=self._unsolved(answer, spec, specs, target, subject), target=asked_for, held={})
        with_python = _with_python(target, answer.records)
        self.tell(f"reading what {len(answer.records)} conda packages hold")
        contents = self.packages.contents(answer.records, self.tell)
        requirers = _requirers(answer.records)
        asked = {s.name: s for s in reversed(specs)}
        items = []
        for record in sorted(answer.records, key=lambda r: r.name):
            item = conda_item(record, contents[record], answer.owners.get(record.name), subject, with_python)
            wanted = asked.get(record.name)
            items.append(
                msgspec.structs.replace(
                    item,
                    required_by=requirers.get(record.name, ()),
                    location=None if wanted is None else wanted.location,
                    contradiction="" if wanted is None else self._elsewhere(wanted, record),
                )
            )
        return CondaPlan(plan=Plan(items=tuple(items)), target=with_python, held=_held(contents))

    def _channels(self, spec: EnvironmentSpec) -> tuple[str, ...]:
        """The upstreams behind the channels that the file names, in its order; those of its specs come last."""
        section = spec.conda
        if section is None:
            return ()
        named = [channel.name for channel in section.channels]
        named += [s.channel for s in section.specs if s.channel is not None]
        found = (upstream_of_channel(self.stage.policy, name) for name in named)
        return tuple(dict.fromkeys(upstream.name for upstream in found if upstream is not None))

    def _solve(
        self, channels: tuple[str, ...], specs: tuple[MatchSpec, ...], target: Target
    ) -> CondaSolution | CondaFailed:
        """A solution within the policy's limits, else one as written: then the rules say what is wrong with it."""
        request = CondaRequest(
            channels=channels,
            specs=specs,
            target=target,
            not_after=self.now - self.stage.minimum_age if self.stage.minimum_age else None,
            approved=self.approved,
            constraints=self.stage.conda_constraints(),
        )
        answer = self._asked(request)
        if isinstance(answer, CondaFailed) and (request.not_after is not None or request.constraints):
            as_written = msgspec.structs.replace(request, not_after=None, constraints=())
            answer = self._asked(as_written)
        return answer

    def _asked(self, request: CondaRequest) -> CondaSolution | CondaFailed:
        """The solver's answer. Channels that failed once in a run are not waited for again."""
        if request.channels in self.failures:
            raise self.failures[request.channels]
        try:
            return self.solver.solve(request, self.tell)
        except UpstreamError as error:
            self.failures[request.channels] = error
            raise

    def _unsolvable(
        self, failed: CondaFailed, spec: EnvironmentSpec, specs: Sequence[MatchSpec], target: Target
    ) -> Outcome:
        return Outcome(
            rule="resolution",
            kind=OutcomeKind.FAIL,
            message=f"conda finds no solution of {spec.file} on {target}: {failed.explanation}",
            evidence=(("explanation", failed.explanation),),
            location=next((s.location for s in specs if s.name in failed.explanation.split()), None),
        )

    def _elsewhere(self, wanted: MatchSpec, record: CondaRecord) -> str:
        """What speaks against a package that the file wants from another channel than it was found in."""
        upstream = None if wanted.channel is None else upstream_of_channel(self.stage.policy, wanted.channel)
        if upstream is None or upstream.name == record.upstream:
            return ""
        return f"the file asks for it from {upstream.name}, and the solver takes it from {record.upstream}"

    def _unsolved(
        self, failed: CondaFailed, spec: EnvironmentSpec, specs: Sequence[MatchSpec], target: Target, subject: int
    ) -> Plan:
        missing = tuple(
            Item(
                ecosystem=Ecosystem.CONDA,
                name=wanted.name,
                version=None,
                upstream=None,
                subjects=(subject,),
                targets=(target,),
                location=wanted.location,
            )
            for wanted in specs
            if wanted.name in failed.not_found
        )
        return Plan(items=missing, outcomes=(self._unsolvable(failed, spec, specs, target),))

    # --- locked -------------------------------------------------------------------------------------------------------

    def _locked(
        self, spec: EnvironmentSpec, packages: tuple[LockedCondaPackage, ...], target: Target, subject: int
    ) -> CondaPlan:
        chosen = [p for p in packages if p.platform in (None, target.conda_subdir)]
        if packages and not chosen:
            message = (
                f"{spec.file} locks nothing for {target.conda_subdir} ({target}): lock it again for this target, or "
                "check it for the target that it was made for (--target)"
            )
            outcome = Outcome(rule="resolution", kind=OutcomeKind.FAIL, message=message)
            return CondaPlan(plan=Plan(items=(), outcomes=(outcome,)), target=target, held={})
        wanted: dict[str, frozenset[Digest]] = {}
        for package in chosen:
            pinned = frozenset() if package.sha256 is None else frozenset({package.sha256})
            wanted[package.name] = wanted.get(package.name, frozenset()) | pinned
        self.tell(f"looking up {len(wanted)} conda packages")
        listed = self.solver.listed(wanted, target, self.tell)
        found = {p: _record(p, listed[p.name]) for p in chosen}
        records = tuple(record for record in found.values() if record is not None)
        with_python = _with_python(target, records)
        self.tell(f"reading what {len(records)} conda packages hold")
        contents = self.packages.contents(records, self.tell)
        requirers = _requirers(records)
        items = []
        for package, record in found.items():
            owner = listed[package.name].owner
            item = (
                _unlisted(package, owner, subject, with_python)
                if record is None
                else conda_item(record, contents[record], owner, subject, with_python)
            )
            items.append(
                msgspec.structs.replace(
                    item,
                    locked=True,
                    location=package.location,
                    required_by=requirers.get(package.name, ()),
                    elsewhere=item.elsewhere or _taken_from(package, record),
                    contradiction="" if record is None else _disagrees(package, record),
                )
            )
        # a lock's installer takes what it lists; conda asks its solver for whatever an environment.yml pins
        outcomes = () if spec.format == "conda-lock" else self._as_conda_would(spec, chosen, listed, target)
        return CondaPlan(plan=Plan(items=tuple(items), outcomes=outcomes), target=with_python, held=_held(contents))

    def _as_conda_would(
        self,
        spec: EnvironmentSpec,
        pinned: Sequence[LockedCondaPackage],
        listed: Mapping[str, CondaListing],
        target: Target,
    ) -> tuple[Outcome, ...]:
        """Where a pinned environment.yml would get other files than those it pins: conda drops sha256 and md5 of a spec."""
        specs = () if spec.conda is None else spec.conda.specs
        bare = tuple(msgspec.structs.replace(s, sha256=None, md5="") for s in specs if s.reference is None)
        answer = self._asked(CondaRequest(channels=self._channels(spec), specs=bare, target=target))
        if isinstance(answer, CondaFailed):
            return (self._unsolvable(answer, spec, specs, target),)
        by_name = {package.name: package for package in pinned}
        found: list[Outcome] = []
        for record in sorted(answer.records, key=lambda r: r.name):
            package = by_name.get(record.name)
            place = None if package is None else package.location
            if package is None:
                needing = {r.name for r in answer.records if record.name in _needed(r)}
                place = next((p.location for p in pinned if p.name in needing), None)
                why = f"{spec.file} doesn't pin {record.name}, which it needs: conda would take any version"
            elif record.sha256 != package.sha256:
                why = f"{spec.file} pins other bytes of {record.name} than conda would take: {record.url}"
            elif listed[record.name].twins:
                other = listed[record.name].twins[0]
                why = f"{record.name} {record.version} {record.build} is also {other.url}, and conda can't tell them apart"
            else:
                continue
            found.append(
                Outcome(
                    rule="locked",
                    kind=OutcomeKind.FAIL,
                    message=f"{why}: lock the environment again, or build from a conda-lock.yml",
                    location=place,
                )
            )
        return tuple(found)

    # --- what pip finds -----------------------------------------------------------------------------------------------

    def installed(self, environment: CondaPlan, reached: Iterable[str]) -> tuple[Installed, ...]:
        """Every distribution that conda installs; those that are reached, and what they need, with their metadata.

        pip reads the metadata of what it comes across, so only that is fetched. UpstreamError, IntegrityError.
        """
        by_name = {package.name: package for package in environment.held}
        known: dict[NormalizedName, bytes] = {}
        todo = [NormalizedName(name) for name in reached if name in by_name]
        while todo:
            wanted: dict[CondaRecord, set[NormalizedName]] = {}
            for name in todo:
                wanted.setdefault(environment.held[by_name[name]], set()).add(name)
            todo = []
            for record, names in wanted.items():
                self.tell(f"reading the metadata in {record.filename}")
                for found, text in self.packages.metadata(record, names, self.tell).items():
                    known[NormalizedName(found)] = text
                    required = _names(parse_metadata(record.filename, text).requires, environment.target)
                    todo += [other for other in required if other in by_name and other not in known]
            todo = list(dict.fromkeys(todo))
        return tuple(
            Installed(package=package, metadata=known.get(package.name))
            for package in sorted(environment.held, key=lambda package: package.name)
        )


def _names(requires: Iterable[Requirement], target: Target) -> tuple[NormalizedName, ...]:
    return tuple(line.name for line in requires if line.name is not None and line.applies_to(target))


# --- items ------------------------------------------------------------------------------------------------------------


def conda_item(record: CondaRecord, contents: CondaContents, owner: str | None, subject: int, target: Target) -> Item:
    """The item of a package file. One that isn't from the owner of its name is taken from elsewhere."""
    times = [when for when in (record.indexed, contents.last_modified) if when is not None]
    file = PackageFile(
        filename=record.filename,
        digest=record.sha256,
        size=record.size,
        # the later of what the server says: a file that took another's place is as young as its bytes
        upload_time=max(times, default=None),
        url=record.url,
    )
    return Item(
        ecosystem=Ecosystem.CONDA,
        name=record.name,
        version=record.version,
        upstream=owner,
        artifacts=(file,),
        elsewhere=() if owner in (None, record.upstream) else (record.url,),
        subjects=(subject,),
        targets=(target,),
        record=record,
        holds=contents.distributions,
        unread=contents.why,
    )


def _unlisted(package: LockedCondaPackage, owner: str | None, subject: int, target: Target) -> Item:
    """A locked package whose bytes the owner of its name doesn't list."""
    return Item(
        ecosystem=Ecosystem.CONDA,
        name=package.name,
        version=package.version,
        upstream=owner,
        missing_digests=frozenset({package.sha256} if package.sha256 is not None else ()),
        subjects=(subject,),
        targets=(target,),
        holds=None,
        unread="its upstream doesn't list the file",
    )


def _record(package: LockedCondaPackage, listing: CondaListing) -> CondaRecord | None:
    return next((r for r in listing.records if package.sha256 is not None and r.sha256 == package.sha256), None)


def _taken_from(package: LockedCondaPackage, record: CondaRecord | None) -> tuple[str, ...]:
    """Where a lock takes the file from, if that isn't where its owner has it."""
    if package.url is None or record is None or package.url == record.url:
        return ()
    return (package.url,)


def _disagrees(package: LockedCondaPackage, record: CondaRecord) -> str:
    if package.md5 is not None and package.md5 != record.md5:
        return f"the lock has the md5 {package.md5} for it, its owner {record.md5}: some installers go by that alone"
    if (package.version, package.build or record.build) == (record.version, record.build):
        return ""
    return f"the lock calls it {package.version} {package.build}, its owner {record.version} {record.build}"


def _needed(record: CondaRecord) -> tuple[str, ...]:
    """The names of the packages that a record depends on, without the virtual ones."""
    names = (text.split(maxsplit=1)[0].partition("[")[0] for text in record.depends if text.strip())
    return tuple(name for name in names if not name.startswith("__"))


def _requirers(records: Iterable[CondaRecord]) -> Mapping[str, tuple[Purl, ...]]:
    """For every name, the records that depend on it."""
    found: dict[str, tuple[Purl, ...]] = {}
    for record in records:
        for name in dict.fromkeys(_needed(record)):
            found[name] = (*found.get(name, ()), record.purl)
    return found


def _held(contents: Mapping[CondaRecord, CondaContents]) -> dict[Package, CondaRecord]:
    return {package: record for record, inside in contents.items() for package in inside.distributions or ()}


def _with_python(target: Target, records: Iterable[CondaRecord]) -> Target:
    """The target with the Python that is among the records; as it was where there is none, or one of no kind we know."""
    return _of_python(target, next((record.version for record in records if record.name == "python"), ""))


def _asked_python(target: Target, specs: Iterable[MatchSpec]) -> Target:
    """The target with the Python that the specs pin, for what pip would install if conda had a solution."""
    return _of_python(target, next((s.version.lstrip("=~") for s in specs if s.name == "python"), ""))


def _of_python(target: Target, version: str) -> Target:
    found = re.match(r"3\.\d{1,2}(?![0-9])", version)
    return target if found is None else msgspec.structs.replace(target, python=found[0])
