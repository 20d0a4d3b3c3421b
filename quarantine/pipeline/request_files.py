"""The files that an exception is asked for, as their owners list them: for packages by name, and for what a check refused.

An exception binds bytes. What is asked for by name becomes the files that may be installed on a configured target; what a
verdict or a request file names by digest is held to what the owner of its name lists now.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec

from quarantine.errors import QuarantineError, UsageError
from quarantine.exceptions import ExceptionFile
from quarantine.model import (
    Artifact,
    CondaRecord,
    Digest,
    Ecosystem,
    IndexPage,
    Item,
    Target,
    Verdict,
    parse_name,
    parse_version,
)
from quarantine.pipeline.evidence import Judge
from quarantine.policy.case import listing
from quarantine.policy.waivers import FINAL
from quarantine.ports import CondaCandidates, CondaListing, CondaSolver, Index, Tell
from quarantine.spec.asked import CondaAsked, PythonAsked
from quarantine.spec.verdict_file import LeftOut, Refused, checked

__all__ = ["Owners", "can_be_asked", "files_of", "held_to_owners", "passing_alone"]

# a new exception for a file is what ends that an older one was revoked
_NEVER_WAIVED = FINAL - {"exception"}
_CHECK_AGAIN = "check again, and file from the new verdict"


class Owners(msgspec.Struct, frozen=True, kw_only=True):
    """Who can say what the owners of names list, for which targets. `solver` makes what only conda packages need."""

    index: Index
    solver: Callable[[], CondaSolver]
    targets: tuple[Target, ...]
    tell: Tell


def can_be_asked(refused: Collection[Refused]) -> tuple[tuple[Refused, ...], tuple[LeftOut, ...]]:
    """Those that an approval could let in, and the others, with what none can waive."""
    kept = tuple(one for one in refused if not one.rules & _NEVER_WAIVED)
    left_out = tuple(
        LeftOut(label=str(one.asked), why=_never_waived(one)) for one in refused if one.rules & _NEVER_WAIVED
    )
    return kept, left_out


def _never_waived(refused: Refused) -> str:
    rules = listing(sorted(refused.rules & _NEVER_WAIVED))
    if refused.undecided:
        return f"it is undecided, and no approval can waive what isn't known of {rules}: mend the evidence, and check again"
    return f"no approval can waive {rules}"


def files_of(asked: Collection[PythonAsked | CondaAsked], owners: Owners) -> tuple[ExceptionFile, ...]:
    """The files of packages that are asked for by name, UsageError with every package that has none. UpstreamError.

    Of a Python distribution these are all wheels that may be installed on a configured target; where it has none of
    them, its source distribution, which a curator can attach a wheel to.
    """
    python = [one for one in asked if isinstance(one, PythonAsked)]
    conda = [one for one in asked if isinstance(one, CondaAsked)]
    found: list[ExceptionFile] = []
    problems: list[str] = []
    pages = owners.index.pages({parse_name(one.name) for one in python}, owners.tell) if python else {}
    for one in python:
        try:
            found += _of_page(one, pages.get(parse_name(one.name)), owners.targets)
        except ValueError as error:
            problems.append(str(error))
    for other in conda:
        try:
            found.append(_of_channel(other, owners))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise UsageError("\n".join(problems))
    return tuple(sorted(set(found)))


def held_to_owners(
    groups: Sequence[tuple[Sequence[ExceptionFile], PythonAsked | CondaAsked]], owners: Owners
) -> tuple[tuple[ExceptionFile, ...], tuple[tuple[int, str], ...]]:
    """The files of every group as their owners list them now, and what is wrong, by the group's place. UpstreamError.

    A group without files is of a package that only has a source distribution: that is looked up by name.
    """
    names = {parse_name(asked.name) for _, asked in groups if isinstance(asked, PythonAsked)}
    pages = owners.index.pages(names, owners.tell) if names else {}
    listed = _listings([file for files, _ in groups for file in files if file.ecosystem is Ecosystem.CONDA], owners)
    found: list[ExceptionFile] = []
    problems: list[tuple[int, str]] = []
    for place, (files, asked) in enumerate(groups):
        try:
            if isinstance(asked, CondaAsked):
                if not files:
                    raise ValueError(f"{asked} has no file: {_CHECK_AGAIN}")  # noqa: TRY301 - one way for problems
                found += [_in_channel(file, listed[file]) for file in files]
            elif files:
                found += [_on_page(file, pages.get(parse_name(file.name))) for file in files]
            else:
                found += _of_page(asked, pages.get(parse_name(asked.name)), owners.targets)
        except ValueError as error:
            problems.append((place, str(error)))
    return tuple(sorted(set(found))), tuple(problems)


def passing_alone(files: Collection[ExceptionFile], owners: Owners, judge: Callable[[], Judge]) -> tuple[str, ...]:
    """The Python distributions among them, by name and version, that the rules let in without an exception.

    By what is known before anything is fetched: where that can't be had, nothing is said to pass.
    """
    packages: dict[tuple[str, str], list[ExceptionFile]] = {}
    for file in files:
        if file.ecosystem is Ecosystem.PYPI and not file.is_source:
            packages.setdefault((file.name, file.version), []).append(file)
    if not packages:
        return ()
    try:
        pages = owners.index.pages({parse_name(name) for name, _ in packages}, owners.tell)
        items = [
            _item(some, page, owners.targets)
            for (name, _), some in packages.items()
            if (page := pages.get(parse_name(name))) is not None
        ]
        judging = judge()
        return tuple(
            f"{judged.item.name} {judged.item.version}"
            for judged in judging.judge(items)
            if judged.verdict is Verdict.ALLOWED and not judging.void
        )
    except QuarantineError:
        return ()  # it is asked for all the same, and vetting says what it comes to


def _item(files: Sequence[ExceptionFile], page: IndexPage, targets: Sequence[Target]) -> Item:
    """The files of one version, as a check would find them on their owner's page."""
    version = parse_version(files[0].version)
    digests = {file.digest for file in files}
    wheels = tuple(artifact for artifact in page.of_version(version) if artifact.digest in digests)
    fitting = tuple(target for target in targets if any(wheel.fits(target) for wheel in wheels))
    return Item(
        name=files[0].name,
        version=version,
        upstream=page.upstream,
        status=page.status,
        artifacts=wheels,
        targets=fitting or tuple(targets),
    )


