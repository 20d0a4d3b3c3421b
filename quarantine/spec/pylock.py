"""pylock.toml (PEP 751), read by `packaging.pylock` and held to what a gate needs beyond it: a sha256 for every file.

All extras and dependency groups of a lock are judged together, so what its markers ask of them is taken as true.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from packaging.markers import Marker
from packaging.pylock import Package, PackageSdist, PackageWheel, Pylock, PylockValidationError
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName
from packaging.version import Version

from quarantine.model import (
    Digest,
    EnvironmentSpec,
    Location,
    LockedFile,
    LockedPackage,
    Reference,
    ReferenceKind,
    SourceFile,
    parse_name,
)
from quarantine.spec.filenames import file_of, filename_of
from quarantine.spec.markers import IN_LOCKS, decidable, shallow
from quarantine.spec.redact import redact
from quarantine.spec.requirement import digest, fragment_digests
from quarantine.spec.text import MAX_LOCK_BYTES, MAX_REQUIREMENTS, Problems, escape, quote
from quarantine.spec.toml import Toml, load_toml

__all__ = ["read"]

Problem = Callable[[str], None]
"""Keeps a message at the place that is being read."""

_TYPES = re.compile(r"Unexpected type (\w+) \(expected (\w+)\)")
_KINDS = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "a boolean",
    "list": "a list",
    "Sequence": "a list",
    "dict": "a table",
    "Mapping": "a table",
    "datetime": "a date and time",
}
_PLACE = re.compile(r"^packages\[\d+\]\.?")


def read(file: str, data: bytes) -> EnvironmentSpec:
    """What a pylock.toml locks, raising SpecError with every problem of the file."""
    document = load_toml(file, data, MAX_LOCK_BYTES)
    problems = Problems()
    lock = _validated(document, problems)
    lines = _package_lines(document, len(lock.packages))
    locked = [_locked(package, file, line, problems) for package, line in zip(lock.packages, lines, strict=True)]
    environments = [_environment(marker, document, problems) for marker in lock.environments or ()]
    if not lock.packages:
        problems.add(file, document.line("packages"), "no requirements found: the lock holds no packages")
    problems.check()
    return EnvironmentSpec(
        file=file,
        format="pylock",
        locked=tuple(locked),
        requires_python=lock.requires_python or SpecifierSet(),
        environments=() if None in environments else tuple(marker for marker in environments if marker is not None),
        sources=(SourceFile(path=file, sha256=hashlib.sha256(data).hexdigest()),),
    )


# --- validation -------------------------------------------------------------------------------------------------------


def _validated(document: Toml, problems: Problems) -> Pylock:
    """The lock as the standard's own model, raising SpecError with all that the model refuses."""
    packages = document.value.get("packages")
    if isinstance(packages, list) and len(packages) > MAX_REQUIREMENTS:
        problems.add(document.file, document.line("packages"), f"more than {MAX_REQUIREMENTS} packages")
        raise problems.error()
    for line, message in (*_markers_too_deep(document), *_bad_names(document)):
        problems.add(document.file, line, message)
    problems.check()
    try:
        return Pylock.from_dict(document.value)
    except PylockValidationError as error:
        _each_on_its_own(document, error, problems)
        raise problems.error() from error


def _each_on_its_own(document: Toml, first: PylockValidationError, problems: Problems) -> None:
    """Adds the problem of every package: the model stops at the first, so each is put to it alone."""
    top = {**document.value, "packages": []}
    packages = document.value.get("packages")
    found = False
    try:
        Pylock.from_dict(top)
    except PylockValidationError as error:
        problems.add(document.file, document.line(_first_key(error) or "lock-version"), _said(error))
        found = True
    # without what was just found right, so that the work stays in proportion to the file
    top = {key: top[key] for key in ("lock-version", "created-by") if key in top}
    if isinstance(packages, list) and not found:
        for package, line in zip(packages, _package_lines(document, len(packages)), strict=True):
            try:
                Pylock.from_dict({**top, "packages": [package]})
            except PylockValidationError as error:
                problems.add(document.file, line, _said(error, package))
                found = True
    if not found:
        problems.add(document.file, document.line(_first_key(first)), _said(first))


def _markers_too_deep(document: Toml) -> Sequence[tuple[int | None, str]]:
    """Where markers nest so deep that the model would run out of stack."""
    environments = document.value.get("environments")
    found = [
        (document.line("environments"), message)
        for text in (environments if isinstance(environments, list) else ())
        if (message := _too_deep(text)) is not None
    ]
    packages = document.value.get("packages")
    if isinstance(packages, list):
        for package, line in zip(packages, _package_lines(document, len(packages)), strict=True):
            if isinstance(package, dict) and (message := _too_deep(package.get("marker"))) is not None:
                found.append((line, message))
    return found


def _bad_names(document: Toml) -> Iterator[tuple[int | None, str]]:
    """Files whose names the model would take on trust, or would be kept busy by: it is not asked to read them."""
    packages = document.value.get("packages")
    if not isinstance(packages, list):
        return
    for package, line in zip(packages, _package_lines(document, len(packages)), strict=True):
        if not isinstance(package, dict):
            continue
        wheels = package.get("wheels")
        for file in (*(wheels if isinstance(wheels, list) else ()), package.get("sdist")):
            try:
                if isinstance(file, dict):
                    _check_name(file)
            except ValueError as error:
                name = package.get("name")
                yield line, f"package {quote(name)}: {error}" if isinstance(name, str) else str(error)


