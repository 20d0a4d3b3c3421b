"""`quarantine advisories`: the local advisory database."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from quarantine.cli.session import Session
from quarantine.report.escape import escape

if TYPE_CHECKING:
    from quarantine.model import Snapshot

__all__ = ["command"]


@click.group("advisories", short_help="The local advisory database.")
def command() -> None:
    """What is known about flaws and malware, on this machine: fetch it, see how fresh it is.

    \b
    Examples:
      quarantine advisories sync
      quarantine advisories status
    """


@command.command("sync")
@click.option(
    "--from",
    "source",
    metavar="ZIP|FOLDER|URL",
    help="Read this instead of the configured source [default: OSV's export for PyPI].",
)
@click.option("--replace", is_flag=True, help="Also take a source that is older, or much smaller, than what is there.")
@click.pass_obj
def _sync(session: Session, source: str | None, replace: bool) -> int:
    """Read advisories into the local database, all of them or none.

    A URL is asked only for what has changed since the last sync, and a download that broke off is gone on with. The
    database stays as it is when the source can't be read, holds no record, is older, or holds less than half of it.

    Exit status: 0 done, 2 no such source, 3 not done, or done with records that could not be read.

    \b
    Examples:
      quarantine advisories sync
      quarantine advisories sync --from all.zip
      quarantine advisories sync --from examples/advisories --replace
      quarantine advisories sync --from https://mirror.example.org/osv/PyPI/all.zip
    """
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it
    from quarantine.adapters.osv import sync  # noqa: PLC0415
    from quarantine.errors import UpstreamError  # noqa: PLC0415

    settings = session.settings
    source = settings.advisory_source if source is None else source
    urls = [source] if source.startswith(("http://", "https://")) else []
    with wiring.http_client(urls, session.environment) as http:
        try:
            report = sync(source, settings.database, http, session.tell, session.now, replace=replace)
        except UpstreamError as error:
            if not urls:
                raise
            copy = "a copy of it can be read, too: quarantine advisories sync --from ZIP|FOLDER|URL"
            raise UpstreamError(f"{error}\n{copy}") from error
    session.write(
        "\n".join(
            [
                f"{'read' if report.changed else 'unchanged'}: {escape(report.source)}",
                *_described(report.snapshot, session.now),
                f"withdrawn: {report.withdrawn}",
                f"database: {escape(str(report.database))}",
            ]
        )
    )
    if report.snapshot.complete:
        return 0
    session.say(f"error: {report.unreadable_count} records could not be read: no verdict can stand on this database")
    for line in report.unreadable:
        session.say(f"error: {escape(line)}")
    return 3


@command.command("status")
@click.pass_obj
def _status(session: Session) -> int:
    """Say how old the advisories are, how many there are, and whether a verdict may stand on them.

    Exit status: 0 they are fresh and complete, 3 they are missing, too old or incomplete.

    \b
    Examples:
      quarantine advisories status
      quarantine advisories status || quarantine advisories sync
    """
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it
    from quarantine.model import OutcomeKind  # noqa: PLC0415
    from quarantine.policy.rules import preconditions  # noqa: PLC0415

    settings = session.settings
    snapshot = wiring.advisory_service(settings, session.environment, session.now).snapshot()
    where = f"database: {escape(str(settings.database))}"
    if settings.advisory_service == "pip-audit":
        where = f"live: pip-audit, asking {escape(settings.advisory_service_url or 'its own default service')}"
    session.write("\n".join([where, *_described(snapshot, session.now)]))
    failed = [
        outcome
        for outcome in preconditions(snapshot, None, settings.advisory_max_age, session.now)
        if outcome.kind is not OutcomeKind.PASS
    ]
    for outcome in failed:
        session.say(f"error: {escape(outcome.message)}")
    return 3 if failed else 0


def _described(snapshot: "Snapshot", now: datetime) -> list[str]:
    """A snapshot in lines of `key: value`."""
    as_of = "not known" if snapshot.as_of is None else f"{_instant(snapshot.as_of)} ({_age(now - snapshot.as_of)} old)"
    lines = [
        f"as of: {as_of}",
        f"records: {', '.join(f'{count} {escape(name)}' for name, count in snapshot.sources)}",
        f"complete: {'yes' if snapshot.complete else 'no'}",
        f"sha256: {snapshot.sha256}",
    ]
    if snapshot.accepted_until is not None:
        lines.append(f"age accepted until: {_instant(snapshot.accepted_until)}")
    return lines


def _instant(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def _age(age: timedelta) -> str:
    hours = int(age.total_seconds() // 3600)
    return f"{hours} h" if hours < 72 else f"{hours // 24} days"
