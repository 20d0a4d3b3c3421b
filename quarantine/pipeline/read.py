"""Environment files from disk: each spec asks for the files it needs, and gets them if they lie under its root.

The root is the working directory when the file lies under it, else the file's own folder. Names in messages are those
that a person at the working directory would use.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from msgspec.structs import replace

from quarantine.errors import Problem, SpecError
from quarantine.model import EnvironmentSpec, Location, Needs
from quarantine.spec.parse import parse

__all__ = ["read_specs"]

MAX_FILE_BYTES = 32 * 1024 * 1024
MAX_TOTAL_BYTES = 64 * 1024 * 1024


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
    base = _real(working_directory)
    # the folder is resolved, the file's own name is kept: it tells the format
    absolute = _real((base / path).parent) / path.name
    root = base if absolute.is_relative_to(base) else absolute.parent
    name = absolute.relative_to(root).as_posix()
    _must_be_a_file(absolute, Location(file=str(path)))
    if not _real(absolute).is_relative_to(root):
        # whoever wrote the link isn't whoever may read what it leads to
        raise _problem(Location(file=str(path)), f"is a link that leads outside {root}: name the file itself")
    files = {name: _read(absolute, Location(file=str(path)))}
    prefix = "" if root == base else f"{path.parent.as_posix()}/"
    try:
        while True:
            answer = parse(name, files)
            if isinstance(answer, EnvironmentSpec):
                return _shown_from(prefix, answer) if prefix else answer
            files |= _read_needed(answer, root, files)
    except SpecError as error:
        raise SpecError(
            Problem(file=prefix + p.file, line=p.line, column=p.column, message=p.message) for p in error.problems
        ) from None


def _read_needed(needs: Needs, root: Path, known: dict[str, bytes]) -> dict[str, bytes]:
    wanted_by = needs.wanted_by or tuple(Location(file=wanted) for wanted in needs.paths)
    found: dict[str, bytes] = {}
    problems: list[Problem] = []
    for wanted, location in zip(needs.paths, wanted_by, strict=True):
        target = _real(root / wanted)
        try:
            if not target.is_relative_to(root):
                # through a link: spec/ has already refused such paths when they are spelled out
                raise _problem(location, f"{wanted!a} leads outside the project: only files below it are read")
            found[wanted] = _read(target, location, wanted)
            if sum(map(len, (*known.values(), *found.values()))) > MAX_TOTAL_BYTES:
                raise _problem(location, f"more than {MAX_TOTAL_BYTES // 1024 // 1024} MiB are included")
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    return found


def _real(path: Path) -> Path:
    """The path without links, as far as they lead anywhere: a loop of them is met when the file is read."""
    return Path(os.path.realpath(path))


def _problem(location: Location, message: str) -> SpecError:
    return SpecError([Problem(file=location.file, line=location.line, column=location.column, message=message)])


def _must_be_a_file(path: Path, asked_at: Location, what: str = "") -> None:
    """SpecError for a folder, a pipe or a device: opening one could wait for ever."""
    if os.path.isdir(path):  # noqa: PTH112  # False for a name that no system call takes, where pathlib raises
        raise _problem(asked_at, f"{what}is a folder: expected an environment file, such as requirements.txt")
    if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113
        raise _problem(asked_at, f"{what}is not a regular file: expected an environment file")


def _read(path: Path, asked_at: Location, wanted: str = "") -> bytes:
    what = f"{wanted!a} " if wanted else ""
    _must_be_a_file(path, asked_at, what)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise _problem(asked_at, f"{what}is not there" if what else "no such file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _problem(asked_at, f"{what}can't be read: {reason.lower()}") from error
    if len(data) > MAX_FILE_BYTES:
        limit = MAX_FILE_BYTES // 1024 // 1024
        raise _problem(asked_at, f"{what}is larger than {limit} MiB: no environment file is")
    return data


def _shown_from(prefix: str, spec: EnvironmentSpec) -> EnvironmentSpec:
    """The spec with its files named from the working directory, which they don't lie under."""

    def moved(location: Location) -> Location:
        return replace(location, file=prefix + location.file)

    return replace(
        spec,
        file=prefix + spec.file,
        requirements=tuple(replace(r, location=moved(r.location)) for r in spec.requirements),
        constraints=tuple(replace(r, location=moved(r.location)) for r in spec.constraints),
        directives=tuple(replace(d, location=moved(d.location)) for d in spec.directives),
        locked=None if spec.locked is None else tuple(replace(p, location=moved(p.location)) for p in spec.locked),
        unverifiable=tuple(replace(u, location=moved(u.location)) for u in spec.unverifiable),
        sources=tuple(replace(s, path=prefix + s.path) for s in spec.sources),
    )
