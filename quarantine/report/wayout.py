"""What to do after a verdict: versions to ask for, a lock to build from, an exception to file."""

import shlex
from collections import Counter
from collections.abc import Iterator
from typing import assert_never

import msgspec

from quarantine.model import CheckResult, Ecosystem, Item, JudgedItem, OutcomeKind, Subject, Verdict
from quarantine.policy.waivers import FINAL
from quarantine.report.escape import escape
from quarantine.report.view import Requirers, against, by_verdict, pinned, troubles

__all__ = ["Step", "exception_command", "exception_for", "next_steps"]

_PACKAGES = frozenset({Ecosystem.PYPI, Ecosystem.CONDA})
REASON = "why the project needs it"
_MOST_FILES = 5
_LOCKED_RULE = "locked"
# a new exception for a file is what ends that an older one was revoked
_NEVER_WAIVED = FINAL - {"exception"}


class Step(msgspec.Struct, frozen=True):
    """One thing to do next: in words, and as a command for a shell where there is one ("" else). Both are escaped."""

    what: str
    command: str = ""


def exception_command(item: Item, result: CheckResult) -> str | None:
    """The command line that files an exception for the item of a result, quoted for a POSIX shell.

    It is for the project and the stage that the verdict is for, in the same configuration. A conda package goes by its package URL, which tells one build of one channel. None where nothing names the digests
    that an exception is granted to, and for what isn't a package.
    """
    match item.ecosystem:
        case Ecosystem.PYPI:
            which = None if item.version is None else f"{item.name}=={item.version}"
        case Ecosystem.CONDA:
            which = None if item.record is None else str(item.purl)
        case Ecosystem.OCI | Ecosystem.AZUREML:
            which = None
        case _:
            assert_never(item.ecosystem)
    return None if which is None else _exception(shlex.quote(which), result)


def exception_for(judged: JudgedItem, result: CheckResult) -> str | None:
    """The same for what was judged: None for what is allowed, and where no approval could let it in.

    An undecided item is one for a person to decide where its files are known and only rules that can be waived couldn't tell.
    """
    if judged.item.upstream is None or any(finding.malware for finding in judged.findings or ()):
        return None
    match judged.verdict:
        case Verdict.ALLOWED:
            return None
        case Verdict.DENIED:
            kind = OutcomeKind.FAIL
        case Verdict.UNDECIDED:
            kind = OutcomeKind.UNKNOWN
        case _:
            assert_never(judged.verdict)
    rules = {outcome.rule for outcome in judged.outcomes if outcome.kind is kind}
    if rules & _NEVER_WAIVED:
        return None
    if kind is OutcomeKind.UNKNOWN and (not rules or _lacks_evidence(judged, result)):
        return None
    return exception_command(judged.item, result)


def _lacks_evidence(judged: JudgedItem, result: CheckResult) -> bool:
    """Whether what isn't known of an item can be had: then nobody has to answer for it.

    What a conda package holds may be known only once it is fetched, which vetting does.
    """
    unasked = judged.findings is None and judged.item.ecosystem is Ecosystem.PYPI
    return unasked or not judged.item.artifacts or bool(troubles(result.preconditions))


def _exception(which: str, result: CheckResult) -> str:
    command = f"quarantine{result.before} exception request {which} --reason {shlex.quote(REASON)}"
    if result.project:
        command += f" --project {shlex.quote(result.project)}"
    return command + _stage(result)


def _stage(result: CheckResult) -> str:
    """The option that names the stage, where another one would be taken without it."""
    return "" if result.stage == result.default_stage else f" --stage {shlex.quote(result.stage)}"


def next_steps(result: CheckResult) -> tuple[Step, ...]:
    """What to do next, in the order in which to try it; each step once."""
    lock = tuple(_lock(result))
    # a lock that has the images by digest saves editing them
    pins = () if any(" --lock azureml=" in step.command for step in lock) else tuple(_pins(result))
    return tuple(dict.fromkeys((*_mend(result), *_versions(result), *pins, *_exceptions(result), *lock)))


def _mend(result: CheckResult) -> Iterator[Step]:
    silent = any(
        outcome.rule == "resolution" and outcome.kind is OutcomeKind.UNKNOWN
        for subject in result.subjects
        for outcome in subject.outcomes
    )
    if troubles(result.preconditions) or silent:
        yield Step("see what the evidence lacks, and how to mend it", "quarantine doctor")


def _versions(result: CheckResult) -> Iterator[Step]:
    requirers = Requirers(result)
    for judged in (*by_verdict(result, Verdict.DENIED), *by_verdict(result, Verdict.UNDECIDED)):
        if judged.nearest is None:
            continue
        # each as a line of the user's file says it
        conda = judged.item.ecosystem is Ecosystem.CONDA
        pin = escape(f"{judged.item.name}{'=' if conda else '=='}{judged.nearest}")
        place = requirers.place(judged.item)
        # conda has no constraints: what holds a version is a dependency more
        hold = f"add {pin} to the conda dependencies" if conda else f"constrain to {pin}"
        if judged.item.locked:
            yield _lock_again(judged, pin)
        elif judged.item.location is not None:
            yield Step(f"edit {escape(str(place))}: {pin}")
        elif place is not None:
            yield Step(f"{hold} (pulled in by {escape(str(place))})")
        else:
            yield Step(hold)


