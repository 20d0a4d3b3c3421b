"""`quarantine check`: judge environments before they are built."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quarantine import __version__
from quarantine.cli.session import Session
from quarantine.errors import UsageError
from quarantine.report.escape import escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from quarantine.config import Settings
    from quarantine.model import CheckResult, Target
    from quarantine.pipeline.central import InForce
    from quarantine.pipeline.check import CheckRequest
    from quarantine.pipeline.lock import Lock

__all__ = ["check_request", "command", "expect_policy_option", "expected_policy"]

_FORMATS = ("text", "json", "sarif", "junit", "markdown", "cyclonedx")

expect_policy_option = click.option(
    "--expect-policy", metavar="SHA256", help="Undecided unless this policy is in force (see allowlist validate)."
)
"""What pins the policy, for every command that gives a verdict; `expected_policy` reads it."""


@click.command("check", short_help="Judge environments before they are built.")
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--lock",
    "lock_option",
    metavar="FILE|azureml=DIR",
    help="Write the lock to build from, if allowed: pylock.toml, conda-lock.yml, or a folder for Azure ML.",
)
@click.option("--list", "listing", is_flag=True, help="Say what the files are and what they ask for; judge nothing.")
@click.option(
    "--context",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The folder that Dockerfiles copy from [default: each one's own].",
)
@click.option("--stage", metavar="NAME", help="The stage to judge for [default: the policy's].")
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="TARGET",
    help="Judge for this target, e.g. cp311-linux-x86_64; repeatable.",
)
@click.option(
    "--report",
    "reports",
    multiple=True,
    metavar="FORMAT[=FILE]",
    help=f"{', '.join(_FORMATS)}; repeatable [default: text].",
)
@click.option("--offline", is_flag=True, help="Use what is cached; what isn't makes the verdict undecided.")
@expect_policy_option
@click.pass_obj
def command(
    session: Session,
    specs: tuple[Path, ...],
    lock_option: str | None,
    listing: bool,
    context: Path | None,
    stage: str | None,
    targets: tuple[str, ...],
    reports: tuple[str, ...],
    offline: bool,
    expect_policy: str | None,
) -> int:
    """Judge environment files before anything is built: one verdict, with the evidence for it.

    SPEC is a requirements.txt, pyproject.toml, pylock.toml, uv.lock, conda environment or conda-lock.yml, an Azure ML
    environment, job or deployment (YAML), a Dockerfile, or a folder that holds some of these. What is not locked is
    resolved under the policy, from wheels and conda packages alone; no package code runs. Images are looked up in their
    registry. The verdict is in the audit log before it is on the screen.

    \b
    Examples:
      quarantine check requirements.txt
      quarantine check environment.yaml --lock azureml=build
      quarantine check Dockerfile --context .
      quarantine check . --list
      quarantine check requirements.txt --lock pylock.toml
      quarantine check pylock.toml --stage production
      quarantine check requirements.txt --report text --report sarif=quarantine.sarif
      quarantine check pyproject.toml --target cp310-linux-x86_64 --target cp312-linux-x86_64

    Exit status: 0 allowed, 1 denied, 2 bad input, 3 undecided.
    """
    from msgspec.structs import replace  # noqa: PLC0415  # --help needs none of it

    from quarantine import wiring  # noqa: PLC0415
    from quarantine.pipeline.check import check, refuse  # noqa: PLC0415
    from quarantine.pipeline.lock import LockKind  # noqa: PLC0415
    from quarantine.report.json_verdict import encode  # noqa: PLC0415
    from quarantine.report.render import render  # noqa: PLC0415
    from quarantine.report.view import headline  # noqa: PLC0415
    from quarantine.report.wayout import next_steps  # noqa: PLC0415

    if context is not None and not context.is_dir():
        raise UsageError(f"--context {str(context)!a}: there is no such folder")
    if listing:
        if lock_option is not None or reports:
            raise UsageError("--list judges nothing: there is no lock and no report of it")
        return _list(session, specs, context)
    sinks = tuple(_sink(text) for text in reports) or (("text", None),)
    if sum(file is None for _, file in sinks) > 1:
        raise UsageError("two reports for standard output: give all but one a file, as in --report sarif=FILE")
    lock = None if lock_option is None else _lock(lock_option, specs)
    expected = expected_policy(expect_policy)
    settings = session.settings
    if settings.file is None:
        session.say(
            "no quarantine.yaml found: the shipped policy is in force (quarantine init writes one to start from)"
        )
    kept = None if lock is None else lock.path
    _check_sinks([file for _, file in sinks if file is not None], kept, specs, settings)
    in_force = wiring.policies(settings, session.environment, session.now)
    policy = in_force.policy
    request = check_request(
        session,
        in_force,
        paths=specs,
        targets=tuple(dict.fromkeys(map(_target, targets))),
        stage=stage or policy.default_stage("check" if lock is None else "lock"),
        expected_policy=expected,
        lock=lock,
        context=context,
        after="".join(f" --target {shlex.quote(target)}" for target in targets),
    )
    if request.unexpected:
        # before a login is looked up: the policy that nobody expects says where logins go
        result = refuse(request, wiring.records(settings, session.environment), encode, session.tell)
    else:
        ports = wiring.check_ports(
            settings, policy, session.environment, session.now, offline=offline, state=in_force.state
        )
        result = check(request, ports, encode, session.tell)
    kept_as = next((str(file) for kind, file in sinks if kind == "json" and file is not None), None)
    result = replace(result, kept=kept_as)
    if result.lock is not None and lock is not None and lock.kind is LockKind.CONDA_LOCK and _has_image(result):
        session.say(f"{result.lock} holds packages alone: name the image by the digest above, or lock with azureml=DIR")
    for kind, file in sinks:
        if file is None:
            session.write(render(kind, result, width=session.width, colour=session.colour))
        else:
            wiring.write_file(file, render(kind, result).encode())
    if all(file is not None for _, file in sinks):
        session.say(headline(result))
        for step in next_steps(result):
            session.say(f"next: {step.what}: {step.command}" if step.command else f"next: {step.what}")
    _tell_ci(session, result)
    return result.verdict.exit_status


def expected_policy(text: str | None) -> str | None:
    """The sha256 that `--expect-policy` names, None without it. UsageError for what is no sha256."""
    expected = None if text is None else text.removeprefix("sha256:").lower()
    if expected is not None and (len(expected) != 64 or not set(expected) <= set("0123456789abcdef")):
        raise UsageError(f"--expect-policy {text!a}: expected the 64 hexadecimal digits of a sha256")
    return expected


def check_request(
    session: Session,
    in_force: "InForce",
    *,
    paths: tuple[Path, ...],
    targets: "tuple[Target, ...]",
    stage: str,
    expected_policy: str | None = None,
    lock: "Lock | None" = None,
    context: Path | None = None,
    given: "Mapping[Path, bytes] | None" = None,
    after: str = "",
) -> "CheckRequest":
    """What is to be checked, for the project and the stage that CI proves, else those of the configuration and the caller.

    `given` are the files by their paths, where they were read before.
    """
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it
    from quarantine.audit.record import new_id  # noqa: PLC0415
    from quarantine.pipeline.central import Proven  # noqa: PLC0415
    from quarantine.pipeline.check import CheckRequest  # noqa: PLC0415

    settings, environment = session.settings, session.environment
    in_force_sha256 = wiring.policy_sha256(settings, in_force.policy)
    unexpected = expected_policy not in (None, in_force_sha256)
    if unexpected:  # nobody is asked for anything, not even who this is
        proven = Proven(project=settings.project)
    else:
        proven = wiring.proven(settings, environment, in_force.policy, session.now, session.tell)
    if proven.stage not in (None, stage):
        session.say(f"judging for {escape(proven.stage or '')}: CI proves that this runs in it, whatever --stage says")
    return CheckRequest(
        paths=paths,
        given=given,
        working_directory=Path.cwd(),
        targets=targets or settings.targets,
        policy=in_force.policy,
        local_policy=in_force.local,
        local_users=wiring.local_users_decide(settings),
        policy_sha256=in_force_sha256,
        expected_policy=expected_policy,
        stage=proven.stage or stage,
        project=proven.project,
        advisory_max_age=settings.advisory_max_age,
        now=session.now,
        lock=lock,
        context=context,
        stream=f"log-checks/{proven.project.lower()}-{session.now:%Y-%m}",
        entry_id=new_id(session.now, os.urandom(10)),
        before="" if session.config_option is None else f" --config {shlex.quote(session.config_option)}",
        after=after,
        actor=wiring.local_actor() if unexpected else wiring.actor(settings, environment, session.now, session.tell),
        tool_version=__version__,
    )


def _sink(text: str) -> tuple[str, Path | None]:
    kind, equals, file = text.partition("=")
    if kind not in _FORMATS or (equals and not file):
        raise UsageError(f"--report {text!a}: expected FORMAT or FORMAT=FILE, with FORMAT one of {', '.join(_FORMATS)}")
    return kind, Path(file) if file else None


def _target(text: str) -> "Target":
    from quarantine.model import Target  # noqa: PLC0415

    try:
        return Target.parse(text)
    except ValueError as error:
        raise UsageError(f"--target: {error}") from None


def _lock(text: str, specs: tuple[Path, ...]) -> "Lock":
    from quarantine.pipeline.lock import Lock, LockKind  # noqa: PLC0415

    if len(specs) > 1:
        raise UsageError("--lock writes the lock of one environment: check one file at a time")
    kind, equals, folder = text.partition("=")
    if equals and kind == "azureml" and folder:
        path = Path(folder)
        if not path.parent.is_dir():
            raise UsageError(f"--lock {text!a}: there is no folder {str(path.parent)!a}")
        if path.exists() and not path.is_dir():
            raise UsageError(f"--lock {text!a}: expected a folder, which is made if it isn't there")
        inside = os.path.realpath(specs[0]).startswith(os.path.realpath(path) + os.sep)
        if inside or (path.is_dir() and not all(map(_is_ours, path.iterdir()))):
            raise UsageError(f"--lock {text!a}: the folder holds other files: name a new one, or an empty one")
        return Lock(kind=LockKind.AZUREML, path=path)
    lock = Path(text)
    if lock.name == "pylock.toml" or (lock.name.startswith("pylock.") and lock.suffix == ".toml"):
        found = Lock(kind=LockKind.PYLOCK, path=lock)
    elif lock.name.endswith(("conda-lock.yml", "conda-lock.yaml")):
        found = Lock(kind=LockKind.CONDA_LOCK, path=lock)
    else:
        raise UsageError(
            f"--lock {text!a}: expected pylock.toml or pylock.NAME.toml (PEP 751), conda-lock.yml, or azureml=DIR"
        )
    if not lock.parent.is_dir():
        raise UsageError(f"--lock {text!a}: there is no folder {str(lock.parent)!a}")
    if lock.is_dir() or os.path.realpath(lock) == os.path.realpath(specs[0]):
        raise UsageError(f"--lock {text!a}: expected another file than the one that is checked")
    return found


def _has_image(result: "CheckResult") -> bool:
    return any(judged.item.image is not None for judged in result.items)


def _is_ours(file: Path) -> bool:
    """Whether something in the folder is a file of an earlier lock, and not somebody's own."""
    from quarantine.pipeline.lock import AZUREML_FILES, AZUREML_HEAD  # noqa: PLC0415

    if file.name not in AZUREML_FILES or not file.is_file():
        return False
    try:
        with file.open("rb") as stream:
            return stream.read(len(AZUREML_HEAD)) == AZUREML_HEAD
    except OSError:
        return False


