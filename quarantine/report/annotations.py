"""What Azure Pipelines and GitHub Actions show beside a run: annotations by commands in the log, and a summary page.

The commands' forms are those of Azure Pipelines' `task.logissue` and of GitHub's `::error`, with the escapes that their
own toolkits use. Whatever comes from outside passes through the escapes of its place, so that no line starts, ends or
adds a command.
"""

from collections.abc import Sequence

from quarantine.model import CheckResult
from quarantine.report import markdown
from quarantine.report.escape import (
    escape_azure_data,
    escape_azure_property,
    escape_github_data,
    escape_github_property,
)
from quarantine.report.view import Problem, counted, problems

__all__ = ["MAX_OF_A_KIND", "MAX_SUMMARY_BYTES", "azure_pipelines", "github", "summary"]

MAX_OF_A_KIND = 10  # GitHub keeps ten errors and ten warnings of a step and drops the others without a word
MAX_SUMMARY_BYTES = 1024 * 1024  # GitHub refuses a longer step summary as a whole


def azure_pipelines(result: CheckResult) -> str:
    """A `task.logissue` command for each problem, error or warning, each on its line; "" where there is none."""
    return "".join(map(_azure, problems(result)))


def _azure(problem: Problem) -> str:
    properties = [("type", "error" if problem.failed else "warning")]
    if problem.place is not None:
        properties += [("sourcepath", problem.place.file), ("linenumber", str(problem.place.line or 1))]
    properties.append(("code", problem.rule))
    written = "".join(f"{name}={escape_azure_property(value)};" for name, value in properties)
    return f"##vso[task.logissue {written}]{escape_azure_data(_message(problem))}\n"


def github(result: CheckResult) -> str:
    """An `::error` or `::warning` command for each problem, at most ten of a kind: the last then counts the rest."""
    every = problems(result)
    errors = [problem for problem in every if problem.failed]
    warnings = [problem for problem in every if not problem.failed]
    return _github("error", errors) + _github("warning", warnings)


def _github(kind: str, found: Sequence[Problem]) -> str:
    shown = found if len(found) <= MAX_OF_A_KIND else found[: MAX_OF_A_KIND - 1]
    lines = []
    for problem in shown:
        properties = [("title", f"quarantine: {problem.rule}")]
        if problem.place is not None:
            properties = [("file", problem.place.file), ("line", str(problem.place.line or 1)), *properties]
        written = ",".join(f"{name}={escape_github_property(value)}" for name, value in properties)
        lines.append(f"::{kind} {written}::{escape_github_data(_message(problem))}\n")
    rest = len(found) - len(shown)
    if rest:
        lines.append(f"::{kind} title=quarantine::and {counted(rest, 'more problem')}, all in the report\n")
    return "".join(lines)


def _message(problem: Problem) -> str:
    nearest = None if problem.judged is None else problem.judged.nearest
    return f"{problem.about}: {problem.message}" + ("" if nearest is None else f" (nearest version: {nearest})")


def summary(result: CheckResult) -> str:
    """The Markdown report for the run's page, at most 1 MiB of UTF-8; the cut of a longer one is announced."""
    return markdown.render(result, max_bytes=MAX_SUMMARY_BYTES)
