"""Environment files from disk: each spec asks for the files it needs, and gets them if they lie under its root.

The root is the working directory when the file lies under it, else the file's own folder.
"""

from collections.abc import Iterable
from pathlib import Path

from quarantine.errors import Problem, SpecError
from quarantine.model import EnvironmentSpec, Needs
from quarantine.spec.parse import parse

__all__ = ["read_specs"]

MAX_FILE_BYTES = 32 * 1024 * 1024
MAX_FILES = 1000


def read_specs(paths: Iterable[Path], working_directory: Path) -> tuple[EnvironmentSpec, ...]:
    """What every file asks for, in the order given; SpecError with the problems of all of them together."""
    specs: list[EnvironmentSpec] = []
    problems: list[Problem] = []
    for path in dict.fromkeys(paths):
        try:
            specs.append(_read_spec(path, working_directory))
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    return tuple(specs)


def _read_spec(path: Path, working_directory: Path) -> EnvironmentSpec:
    base = working_directory.resolve()
    # the folder is resolved, the file's own name is kept: it tells the format
    absolute = (base / path).parent.resolve() / path.name
    root = base if absolute.is_relative_to(base) else absolute.parent
    name = absolute.relative_to(root).as_posix()
    files = {name: _read(absolute, str(path))}
    while True:
        answer = parse(name, files)
        if isinstance(answer, EnvironmentSpec):
            return answer
        files |= _read_needed(answer, root, frozenset(files), name)


def _read_needed(needs: Needs, root: Path, known: frozenset[str], name: str) -> dict[str, bytes]:
    if len(known) + len(needs.paths) > MAX_FILES:
        raise SpecError([Problem(file=name, message=f"includes more than {MAX_FILES} files")])
    found: dict[str, bytes] = {}
    problems: list[Problem] = []
    for wanted in needs.paths:
        target = (root / wanted).resolve()
        if not target.is_relative_to(root):
            # a link that leads out: spec/ has already refused such paths when they are spelled out
            problems.append(
                Problem(file=wanted, message=f"leads outside {root.name or root}: only files below it are read")
            )
            continue
        try:
            found[wanted] = _read(target, wanted)
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    return found


def _read(path: Path, display: str) -> bytes:
    def problem(message: str) -> SpecError:
        return SpecError([Problem(file=display, message=message)])

    try:
        if path.is_dir():
            raise problem("is a folder: expected an environment file, such as requirements.txt")
        if path.exists() and not path.is_file():
            raise problem("is not a regular file: expected an environment file")
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise problem("no such file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise problem(f"can't be read: {reason.lower()}") from error
    if len(data) > MAX_FILE_BYTES:
        raise problem(f"larger than {MAX_FILE_BYTES // 1024 // 1024} MiB: no environment file is")
    return data
