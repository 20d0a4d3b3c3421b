"""`quarantine exception request` and `import`: asking."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quarantine.cli.exception import new_ids, parse_expires
from quarantine.cli.session import Session
from quarantine.errors import Problem, SpecError, UpstreamError, UsageError
from quarantine.report.escape import escape

if TYPE_CHECKING:
    from collections.abc import Collection

    from quarantine.exceptions import ExceptionFile
    from quarantine.model import Purl
    from quarantine.pipeline.central import InForce
    from quarantine.pipeline.evidence import Judge
    from quarantine.pipeline.request import Filing, Wish
    from quarantine.policy.load import Policy
    from quarantine.spec.verdict_file import VerdictFile

__all__ = ["import_", "request"]


@click.command("request", short_help="Ask for packages that a check refuses.")
@click.argument("packages", metavar="[PACKAGE]...", nargs=-1)
@click.option("--reason", required=True, metavar="TEXT", help="Why the project needs it: for those who decide.")
@click.option(
    "--from",
    "verdict",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Ask for every package that a verdict refuses, or leaves undecided (check --report json=FILE).",
)
@click.option("--project", metavar="NAME", help="Who it is for [default: the project of quarantine.yaml].")
@click.option("--stage", metavar="NAME", help="The stage it is for [default: the verdict's, else that of check].")
@click.option("--expires", metavar="DATE|90d", help="Until when it is needed [default: as long as the policy lets it].")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the request to a file, for exception import."
)
@click.option("--offline", is_flag=True, help="Ask no upstream: take what is cached, or the verdict's word.")
@click.pass_obj
def request(
    session: Session,
    packages: tuple[str, ...],
    reason: str,
    verdict: Path | None,
    project: str | None,
    stage: str | None,
    expires: str | None,
    out: Path | None,
    offline: bool,
) -> int:
    """Ask for an exception: one request for all of the packages that are named, or that a verdict doesn't allow.

    PACKAGE is NAME==VERSION of a Python distribution, or a package URL (pkg:pypi/NAME@VERSION, or the pkg:conda/... that
    a verdict has). The request is for files by their digests: all wheels that may be installed on the targets of
    quarantine.yaml, or, where there is none, the source distribution, of which a curator then attaches a wheel.

    Whoever asks for what is asked for already joins that request. Nothing is asked at the terminal.

    \b
    Examples:
      quarantine exception request numpy==1.26.4 --reason "the model was trained with it"
      quarantine exception request --from verdict.json --reason "the closure of torch 2.3" --expires 90d
      quarantine exception request numpy==1.26.4 --reason "no access from here" --out request.json

    Exit status: 0 asked for, 2 bad input, 3 the upstream or the log can't be reached; nothing was written.
    """
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it
    from quarantine.pipeline.central import InForce  # noqa: PLC0415
    from quarantine.pipeline.request import draft_request, encode_request, file_request  # noqa: PLC0415

    if bool(packages) == (verdict is not None):
        raise UsageError("name packages, or a verdict that doesn't allow some (--from FILE): one of both")
    settings, environment = session.settings, session.environment
    # where the store can't be reached, the local folder is the only policy there is; whoever imports judges by theirs
    in_force = (
        InForce(policy=wiring.policy(settings, session.now))
        if out is not None
        else wiring.policies(settings, environment, session.now)
    )
    policy = in_force.policy
    if out is not None:
        _check_out(out)
    read = None if verdict is None else _read_verdict(verdict)
    chosen = stage or (policy.default_stage("check") if read is None else read.stage)
    whose = wiring.proven(settings, environment, policy, session.now, session.tell).project
    wish = _wish(session, policy, project or whose, chosen, reason, expires)
    files = (
        _named(session, in_force, chosen, packages, offline=offline)
        if read is None
        else _judged(session, policy, read, offline)
    )
    if out is not None:
        drafted = draft_request(
            files, wish, wiring.identities(settings, session.environment, session.now).who(session.tell)
        )
        _write_new(out, encode_request(drafted))
        session.write(
            f"{escape(str(out))}: written, and asked for once somebody imports it, who then is who asks: {_what(files)}"
        )
        session.say(f"next: quarantine exception import {escape(str(out))}, where the store can be reached")
        return 0
    filing = file_request(files, wish, wiring.request_ports(settings, session.environment, session.now), session.tell)
    _tell(session, filing)
    return 0


@click.command("import", short_help="Ask for what a request file asks for.")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--offline", is_flag=True, help="Ask no upstream: take the file's word for what is listed.")
@click.pass_obj
def import_(session: Session, file: Path, offline: bool) -> int:
    """Ask for what a request file asks for, as `exception request --out` wrote it somewhere without access to the store.

    Nobody has verified whom the file names, so that you are who asks, and can't approve it. Whom it names is recorded as
    asking for the same.

    \b
    Examples:
      quarantine exception import request.json

    Exit status: 0 asked for, 2 bad input, 3 the upstream or the log can't be reached; nothing was written.
    """
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it
    from quarantine.model import Ecosystem, parse_version  # noqa: PLC0415
    from quarantine.pipeline.request import MAX_DOCUMENT_BYTES, Wish, import_request, parse_request  # noqa: PLC0415
    from quarantine.pipeline.request_files import held_to_owners  # noqa: PLC0415
    from quarantine.policy.case import instant  # noqa: PLC0415
    from quarantine.spec.asked import CondaAsked, PythonAsked  # noqa: PLC0415

    settings = session.settings
    policy = wiring.policies(settings, session.environment, session.now).policy
    document = parse_request(str(file), _read(file, MAX_DOCUMENT_BYTES))
    if document.stage not in policy.stages:
        message = f"no stage {document.stage!a} in the policy: expected {' or '.join(policy.stages)}"
        raise SpecError([Problem(file=str(file), message=message)])
    if document.until is not None and document.until <= session.now:
        message = f"it is asked for until {instant(document.until)}, which has passed: ask anew"
        raise SpecError([Problem(file=str(file), message=message)])
    if not offline:
        groups = [
            (
                [one],
                PythonAsked(name=one.name, version=parse_version(one.version))
                if one.ecosystem is Ecosystem.PYPI
                else CondaAsked(name=one.name, version=one.version, build=one.build, subdir=one.subdir),
            )
            for one in document.files
        ]
        _, problems = held_to_owners(
            groups, wiring.owners(settings, policy, session.environment, session.now, session.tell)
        )
        if problems:
            raise SpecError([Problem(file=str(file), message=text) for text in dict.fromkeys(t for _, t in problems)])
    wish = Wish(
        project=document.project,
        stage=document.stage,
        reason=document.reason,
        until=document.until,
        now=session.now,
        policy=policy,
        local=wiring.local_users_decide(settings),
        new_id=new_ids(session),
        nonce=os.urandom(16).hex(),
    )
    ports = wiring.request_ports(settings, session.environment, session.now)
    _tell(session, import_request(document, wish, ports, session.tell))
    session.say(
        f"{escape(str(file))} names {escape(str(document.requester))}, which nobody has verified: you are who asks"
    )
    return 0


# --- what is asked for ------------------------------------------------------------------------------------------------


def _wish(session: Session, policy: "Policy", project: str, stage: str, reason: str, expires: str | None) -> "Wish":
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it
    from quarantine.pipeline.request import Wish  # noqa: PLC0415

    until = parse_expires(expires, session.now)
    days = policy.stage(stage).rules.exceptions.max_days
    if until is not None and (until - session.now).days > days:
        session.say(f"note: an approval holds for {days} days at most; it can be renewed")
    return Wish(
        project=project,
        stage=stage,
        reason=reason,
        until=until,
        now=session.now,
        policy=policy,
        local=wiring.local_users_decide(session.settings),
        new_id=new_ids(session),
        nonce=os.urandom(16).hex(),
    )


def _named(
    session: Session, in_force: "InForce", stage: str, packages: tuple[str, ...], *, offline: bool
) -> "tuple[ExceptionFile, ...]":
    """The files of packages that are named; that nothing refuses one of them is told."""
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it
    from quarantine.pipeline.request_files import files_of, passing_alone  # noqa: PLC0415
    from quarantine.spec.asked import parse_asked  # noqa: PLC0415

    asked, problems = [], []
    for text in packages:
        try:
            asked.append(parse_asked(text))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise UsageError("\n".join(problems))
    owners = wiring.owners(
        session.settings, in_force.policy, session.environment, session.now, session.tell, offline=offline
    )
    files = files_of(asked, owners)
    passing = passing_alone(files, owners, lambda: _judge(session, in_force, stage))
    if passing:
        without = "a check lets it in" if len(passing) == 1 else "a check lets them in"
        session.say(
            f"warning: nothing in {escape(stage)} refuses {escape(', '.join(passing))}: {without} without an exception"
        )
    return files


def _judge(session: Session, in_force: "InForce", stage: str) -> "Judge":
    """What judges by the stage, without exceptions. UpstreamError where the advisories can't be read."""
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it
    from quarantine.pipeline.evidence import Judge  # noqa: PLC0415
    from quarantine.policy.rules import preconditions  # noqa: PLC0415

    settings, now = session.settings, session.now
    advisories = wiring.advisory_service(settings, session.environment, now)
    snapshot = advisories.snapshot()
    return Judge(
        stage=in_force.policy.stage(stage),
        preconditions=preconditions(snapshot, None, settings.advisory_max_age, now),
        snapshot=snapshot,
        advisories=advisories,
        now=now,
        tell=session.tell,
        local=None if in_force.local is None or stage not in in_force.local.stages else in_force.local.stage(stage),
    )


