"""The verdict as GitHub Flavored Markdown, for a pull request or the summary page of a CI run."""

import re

from quarantine.model import CheckResult
from quarantine.report.escape import escape_markdown
from quarantine.report.sections import Section, sections
from quarantine.report.view import headline

__all__ = ["render"]

_BACKTICKS = re.compile(r"`+")


def render(result: CheckResult, *, max_bytes: int | None = None) -> str:
    """The report, at most `max_bytes` long in UTF-8: what doesn't fit is cut at a line, and the cut is announced."""
    lines = [f"### {escape_markdown(headline(result))}", ""]
    for section in sections(result):
        lines += _section(section)
    return _joined(lines) if max_bytes is None else _cut(lines, max_bytes)


def _section(section: Section) -> list[str]:
    lines = [f"#### {section.title}", ""] if section.title else []
    if section.headers:
        lines += [_row(section.headers), "|" + " --- |" * len(section.headers)]
        lines += [_row(row.cells) for row in section.rows]
    elif section.key:
        lines += [f"- {': '.join(_step(row.cells))}" for row in section.rows]
    else:
        lines += [f"- {escape_markdown(row.line)}" for row in section.rows]
    return [*lines, ""]


def _row(cells: tuple[str, ...]) -> str:
    return "|" + "".join(f" {'<br>'.join(map(escape_markdown, cell.split(chr(10))))} |" for cell in cells)


def _step(cells: tuple[str, ...]) -> list[str]:
    what, command = cells
    return [escape_markdown(what), *([_code(command)] if command else [])]


def _code(text: str) -> str:
    """A code span (CommonMark 6.1): fenced by more backticks than stand together in it; its text is escaped already."""
    longest = max(map(len, _BACKTICKS.findall(text)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {text} {fence}" if longest else f"{fence}{text}{fence}"


def _joined(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines[:-1])


def _cut(lines: list[str], max_bytes: int) -> str:
    text = _joined(lines)
    if len(text.encode()) <= max_bytes:
        return text
    note = f"\nCut here: the whole is longer than {max_bytes} bytes. The JSON verdict (`--report json=FILE`) has all.\n"
    left = max_bytes - len(note.encode())
    kept: list[str] = []
    for line in lines:
        left -= len(line.encode()) + 1
        if left < 0:
            break
        kept.append(f"{line}\n")
    return "".join(kept) + note
