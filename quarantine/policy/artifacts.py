"""Rules about the files that would be installed: their age, their kind, their bytes, and whether they were withdrawn."""

from datetime import datetime, timedelta
from typing import assert_never

from quarantine.exceptions import MIRROR
from quarantine.model import Ecosystem, EvidenceValue, Outcome, PackageFile
from quarantine.policy.case import Case, day, failed, instant, listing, not_applicable, passed, unknown

__all__ = ["CLOCK_SKEW", "integrity", "minimum_age", "source_only", "yanked"]

CLOCK_SKEW = timedelta(minutes=5)
"""How far two clocks may differ before what one of them says can't be believed."""


def _nothing_to_install(case: Case) -> str | None:
    """Why there is no file to judge, when another rule denies the item for that very reason."""
    if case.item.reference is not None:
        return f"{case.item.name} is a direct reference: see direct-reference"
    if case.item.upstream is None:
        return f"{case.item.name} is in no upstream: see repository"
    if case.item.missing_digests and not case.item.artifacts:
        return f"{case.label}: its upstream has none of the files: see integrity"
    if not case.item.artifacts and not case.item.contradiction:
        rule = "source-only" if case.item.ecosystem is Ecosystem.PYPI else "integrity"
        return f"{case.label} has no file that could be installed: see {rule}"
    return None


def minimum_age(case: Case) -> Outcome:
    """The youngest file that may be installed has been public long enough, by the server's word.

    The age is the file's, not the release's: a file can be added to an old release. A version that fixes a known flaw
    has a shorter wait, where the stage has one, while the release itself is new: a file that is added to a fix of last
    year fixes nothing, so it waits like any other.
    """
    rule = "minimum-age"
    required = case.stage.minimum_age_of(case.item.upstream)
    nothing = _nothing_to_install(case)
    if nothing is not None:
        return not_applicable(rule, nothing)
    if case.item.upstream == MIRROR:
        return not_applicable(rule, f"{case.label} is from the mirror alone, which has what people let in")
    if required <= timedelta(0):
        return not_applicable(rule, f"{case.stage.name} asks for no age of files from {case.item.upstream}")
    lane = case.stage.security_fix_age if case.fix else None
    files = tuple(artifact for artifact in case.item.artifacts if not _let_in(case, artifact))
    if case.item.artifacts and not files:
        message = f"exceptions let in every file of {case.label}, and {case.item.upstream} lists none of them"
        return not_applicable(rule, f"{message}: their age was judged when they were vetted")
    times = [(a.upload_time, a.filename, _dated(a)) for a in files if a.upload_time is not None]
    if times and _old_enough(min(times)[0], required, case.now):
        lane = None
    if lane is not None and lane < required:
        required = lane
        why = f"{_days(required)} for a version that fixes a known flaw"
    else:
        why = _days(required)
    untimed = tuple(artifact.filename for artifact in files if artifact.upload_time is None)
    undated = listing(_dated(artifact) for artifact in files if artifact.upload_time is None)
    if not times and not untimed:
        return unknown(rule, f"{case.label}: no file of it is known, so neither is its age")
    if times:
        youngest, filename, dated = max(times)
        evidence: dict[str, EvidenceValue] = {
            "file": filename,
            "uploaded": instant(youngest),
            "minimum_days": required.days,
        }
        if youngest > case.now + CLOCK_SKEW:
            message = f"{dated} was uploaded {instant(youngest)}, which is yet to come: see whose clock is wrong"
            return unknown(rule, message, **evidence)
        if not _old_enough(youngest, required, case.now):
            free = instant(youngest + required)
            message = (
                f"{dated} was uploaded {day(youngest)}, {_age(case.now - youngest)} ago: expected at least {why}; "
                f"wait until {free}, or take an older version"
            )
            return failed(rule, message, **evidence, allowed_from=free)
        if not untimed:
            message = f"the youngest file of {case.label} is of {day(youngest)}, at least {why} ago"
            return passed(rule, message, **evidence)
    message = f"{case.item.upstream} gives no upload time for {undated}: expected one, to tell its age"
    return unknown(rule, message, files=untimed)