def _read_verdict(verdict: Path) -> "VerdictFile":
    from quarantine.spec.verdict_file import MAX_BYTES, parse_verdict  # noqa: PLC0415  # --help needs none of it

    return parse_verdict(str(verdict), _read(verdict, MAX_BYTES))


def _judged(session: Session, policy: "Policy", verdict: "VerdictFile", offline: bool) -> "tuple[ExceptionFile, ...]":
    """The files of every package that the verdict doesn't allow, and that an exception can be for; what is left out is told."""
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it
    from quarantine.pipeline.request_files import can_be_asked, held_to_owners  # noqa: PLC0415

    kept, others = can_be_asked(verdict.refused)
    for one in (*verdict.left_out, *others):
        session.say(f"left out: {escape(one.label)}: {escape(one.why)}")
    if not kept:
        message = "holds nothing that an exception can be for"
        raise SpecError([Problem(file=verdict.file, message=message)])
    if offline and all(one.files for one in kept):
        session.say("note: what the verdict says of files was not held to their upstreams; vetting does that")
        return tuple(sorted({file for one in kept for file in one.files}))
    owners = wiring.owners(session.settings, policy, session.environment, session.now, session.tell, offline=offline)
    files, problems = held_to_owners([(one.files, one.asked) for one in kept], owners)
    if problems:
        raise SpecError([Problem(file=verdict.file, line=kept[place].line, message=text) for place, text in problems])
    return files


