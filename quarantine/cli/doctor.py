"""`quarantine doctor`: what is missing here, with the mend for each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from quarantine.cli.session import Session
from quarantine.errors import IntegrityError, QuarantineError, UpstreamError, install_extra
from quarantine.report.escape import escape

if TYPE_CHECKING:
    from pathlib import Path

    from quarantine.config import Settings
    from quarantine.policy.stage import Policy

__all__ = ["command"]


@dataclass(frozen=True, slots=True)
class _Examined:
    """One thing that was looked at: whether it is as it must be, what was found, and what to do.

    What isn't `needed` is missed by some checks only.
    """

    name: str
    good: bool
    found: str
    mend: str = ""
    status: int = 3
    needed: bool = True


@click.command("doctor", short_help="What is missing here, with the mend for each.")
@click.option("--offline", is_flag=True, help="Don't ask the indexes whether they answer.")
@click.pass_obj
def command(session: Session, offline: bool) -> int:
    """Look at everything a check needs, and say for each thing that is missing what to do about it.

    Conda channels and registries that don't answer are told as absent: a check of Python packages needs none of them.

    Exit status: 0 all there, 2 the configuration is wrong, 3 something else is missing.

    \b
    Examples:
      quarantine doctor
      quarantine doctor --offline
    """
    examined = list(_examine(session, offline=offline))
    for one in examined:
        word = "ok     " if one.good else "MISSING" if one.needed else "absent "
        session.write(f"{word} {one.name}: {escape(one.found)}")
        if not one.good:
            session.write(f"        -> {escape(one.mend)}")
    bad = [one for one in examined if not one.good and one.needed]
    if not bad:
        return 0
    return 2 if any(one.status == 2 for one in bad) else 3


def _examine(session: Session, *, offline: bool) -> Iterator[_Examined]:
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it

    policy: Policy | None = None
    unread: QuarantineError | None = None
    try:
        settings = session.settings
        try:
            policy = wiring.policies(settings, session.environment, session.now).policy
        except (UpstreamError, IntegrityError) as error:
            unread = error  # one that can't be had says nothing of the rest
    except QuarantineError as error:
        yield _Examined("configuration", False, str(error), "mend the file at the place named", error.exit_status)
        return
    place = "embedded default" if settings.file is None else str(settings.file)
    yield _Examined("configuration", True, f"{place}, project {settings.project}")
    where = "published in the store" if settings.central_policy else str(settings.allowlists)
    if policy is None:
        yield _Examined("policy", False, str(unread), _policy_mend(session))
    else:
        sha256 = wiring.policy_sha256(settings, policy)
        yield _Examined("policy", True, f"{where}, in force with this configuration: sha256 {sha256}")
    yield _Examined("targets", True, ", ".join(map(str, settings.targets)))
    yield _ask("resolver", wiring.uv_version, "pip install uv")
    yield _ask(
        "advisories",
        lambda: _advisories(session),
        _unless_unread(settings, "quarantine advisories sync"),
    )
    yield _ask(
        "store",
        lambda: wiring.probe_store(settings, session.environment),
        _store_mend(settings),
    )
    yield _ask("cache", lambda: wiring.probe_cache(settings.cache), "set QUARANTINE_CACHE to a writable folder")
    yield _ask("audit log", lambda: _audit(session), _log_mend(settings))
    yield from _exceptions(session, offline=offline)
    if offline or policy is None:
        return
    for upstream in policy.upstreams:
        if upstream.type == "pypi":
            yield _ask(
                f"index {upstream.name}",
                lambda upstream=upstream: wiring.probe_index(
                    settings, policy, session.environment, session.now, upstream
                ),  # type: ignore[misc]  # bound now
                "check the network, the proxy variables and the credentials; or work with --offline",
            )
        elif upstream.type in ("conda", "oci"):
            asked = _ask(
                f"{'channel' if upstream.type == 'conda' else 'registry'} {upstream.name}",
                lambda upstream=upstream: wiring.probe_upstream(settings, session.environment, upstream),  # type: ignore[misc]  # bound now
                "files that need it come out undecided: check the network and the proxy variables, or name a mirror in "
                "the policy (`url:`) or in quarantine.yaml (`registries:`)",
            )
            yield replace(asked, needed=False)


def _exceptions(session: Session, *, offline: bool) -> Iterator[_Examined]:
    """What asking for exceptions, vetting and deciding need; a check needs none of it."""
    from importlib.util import find_spec  # noqa: PLC0415  # --help needs none of it

    from quarantine import wiring  # noqa: PLC0415

    settings = session.settings
    yield _ask("exceptions", lambda: _state(session), _log_mend(settings))
    if settings.identity.kind == "local" or not offline:
        found = _ask(
            "identity",
            lambda: str(wiring.identities(settings, session.environment, session.now).who(lambda _: None)),
            "log in, or see `identity:` in docs/configuration.md: without it nobody can ask for exceptions or decide on them",
        )
        yield replace(found, needed=False)
    parts = {"picklescan": "dangerous pickles", "pypi_attestations": "attestations", "apprise": "notifications"}
    lacking = [f"{name} ({job})" for name, job in parts.items() if find_spec(name) is None]
    yield _Examined(
        "vetting",
        not lacking,
        f"not installed: {', '.join(lacking)}" if lacking else ", ".join(parts),
        f"on the machine that runs `exception process`, {install_extra('curators')}",
        needed=False,
    )
    unset = [c.variable for c in settings.notify if session.environment.secret(c.variable) is None]
    if settings.notify:
        yield _Examined(
            "notifications",
            not unset,
            f"variables that aren't set: {', '.join(unset)}" if unset else ", ".join(c.name for c in settings.notify),
            "set them where `exception process` runs: each holds the URL of its channel",
            needed=False,
        )


def _state(session: Session) -> str:
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it

    state = wiring.exception_state(session.settings, session.environment)
    if state is None:
        return "none was ever asked for"
    void = f"; {len(state.ignored)} entries don't count" if state.ignored else ""
    return f"{len(state.cases)} in the log{void}"


def _policy_mend(session: Session) -> str:
    """What to do about a central policy that can't be had."""
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it

    try:
        state = wiring.exception_state(session.settings, session.environment)
    except QuarantineError:
        return _log_mend(session.settings)
    if state is None or not state.policies:
        return "quarantine allowlist publish --reason WHY, by a curator, whose folder of allowlists is then in force"
    return "do what the message says, or let a curator publish one again: quarantine allowlist publish --reason WHY"


