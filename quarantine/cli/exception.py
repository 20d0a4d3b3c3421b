"""`quarantine exception`: the exception process.

Each command's module is imported only when its command runs: those that ask and those that decide have modules of their own.
"""

import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING

import click

from quarantine.cli.session import Session
from quarantine.errors import QuarantineError, UsageError

if TYPE_CHECKING:
    from quarantine.exceptions import Dossier, ExceptionCase
    from quarantine.ports import ArtifactStore

__all__ = ["command", "list_", "new_ids", "on_terminal", "parse_expires", "read_dossier", "show"]

# command -> (module, the click command in it, what --help says)
_COMMANDS = {
    "request": ("quarantine.cli.exception_request", "request", "Ask for packages that a check refuses."),
    "import": ("quarantine.cli.exception_request", "import_", "Ask for what a request file asks for."),
    "list": ("quarantine.cli.exception", "list_", "All exceptions, what waits first."),
    "show": ("quarantine.cli.exception", "show", "One exception with its evidence, worst first."),
    "vet": ("quarantine.cli.exception_process", "vet", "Look into the files of new requests."),
    "attach-wheel": ("quarantine.cli.exception_ruling", "attach_wheel", "Give a source-only request its wheel."),
    "approve": ("quarantine.cli.exception_ruling", "approve", "Let exceptions in, until a day."),
    "reject": ("quarantine.cli.exception_ruling", "reject", "Turn exceptions down, for good."),
    "renew": ("quarantine.cli.exception_ruling", "renew", "Let exceptions hold longer."),
    "revoke": ("quarantine.cli.exception_ruling", "revoke", "End exceptions, for good."),
    "publish": ("quarantine.cli.exception_process", "publish", "Bring the mirror in line with what is approved."),
    "process": ("quarantine.cli.exception_process", "process", "All that is due: vet, publish, expire, notify."),
}