def _list(session: Session, specs: tuple[Path, ...], context: Path | None) -> int:
    """What every file is, and what it asks for or why it can't be read: one line each."""
    from quarantine.pipeline.read import read_specs  # noqa: PLC0415
    from quarantine.report.listing import listing  # noqa: PLC0415

    read = read_specs(specs, Path.cwd(), context, session.tell, keep_unreadable=True)
    text, unreadable = listing(read, session.width, session.colour)
    session.write(text)
    session.say(f"{len(read)} files found, {len(read) - unreadable} read, {unreadable} refused")
    return 2 if unreadable else 0


def _check_sinks(files: "Sequence[Path]", lock: Path | None, specs: tuple[Path, ...], settings: "Settings") -> None:
    """A report must not take the place of what is judged, of the lock, or of what the next check judges by."""
    taken = {os.path.realpath(path) for path in (*specs, lock, settings.file) if path is not None}
    kept = tuple(os.path.realpath(folder) + os.sep for folder in (settings.allowlists, settings.store, settings.cache))
    for file in files:
        real = os.path.realpath(file)
        if real in taken or real.startswith(kept):
            raise UsageError(f"--report: {str(file)!a} is needed for something else: name another file")
        if file.is_dir() or not file.absolute().parent.is_dir():
            raise UsageError(f"--report: {str(file)!a} can't be a file: name one in a folder that is there")
        taken.add(real)


def _tell_ci(session: Session, result: "CheckResult") -> None:
    """Annotations and step summary, in the CI systems that have them."""
    environment = session.environment
    if environment.ci is None:
        return
    from quarantine.report import annotations  # noqa: PLC0415  # only in CI

    commands = annotations.github(result) if environment.ci == "github-actions" else annotations.azure_pipelines(result)
    if commands:
        session.say(commands.rstrip("\n"))
    if environment.ci == "github-actions":
        if environment.github_step_summary is not None:
            _append(session, environment.github_step_summary, annotations.summary(result))
        return
    if environment.temp_folder is not None:
        file = environment.temp_folder / f"quarantine-{os.getpid()}.md"
        if _append(session, file, annotations.summary(result)):
            session.say(f"##vso[task.uploadsummary]{file}")


def _append(session: Session, file: Path, text: str) -> bool:
    """A summary that can't be written is worth a warning: the verdict stands without it."""
    try:
        with file.open("a", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        session.say(f"warning: {file} can't be written: {(error.strerror or str(error)).lower()}")
        return False
    return True
