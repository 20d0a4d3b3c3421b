"""`quarantine mirror`: the private mirror, as those use it who install from it, and as those who keep it."""

import shlex
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quarantine import __version__
from quarantine.cli.check import expect_policy_option, expected_policy
from quarantine.cli.session import Session
from quarantine.errors import IntegrityError, Problem, SpecError, UsageError
from quarantine.report.escape import escape

if TYPE_CHECKING:
    from quarantine.exceptions import Grants
    from quarantine.model import CheckResult, Target
    from quarantine.pipeline.central import InForce
    from quarantine.pipeline.fetch import Fetched, FetchPorts

__all__ = ["command", "serve_clock"]


@click.group("mirror", short_help="The private mirror: serve it here, fetch from it, rebuild and verify it.")
def command() -> None:
    """What was approved, for who installs it: on this machine for pip, uv and conda, or as files beside a lock.

    \b
    Examples:
      quarantine mirror serve
      quarantine mirror fetch --lock pylock.toml --to wheels
      quarantine mirror fetch --azureml build
      quarantine mirror verify
    """


# --- serve ------------------------------------------------------------------------------------------------------------


@command.command("serve")
@click.option("--port", type=click.IntRange(0, 65535), default=0, metavar="PORT", help="[default: any free port]")
@click.option(
    "--project", metavar="NAME", help="Serve what is approved for this project [default: the configured one]."
)
@click.option(
    "--stage", metavar="NAME", help="Serve what is approved for this stage [default: the policy's for check]."
)
@click.pass_obj
def _serve(session: Session, port: int, project: str | None, stage: str | None) -> int:
    """Serve the mirror on this machine, 127.0.0.1 alone, until Ctrl-C: for pip, uv and conda, which need no credential.

    Only what an exception lets in now, for the project and the stage, is there; a revocation counts within seconds, and so
    does a central policy that is published. The store is read as whoever runs this. Every file is hashed on its way: a wrong one breaks off before its end.

    Exit status: 0 ended by Ctrl-C, 2 no such stage, 3 the log or the store can't be read, or the port is taken.

    \b
    Examples:
      quarantine mirror serve
      quarantine mirror serve --port 8080 --stage production
    """
    from threading import Event  # noqa: PLC0415  # --help needs none of it

    from quarantine import wiring  # noqa: PLC0415
    from quarantine.adapters.mirror_server import MirrorServer  # noqa: PLC0415
    from quarantine.report.view import counted  # noqa: PLC0415

    settings = session.settings
    in_force = wiring.policies(settings, session.environment, session.now)
    chosen = stage or in_force.policy.default_stage("check")
    in_force.policy.stage(chosen)
    name = project or settings.project
    shelves = wiring.mirror_shelves(settings, session.environment, in_force.policy, name, chosen, serve_clock(session))
    count = shelves.count
    with MirrorServer(shelves, port, lambda text: session.say(escape(text))) as server:
        try:
            files = counted(count, "file")
            session.say(f"serving {files} of project {escape(name)} in stage {escape(chosen)}: Ctrl-C ends it")
            session.write(_configuration(server.origin))
            Event().wait()
        except KeyboardInterrupt:
            session.say("ended")
    return 0


def serve_clock(session: Session) -> Callable[[], datetime]:
    """The time while the command runs: the instant that it began, and what went by since.

    Also while the machine was asleep, during which Linux's monotonic clock stands still: an exception may have ended then.
    """
    import time  # noqa: PLC0415  # --help needs none of it

    kind = getattr(time, "CLOCK_BOOTTIME", None)

    def elapsed() -> float:
        return time.monotonic() if kind is None else time.clock_gettime(kind)

    began = elapsed()
    return lambda: session.now + timedelta(seconds=elapsed() - began)


def _configuration(origin: str) -> str:
    """What pip, uv and conda are told so that they install from here."""
    return "\n".join(
        [
            "beside the index that is configured:",
            f"  pip    PIP_FIND_LINKS={origin}/links/",
            f"  uv     UV_FIND_LINKS={origin}/links/",
            f"  conda  conda install -c {origin}/conda NAME",
            "the mirror alone:",
            f"  pip    PIP_INDEX_URL={origin}/simple/",
            f"  uv     UV_DEFAULT_INDEX={origin}/simple/",
            f"  conda  conda install --override-channels -c {origin}/conda NAME",
        ]
    )


# --- fetch ------------------------------------------------------------------------------------------------------------