# --- Python distributions ---------------------------------------------------------------------------------------------


def _of_page(asked: PythonAsked, page: IndexPage | None, targets: Iterable[Target]) -> list[ExceptionFile]:
    if page is None:
        raise ValueError(
            f"no upstream of the policy has {asked.name}, so there is nothing to ask for: see that its name is right, or "
            "let curators add the upstream that has it"
        )
    artifacts = page.of_version(asked.version)
    if not artifacts:
        newest = sorted(page.versions(), reverse=True)
        raise ValueError(f"{page.upstream} has no {asked}: it has {listing(map(str, newest)) or 'no version'}")
    chosen = [artifact for artifact in artifacts if any(map(artifact.may_fit, targets))]
    chosen = chosen or [artifact for artifact in artifacts if not artifact.is_wheel]
    if not chosen:
        raise ValueError(
            f"none of the {len(artifacts)} files of {asked} may be installed on {listing(map(str, targets))}: name the target "
            "that needs it in quarantine.yaml (targets:)"
        )
    return [_python_file(artifact, page.upstream) for artifact in chosen]


def _on_page(file: ExceptionFile, page: IndexPage | None) -> ExceptionFile:
    """The file as the page lists it."""
    if page is None or page.upstream != file.upstream:
        owner = "no upstream" if page is None else page.upstream
        raise ValueError(
            f"{file.label} is said to be from {file.upstream}, and {owner} has the name now: {_CHECK_AGAIN}"
        )
    artifacts = page.of_version(parse_version(file.version), (file.digest,))
    same = next((artifact for artifact in artifacts if artifact.filename == file.filename), None)
    if same is None or (same.size is not None and file.size is not None and same.size != file.size):
        raise ValueError(f"{file.upstream} doesn't list {file.filename} with {file.digest}: {_CHECK_AGAIN}")
    return _python_file(same, page.upstream)


def _python_file(artifact: Artifact, upstream: str) -> ExceptionFile:
    if artifact.digest is None or artifact.digest.algorithm != "sha256":
        raise ValueError(f"{upstream} gives no sha256 for {artifact.filename}, and an exception binds one")
    return checked(
        ExceptionFile(
            ecosystem=Ecosystem.PYPI,
            upstream=upstream,
            name=artifact.name,
            version=str(artifact.version),
            filename=artifact.filename,
            sha256=artifact.digest.hex,
            size=artifact.size,
        )
    )


