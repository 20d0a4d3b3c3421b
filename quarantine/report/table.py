"""Rows for people and for programs: a table that fits a terminal, or tab-separated lines.

What is drawn depends on the arguments alone: neither the environment nor the terminal is asked.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from quarantine.report.escape import escape

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["MIN_WIDTH", "draw", "draw_table", "table"]

MIN_WIDTH = 20
_LEADING_COLONS = re.compile(r"^(\s*):(?=:)", re.MULTILINE)


def table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], width: int | None, colour: bool, *, keep: int = 0
) -> str:
    """The rows as a table of at most `width` columns, or, without a width, tab-separated and without the headers.

    Cells are escaped here. Every line ends in a newline; without rows there is nothing (""). The first `keep` cells of a
    row hold what is there to be copied, and aren't broken.
    """
    if not rows:
        return ""
    if width is None:
        return "".join("\t".join(map(escape, row)) + "\n" for row in rows)
    return draw_table(headers, [tuple(map(escape, row)) for row in rows], width, colour, keep=keep)


def draw_table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], width: int, colour: bool, *, keep: int = 0
) -> str:
    """A table of cells that are escaped already; a newline in one starts a new line in it."""
    from rich.table import Table  # noqa: PLC0415  (rich costs a tenth of a second that only a terminal needs)
    from rich.text import Text  # noqa: PLC0415

    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number, header in enumerate(headers):
        drawn.add_column(Text(header), overflow="fold", no_wrap=number < keep)
    for row in rows:
        drawn.add_row(*map(Text, row))
    return draw(drawn, width, colour)


def draw(drawn: "RenderableType", width: int, colour: bool) -> str:
    """What rich makes of it in so many columns (at least 20), without trailing spaces."""
    from io import StringIO  # noqa: PLC0415

    from rich.console import Console  # noqa: PLC0415

    out = StringIO()
    console = Console(
        file=out,
        width=max(width, MIN_WIDTH),
        force_terminal=colour,
        no_color=not colour,
        color_system="standard" if colour else None,
        force_jupyter=False,
        force_interactive=False,
        legacy_windows=False,
        markup=False,
        emoji=False,
        highlight=False,
        _environ={},
    )
    console.print(drawn)
    lines = "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())
    # wrapping may put a `::` from the middle of a word at the start of a line, where a CI system looks for it
    return _LEADING_COLONS.sub(r"\1\\x3a", lines)