@command.command("fetch")
@click.option("--lock", type=click.Path(path_type=Path), metavar="LOCK", help="The lock whose files to fetch.")
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where they go: a new folder, or an earlier one.",
)
@click.option(
    "--azureml", type=click.Path(path_type=Path), metavar="DIR", help="Complete what `check --lock azureml=DIR` wrote."
)
@click.option("--stage", metavar="NAME", help="The stage to judge for [default: the policy's for locks].")
@click.option(
    "--target", "target_option", metavar="TARGET", help="The target to fetch for [default: the configured one]."
)
@expect_policy_option
@click.pass_obj
def _fetch(
    session: Session,
    lock: Path | None,
    folder: Path | None,
    azureml: Path | None,
    stage: str | None,
    target_option: str | None,
    expect_policy: str | None,
) -> int:
    """Download the files of a lock, if it is allowed now, for an installation without any network.

    The lock is checked as `quarantine check` does, and the verdict recorded; nothing is fetched of one that isn't allowed.
    What an exception lets in comes from the mirror, the rest from the owners of the names, and every file is held to its
    sha256. Beside the files stands a requirements.txt for pip, and for conda packages a channel with its index.

    With --azureml the folder becomes a whole build context: `az ml environment create -f DIR/environment.yaml`.

    Exit status: 0 done, 1 the lock is denied, 2 bad input or a folder with other files, 3 undecided, or a file is missing or
    wrong.

    \b
    Examples:
      quarantine mirror fetch --lock pylock.toml --to wheels
      pip install --no-index --find-links wheels --require-hashes -r wheels/requirements.txt
      quarantine mirror fetch --lock conda-lock.yml --to files --target cp311-linux-x86_64
      quarantine check environment.yaml --lock azureml=build
      quarantine mirror fetch --azureml build
    """
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it
    from quarantine.pipeline.fetch import FetchPorts, fetch, fetched_files, requirements  # noqa: PLC0415

    if azureml is not None:
        if lock is not None or folder is not None:
            raise UsageError("--azureml names both the lock and the folder: leave out --lock and --to")
    elif lock is None or folder is None:
        raise UsageError("expected --lock LOCK and --to DIR, or --azureml DIR")
    expected = expected_policy(expect_policy)
    settings, environment = session.settings, session.environment
    in_force = wiring.policies(settings, environment, session.now)
    chosen = stage or in_force.policy.default_stage("lock")
    ports = FetchPorts(
        store=wiring.artifact_store(settings, environment),
        source=lambda: wiring.downloads(settings, in_force.policy, environment),
        write=wiring.write_file,
    )
    if azureml is not None:
        return _fetch_context(session, in_force, azureml, chosen, target_option, expected, ports)
    assert lock is not None  # noqa: S101  # looked at above
    assert folder is not None  # noqa: S101
    result = _judged(session, in_force, lock, chosen, target_option, expected)
    if result.verdict.exit_status:
        return _refused(session, result)
    listing = requirements(result, f"quarantine {__version__}")
    fetched = fetch(
        fetched_files(result, _grants(session, in_force, result)),
        folder,
        listing,
        ports,
        session.tell,
    )
    session.write(f"{_counted(fetched)} in {escape(str(folder))}")
    if listing is not None:
        shown = escape(shlex.quote(str(folder)))
        session.say(
            f"install: pip install --no-index --find-links {shown} --require-hashes -r {shown}/requirements.txt"
        )
    return 0


def _fetch_context(
    session: Session,
    in_force: "InForce",
    folder: Path,
    stage: str,
    target_option: str | None,
    expected: str | None,
    ports: "FetchPorts",
) -> int:
    """The folder that a lock for Azure ML was written to, made a whole build context. `environment.yaml` is written last.

    The context is made of the bytes that were read before they were judged. IntegrityError where others are there later.
    """
    from quarantine.pipeline.fetch import fetch, fetched_files, requirements  # noqa: PLC0415  # --help needs none of it
    from quarantine.spec.write_context import (  # noqa: PLC0415
        CONDA_FILE,
        FOLDER,
        LOCKED,
        LOCKED_CONDA,
        check_context,
        write_context,
    )

    lock = _context_lock(folder)
    read = {path: _bytes(path) for path in (lock, folder / LOCKED_CONDA)}
    environment, conda = read.values()
    if environment is None:
        raise _changed(lock)
    check_context(environment, conda, str(lock))
    result = _judged(session, in_force, lock, stage, target_option, expected)
    if result.verdict.exit_status:
        return _refused(session, result)
    _must_be_judged(result, lock, environment)
    _must_be_as_read(read)
    created_by = f"quarantine {__version__}"
    listing = requirements(result, created_by)
    files = write_context(environment, conda, created_by, has_python=listing is not None)
    fetched = fetch(
        fetched_files(result, _grants(session, in_force, result)),
        folder / FOLDER,
        listing,
        ports,
        session.tell,
        beside=(CONDA_FILE,) if conda is not None else (),
    )
    _must_be_as_read(read)
    for name, data in files.items():
        ports.write(folder / name, data)
    session.write(f"{_counted(fetched)} in {escape(str(folder / FOLDER))}, judged by {LOCKED}")
    session.say(f"build: az ml environment create -f {escape(shlex.quote(str(folder / 'environment.yaml')))}")
    return 0


