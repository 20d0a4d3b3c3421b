"""MLflow's python_env.yaml: a version of Python, and two lists of requirements that pip installs one after the other.

Both lists are judged together: what builds the environment is installed in it.
"""

import re
from collections.abc import Mapping

import msgspec

from quarantine.document import Document
from quarantine.model import EnvironmentSpec, Needs
from quarantine.spec.conda_environment import installed_by_pip, pip_lines
from quarantine.spec.text import Problems, quote

__all__ = ["read"]

_KEYS = ("python", "build_dependencies", "dependencies")
_PYTHON = re.compile(r"3\.([0-9]{1,2})(?:\.[0-9]{1,3})?")


def read(path: str, files: Mapping[str, bytes], document: Document) -> EnvironmentSpec | Needs:
    """What a python_env.yaml and all that it includes ask for, or the files that are still needed.

    Its Python counts instead of the target's; any patch release of it will do, since targets name none. Raises SpecError
    with every problem of all files together.
    """
    problems = Problems()
    value = document.value
    if not isinstance(value, dict):
        problems.add(path, 1, f"no mapping: expected the keys {', '.join(_KEYS)}")
        raise problems.error()
    for key in value:
        if key not in _KEYS:
            problems.add(path, document.line((key,)), f"unknown key {quote(key)}: expected {', '.join(_KEYS)}")
    python = _python(path, document, value.get("python"), problems)
    lines = [line for key in _KEYS[1:] for line in pip_lines(path, document, (key,), problems)]
    if not lines and not problems:
        problems.add(path, 1, "no requirements found")
    answer = installed_by_pip(path, lines, files, problems)
    if isinstance(answer, Needs):
        return answer
    return msgspec.structs.replace(answer, format="python-env", python=python)


def _python(path: str, document: Document, value: object, problems: Problems) -> str | None:
    """The minor version of Python that the file brings, None where it names none."""
    if value is None:
        return None
    line = document.line(("python",))
    if isinstance(value, float):
        problems.add(path, line, f"python is the number {value}: put it in quotes, since YAML reads 3.10 as 3.1")
    elif not isinstance(value, str) or not (found := _PYTHON.fullmatch(value)):
        shown = quote(value) if isinstance(value, str) else "no text"
        problems.add(path, line, f"python is {shown}: expected a version like 3.10.14")
    else:
        return f"3.{int(found[1])}"
    return None
