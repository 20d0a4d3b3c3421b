"""What to do after a verdict: versions to ask for, a lock to build from, an exception to file."""

import shlex
from collections.abc import Iterator

import msgspec

from quarantine.model import CheckResult, Item, JudgedItem, OutcomeKind, Verdict
from quarantine.report.escape import escape
from quarantine.report.view import Requirers, by_verdict, troubles

__all__ = ["Step", "exception_command", "exception_for", "next_steps"]

REASON = "why the project needs it"
_MOST_SINGLE_EXCEPTIONS = 5
_LOCKED_RULE = "locked"


class Step(msgspec.Struct, frozen=True):
    """One thing to do next: in words, and as a command for a shell where there is one ("" else). Both are escaped."""

    what: str
    command: str = ""


def exception_command(item: Item, project: str) -> str | None:
    """The command line that files an exception for the item, quoted for a POSIX shell; `project` may be "".

    None where there is no version: an exception is granted to digests, and nothing names them.
    """
    if item.version is None:
        return None
    return _exception(shlex.quote(f"{item.name}=={item.version}"), project)


def exception_for(judged: JudgedItem, project: str) -> str | None:
    """The same for what was judged: None unless it is denied, and for malware, which nobody is invited to excuse."""
    malware = any(finding.malware for finding in judged.findings or ())
    return None if malware or judged.verdict is not Verdict.DENIED else exception_command(judged.item, project)


def _exception(which: str, project: str) -> str:
    command = f"quarantine exception request {which} --reason {shlex.quote(REASON)}"
    return command + (f" --project {shlex.quote(project)}" if project else "")


def next_steps(result: CheckResult) -> tuple[Step, ...]:
    """What to do next, in the order in which to try it; each step once."""
    return tuple(dict.fromkeys((*_mend(result), *_versions(result), *_exceptions(result), *_lock(result))))


def _mend(result: CheckResult) -> Iterator[Step]:
    if troubles(result.preconditions):
        yield Step("see what the evidence lacks, and how to mend it", "quarantine doctor")


def _versions(result: CheckResult) -> Iterator[Step]:
    requirers = Requirers(result)
    for judged in (*by_verdict(result, Verdict.DENIED), *by_verdict(result, Verdict.UNDECIDED)):
        if judged.nearest is None:
            continue
        pin = escape(f"{judged.item.name}=={judged.nearest}")
        place = requirers.place(judged.item)
        if judged.item.locked:
            yield _lock_again(judged, pin)
        elif judged.item.location is not None:
            yield Step(f"edit {escape(str(place))}: {pin}")
        elif place is not None:
            yield Step(f"constrain to {pin} (pulled in by {escape(str(place))})")
        else:
            yield Step(f"constrain to {pin}")


def _lock_again(judged: JudgedItem, pin: str) -> Step:
    """Locks aren't edited by hand."""
    location = judged.item.location
    if location is not None and location.file.rpartition("/")[2] == "uv.lock":
        return Step(f"lock again with {pin}", f"uv lock --upgrade-package {pin}")
    return Step(f"lock again with {pin}")


def _lock(result: CheckResult) -> Iterator[Step]:
    files = {subject.file for subject in result.subjects}
    if result.lock is not None or len(files) != 1:
        return
    refused = any(o.rule == _LOCKED_RULE and o.kind is OutcomeKind.FAIL for s in result.subjects for o in s.outcomes)
    if not result.subjects[0].locked and (refused or result.verdict is Verdict.ALLOWED):
        command = f"quarantine{result.before} check {_path(*files)}{result.after} --lock pylock.toml"
        what = "write the lock to build from: an unlocked file proves nothing about a later build"
        yield Step(what, escape(command))


def _exceptions(result: CheckResult) -> Iterator[Step]:
    commands = [command for judged in result.items if (command := exception_for(judged, result.project)) is not None]
    if len(commands) <= _MOST_SINGLE_EXCEPTIONS:
        yield from (Step("or file an exception", escape(command)) for command in commands)
        return
    files = " ".join(dict.fromkeys(_path(subject.file) for subject in result.subjects))
    yield Step("or keep the verdict", f"quarantine check {files} --report json=verdict.json")
    what = f"and file an exception for its {len(commands)} refused packages"
    yield Step(what, escape(_exception("--from verdict.json", result.project)))


def _path(file: str) -> str:
    return escape(shlex.quote(f"./{file}" if file.startswith("-") else file))
