"""YAML environment files as documents: plain values with their places, and errors as a spec's."""

import re

from quarantine.document import Document, load_yaml
from quarantine.errors import ConfigError, Problem, SpecError

__all__ = ["Step", "load"]

Step = str | int
_TEMPLATE = re.compile(r"\{\{[^{}]*\}\}")


def load(file: str, data: bytes) -> Document:
    """The document, raising SpecError with line and column for what is not plain YAML within limits."""
    try:
        return load_yaml(file, data)
    except ConfigError as error:
        raise SpecError(_explained(problem, data) for problem in error.problems) from None


def _explained(problem: Problem, data: bytes) -> Problem:
    """The problem; where its line has an open placeholder, that is what is wrong with it."""
    lines = data.decode("utf-8", "replace").splitlines()
    line = lines[problem.line - 1] if problem.line is not None and problem.line <= len(lines) else ""
    found = _TEMPLATE.search(line)
    if found is None:
        return problem
    message = f"the placeholder {found[0][:60]!a} is not YAML: fill it in first, and check what comes out"
    return Problem(file=problem.file, line=problem.line, column=found.start() + 1, message=message)