def _lock_again(judged: JudgedItem, pin: str) -> Step:
    """Locks aren't edited by hand."""
    location = judged.item.location
    if location is not None and location.file.rpartition("/")[2] == "uv.lock":
        return Step(f"lock again with {pin}", f"uv lock --upgrade-package {pin}")
    return Step(f"lock again with {pin}")


def _pins(result: CheckResult) -> Iterator[Step]:
    """A tag moves: where an image by digest is expected and nothing else is wrong with it, the line to write."""
    unlocked = {index for index, subject in enumerate(result.subjects) if _must_be_locked(subject)}
    for judged in result.items:
        item, reference = judged.item, pinned(judged.item)
        if reference is None or item.image is None or item.image.digest is not None:
            continue
        reasons = {outcome.rule for outcome in against(judged)}
        if reasons == {_LOCKED_RULE} or (not reasons and unlocked.intersection(item.subjects)):
            where = "its line" if item.location is None else str(item.location)
            yield Step(escape(f"edit {where}: {reference}"))


def _must_be_locked(subject: Subject) -> bool:
    return any(o.rule == _LOCKED_RULE and o.kind is OutcomeKind.FAIL for o in subject.outcomes)


def _lock(result: CheckResult) -> Iterator[Step]:
    files = {subject.file for subject in result.subjects}
    refused = any(map(_must_be_locked, result.subjects))
    if result.lock is not None or not files:
        return
    if len(files) > 1:
        if refused:
            forms = "conda-lock.yml where conda installs, azureml=DIR for an Azure ML environment, else pylock.toml"
            yield Step(f"check each file by itself with --lock, and build from the lock: {forms}")
        return
    subject, lock = result.subjects[0], _lock_for(result)
    if subject.locked or not (refused or result.verdict is Verdict.ALLOWED):
        return
    if lock is not None:
        command = f"quarantine{result.before} check {_path(subject.file)}{result.after} --lock {lock}"
        what = "write the lock to build from: an unlocked file proves nothing about a later build"
        if result.lock_stage not in ("", result.stage):
            # its verdict may be another one, which nobody should be surprised by
            command += f" --stage {shlex.quote(result.lock_stage)}"
            what += (
                f"; it is judged for {escape(result.lock_stage)}, which may refuse what {escape(result.stage)} lets in"
            )
        yield Step(what, escape(command))
    elif any(judged.item.ecosystem in _PACKAGES for judged in result.items):
        yield Step("keep what it installs in files of their own, lock those, and install the locks instead")


def _lock_for(result: CheckResult) -> str | None:
    """The lock that can stand for all that the file asks for; None where there is no such form.

    None of them says how an image is built, or what an environment is that is kept elsewhere.
    """
    items = tuple(judged.item for judged in result.items)
    ecosystems = {item.ecosystem for item in items}
    built = any(item.image is not None and item.image.role != "image" for item in items)
    if built or Ecosystem.AZUREML in ecosystems or result.subjects[0].format == "dockerfile":
        return None
    if Ecosystem.OCI in ecosystems:
        return None if ecosystems == {Ecosystem.OCI, Ecosystem.PYPI} else "azureml=build"
    return "conda-lock.yml" if Ecosystem.CONDA in ecosystems else "pylock.toml"


def _exceptions(result: CheckResult) -> Iterator[Step]:
    asked = [(judged, command) for judged in result.items if (command := exception_for(judged, result)) is not None]
    if len(asked) <= 1:
        yield from (
            Step(
                "or file an exception"
                if judged.verdict is Verdict.DENIED
                else "or file an exception, for a person to decide",
                escape(command),
            )
            for judged, command in asked
        )
        return
    verdicts = Counter(judged.verdict for judged, _ in asked)
    words = {Verdict.DENIED: "refused", Verdict.UNDECIDED: "undecided"}
    which = " and ".join(f"{verdicts[verdict]} {word}" for verdict, word in words.items() if verdicts[verdict])
    what = f"file an exception for its {which} packages"
    if result.kept is not None:
        yield Step(f"or {what}", escape(_exception(f"--from {_quoted(result.kept)}", result)))
        return
    files = tuple(dict.fromkeys(_path(subject.file) for subject in result.subjects))
    if len(files) > _MOST_FILES:
        yield Step("or keep the verdict: check the same again with --report json=verdict.json")
    else:
        command = f"quarantine{result.before} check {' '.join(files)}{result.after}{_stage(result)} --report json=verdict.json"
        yield Step("or keep the verdict", escape(command))
    yield Step(f"and {what}", escape(_exception("--from verdict.json", result)))


def _path(file: str) -> str:
    return escape(_quoted(file))


def _quoted(file: str) -> str:
    return shlex.quote(f"./{file}" if file.startswith("-") else file)