def _store_mend(settings: "Settings") -> str:
    if settings.remote_store is not None:
        return "do what the message says, or set another `store:`"
    return (
        f"make {settings.store} writable for whoever runs this (chmod), let its owner share it with a group (chgrp, chmod 2770: "
        "see docs/configuration.md), or set another `store:`"
    )


def _log_mend(settings: "Settings") -> str:
    return _unless_unread(settings, "run `quarantine audit verify` and look at what it names")


def _unless_unread(settings: "Settings", mend: str) -> str:
    """The mend, but for what is in a store that may not be read: that is a matter of rights before it is one of anything else."""
    if settings.remote_store is None and settings.store.is_dir() and not _may_read(settings.store):
        return f"let whoever runs this read {settings.store}, as its own line says"
    return mend


def _may_read(folder: "Path") -> bool:
    """Whether whoever runs this may look into the folder and all that is directly in it."""
    import os  # noqa: PLC0415  # --help needs none of it

    try:
        return all(os.access(entry, os.R_OK) for entry in (folder, *folder.iterdir()))
    except OSError:
        return False


def _ask(name: str, question: Callable[[], str], mend: str) -> _Examined:
    try:
        return _Examined(name, True, question())
    except QuarantineError as error:
        return _Examined(name, False, str(error), mend)


def _advisories(session: Session) -> str:
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it
    from quarantine.model import OutcomeKind  # noqa: PLC0415
    from quarantine.policy.rules import preconditions  # noqa: PLC0415

    settings = session.settings
    snapshot = wiring.advisory_service(settings, session.environment, session.now).snapshot()
    outcomes = preconditions(snapshot, None, settings.advisory_max_age, session.now)
    for outcome in outcomes:
        if outcome.kind is not OutcomeKind.PASS:
            raise UpstreamError(outcome.message)
    return "; ".join(outcome.message for outcome in outcomes)


def _audit(session: Session) -> str:
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it
    from quarantine.audit.chain import Tampered, verify  # noqa: PLC0415

    log = wiring.audit_log(session.settings, session.environment)
    entries = 0
    for stream in log.streams():
        verified = verify(stream, log.lines(stream), now=session.now)
        if isinstance(verified, Tampered):
            raise IntegrityError(f"{log.place(stream, verified.line)}: {verified}")
        entries += verified.entries
    return f"{entries} entries in {session.settings.store}, every one linked to the one before it"
