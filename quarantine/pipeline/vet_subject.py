"""What the owners of names list today of the files of a case: what each is vetted as, and what the rules make of it.

No file is fetched or looked into here. What the bytes of one are held to is here, as it is what its owner lists.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec
from msgspec.structs import replace
from packaging.utils import NormalizedName

from quarantine.archive.inspection import Inspection
from quarantine.errors import UpstreamError
from quarantine.exceptions import Attached, DossierFile, ExceptionCase, ExceptionFile
from quarantine.model import (
    MIRRORED,
    Artifact,
    CondaRecord,
    Digest,
    Ecosystem,
    IndexPage,
    Item,
    JudgedItem,
    Outcome,
    OutcomeKind,
    Package,
    PackageFile,
    Target,
    parse_name,
    parse_version,
    parse_wheel_name,
)
from quarantine.pipeline.conda import conda_item
from quarantine.pipeline.evidence import Judge
from quarantine.pipeline.holding import Held
from quarantine.pipeline.pages import Pages
from quarantine.ports import CondaPackages, CondaSolver, Tell

__all__ = [
    "OwnersToday",
    "Subject",
    "digest_outcome",
    "held_inside",
    "reconstructed",
    "sound",
    "subjects_of",
    "unlisted",
]

_AGAINST = (OutcomeKind.FAIL, OutcomeKind.UNKNOWN)


class OwnersToday(msgspec.Struct, frozen=True, kw_only=True):
    """Who says what the owners of names list today, for which targets; the makers make what only conda files need."""

    pages: Pages
    solver: Callable[[], CondaSolver]
    packages: Callable[[], CondaPackages]
    targets: tuple[Target, ...]
    tell: Tell


class Subject(msgspec.Struct, frozen=True, kw_only=True):
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


def subjects_of(case: ExceptionCase, owners: OwnersToday, judge: Judge) -> tuple[Subject, ...]:
    """Every file of the case, with what its owner lists and what the rules make of its package.

    UpstreamError when an owner can't say, or the judge can't be trusted.
    """
    attached = {attached.file.sha256: attached for attached in case.attached}
    packages: dict[tuple[str, str, str], list[ExceptionFile]] = {}
    for file in case.files:
        packages.setdefault((file.ecosystem.value, file.name, file.version), []).append(file)
    names = {NormalizedName(f.name) for f in case.files if f.ecosystem is Ecosystem.PYPI}
    pages = owners.pages.get(sorted(names))
    found: list[Subject] = []
    for (ecosystem, name, _), files in packages.items():
        if ecosystem == Ecosystem.PYPI.value:
            found += _of_index(files, pages[NormalizedName(name)], attached, owners.targets, judge)
        else:
            found += [_of_channel(file, owners, judge) for file in files]
    sound(judge)
    return tuple(found)


def _of_index(
    files: Sequence[ExceptionFile],
    page: IndexPage | None,
    attached: Mapping[str, Attached],
    targets: tuple[Target, ...],
    judge: Judge,
) -> list[Subject]:
    """The files of one version: the rules judge them together, as an installer may take any of them."""
    first = files[0]
    version = parse_version(first.version)
    sources = {file.sha256: Digest("sha256", attached[file.sha256].source) for file in files if file.sha256 in attached}
    digests = {*(file.digest for file in files), *sources.values()}
    listed = {} if page is None else {a.digest: a for a in page.of_version(version, digests)}
    # what its owner lists is the owner's, whoever attached it
    built = {sha256: listed.get(source) for sha256, source in sources.items() if Digest("sha256", sha256) not in listed}
    artifacts = [
        _built(file, built[file.sha256]) if file.sha256 in built else listed.get(file.digest) or unlisted(file)
        for file in files
    ]
    wheels = tuple(artifact for artifact in artifacts if artifact.is_wheel)
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
        targets=tuple(t for t in targets if any(wheel.fits(t) for wheel in wheels)) or targets,
        source_only=not wheels,
    )
    (judged,) = judge.judge([item])
    return [
        Subject(
            file=file,
            owner=None if page is None else page.upstream,
            listed=listed.get(file.digest),
            judged=judged,
            dated=built[file.sha256] if file.sha256 in built else listed.get(file.digest),
            attached=attached[file.sha256] if file.sha256 in built else None,
        )
        for file in files
    ]


def _of_channel(file: ExceptionFile, owners: OwnersToday, judge: Judge) -> Subject:
    targets = [t for t in owners.targets if file.subdir in ("noarch", t.conda_subdir)] or list(owners.targets)
    listing = owners.solver().listed({file.name: frozenset({file.digest})}, targets[0], owners.tell)[file.name]
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
        return Subject(file=file, owner=listing.owner, listed=None, judged=judged, dated=None)
    contents = owners.packages().contents([record], owners.tell)[record]
    item = replace(conda_item(record, contents, listing.owner, 0, targets[0]), targets=tuple(targets))
    (judged,) = judge.judge([item])
    found = _package_file(item, record)
    return Subject(file=file, owner=listing.owner, listed=found, judged=judged, dated=found, subdir=record.subdir)


def unlisted(file: ExceptionFile) -> Artifact:
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
    wheel = replace(unlisted(file), url=f"{MIRRORED}files/{file.sha256}/{file.filename}")
    return wheel if source is None else replace(wheel, upload_time=source.upload_time, yanked=source.yanked)


def _package_file(item: Item, record: CondaRecord) -> PackageFile:
    return next(file for file in item.artifacts if file.filename == record.filename)


def sound(judge: Judge) -> Judge:
    """The judge, raising UpstreamError when what it judges by can't be trusted."""
    if judge.void:
        bad = [outcome.message for outcome in judge.preconditions if outcome.kind in _AGAINST]
        raise UpstreamError(f"nothing can be vetted: {judge.unanswered or '; '.join(bad)}")
    return judge


def digest_outcome(subject: Subject, inspection: Inspection, held: Held) -> Outcome:
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


def held_inside(subject: Subject, inspection: Inspection) -> tuple[Outcome, ...]:
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


def reconstructed(entry: DossierFile, targets: tuple[Target, ...], attached: Collection[str]) -> Item:
    """The item of a file that was vetted before, as far as advisories speak of it."""
    file = entry.file
    if file.ecosystem is Ecosystem.PYPI:
        wheel = _built(file, None) if file.sha256 in attached else unlisted(file)
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