def _check_name(file: Mapping[str, object]) -> None:
    """Nothing, raising ValueError where a file has two names, or a bad one; that it has none the model says."""
    url, path, said = (text if isinstance(text, str) else None for text in map(file.get, ("url", "path", "name")))
    if not url and not path:
        return
    file_of(filename_of(url=url or None, path=path or None, said=said))


def _too_deep(text: object) -> str | None:
    try:
        if isinstance(text, str):
            shallow(text)
    except ValueError as error:
        return str(error)
    return None


def _said(error: PylockValidationError, package: object = None) -> str:
    """The model's message with the name of the package in place of its number."""
    context = _PLACE.sub("", error.context or "") if package is not None else error.context or ""
    name = package.get("name") if isinstance(package, dict) else None
    message = error.message.split("\n", 1)[0]
    if found := _TYPES.fullmatch(message):
        message = f"{_KINDS.get(found[1], found[1])}, expected {_KINDS.get(found[2], found[2])}"
    where = [part for part in (f"package {quote(name)}" if isinstance(name, str) else "", escape(context)) if part]
    prefix = f"{', '.join(where)}: " if where else ""
    return f"{prefix}{message[:1].lower()}{escape(message[1:])}"


def _first_key(error: PylockValidationError) -> str:
    return (error.context or "").partition(".")[0].partition("[")[0]


def _package_lines(document: Toml, count: int) -> Sequence[int | None]:
    """The line of each package's header; that of the key where the packages are not written as `[[packages]]`."""
    lines = document.array_lines("packages")
    return lines if len(lines) == count else [document.line("packages")] * count


# --- packages ---------------------------------------------------------------------------------------------------------


def _locked(package: Package, file: str, line: int | None, problems: Problems) -> LockedPackage:
    """One package; what is wrong with it is added to the problems."""

    def problem(message: str) -> None:
        problems.add(file, line, f"package {quote(package.name)}: {message}")

    files = [_file(wheel, problem) for wheel in package.wheels or ()]
    files += [_file(package.sdist, problem)] if package.sdist is not None else []
    digests = {digest for locked in files for digest in locked.digests}
    if package.archive is not None:
        digests |= _digests(package.archive.hashes, package.archive.url, "archive", problem)
    reference = _reference(package)
    return LockedPackage(
        name=package.name,
        version=package.version or _version_of(files, problem),
        marker=_marker(package.marker, problem),
        files=tuple(files),
        digests=frozenset(digests),
        index=None if package.index is None else redact(package.index),
        requires=_requires(package, problem),
        reference=reference,
        source_only=reference is None and not package.wheels,
        location=Location(file=file, line=line),
    )


def _file(given: PackageWheel | PackageSdist, problem: Problem) -> LockedFile:
    filename = given.filename
    if given.size is not None and given.size < 0:
        problem(f"{quote(filename)} has a negative size")
    return LockedFile(
        filename=filename,
        digests=_digests(given.hashes, given.url, filename, problem),
        size=given.size,
        url=None if given.url is None else redact(given.url),
    )


def _digests(hashes: Mapping[str, str], url: str | None, what: str, problem: Problem) -> frozenset[Digest]:
    """All digests that an installer takes for a file: one that matches is enough to some.

    A sha256 is required, since verdicts speak of nothing else, and a weak hash beside it is refused. Longer ones stay,
    for the pipeline to find that no owner lists them.
    """
    if "sha256" not in hashes:
        problem(f"{quote(what)} has no sha256 (found {quote(', '.join(sorted(hashes)))[1:-1]}): lock it again with one")
        return frozenset()
    try:
        given = frozenset(digest(f"{algorithm}:{value}") for algorithm, value in hashes.items())
        return given | fragment_digests(url or "")
    except ValueError as error:
        problem(f"{quote(what)}: {error}")
        return frozenset()


def _version_of(files: Sequence[LockedFile], problem: Problem) -> Version | None:
    """The version that the files themselves say, for a package that the lock gives none (PEP 751 allows it)."""
    versions = {file_of(file.filename)[1] for file in files}
    if len(versions) > 1:
        problem(f"its files are of several versions: {', '.join(map(str, sorted(versions)))}")
    return next(iter(versions)) if len(versions) == 1 else None


def _reference(package: Package) -> Reference | None:
    """What a package that is not from an index refers to."""
    if package.vcs is not None:
        text = f"{package.vcs.type}+{package.vcs.url or package.vcs.path}@{package.vcs.commit_id}"
        return Reference(kind=ReferenceKind.VCS, text=redact(text))
    if package.directory is not None:
        path = package.directory.path
        return Reference(kind=ReferenceKind.PATH, text=redact(path), editable=package.directory.editable or False)
    if package.archive is not None:
        kind = ReferenceKind.PATH if package.archive.url is None else ReferenceKind.URL
        return Reference(kind=kind, text=redact(package.archive.url or package.archive.path or ""))
    return None


def _requires(package: Package, problem: Problem) -> tuple[NormalizedName, ...]:
    names: set[NormalizedName] = set()
    for dependency in package.dependencies or ():
        name = dependency.get("name")
        try:
            names.add(parse_name(name if isinstance(name, str) else ""))
        except ValueError as error:
            problem(f"a dependency: {error}")
    return tuple(sorted(names))


def _marker(marker: Marker | None, problem: Problem) -> Marker | None:
    try:
        return None if marker is None else decidable(marker, IN_LOCKS)
    except ValueError as error:
        problem(str(error))
        return None


def _environment(marker: Marker, document: Toml, problems: Problems) -> Marker | None:
    return _marker(marker, lambda message: problems.add(document.file, document.line("environments"), message))
