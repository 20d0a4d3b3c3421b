"""What `quarantine mirror fetch` does: a lock judged like any other, and its files, or a whole build context, fetched.

Only what runs it imports it: what it needs is heavy, and `--help` needs none of it.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path

from quarantine import __version__, wiring
from quarantine.cli.check import check_request
from quarantine.cli.session import Session
from quarantine.document import MAX_BYTES
from quarantine.errors import Problem, SpecError, UsageError
from quarantine.exceptions import Grants
from quarantine.model import CheckResult, Target
from quarantine.pipeline.central import InForce
from quarantine.pipeline.check import check, refuse
from quarantine.pipeline.fetch import Fetched, FetchPorts, fetch, fetched_files, requirements
from quarantine.policy.decide import grants
from quarantine.report.escape import escape
from quarantine.report.json_verdict import encode
from quarantine.report.view import counted
from quarantine.spec.write_context import (
    BUILT_FILES,
    CONDA_FILE,
    CONTEXT_HEAD,
    FOLDER,
    LOCKED,
    LOCKED_CONDA,
    check_context,
    write_context,
)

__all__ = ["fetch_context", "fetch_lock"]


def fetch_lock(
    session: Session,
    in_force: InForce,
    lock: Path,
    folder: Path,
    *,
    stage: str,
    target_option: str | None,
    expected: str | None,
    ports: FetchPorts,
) -> int:
    """The exit status, once the files of a lock are in a folder, if the lock is allowed now; else that of its verdict.

    UsageError, IntegrityError and UpstreamError as `fetch` raises them.
    """
    result = _judged(session, in_force, lock, stage, target_option, expected)
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


def fetch_context(
    session: Session,
    in_force: InForce,
    folder: Path,
    *,
    stage: str,
    target_option: str | None,
    expected: str | None,
    ports: FetchPorts,
) -> int:
    """The exit status, once the folder of a lock for Azure ML is a whole build context; else that of the verdict.

    The files of the lock are read once: what is judged is what the context is made of, whatever lies there meanwhile.
    `environment.yaml` is written last. UsageError and SpecError for what is no such lock.
    """
    lock = _context_lock(folder)
    read = {path: data for path in (lock, folder / LOCKED_CONDA) if (data := _bytes(path)) is not None}
    if lock not in read:
        raise _no_lock(folder)
    environment, conda = read[lock], read.get(folder / LOCKED_CONDA)
    check_context(environment, conda, str(lock))
    result = _judged(session, in_force, lock, stage, target_option, expected, read)
    if result.verdict.exit_status:
        return _refused(session, result)
    _must_be_environment(result, lock)
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
    for name, data in files.items():
        ports.write(folder / name, data)
    session.write(f"{_counted(fetched)} in {escape(str(folder / FOLDER))}, judged by {LOCKED}")
    session.say(f"build: az ml environment create -f {escape(shlex.quote(str(folder / 'environment.yaml')))}")
    return 0


def _context_lock(folder: Path) -> Path:
    """The lock in a folder for Azure ML. UsageError where it holds anything else than such a lock and what was made of it."""
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
        raise _no_lock(folder)
    return lock


def _no_lock(folder: Path) -> UsageError:
    return UsageError(f"--azureml {str(folder)!a}: there is no environment.yaml: run `check --lock azureml=DIR` first")


def _bytes(path: Path) -> bytes | None:
    """What a file of the lock holds, None where there is none; no more than what is refused as too large."""
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path} can't be read: {(error.strerror or str(error)).lower()}") from error


def _must_be_environment(result: CheckResult, lock: Path) -> None:
    """Nothing, raising SpecError where the verdict is over something else in the lock than is built."""
    for subject in result.subjects:
        if subject.format != "azureml-environment":
            # of a job's YAML nobody judges the `image`
            message = f"is no Azure ML environment ({subject.format}): lock it again (check --lock azureml=DIR)"
            raise SpecError([Problem(file=str(lock), line=1, message=message)])


def _judged(
    session: Session,
    in_force: InForce,
    lock: Path,
    stage: str,
    target_option: str | None,
    expected: str | None,
    given: Mapping[Path, bytes] | None = None,
) -> CheckResult:
    """The verdict on the lock, or on what was read of it before, recorded like any other."""
    settings, policy = session.settings, in_force.policy
    request = check_request(
        session,
        in_force,
        paths=(lock,),
        targets=() if target_option is None else (_target(target_option),),
        stage=stage,
        expected_policy=expected,
        given=given,
        after="" if target_option is None else f" --target {shlex.quote(target_option)}",
    )
    if request.unexpected:
        # before a login is looked up: the policy that nobody expects says where logins go
        return refuse(request, wiring.records(settings, session.environment), encode, session.tell)
    ports = wiring.check_ports(settings, policy, session.environment, session.now, offline=False, state=in_force.state)
    return check(request, ports, encode, session.tell)


def _refused(session: Session, result: CheckResult) -> int:
    from quarantine.report.render import render  # noqa: PLC0415  # what is allowed is not shown

    session.write(render("text", result, width=session.width, colour=session.colour))
    session.say("error: nothing was fetched: the lock is not allowed now")
    return result.verdict.exit_status


def _target(text: str) -> Target:
    try:
        return Target.parse(text)
    except ValueError as error:
        raise UsageError(f"--target: {error}") from None


def _grants(session: Session, in_force: InForce, result: CheckResult) -> Grants:
    """What exceptions let in for the project and the stage that were judged for."""
    settings = session.settings
    state = in_force.state or wiring.exception_state(settings, session.environment)
    if state is None:
        return Grants()
    local = wiring.local_users_decide(settings)
    return grants(state, in_force.policy, result.project, result.stage, session.now, local=local)


def _counted(fetched: Fetched) -> str:
    kept = f", {fetched.kept} of them there before" if fetched.kept else ""
    return f"{counted(fetched.files, 'file')}, {fetched.bytes / 2**20:.1f} MiB{kept}"