# --- files and words --------------------------------------------------------------------------------------------------


def _read(file: Path, limit: int) -> bytes:
    """The file's bytes, one more than may be in it at most. SpecError for what is no file that can be read."""
    try:
        if file.exists() and not file.is_file():
            raise SpecError([Problem(file=str(file), message="is not a regular file: expected a JSON document")])
        with file.open("rb") as stream:
            return stream.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise SpecError([Problem(file=str(file), message=f"can't be read: {reason}")]) from error


def _check_out(out: Path) -> None:
    if os.path.lexists(out):
        raise UsageError(f"--out {str(out)!a} is there already, and is not overwritten: name another file")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"--out {str(out)!a}: there is no folder {str(out.parent)!a}")


def _write_new(out: Path, data: bytes) -> None:
    """Makes the file, for its owner alone; nothing is left where that fails."""
    try:
        handle = os.open(out, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        _check_out(out)
        raise
    except OSError as error:
        raise UsageError(f"--out {str(out)!a} can't be written: {(error.strerror or str(error)).lower()}") from error
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        out.unlink(missing_ok=True)
        raise UpstreamError(f"{out} can't be written: {(error.strerror or str(error)).lower()}") from error


def _tell(session: Session, filing: "Filing") -> None:
    from quarantine.pipeline.request import Already, Filed, JoinedTo  # noqa: PLC0415  # --help needs none of it

    asked = filing.request
    where = f"{_what(asked.files)}, project {escape(asked.project)}, stage {escape(asked.stage)}"
    match filing:
        case Filed():
            session.write(f"exception {asked.id[:12]} requested: {where}")
        case JoinedTo():
            session.write(f"exception {asked.id[:12]} joined: {where}")
            session.say(f"{escape(str(asked.requester))} asked for the same files before: you are with them now")
        case Already():
            session.write(f"exception {asked.id[:12]} is there already: {where}")
            session.say("you asked for the same files before: nothing was written")
    if any(file.is_source for file in asked.files):
        session.say("it has no wheel for your targets: a curator has to attach one that they built from its source")
    session.say(f"see where it stands: quarantine exception show {asked.id[:12]}")


def _what(files: "Collection[ExceptionFile]") -> str:
    labels: dict[str, Purl] = {file.label: file.purl for file in files}
    names = list(labels)
    more = "" if len(names) <= 3 else f" and {len(names) - 3} more"
    count = "1 file" if len(files) == 1 else f"{len(files)} files"
    return escape(f"{', '.join(names[:3])}{more} ({count})")
