"""What files are and what they ask for, one line each, without a verdict."""

from collections.abc import Iterator, Sequence

from quarantine.errors import Problem
from quarantine.model import EnvironmentSpec
from quarantine.report.table import table
from quarantine.report.view import counted, taken_for

__all__ = ["listing"]

_MOST_REASONS = 3


def listing(specs: Sequence[EnvironmentSpec], width: int | None, colour: bool) -> tuple[str, int]:
    """The files as a table (or lines, without a width), and how many of them can't be read."""
    rows = [(spec.file, taken_for(spec.format), _asks(spec)) for spec in specs]
    unreadable = sum(bool(spec.unreadable) for spec in specs)
    return table(("file", "taken for", "asks for"), rows, width, colour), unreadable


def _asks(spec: EnvironmentSpec) -> str:
    if spec.unreadable:
        shown = "; ".join(_reason(spec, problem) for problem in spec.unreadable[:_MOST_REASONS])
        rest = len(spec.unreadable) - _MOST_REASONS
        return f"refused: {shown}" + (f"; and {counted(rest, 'more problem')}" if rest > 0 else "")
    return ", ".join(_counts(spec)) or "nothing"


def _reason(spec: EnvironmentSpec, problem: Problem) -> str:
    """A problem without the name of the file, where that stands beside it."""
    if problem.file != spec.file:
        return str(problem)
    return problem.message if problem.line is None else f"line {problem.line}: {problem.message}"


def _counts(spec: EnvironmentSpec) -> Iterator[str]:
    leaves = spec.leaves
    conda = sum(len(leaf.conda.locked or leaf.conda.specs) for leaf in leaves if leaf.conda is not None)
    python = sum(len(leaf.requirements if leaf.locked is None else leaf.locked) for leaf in leaves)
    if conda:
        yield counted(conda, "conda package")
    if python:
        yield counted(python, "Python package")
    for things, noun in (
        ([image for leaf in leaves for image in leaf.images], "image"),
        ([environment for leaf in leaves for environment in leaf.curated], "Azure ML environment"),
        ([directive for leaf in leaves for directive in leaf.directives], "judged line"),
        ([thing for leaf in leaves for thing in leaf.unverifiable], "unverifiable step"),
    ):
        if things:
            yield counted(len(things), noun)
    if spec.is_locked:
        yield "all pinned"