# --- conda packages ---------------------------------------------------------------------------------------------------


def _of_channel(asked: CondaAsked, owners: Owners) -> ExceptionFile:
    target, solver = _target(asked.subdir, owners.targets), owners.solver()
    owner = solver.listed({asked.name: frozenset()}, target, owners.tell)[asked.name].owner
    if owner is None:
        raise ValueError(
            f"no channel of the policy has {asked.name}, so there is nothing to ask for: see that its name is right, or let "
            "curators add the channel that has it"
        )
    if asked.channel not in ("", owner):
        raise ValueError(f"{asked.name} is {owner}'s: what {asked.channel} has under that name is never installed")
    spec = f"{asked.name}[version='=={asked.version}',build='{asked.build}',subdir='{asked.subdir}']"
    request = CondaCandidates(name=asked.name, upstream=owner, specs=(spec,), beside=(), target=target)
    records = [
        record
        for record in solver.candidates(request, owners.tell)
        if (record.build, record.subdir) == (asked.build, asked.subdir) and record.filename.endswith(asked.kind)
    ]
    if not records:
        raise ValueError(
            f"{owner} has no {asked}{asked.kind and ' as ' + asked.kind} for {target}: see what it is called there, or file "
            "from a verdict (--from)"
        )
    return _conda_file(records[-1])


def _listings(files: Collection[ExceptionFile], owners: Owners) -> Mapping[ExceptionFile, CondaListing | ValueError]:
    """For every file what the owner of its name lists, asked once for each target."""
    wanted: dict[Target, dict[str, set[Digest]]] = {}
    listed: dict[ExceptionFile, CondaListing | ValueError] = {}
    targets: dict[ExceptionFile, Target] = {}
    for file in files:
        try:
            targets[file] = _target(file.subdir, owners.targets)
        except ValueError as error:
            listed[file] = error
        else:
            wanted.setdefault(targets[file], {}).setdefault(file.name, set()).add(file.digest)
    answers = {
        target: owners.solver().listed({n: frozenset(d) for n, d in names.items()}, target, owners.tell)
        for target, names in wanted.items()
    }
    return listed | {file: answers[target][file.name] for file, target in targets.items()}


def _in_channel(file: ExceptionFile, listed: CondaListing | ValueError) -> ExceptionFile:
    """The file as its channel lists it."""
    if isinstance(listed, ValueError):
        raise listed
    if listed.owner != file.upstream:
        owner = listed.owner or "no channel"
        raise ValueError(
            f"{file.label} is said to be from {file.upstream}, and {owner} has the name now: {_CHECK_AGAIN}"
        )
    found = [_conda_file(record) for record in listed.records if record.sha256 == file.digest]
    same = next((one for one in found if _named(one) == _named(file)), None)
    if same is None or (same.size is not None and file.size is not None and same.size != file.size):
        raise ValueError(f"{file.upstream} doesn't list {file.filename} with {file.digest}: {_CHECK_AGAIN}")
    return same


def _named(file: ExceptionFile) -> tuple[str, ...]:
    return file.name, file.version, file.build, file.subdir, file.filename


def _conda_file(record: CondaRecord) -> ExceptionFile:
    if record.sha256 is None:
        raise ValueError(f"{record.upstream} gives no sha256 for {record.filename}, and an exception binds one")
    return checked(
        ExceptionFile(
            ecosystem=Ecosystem.CONDA,
            upstream=record.upstream,
            name=record.name,
            version=record.version,
            filename=record.filename,
            sha256=record.sha256.hex,
            size=record.size,
            subdir=record.subdir,
            build=record.build,
        )
    )


def _target(subdir: str, targets: Sequence[Target]) -> Target:
    """A target that takes packages of the platform: a configured one, where there is one."""
    fitting = [target for target in targets if subdir in (target.conda_subdir, "noarch")]
    if fitting:
        return fitting[0]
    others = [Target(targets[0].python, platform) for platform in Target.platforms()]
    found = next((target for target in others if target.conda_subdir == subdir), None)
    if found is None:
        known = listing(target.conda_subdir for target in others)
        raise ValueError(f"{subdir!a} is no platform that anything is built for here: expected noarch, {known}")
    return found
