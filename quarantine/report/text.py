"""The verdict as text: tables for a terminal; when piped, one line for each thing, each starting with its kind."""

from collections.abc import Iterator

from quarantine.model import CheckResult, Verdict
from quarantine.report.sections import Section, sections
from quarantine.report.table import draw, draw_table
from quarantine.report.view import headline

__all__ = ["render"]

_STYLES = {Verdict.ALLOWED: "bold green", Verdict.DENIED: "bold red", Verdict.UNDECIDED: "bold yellow"}


def render(result: CheckResult, *, width: int | None, colour: bool) -> str:
    """The whole report, each line ending in a newline.

    Without a width it is plain, and of a form that scripts may search. With one the tables fit it; a line that holds
    a command or a digest is never broken, so that it can be copied.
    """
    if width is None:
        lines = [headline(result)]
        for section in sections(result):
            lines += [f"{section.key}: {row.line}" if section.key else row.line for row in section.rows]
        return "".join(f"{line}\n" for line in lines)
    parts = [_styled(headline(result), _STYLES[result.verdict], colour)]
    parts += [_section(section, width, colour) for section in sections(result)]
    return "\n".join(parts)


def _section(section: Section, width: int, colour: bool) -> str:
    title = _styled(section.title, "bold", colour) if section.title else ""
    if section.headers:
        return title + draw_table(section.headers, [row.cells for row in section.rows], width, colour)
    if not section.key:
        return "".join(f"{row.line}\n" for row in section.rows)
    return title + "".join(_steps(section))


def _steps(section: Section) -> Iterator[str]:
    """What to do, and below it the commands that do it."""
    before = ""
    for row in section.rows:
        what, command = row.cells
        if what != before:
            yield f"  {what}\n"
        if command:
            yield f"    {command}\n"
        before = what


def _styled(line: str, style: str, colour: bool) -> str:
    if not colour:
        return f"{line}\n"
    from rich.text import Text  # noqa: PLC0415

    return draw(Text(line, style=style, no_wrap=True, overflow="ignore"), max(len(line), 1), colour)