def _context_lock(folder: Path) -> Path:
    """The lock in a folder for Azure ML. UsageError where it holds anything else than such a lock and what was made of it."""
    from quarantine.spec.write_context import BUILT_FILES, CONTEXT_HEAD, FOLDER, LOCKED  # noqa: PLC0415

    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(
            f"--azureml {str(folder)!a}: {reason}: expected what `check --lock azureml=DIR` wrote"
        ) from error
    for entry in entries:
        if entry.name == FOLDER and entry.is_dir() and not entry.is_symlink():
            continue
        if entry.name not in BUILT_FILES or entry.is_symlink() or not entry.is_file():
            raise UsageError(f"--azureml {str(folder)!a}: the folder holds {entry.name!a}, which is nobody's of ours")
        with entry.open("rb") as stream:
            if stream.read(len(CONTEXT_HEAD)) != CONTEXT_HEAD.encode():
                raise UsageError(f"--azureml {str(folder)!a}: {entry.name} wasn't written by quarantine")
    lock = folder / LOCKED
    lock = lock if lock.is_file() else folder / "environment.yaml"
    if not lock.is_file():
        raise UsageError(
            f"--azureml {str(folder)!a}: there is no environment.yaml: run `check --lock azureml=DIR` first"
        )
    return lock


def _bytes(path: Path) -> bytes | None:
    """What a file of the lock holds, None where there is none; no more than what is refused as too large."""
    from quarantine.document import MAX_BYTES  # noqa: PLC0415  # --help needs none of it

    try:
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path} can't be read: {(error.strerror or str(error)).lower()}") from error


def _must_be_judged(result: "CheckResult", lock: Path, environment: bytes) -> None:
    """Nothing, raising an error where the verdict is over other bytes, or over something else in them than is built."""
    from hashlib import sha256  # noqa: PLC0415  # --help needs none of it

    for subject in result.subjects:
        if subject.format != "azureml-environment":
            # of a job's YAML nobody judges the `image`
            message = f"is no Azure ML environment ({subject.format}): lock it again (check --lock azureml=DIR)"
            raise SpecError([Problem(file=str(lock), line=1, message=message)])
        if subject.sha256 != sha256(environment).hexdigest():
            raise _changed(lock)


def _must_be_as_read(read: Mapping[Path, bytes | None]) -> None:
    """Nothing, raising IntegrityError where a file holds other bytes now."""
    for path, data in read.items():
        if _bytes(path) != data:
            raise _changed(path)


def _changed(path: Path) -> IntegrityError:
    return IntegrityError(f"{path} was changed while it was judged: see who changes it, and run this again")


def _judged(
    session: Session, in_force: "InForce", lock: Path, stage: str, target_option: str | None, expected: str | None
) -> "CheckResult":
    """The verdict on the lock, recorded like any other."""
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it
    from quarantine.cli.check import check_request  # noqa: PLC0415
    from quarantine.pipeline.check import check, refuse  # noqa: PLC0415
    from quarantine.report.json_verdict import encode  # noqa: PLC0415

    settings, policy = session.settings, in_force.policy
    request = check_request(
        session,
        in_force,
        paths=(lock,),
        targets=() if target_option is None else (_target(target_option),),
        stage=stage,
        expected_policy=expected,
        after="" if target_option is None else f" --target {shlex.quote(target_option)}",
    )
    if request.unexpected:
        # before a login is looked up: the policy that nobody expects says where logins go
        return refuse(request, wiring.records(settings, session.environment), encode, session.tell)
    ports = wiring.check_ports(settings, policy, session.environment, session.now, offline=False, state=in_force.state)
    return check(request, ports, encode, session.tell)


