"""The command line: argv -> a command -> exit status.

Each command is one module; a module is imported only when its command runs, so that `--help` stays quick. Such a
module holds `command`, a click command that takes the `Session` by `@click.pass_obj` and returns the exit status.
Exit status: 0 allowed or done, 1 denied, 2 usage or bad input, 3 undecided, 130 interrupted.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module

import click

from quarantine import __version__
from quarantine.cli.session import Session
from quarantine.errors import QuarantineError
from quarantine.report.escape import escape

__all__ = ["main"]

# command -> (module, what --help says)
_COMMANDS = {
    "check": ("quarantine.cli.check", "Judge environments before they are built, and write the lock to build from."),
    "exception": ("quarantine.cli.exception", "The exception process: ask for what a check refuses, vet it, decide."),
    "allowlist": ("quarantine.cli.allowlist", "The curated lists: validate them, explain what would happen to a name."),
    "mirror": ("quarantine.cli.mirror", "The private mirror: serve it here, fetch from it, rebuild and verify it."),
    "advisories": ("quarantine.cli.advisories", "The local advisory database: sync it, see how fresh it is."),
    "audit": ("quarantine.cli.audit", "The audit log: list, verify and export it."),
    "doctor": ("quarantine.cli.doctor", "What is missing here, with the mend for each."),
    "init": ("quarantine.cli.init", "Start a project: configuration, allowlists and an example to check."),
}


class _Commands(click.Group):
    """A group that knows its commands by name and imports one only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(_COMMANDS[cmd_name][0]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name not in _COMMANDS and not name.startswith("-"):
            from difflib import get_close_matches  # noqa: PLC0415  # only for a mistake

            near = get_close_matches(name, _COMMANDS, n=1)
            hint = f": did you mean {near[0]!r}?" if near else f": expected one of {', '.join(_COMMANDS)}"
            ctx.fail(f"no command {escape(name)!r}{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 allowed or done · 1 denied · 2 usage or bad input · 3 undecided (evidence is missing) · "
    "130 interrupted (Ctrl-C).",
)
@click.option(
    "--config", "config", type=click.Path(), help="The configuration file [default: nearest quarantine.yaml]."
)
@click.option("-v", "--verbose", is_flag=True, help="Say on standard error what is being done; traceback on a bug.")
@click.version_option(__version__, "-V", "--version", prog_name="quarantine")
@click.pass_obj
def _quarantine(session: Session, config: str | None, verbose: bool) -> None:
    """A gate between public packages and what you build: one verdict, with evidence, before anything is installed.

    \b
    Examples:
      quarantine init my-project           start here
      quarantine advisories sync           fetch what is known about flaws and malware
      quarantine check requirements.txt    may this be built?
      quarantine check requirements.txt --lock pylock.toml
    """
    session.choose(config, verbose=verbose)


def main(argv: Sequence[str], *, now: datetime | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Runs one command and gives its exit status. `now` (aware, UTC) and `environ` default to the machine's."""
    instant = datetime.now(UTC) if now is None else now  # noqa: TID251  # read once per command, here
    session = Session(instant, environ)
    try:
        status = _quarantine.main(args=list(argv), prog_name="quarantine", obj=session, standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        session.say(error.format_message())
        return 2
    except click.ClickException as error:
        session.say(f"error: {escape(error.format_message())}")
        if isinstance(error, click.UsageError) and error.ctx is not None:
            session.say(f"try: {error.ctx.command_path} --help")
        return 2
    except QuarantineError as error:
        for line in str(error).splitlines() or [type(error).__name__]:
            session.say(f"error: {escape(line)}")
        return error.exit_status
    except (KeyboardInterrupt, click.Abort):
        session.say("interrupted: nothing is left half done")
        return 130
    except SystemExit:
        # click's way to end when the reader of our output went away; its status 1 would mean denied here
        return 3
    except Exception as error:
        if session.verbose:
            raise
        session.say(f"error: {escape(type(error).__name__)}: {escape(str(error))}")
        session.say("this is a defect in quarantine: run again with --verbose for the traceback and report it")
        return 3
    finally:
        session.close()
    return status if isinstance(status, int) else 0
