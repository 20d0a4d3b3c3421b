"""Environment files from disk: each spec asks for the files it needs, and gets them if they lie under its root.

The root is the working directory when the file lies under it, else the folder that was named, or the file's own. Names
in messages are those that a person at the working directory would use.
"""

import dataclasses
import os
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec.structs import fields, replace

from quarantine.errors import Problem, SpecError, UpstreamError
from quarantine.model import EnvironmentSpec, Location, Needs, SourceFile
from quarantine.ports import Tell
from quarantine.spec.parse import parse

__all__ = ["read_specs"]

_NO_FILE = "no environment file was found below this folder: name a file (quarantine check --help says which are read)"
MAX_FILE_BYTES = 32 * 1024 * 1024
MAX_TOTAL_BYTES = 64 * 1024 * 1024


def read_specs(
    paths: Iterable[Path],
    working_directory: Path,
    context: Path | None = None,
    tell: Tell = lambda _: None,
    *,
    keep_unreadable: bool = False,
    given: Mapping[Path, bytes] | None = None,
) -> tuple[EnvironmentSpec, ...]:
    """What every file asks for, in the order given; of a folder, every environment file below it.

    SpecError with the problems of all files that were named together. A file that was only found in a folder and can't
    be read is a spec that says so, and with `keep_unreadable` one that was named is too. `context` is the folder that
    Dockerfiles copy from, each one's own where it is None. `given` are files by their paths that were read before: then
    nothing is read from disk, and they are all that there is.
    """
    if given is not None:
        return tuple(_given_spec(path, given) for path in dict.fromkeys(paths))
    specs: list[EnvironmentSpec] = []
    problems: list[Problem] = []
    for path in dict.fromkeys(paths):
        try:
            if os.path.isdir(working_directory / path):  # noqa: PTH112  # False for what no system call takes
                specs += _read_folder(path, working_directory, context, tell)
            else:
                specs.append(_read_spec(path, working_directory, None, context))
        except (SpecError, UpstreamError) as error:
            if keep_unreadable:
                specs.append(_unreadable(path, "", working_directory, error))
            elif isinstance(error, SpecError):
                problems += error.problems
            else:
                raise
    if problems:
        raise SpecError(problems)
    return tuple(specs)


def _read_folder(
    folder: Path, working_directory: Path, context: Path | None, tell: Tell
) -> tuple[EnvironmentSpec, ...]:
    """The environment files below a folder, of which none keeps the others from being judged."""
    from quarantine.pipeline.find import find_specs  # noqa: PLC0415  # only a folder is searched

    specs = []
    found = find_specs(folder, working_directory, tell)
    if not found:
        raise _problem(Location(file=str(folder)), _NO_FILE)
    for number, entry in enumerate(found, 1):
        tell(f"reading {entry.path} ({number} of {len(found)})")
        try:
            specs.append(_read_spec(entry.path, working_directory, folder, context))
        except (SpecError, UpstreamError) as error:
            specs.append(_unreadable(entry.path, entry.kind, working_directory, error))
    return tuple(specs)


def _unreadable(path: Path, kind: str, working_directory: Path, error: SpecError | UpstreamError) -> EnvironmentSpec:
    """A file that can't be read, with why."""
    try:
        data = _read(working_directory / path, Location(file=str(path)))
    except SpecError:
        data = b""
    name = path.as_posix()
    source = SourceFile(path=name, sha256=sha256(data).hexdigest())
    problems = error.problems if isinstance(error, SpecError) else (Problem(file=name, message=str(error)),)
    return EnvironmentSpec(file=name, format=kind, unreadable=problems, sources=(source,))


def _read_spec(path: Path, working_directory: Path, folder: Path | None, context: Path | None) -> EnvironmentSpec:
    base = _real(working_directory)
    # the folder is resolved, the file's own name is kept: it tells the format
    absolute = _real((base / path).parent) / path.name
    outside = absolute.parent if folder is None else _real(base / folder)
    root = base if absolute.is_relative_to(base) else outside
    name = absolute.relative_to(root).as_posix()
    _must_be_a_file(absolute, Location(file=str(path)))
    if not _real(absolute).is_relative_to(root):
        # whoever wrote the link isn't whoever may read what it leads to
        raise _problem(Location(file=str(path)), f"is a link that leads outside {root}: name the file itself")
    files = {name: _read(absolute, Location(file=str(path)))}
    prefix = "" if root == base else f"{(path.parent if folder is None else folder).as_posix()}/"
    copied = None if context is None else _real(base / context)
    if copied is not None and not copied.is_relative_to(root):
        raise _problem(
            Location(file=str(path)),
            f"the context {str(context)!a} is not below {root}: run the check from a folder that holds both",
        )
    below = None if copied is None else copied.relative_to(root).as_posix().removeprefix(".")
    try:
        while True:
            answer = parse(name, files, below)
            if isinstance(answer, EnvironmentSpec):
                return _shown_from(prefix, answer) if prefix else answer
            files |= _read_needed(answer, root, files)
    except SpecError as error:
        raise _prefixed(prefix, error) from None


def _given_spec(path: Path, given: Mapping[Path, bytes]) -> EnvironmentSpec:
    """What a file asks for that was read before, with those that were read from its folder."""
    folder = path.parent
    prefix = "" if folder == Path() else f"{folder.as_posix()}/"
    files = {one.relative_to(folder).as_posix(): data for one, data in given.items() if one.is_relative_to(folder)}
    try:
        answer = _parsed(path.name, files)
    except SpecError as error:
        raise _prefixed(prefix, error) from None
    return _shown_from(prefix, answer) if prefix else answer


def _parsed(name: str, files: Mapping[str, bytes]) -> EnvironmentSpec:
    answer = parse(name, files)
    if isinstance(answer, EnvironmentSpec):
        return answer
    location = answer.wanted_by[0] if answer.wanted_by else Location(file=name)
    expected = f"expected no other files than {', '.join(files)}"
    raise _problem(location, f"{answer.paths[0]!a} is to be read, too: {expected}")


def _prefixed(prefix: str, error: SpecError) -> SpecError:
    """The problems with every file in them named from the working directory."""
    return SpecError(
        Problem(file=prefix + p.file, line=p.line, column=p.column, message=p.message) for p in error.problems
    )


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


_T = TypeVar("_T")


def _shown_from(prefix: str, value: _T) -> _T:
    """The value with every file in it named from the working directory, which the files don't lie under."""
    if isinstance(value, tuple):
        return type(value)(_shown_from(prefix, part) for part in value)
    if isinstance(value, Problem):
        return dataclasses.replace(value, file=prefix + value.file)
    if not isinstance(value, msgspec.Struct):
        return value
    changed: dict[str, object] = {}
    for field in fields(value):
        old = getattr(value, field.name)
        new = prefix + old if (type(value), field.name) in _FILES else _shown_from(prefix, old)
        if new is not old:
            changed[field.name] = new
    return replace(value, **changed) if changed else value


_FILES = frozenset({(Location, "file"), (SourceFile, "path"), (EnvironmentSpec, "file")})
