"""What every command shares: the settings, the instant, and what is said to the person at the terminal."""

import sys
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from quarantine.report.escape import escape

if TYPE_CHECKING:
    from rich.status import Status

    from quarantine.config import Environment, Settings

__all__ = ["Session"]

QUIET_SECONDS = 15.0


class Session:
    """One run of the command line. `now` is the instant that every step of it uses (aware, UTC)."""

    def __init__(self, now: datetime, environ: Mapping[str, str] | None) -> None:
        self.now = now
        self.verbose = False
        self._environ = environ
        self._config: str | None = None
        self._status: Status | None = None
        self._told = monotonic()

    def choose(self, config: str | None, *, verbose: bool) -> None:
        """Takes the options that stand before the command."""
        self._config = config
        self.verbose = verbose

    @cached_property
    def environment(self) -> "Environment":
        """The parsed process environment."""
        from quarantine.config import read_environment  # noqa: PLC0415  # --help needs none of it

        return read_environment(self._environ)

    @cached_property
    def settings(self) -> "Settings":
        """The settings in force, raising ConfigError."""
        from quarantine.config import load_settings  # noqa: PLC0415  # --help needs none of it

        return load_settings(None if self._config is None else Path(self._config), self.environment, Path.cwd())

    @property
    def config_option(self) -> str | None:
        """What `--config` said."""
        return self._config

    @property
    def width(self) -> int | None:
        """The terminal's width in columns when standard output is one; None when piped: then output is plain."""
        if not sys.stdout.isatty():
            return None
        import shutil  # noqa: PLC0415  # only on a terminal

        return shutil.get_terminal_size((100, 24)).columns

    @property
    def colour(self) -> bool:
        """Whether standard output may be coloured."""
        return sys.stdout.isatty() and not self.environment.no_color

    def write(self, text: str) -> None:
        """The command's result, to standard output."""
        self._stop()
        sys.stdout.write(text if text.endswith("\n") or not text else f"{text}\n")
        sys.stdout.flush()

    def say(self, text: str) -> None:
        """A message for a person, to standard error."""
        self._stop()
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def tell(self, text: str) -> None:
        """Progress: a line that moves on a terminal, plain lines with --verbose; else a line now and then, when it takes long."""
        if sys.stderr.isatty() and not self.environment.no_color:
            if self._status is None:
                from rich.console import Console  # noqa: PLC0415  # only on a terminal

                self._status = Console(stderr=True).status("")
                self._status.start()
            from rich.text import Text  # noqa: PLC0415  # only on a terminal

            self._status.update(Text(escape(text)))
        elif self.verbose or monotonic() - self._told > QUIET_SECONDS:
            self._told = monotonic()
            self.say(escape(text))

    def close(self) -> None:
        """Takes the progress line away."""
        self._stop()

    def _stop(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