def _refused(session: Session, result: "CheckResult") -> int:
    from quarantine.report.render import render  # noqa: PLC0415  # --help needs none of it

    session.write(render("text", result, width=session.width, colour=session.colour))
    session.say("error: nothing was fetched: the lock is not allowed now")
    return result.verdict.exit_status


def _target(text: str) -> "Target":
    from quarantine.model import Target  # noqa: PLC0415  # --help needs none of it

    try:
        return Target.parse(text)
    except ValueError as error:
        raise UsageError(f"--target: {error}") from None


def _grants(session: Session, in_force: "InForce", result: "CheckResult") -> "Grants":
    """What exceptions let in for the project and the stage that were judged for."""
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it
    from quarantine.exceptions import Grants  # noqa: PLC0415
    from quarantine.policy.decide import grants  # noqa: PLC0415

    settings = session.settings
    state = in_force.state or wiring.exception_state(settings, session.environment)
    if state is None:
        return Grants()
    local = wiring.local_users_decide(settings)
    return grants(state, in_force.policy, result.project, result.stage, session.now, local=local)


def _counted(fetched: "Fetched") -> str:
    from quarantine.report.view import counted  # noqa: PLC0415  # --help needs none of it

    kept = f", {fetched.kept} of them there before" if fetched.kept else ""
    return f"{counted(fetched.files, 'file')}, {fetched.bytes / 2**20:.1f} MiB{kept}"


# --- care -------------------------------------------------------------------------------------------------------------


@command.command("index")
@click.pass_obj
def _index(session: Session) -> int:
    """Make all pages of the mirror anew from the log and the files, for who publishes; only what differs is written.

    What was published and holds now is listed, and nothing else. New approvals are published by `exception process`.

    Exit status: 0 done, 3 not all could be listed, or the log or the store can't be used.

    \b
    Examples:
      quarantine mirror index
    """
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it
    from quarantine.exceptions import State  # noqa: PLC0415
    from quarantine.pipeline.mirror_index import rebuild  # noqa: PLC0415
    from quarantine.pipeline.process import LEASE  # noqa: PLC0415
    from quarantine.report.view import counted  # noqa: PLC0415

    settings, environment = session.settings, session.environment
    in_force = wiring.policies(settings, environment, session.now)
    pages = wiring.page_store(settings, environment)
    with pages.lease(LEASE):
        done = rebuild(
            wiring.artifact_store(settings, environment),
            pages,
            wiring.exception_state(settings, environment) or State(),
            in_force.policy,
            session.now,
            session.tell,
            local=wiring.local_users_decide(settings),
        )
    session.write(
        f"{counted(done.files, 'file')} of {counted(done.projects, 'project')} and "
        f"{counted(done.platforms, 'platform')}; {counted(done.written, 'page')} written"
    )
    for problem in done.problems:
        session.say(f"error: {escape(problem)}")
    return 3 if done.problems else 0


@command.command("verify")
@click.pass_obj
def _verify(session: Session) -> int:
    """Hash every file of the mirror again, and hold every page to the files and to the log. Nothing is changed.

    Every link must lead to a file of its size, every published exception stand on its page, and nothing that no exception
    lets in. What is wrong is listed, a line each.

    Exit status: 0 all is as it must be, 3 it isn't, or the log or the store can't be read.

    \b
    Examples:
      quarantine mirror verify
    """
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it
    from quarantine.exceptions import State  # noqa: PLC0415
    from quarantine.pipeline.mirror_index import verify  # noqa: PLC0415
    from quarantine.report.view import counted  # noqa: PLC0415

    settings, environment = session.settings, session.environment
    in_force = wiring.policies(settings, environment, session.now)
    found = verify(
        wiring.artifact_store(settings, environment),
        wiring.page_store(settings, environment),
        in_force.state or wiring.exception_state(settings, environment) or State(),
        in_force.policy,
        session.now,
        session.tell,
        local=wiring.local_users_decide(settings),
    )
    session.write(
        f"{counted(found.files, 'file')} and {found.metadata} core metadata of them, {found.bytes / 2**20:.1f} MiB, hashed; "
        f"{found.unlinked} on no page; {counted(len(found.problems), 'problem')}"
    )
    for problem in found.problems:
        session.say(f"error: {escape(problem)}")
    return 3 if found.problems else 0