class _Commands(click.Group):
    """A group that knows its commands by name and imports one only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        found: click.Command = getattr(import_module(module), attribute)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in _COMMANDS.items()])


@click.group("exception", cls=_Commands, short_help="Ask for what a check refuses; vet, decide and publish it.")
def command() -> None:
    """Let in what the policy refuses: asked for, vetted, decided by somebody else, for one project, stage and time.

    An exception is for files, by their sha256. It is named by its id, or by any beginning of it of at least 6 digits.

    \b
    Examples:
      quarantine exception request numpy==1.26.4 --reason "the model needs it"
      quarantine exception list
      quarantine exception show 3f2a1b4c5d6e
      quarantine exception approve 3f2a1b4c5d6e --reason "not reachable in our use" --waive all
    """


@command.command("list", short_help="All exceptions, what waits first.")
@click.option(
    "--by", "order", type=click.Choice(("age", "risk")), default="age", show_default=True, help="What comes first."
)
@click.option("--status", "statuses", multiple=True, metavar="STATUS", help="Only those that stand so; repeatable.")
@click.option("--project", metavar="NAME", help="Only those of this project.")
@click.option("--all", "everything", is_flag=True, help="Those that ended, too: rejected, revoked, expired.")
@click.option("--report", "form", type=click.Choice(("text", "json")), default="text", show_default=True, help="How.")
@click.pass_obj
def list_(
    session: Session, order: str, statuses: tuple[str, ...], project: str | None, everything: bool, form: str
) -> int:
    """List exceptions: what waits for somebody first, then what holds. Everybody may.

    The risk of one is the worst that vetting found: what no approval can waive, then failures, then what isn't known.
    When piped, the columns are separated by tabs.

    \b
    Examples:
      quarantine exception list
      quarantine exception list --by risk --status vetted
      quarantine exception list --project ml --all --report json

    Exit status: 0 done, 2 usage, 3 the log can't be read.
    """
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it
    from quarantine.exceptions import Status  # noqa: PLC0415
    from quarantine.pipeline.state import read_state  # noqa: PLC0415
    from quarantine.policy.decide import decide  # noqa: PLC0415
    from quarantine.report.exception import listed, render_list  # noqa: PLC0415

    known = {status.value for status in Status}
    for status in statuses:
        if status not in known:
            raise UsageError(f"--status {status!a}: expected one of {', '.join(sorted(known))}")
    settings, environment = session.settings, session.environment
    policy = wiring.policies(settings, session.environment, session.now).policy
    state = read_state(wiring.audit_log(settings, environment), wiring.page_store(settings, environment))
    local = wiring.local_users_decide(settings)
    rows = listed(((case, decide(case, policy, session.now, local=local)) for case in state.cases.values()), order)
    ended = {Status.REJECTED, Status.REVOKED, Status.EXPIRED}
    shown = tuple(
        row
        for row in rows
        if (row.status in statuses if statuses else everything or row.status not in ended)
        and (project is None or (row.case.request is not None and row.case.request.project == project))
    )
    if not shown and form == "text":
        hidden = f" ({len(rows)} in all: --all)" if len(rows) > len(shown) else ""
        session.say(f"no exceptions{hidden}")
        return 0
    session.write(render_list(form, shown, session.now, width=session.width, colour=session.colour))
    if state.ignored:
        session.say(
            f"warning: {len(state.ignored)} entries don't count, since their writers may not write them (audit list)"
        )
    return 0


@command.command("show", short_help="One exception with its evidence, worst first.")
@click.argument("id_", metavar="ID")
@click.option(
    "--report", "form", type=click.Choice(("text", "markdown", "json")), default="text", show_default=True, help="How."
)
@click.pass_obj
def show(session: Session, id_: str, form: str) -> int:
    """Show one exception with its evidence: what no approval can waive, what one would waive, and all that is known.

    What an approval would waive stands with the keys that `approve --waive` takes. Everybody may.

    \b
    Examples:
      quarantine exception show 3f2a1b4c5d6e
      quarantine exception show 3f2a1b --report markdown
      quarantine exception show 3f2a1b --report json

    Exit status: 0 shown, 2 no such exception, 3 the log or the evidence can't be read.
    """
    from quarantine import wiring  # noqa: PLC0415  # --help needs none of it
    from quarantine.pipeline.ruling import find_case  # noqa: PLC0415
    from quarantine.pipeline.state import read_state  # noqa: PLC0415
    from quarantine.policy.decide import decide  # noqa: PLC0415
    from quarantine.report.exception import render_page  # noqa: PLC0415

    settings, environment = session.settings, session.environment
    policy = wiring.policies(settings, session.environment, session.now).policy
    state = read_state(wiring.audit_log(settings, environment), wiring.page_store(settings, environment))
    case = find_case(state, id_)
    decision = decide(case, policy, session.now, local=wiring.local_users_decide(settings))
    dossier, lost = read_dossier(wiring.artifact_store(settings, environment), case)
    session.write(render_page(form, case, decision, dossier, lost=lost, width=session.width, colour=session.colour))
    return 3 if lost else 0


def read_dossier(store: "ArtifactStore", case: "ExceptionCase") -> tuple["Dossier | None", str]:
    """The case's newest dossier, None where it has none; where it can't be read, why."""
    from quarantine.audit.record import EVIDENCE  # noqa: PLC0415  # --help needs none of it
    from quarantine.exceptions import Dossier  # noqa: PLC0415
    from quarantine.model import Digest  # noqa: PLC0415

    if case.dossier is None:
        return None, ""
    try:
        found = Dossier.decode(store.get(EVIDENCE, Digest.sha256(case.dossier.sha256)))
    except (ValueError, QuarantineError) as error:
        return None, str(error)
    if found.exception != case.id:
        return None, f"it is about exception {found.exception[:12]}"
    return found, ""


# --- what several commands share --------------------------------------------------------------------------------------


def parse_expires(text: str | None, now: datetime) -> datetime | None:
    """The instant that `--expires` names: a day (its first instant, UTC), a time, or a number of days from now."""
    if text is None:
        return None
    expected = "expected a day, as in 2027-03-01, or a number of days, as in 90d"
    try:
        if text.endswith("d") and text[:-1].isascii() and text[:-1].isdecimal() and len(text) <= 5:
            instant = now + timedelta(days=int(text[:-1]))
        elif len(text) == len("2027-03-01"):
            instant = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
        else:
            instant = datetime.fromisoformat(text)
        if instant.tzinfo is None:
            raise ValueError("no time zone")  # noqa: TRY301 - said like everything else that is no day
        instant = instant.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(f"--expires {text[:100]!a}: {expected}") from None
    if instant <= now:
        raise UsageError(f"--expires {text!a} has passed: {expected}")
    return instant


def new_ids(session: Session) -> Callable[[], str]:
    """What makes ids for entries that are written now."""
    import os  # noqa: PLC0415  # only what writes

    from quarantine.audit.record import new_id  # noqa: PLC0415

    return lambda: new_id(session.now, os.urandom(10))


def on_terminal() -> bool:
    """Whether there is somebody who can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()
