"""`quarantine mirror`: the private mirror, as those use it who install from it, and as those who keep it."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import click

from quarantine.cli.check import expect_policy_option, expected_policy
from quarantine.cli.session import Session
from quarantine.errors import UsageError
from quarantine.report.escape import escape

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
    from quarantine.cli.mirror_fetch import fetch_context, fetch_lock  # noqa: PLC0415
    from quarantine.pipeline.fetch import FetchPorts  # noqa: PLC0415

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
        return fetch_context(
            session,
            in_force,
            azureml,
            stage=chosen,
            target_option=target_option,
            expected=expected,
            ports=ports,
        )
    assert lock is not None  # noqa: S101  # looked at above
    assert folder is not None  # noqa: S101
    return fetch_lock(
        session,
        in_force,
        lock,
        folder,
        stage=chosen,
        target_option=target_option,
        expected=expected,
        ports=ports,
    )


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