def _dated(file: PackageFile) -> str:
    """What an upload time is of, for a message: of a wheel that a curator built, the age is that of its source."""
    return f"the source of {file.filename}" if file.is_mirrored else file.filename


def _let_in(case: Case, file: PackageFile) -> bool:
    """Whether it is the mirror's alone, where it came by an exception: it was vetted under this very rule."""
    return file.is_mirrored and case.grants is not None and file.digest in case.grants.live


def _old_enough(uploaded: datetime, required: timedelta, now: datetime) -> bool:
    return now - uploaded >= required


def _days(required: timedelta) -> str:
    return "1 day" if required == timedelta(days=1) else f"{required.days} days"


def _age(age: timedelta) -> str:
    if age < timedelta(hours=1):
        return "less than an hour"
    if age < timedelta(days=2):
        hours = int(age / timedelta(hours=1))
        return f"{hours} hour{'s' if hours > 1 else ''}"
    return f"{age.days} days"


def yanked(case: Case) -> Outcome:
    """No file that may be installed was withdrawn by its maintainers (PEP 592), unless an entry takes that version on."""
    rule, version = "yanked", case.item.version
    nothing = _nothing_to_install(case)
    if nothing is not None:
        return not_applicable(rule, nothing)
    if not case.item.artifacts:
        return unknown(rule, f"{case.label}: no file of it is known, so neither is whether one is yanked")
    withdrawn = tuple(artifact for artifact in case.item.artifacts if artifact.yanked is not None)
    if case.item.ecosystem is Ecosystem.CONDA and not withdrawn:
        return not_applicable(rule, "a channel takes packages away instead of yanking them")
    if not withdrawn:
        return passed(rule, f"no file of {case.label} is yanked")
    reason = withdrawn[0].yanked or "no reason given"
    files = tuple(artifact.filename for artifact in withdrawn)
    for entry in case.stage.policy.allow_entries(case.item.upstream or "", case.item.name):
        if entry.allow_yanked and entry.exact_version == version and entry.live(case.now):
            message = f"{case.label} is yanked ({reason}), and allowed by {entry}: {entry.reason}"
            return passed(rule, message, files=files, entry=entry.place)
    message = f"{case.label} is yanked by its maintainers ({reason}): take another version, or file an exception"
    return failed(rule, message, files=files)


def source_only(case: Case) -> Outcome:
    """Every target has a wheel that it can install: building a source distribution runs the package's own code."""
    rule, targets = "source-only", case.item.targets
    if case.item.ecosystem is not Ecosystem.PYPI:
        return not_applicable(rule, "only Python distributions come as source")
    if case.item.source_only:
        message = f"{case.label} has no wheel that can be installed, only source, which would run its own code"
        return failed(rule, f"{message}: take a version that has a wheel, or file an exception to have it built")
    if not case.located:
        return not_applicable(rule, _nothing_to_install(case) or "")
    if case.item.contradiction:
        return unknown(rule, f"{case.label}: its files are not known: {case.item.contradiction}")
    if case.item.missing_digests and not case.item.artifacts:
        return not_applicable(rule, _nothing_to_install(case) or "")
    if not targets:
        return unknown(rule, f"{case.label}: no target is known to install it on")
    without = tuple(
        str(target) for target in targets if not any(artifact.fits(target) for artifact in case.item.artifacts)
    )
    if without:
        whose = "that the lock accepts " if case.item.locked else ""
        message = f"{case.label} has no wheel {whose}for {', '.join(without)}: take a version that has one"
        return failed(rule, f"{message}, or file an exception to have it built", targets=without)
    return passed(rule, f"{case.label} has a wheel for every target")


