"""`quarantine exception approve`, `reject`, `renew`, `revoke` and `attach-wheel`: what curators do."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quarantine.cli.exception import new_ids, on_terminal, parse_expires
from quarantine.cli.session import Session
from quarantine.errors import UsageError
from quarantine.report.escape import escape

if TYPE_CHECKING:
    from quarantine.exceptions import RulingKind
    from quarantine.pipeline.ruling import Refused, Ruled, Unwaived

__all__ = ["approve", "attach_wheel", "reject", "renew", "revoke"]

_ALL = "all"


def _ids(function: click.decorators.FC) -> click.decorators.FC:
    return click.argument("ids", metavar="ID...", nargs=-1, required=True)(function)


def _reason(function: click.decorators.FC) -> click.decorators.FC:
    return click.option("--reason", required=True, metavar="TEXT", help="Why: it stands in the log.")(function)


def _approving(function: click.decorators.FC) -> click.decorators.FC:
    waive = click.option(
        "--waive",
        "waives",
        multiple=True,
        metavar="KEY|all",
        help="Answer for this failure, by its key in exception show; repeatable.",
    )
    expires = click.option(
        "--expires",
        metavar="DATE|90d",
        help="Until when it holds [default: as asked for, else as long as the policy lets it].",
    )
    dossier = click.option(
        "--dossier",
        "dossiers",
        multiple=True,
        metavar="SHA256",
        help="What you looked at, as exception show names it: nothing is approved if vetting found something else since.",
    )
    not_mine = click.option(
        "--not-mine", is_flag=True, help="You never asked, though the log says that you joined: it stands in the log."
    )
    return _ids(_reason(expires(waive(dossier(not_mine(function))))))


@click.command("approve", short_help="Let exceptions in, until a day.")
@_approving
@click.pass_obj
def approve(
    session: Session,
    *,
    ids: tuple[str, ...],
    reason: str,
    expires: str | None,
    waives: tuple[str, ...],
    dossiers: tuple[str, ...],
    not_mine: bool,
) -> int:
    """Approve exceptions: their files, as they were vetted, until a day, with the failures that you answer for.

    Nobody approves what they asked for; who only joined, as the log has it, says so if that isn't true (--not-mine).
    How many must approve is the policy's to say. What vetting has against the files must be named, each by its key
    (--waive KEY), or altogether (--waive all); what is found later is not among it, and suspends the exception. Of
    several IDs all are looked at before anything is written.

    \b
    Examples:
      quarantine exception approve 3f2a1b4c5d6e --reason "read its source" --dossier 5b1c90ae77d2
      quarantine exception approve 3f2a1b --reason "not reachable" --waive 'numpy 1.26.4 vulnerability:CVE-2024-1'
      quarantine exception approve 3f2a1b 77aa01 --reason "for the pilot" --waive all --expires 30d

    Exit status: 0 approved, 1 refused (you asked for it, no approval can waive what was found, ...), 2 usage, or a
    failure that wasn't named, 3 not vetted, or the log can't be reached. Unless it is 0, nothing was written.
    """
    from quarantine.exceptions import RulingKind  # noqa: PLC0415  # --help needs none of it

    return _rule(session, RulingKind.APPROVE, ids, reason, expires, waives, dossiers, not_mine=not_mine)


@click.command("renew", short_help="Let exceptions hold longer.")
@_approving
@click.pass_obj
def renew(
    session: Session,
    *,
    ids: tuple[str, ...],
    reason: str,
    expires: str | None,
    waives: tuple[str, ...],
    dossiers: tuple[str, ...],
    not_mine: bool,
) -> int:
    """Approve exceptions again, on the evidence that there is now: before they expire, after that, or when suspended.

    Everything is as with approve. A renewal takes the place of what you said before; where several people must approve,
    as many must renew.

    \b
    Examples:
      quarantine exception renew 3f2a1b4c5d6e --reason "still needed" --expires 90d

    Exit status: as of approve.
    """
    from quarantine.exceptions import RulingKind  # noqa: PLC0415  # --help needs none of it

    return _rule(session, RulingKind.RENEW, ids, reason, expires, waives, dossiers, not_mine=not_mine)


@click.command("reject", short_help="Turn exceptions down, for good.")
@_ids
@_reason
@click.pass_obj
def reject(session: Session, ids: tuple[str, ...], reason: str) -> int:
    """Turn exceptions down: they never hold. One that holds is revoked instead.

    A rejection takes away nothing but the request: what the policy lets in by itself still passes. Whoever asked may turn
    their own request down, where they may write decisions, so that it is withdrawn.

    \b
    Examples:
      quarantine exception reject 3f2a1b4c5d6e --reason "2.1.0 has all that you need"

    Exit status: 0 rejected, 1 refused (it holds), 2 usage, 3 the log can't be reached.
    """
    from quarantine.exceptions import RulingKind  # noqa: PLC0415  # --help needs none of it

    return _rule(session, RulingKind.REJECT, ids, reason)


@click.command("revoke", short_help="End exceptions, for good.")
@_ids
@_reason
@click.pass_obj
def revoke(session: Session, ids: tuple[str, ...], reason: str) -> int:
    """End exceptions for good: from now on no check lets their files pass. The next run of `process` unlists them.

    Their files are denied in that project and stage from then on, also where the policy would let them in by itself; a new
    exception for them is what ends that. One that never held is rejected instead.

    \b
    Examples:
      quarantine exception revoke 3f2a1b4c5d6e --reason "its maintainer's account was taken over"

    Exit status: 0 revoked, 1 refused (it never held), 2 usage, 3 the log can't be reached.
    """
    from quarantine.exceptions import RulingKind  # noqa: PLC0415  # --help needs none of it

    return _rule(session, RulingKind.REVOKE, ids, reason)


@click.command("attach-wheel", short_help="Give a source-only request its wheel.")
@click.argument("id_", metavar="ID")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.pass_obj
def attach_wheel(session: Session, id_: str, file: Path) -> int:
    """Attach the wheel that you built of a requested source distribution: it is vetted and approved in its place.

    Its file name must say the name and version that were asked for. Build it where nothing else is reachable.

    \b
    Examples:
      quarantine exception attach-wheel 3f2a1b4c5d6e dist/oldlib-1.0-py3-none-any.whl

    Exit status: 0 attached, 1 refused (it ended), 2 not a wheel of what was asked for, 3 the store can't be reached.
    """
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it
    from quarantine.pipeline.ruling import AttachRequest, Refused  # noqa: PLC0415
    from quarantine.pipeline.ruling import attach_wheel as attach  # noqa: PLC0415

    settings = session.settings
    if not file.is_file():
        raise UsageError(f"{str(file)!a} is no file: expected the wheel that was built of the source")
    try:
        stream = file.open("rb")
    except OSError as error:
        raise UsageError(f"{str(file)!a} can't be read: {(error.strerror or str(error)).lower()}") from error
    with stream:
        request = AttachRequest(
            id=id_,
            filename=file.name,
            file=stream,
            policy=wiring.policies(settings, session.environment, session.now).policy,
            now=session.now,
            local=wiring.local_users_decide(settings),
            new_id=new_ids(session),
        )
        done = attach(request, wiring.ruling_ports(settings, session.environment, session.now), session.tell)
    if isinstance(done, Refused):
        return _refused(session, done)
    me = done.case.id[:12]
    word = "is attached already" if done.already else "attached"
    session.write(
        f"exception {me}: {escape(done.file.filename)} {word} for {escape(done.source.filename)}, {done.file.digest}"
    )
    session.say(f"next: quarantine exception vet {me}")
    return 0


# --- rulings ----------------------------------------------------------------------------------------------------------


def _rule(
    session: Session,
    kind: "RulingKind",
    ids: tuple[str, ...],
    reason: str,
    expires: str | None = None,
    waives: tuple[str, ...] = (),
    dossiers: tuple[str, ...] = (),
    *,
    not_mine: bool = False,
) -> int:
    from msgspec.structs import replace  # noqa: PLC0415  # --help needs none of it

    from quarantine import wiring  # noqa: PLC0415
    from quarantine.pipeline.ruling import Refused, RulingRequest, Unwaived, rule  # noqa: PLC0415

    settings = session.settings
    policy = wiring.policies(settings, session.environment, session.now).policy
    request = RulingRequest(
        kind=kind,
        ids=ids,
        reason=reason,
        expires_at=parse_expires(expires, session.now),
        waive=frozenset(waives) - {_ALL},
        waive_all=_ALL in waives,
        not_mine=not_mine,
        dossiers=frozenset(text.lower().removeprefix("sha256:") for text in dossiers),
        policy=policy,
        policy_sha256=wiring.policy_sha256(settings, policy),
        now=session.now,
        local=wiring.local_users_decide(settings),
        new_id=new_ids(session),
    )
    ports = wiring.ruling_ports(settings, session.environment, session.now)
    done = rule(request, ports, session.tell)
    if isinstance(done, Unwaived) and on_terminal():
        for line in _unwaived(done):
            session.say(line)
        if not click.confirm("do you answer for all of these?", err=True):
            session.say("nothing was written")
            return 2
        keys = request.waive | {key for _, some in done.cases for key in some}
        # by their names, so that what is found meanwhile is not among them
        done = rule(replace(request, waive=keys), ports, session.tell)
    if isinstance(done, Refused):
        return _refused(session, done)
    if isinstance(done, Unwaived):
        left = dict.fromkeys(key for _, some in done.cases for key in some)
        options = " ".join(f"--waive {shlex.quote(key)}" for key in left)
        advice = f"name what you answer for ({options}), or all of it (--waive all); nothing was written"
        raise UsageError("\n".join([*_unwaived(done), advice]))
    for ruled in done:
        _tell(session, ruled)
    return 0


def _unwaived(unwaived: "Unwaived") -> list[str]:
    return [f"{case.id[:12]}: an approval would waive {escape(key)}" for case, keys in unwaived.cases for key in keys]


def _refused(session: Session, refused: "Refused") -> int:
    session.say(f"refused: {refused.case.id[:12]}: {escape(refused.why)}")
    session.say("nothing was written")
    return refused.verdict.exit_status


def _tell(session: Session, ruled: "Ruled") -> None:
    from quarantine.report.exception_page import standing, what  # noqa: PLC0415  # --help needs none of it

    session.write(f"exception {ruled.case.id[:12]} ({what(ruled.case)}): {standing(ruled.case, ruled.decision)}")
    for note in ruled.notes:
        session.say(f"note: {escape(note)}")
