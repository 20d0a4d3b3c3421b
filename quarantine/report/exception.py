"""One exception as a page of text, Markdown or JSON, and many of them as a list."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from textwrap import wrap

from quarantine.exceptions import (
    Decision,
    Dossier,
    ExceptionCase,
    Identity,
    Status,
)
from quarantine.policy.decide import is_vetted, status
from quarantine.report.escape import escape_markdown, escape_prose
from quarantine.report.exception_json import Listed, Risk, render_json, render_list_json
from quarantine.report.exception_page import NEEDS_WHEEL, Line, Page, PageSection, needs_wheel, page, what
from quarantine.report.table import MIN_WIDTH, draw, table

__all__ = ["FORMATS", "listed", "render_list", "render_page"]

FORMATS = ("text", "json", "markdown")
_STYLES = {
    Status.PUBLISHED: "bold green",
    Status.APPROVED: "bold green",
    Status.REVOKED: "bold red",
    Status.REJECTED: "bold red",
}
_INDENT = 2
_BACKTICKS = re.compile(r"`+")


def render_page(
    form: str,
    case: ExceptionCase,
    decision: Decision,
    dossier: Dossier | None,
    *,
    lost: str = "",
    width: int | None = None,
    colour: bool = False,
) -> str:
    """The evidence page in one of `FORMATS`. `lost` says why the newest dossier can't be read, where it can't.

    With a width the sentences of the text fit it; what is there to be copied is never broken.
    """
    if form == "json":
        return render_json(case, decision, dossier, lost)
    drawn = page(case, decision, dossier, lost)
    return _markdown(drawn) if form == "markdown" else _text(drawn, width, colour=colour)


# --- text and Markdown ------------------------------------------------------------------------------------------------


def _text(drawn: Page, width: int | None, *, colour: bool) -> str:
    style = _STYLES.get(drawn.status, "bold yellow")
    lines = [_styled(text, style, colour=colour) for text in _wrapped(drawn.headline, width)]
    for section in drawn.sections:
        lines += ["\n", _styled(section.title, "bold", colour=colour)]
        for line in section.lines:
            lines += [f"  {text}\n" for text in _lines(line, width)]
    return "".join(lines)


def _lines(line: Line, width: int | None) -> tuple[str, ...]:
    """A line, and below it what is there to be copied; a key of what is waived comes first."""
    said = f"{line.key}: {line.text}" if line.key and line.text else line.key or line.text
    if not line.code:
        return _wrapped(said, width)
    return (line.code,) if not said else (*_wrapped(said, width), f"  {line.code}")


def _wrapped(text: str, width: int | None) -> tuple[str, ...]:
    """The sentence in lines that fit, broken at spaces alone: what is longer than a line stays whole."""
    if width is None or len(text) <= width - _INDENT:
        return (text,)
    fit = max(width - _INDENT, MIN_WIDTH)
    return tuple(wrap(text, fit, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)) or ("",)


def _styled(text: str, style: str, *, colour: bool) -> str:
    if not colour:
        return f"{text}\n"
    from rich.text import Text  # noqa: PLC0415  # only on a terminal

    return draw(Text(text, style=style, no_wrap=True, overflow="ignore"), max(len(text), 1), colour)


def _markdown(drawn: Page) -> str:
    lines = [f"### {escape_markdown(drawn.headline)}", ""]
    for section in drawn.sections:
        lines += [f"#### {escape_markdown(section.title)}", "", *_items(section), ""]
    return "".join(f"{line}\n" for line in lines[:-1])


def _items(section: PageSection) -> list[str]:
    items = []
    for line in section.lines:
        key = f"**{escape_markdown(line.key)}**" if line.key else ""
        text = escape_markdown(line.text) if line.text else ""
        said = ": ".join(filter(None, (key, text)))
        items.append("- " + " ".join(filter(None, (said, _code(line.code) if line.code else ""))))
    return items


def _code(text: str) -> str:
    """A code span (CommonMark 6.1): fenced by more backticks than stand together in it; its text is escaped already."""
    longest = max(map(len, _BACKTICKS.findall(text)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {text} {fence}" if longest else f"{fence}{text}{fence}"


# --- many of them -----------------------------------------------------------------------------------------------------


_WAITING = (Status.REQUESTED, Status.VETTED, Status.SUSPENDED)
_MOST_KEYS = 2


def listed(cases: Iterable[tuple[ExceptionCase, Decision]], order: str) -> tuple[Listed, ...]:
    """The exceptions that have a request: what waits first, then by `order`: age (the oldest first) or risk (the worst first)."""
    every = [
        Listed(case=case, decision=decision, status=status(case, decision), risk=_risk(case))
        for case, decision in cases
        if case.request is not None
    ]

    def key(one: Listed) -> tuple[object, ...]:
        time = one.case.request.time.timestamp() if one.case.request is not None else 0.0
        waits = one.status not in _WAITING
        return (waits, one.risk.rank, time, one.case.id) if order == "risk" else (waits, time, one.case.id)

    return tuple(sorted(every, key=key))


def _risk(case: ExceptionCase) -> Risk:
    """The worst that the newest dossier says."""
    dossier = case.dossier
    if needs_wheel(case):
        return Risk(3, NEEDS_WHEEL)
    if dossier is None or not is_vetted(case):
        return Risk(3, "not vetted")
    if dossier.final:
        return Risk(0, f"final: {_some(dossier.final)}")
    if dossier.failures:
        return Risk(1, f"fails: {_some(dossier.failures)}")
    if dossier.unknowns:
        return Risk(2, f"unknown: {_some(dossier.unknowns)}")
    return Risk(4, "clean")


def _some(keys: Sequence[str]) -> str:
    """The first few keys without their packages."""
    short = tuple(dict.fromkeys(key.rpartition(" ")[2] for key in keys))
    more = f" and {len(short) - _MOST_KEYS} more" if len(short) > _MOST_KEYS else ""
    return ", ".join(short[:_MOST_KEYS]) + more


def render_list(form: str, rows: Sequence[Listed], now: datetime, *, width: int | None, colour: bool) -> str:
    """The exceptions as a table (`text`; without a width tab-separated) or as JSON."""
    if form == "json":
        return render_list_json(rows)
    headers = ("id", "status", "age", "risk", "what", "project", "by")
    return table(headers, [_cells(one, now) for one in rows], width, colour, keep=1)


def _cells(one: Listed, now: datetime) -> tuple[str, ...]:
    request = one.case.request
    assert request is not None  # noqa: S101 - `listed` looked
    days = max((now - request.time).days, 0)
    where = f"{request.project} {request.stage}"
    return (
        one.case.id[:12],
        one.status.value,
        f"{days}d",
        escape_prose(one.risk.words),
        what(one.case),
        where,
        _name(request.requester),
    )


def _name(identity: Identity) -> str:
    return escape_prose(identity.name or identity.id)