def integrity(case: Case) -> Outcome:
    """Every digest that a lock accepts is of a file that the name's owner lists, and the sources of evidence agree."""
    rule, item = "integrity", case.item
    if item.ecosystem is Ecosystem.AZUREML:
        return not_applicable(rule, "a registry of Azure ML keeps each version of an environment as it is")
    if not case.located:
        return not_applicable(rule, _unread(case))
    if item.missing_digests:
        missing = tuple(sorted(map(str, item.missing_digests)))
        message = (
            f"{case.label}: {item.upstream} owns it and lists no file with {listing(f'{text[:19]}…' for text in missing)}: "
            f"the lock accepts bytes that are not the owner's{_once_let_in(case)}; lock it again from the policy's upstreams"
        )
        return failed(rule, message, missing=missing)
    if item.elsewhere:
        taken, advice = ("the lock takes it", "lock it again") if item.locked else ("it would be taken", "take it")
        message = (
            f"{case.label}: {taken} from {listing(item.elsewhere, 1)}, which is not where {item.upstream} has "
            f"its files: an installer would go there; {advice} from the policy's upstreams"
        )
        return failed(rule, message, urls=item.elsewhere)
    if item.contradiction:
        return unknown(rule, f"{case.label}: {item.contradiction}")
    without = tuple(artifact.filename for artifact in item.artifacts if artifact.digest is None)
    if without:
        message = f"{item.upstream} gives no sha256 for {listing(without)}: expected one, to know the bytes by"
        return unknown(rule, message, files=without)
    if not item.artifacts:
        return _nothing_there(rule, case)
    if item.ecosystem is Ecosystem.OCI:
        digests = tuple(str(artifact.digest) for artifact in item.artifacts)
        return passed(rule, f"{case.label} is {listing(digests)} in {item.upstream}", digests=digests)
    mirrored = _names(tuple(artifact for artifact in item.artifacts if artifact.is_mirrored))
    if len(mirrored) == len(item.artifacts) and item.upstream != MIRROR:
        message = f"{case.label}: {listing(mirrored)} is not listed by {item.upstream}: by its digest it is let in, or not at all"
        return not_applicable(rule, message, mirrored=mirrored)
    if mirrored:
        message = f"every file of {case.label} is the owner's or the mirror's ({listing(mirrored)}), by digest"
        return passed(rule, message, files=_names(item.artifacts), mirrored=mirrored)
    return passed(rule, f"every file of {case.label} is the owner's, by digest", files=_names(item.artifacts))


def _once_let_in(case: Case) -> str:
    """What became of the exception that once let in one of the files that nobody lists, for a message."""
    if case.grants is None:
        return ""
    said = {**case.grants.stopped, **case.grants.blocked}
    return next((f" ({said[digest]})" for digest in sorted(case.item.missing_digests) if digest in said), "")


def _unread(case: Case) -> str:
    """Why nothing is known of an item that no upstream was asked for."""
    match case.item.ecosystem:
        case Ecosystem.PYPI:
            return f"no upstream's page of {case.item.name} was read"
        case Ecosystem.CONDA:
            return f"no channel was found to have {case.item.name}"
        case Ecosystem.OCI | Ecosystem.AZUREML:
            return f"no registry was asked for {case.item.name}"
        case _:
            assert_never(case.item.ecosystem)


def _nothing_there(rule: str, case: Case) -> Outcome:
    """An item of an upstream that has no file of it."""
    match case.item.ecosystem:
        case Ecosystem.PYPI:
            return not_applicable(rule, f"{case.label} has no file that could be installed: see source-only")
        case Ecosystem.CONDA:
            return failed(rule, f"{case.item.upstream} has no file of {case.label}: take a version that is there")
        case Ecosystem.OCI | Ecosystem.AZUREML:
            message = f"{case.item.upstream} has no such image as {case.label}: check its path, its tag and its digest"
            return failed(rule, message)
        case _:
            assert_never(case.item.ecosystem)


def _names(artifacts: tuple[PackageFile, ...]) -> tuple[str, ...]:
    return tuple(artifact.filename for artifact in artifacts)
