"""uv.lock (version 1): every package of all forks, with the condition under which its workspace's roots reach it.

uv documents no schema; this reads the parts that say what may be installed and refuses a lock whose version, sources or
edges it does not know. The workspace's own members are the roots of the graph, not packages that are judged.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec
from packaging.markers import Marker
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
    parse_version,
)
from quarantine.spec.filenames import file_of, filename_of
from quarantine.spec.lock_graph import Edge, conditions
from quarantine.spec.markers import IN_LOCKS, disjunction, parse_marker
from quarantine.spec.redact import redact
from quarantine.spec.requirement import digest, fragment_digests, parse_python
from quarantine.spec.text import MAX_LOCK_BYTES, MAX_REQUIREMENTS, Problems, escape, quote
from quarantine.spec.toml import Toml, load_toml
from quarantine.spec.uv_wire import Dependency, File, Lock, Manifest, Package, Source

__all__ = ["read"]

MAX_FORKS = 64
MAX_EDGES = 500_000
T = TypeVar("T")
Problem = Callable[[str], None]
"""Keeps a message at the place that is being read."""


# --- the whole --------------------------------------------------------------------------------------------------------


def read(file: str, data: bytes) -> EnvironmentSpec:
    """What a uv.lock locks, raising SpecError with every problem of the file."""
    document = load_toml(file, data, MAX_LOCK_BYTES)
    problems = Problems()
    lock = _converted(document, problems)
    packages, lines = _packages(document, lock.package, problems)
    graph = _Graph(file, packages, lines, lock.manifest, problems)
    # a package that could not be read would be missed on every edge that leads to it
    markers = graph.markers() if len(packages) == len(lock.package) else [None] * len(packages)
    locked = [
        _locked(package, markers[place], Location(file=file, line=lines[place]), problems)
        for place, package in enumerate(packages)
        if place not in graph.roots
    ]
    requires_python, environments = _python(lock, document, problems)
    if not locked and not problems:
        problems.add(file, None, "no requirements found: the lock holds no packages beside the project's own")
    problems.check()
    return EnvironmentSpec(
        file=file,
        format="uv.lock",
        locked=tuple(locked),
        requires_python=requires_python,
        environments=environments,
        sources=(SourceFile(path=file, sha256=hashlib.sha256(data).hexdigest()),),
    )


def _converted(document: Toml, problems: Problems) -> Lock:
    """The outer parts of the lock, raising SpecError when they are not those of version 1."""
    version = document.value.get("version")
    if version != 1:
        found = "missing" if version is None else escape(repr(version))
        problems.add(document.file, document.line("version"), f"version is {found}: only version 1 of uv.lock is read")
        problems.check()
    try:
        lock = msgspec.convert(document.value, Lock)
    except msgspec.ValidationError as error:
        message, key = _plain(error)
        problems.add(document.file, document.line(*key.split(".")) if key else None, message)
        raise problems.error() from error
    if len(lock.package) > MAX_REQUIREMENTS:
        problems.add(document.file, None, f"more than {MAX_REQUIREMENTS} packages")
    forks = Counter(package.get("name") for package in lock.package if isinstance(package.get("name"), str))
    if max(forks.values(), default=0) > MAX_FORKS:
        name = quote(str(forks.most_common(1)[0][0]))
        problems.add(document.file, None, f"package {name} is locked more than {MAX_FORKS} times")
    problems.check()
    return lock


def _packages(
    document: Toml, raw: Sequence[Mapping[str, object]], problems: Problems
) -> tuple[list[Package], list[int | None]]:
    """The packages and their lines; those that are malformed are left out and told."""
    headers = document.array_lines("package")
    lines = headers if len(headers) == len(raw) else [document.line("package")] * len(raw)
    packages: list[Package] = []
    kept: list[int | None] = []
    for given, line in zip(raw, lines, strict=True):
        try:
            package = msgspec.convert(given, Package)
            if package.name != parse_name(package.name):
                raise ValueError(f"{quote(package.name)} is not normalised")  # noqa: TRY301
        except msgspec.ValidationError as error:
            name = given.get("name")
            prefix = f"package {quote(name)}: " if isinstance(name, str) else ""
            problems.add(document.file, line, prefix + _plain(error)[0])
        except ValueError as error:
            problems.add(document.file, line, str(error))
        else:
            packages.append(package)
            kept.append(line)
    return packages, kept


def _plain(error: msgspec.ValidationError) -> tuple[str, str]:
    """The library's message in words of TOML, and the key that it speaks of."""
    message, _, path = str(error).partition(" - at `$")
    key = path.rstrip("`").lstrip(".").partition("[")[0]
    message = message.replace(" | null", "")
    for theirs, ours in (("`object`", "a table"), ("`array`", "a list"), ("`str`", "a string"), ("`int`", "a number")):
        message = message.replace(theirs, ours)
    message = message.replace("Object missing required field", "missing key").replace("`", "'")
    return f"{message[:1].lower()}{escape(message[1:])}{f' ({escape(key)})' if key else ''}", key


def _python(lock: Lock, document: Toml, problems: Problems) -> tuple[SpecifierSet, tuple[Marker, ...]]:
    """Which Pythons and environments the lock is for."""
    python = SpecifierSet()
    try:
        python = parse_python(lock.requires_python)
    except ValueError as error:
        problems.add(document.file, document.line("requires-python"), str(error))
    environments: list[Marker | None] = []
    for marker in lock.supported_markers:
        try:
            environments.append(parse_marker(marker, IN_LOCKS))
        except ValueError as error:
            problems.add(document.file, document.line("supported-markers"), str(error))
    free = None in environments
    return python, () if free else tuple(marker for marker in environments if marker is not None)


# --- who reaches whom -------------------------------------------------------------------------------------------------


class _Graph:
    """The packages by name, the workspace's own among them, and the edges between them."""

    def __init__(
        self,
        file: str,
        packages: Sequence[Package],
        lines: Sequence[int | None],
        manifest: Manifest,
        problems: Problems,
    ) -> None:
        self._file = file
        self._packages = packages
        self._lines = lines
        self._manifest = manifest
        self._problems = problems
        self._markers: dict[str, Marker | None] = {}
        self._meant: dict[object, Sequence[Edge]] = {}
        self._edge_count = 0
        self._by_name: dict[str, list[int]] = {}
        for place, package in enumerate(packages):
            self._by_name.setdefault(package.name, []).append(place)
        self.roots = frozenset(place for place, package in enumerate(packages) if _is_own(package, manifest.members))

    def markers(self) -> list[Marker | None]:
        """For each package the marker under which it is reached, None where it is judged always."""
        start: list[Edge] = []
        for place in self.roots:
            package = self._packages[place]
            groups = (*_flat(package.optional_dependencies), *_flat(package.dev_dependencies))
            start += self._edges((*package.dependencies, *groups), place)
        for requirement in (*self._manifest.requirements, *_flat(self._manifest.dependency_groups)):
            start += self._edges([Dependency(name=requirement.name, marker=requirement.marker)], None)
        edges: dict[object, Sequence[Edge]] = {}
        for place, package in enumerate(self._packages):
            if place in self.roots:
                continue
            edges[place, None] = self._edges(package.dependencies, place)
            for extra, wanted_by_extra in package.optional_dependencies.items():
                edges[place, extra] = self._edges(wanted_by_extra, place)
        reached = conditions(start, edges | self._meant)
        return [self._marker(reached, place) for place in range(len(self._packages))]

    def _marker(self, reached: Mapping[object, frozenset[frozenset[str]]], place: int) -> Marker | None:
        paths = reached.get((place, None))
        if paths is None:
            return None  # not reached from here: nothing says that it is not installed
        known = [[marker for text in sorted(path) if (marker := self._markers[text]) is not None] for path in paths]
        return disjunction(sorted(known, key=lambda path: [str(marker) for marker in path]))

    def _edges(self, wanted: Iterable[Dependency], place: int | None) -> list[Edge]:
        """One edge for each dependency, to a node of its own from which all packages go on that it may mean.

        Many packages depend on the same: with that node the edges add up, where they would multiply with the forks.
        """
        edges: list[Edge] = []
        line = self._lines[place] if place is not None else None
        for dependency in wanted:
            self._count(1, line)
            meant = (dependency.name, dependency.version, dependency.source, dependency.extra)
            if meant not in self._meant:
                self._meant[meant] = self._targets(dependency, line)
            if not self._meant[meant]:
                message = f"a dependency on {quote(dependency.name)}, which the lock does not hold: lock it again"
                self._problems.add(self._file, line, message)
            edges.append(Edge(meant, self._condition(dependency.marker, line)))
        return edges

    def _targets(self, dependency: Dependency, line: int | None) -> Sequence[Edge]:
        """Edges to all packages that a dependency may mean, and to those of its extras that they have."""
        places = [
            place
            for place in self._by_name.get(dependency.name, ())
            if dependency.version in {None, self._packages[place].version}
            and dependency.source in {None, self._packages[place].source}
        ]
        self._count(len(places) * (1 + len(dependency.extra)), line)
        return [
            Edge((place, extra), None)
            for place in places
            for extra in (None, *dependency.extra)
            if extra is None or extra in self._packages[place].optional_dependencies
        ]

    def _count(self, more: int, line: int | None) -> None:
        self._edge_count += more
        if self._edge_count > MAX_EDGES:
            self._problems.add(self._file, line, f"more than {MAX_EDGES} dependencies of packages on each other")
            raise self._problems.error()

    def _condition(self, marker: str | None, line: int | None) -> str | None:
        if marker is None:
            return None
        if marker not in self._markers:
            self._markers[marker] = None
            try:
                self._markers[marker] = parse_marker(marker, IN_LOCKS)
            except ValueError as error:
                self._problems.add(self._file, line, str(error))
        return marker if self._markers[marker] is not None else None


def _is_own(package: Package, members: Sequence[str]) -> bool:
    """Whether it is the project itself or a member of its workspace; a path out of the workspace never is."""
    path = package.source.editable or package.source.virtual
    if path is None:
        return False
    inside = not path.startswith("/") and ".." not in path.replace("\\", "/").split("/") and ":" not in path
    return inside and (path == "." or package.name in members)


def _flat(groups: Mapping[str, Sequence[T]]) -> tuple[T, ...]:
    return tuple(item for group in groups.values() for item in group)


# --- packages ---------------------------------------------------------------------------------------------------------


def _locked(package: Package, marker: Marker | None, location: Location, problems: Problems) -> LockedPackage:
    """One package; what is wrong with it is added to the problems."""

    def problem(message: str) -> None:
        problems.add(location.file, location.line, f"package {quote(package.name)}: {message}")

    version: Version | None = None
    try:
        version = None if package.version is None else parse_version(package.version)
    except ValueError as error:
        problem(str(error))
    reference = _reference(package.source, problem)
    given = (*package.wheels, *(() if package.sdist is None or reference is not None else (package.sdist,)))
    files = [_file(file, package.name, version, problem) for file in given]
    digests = {digest for file in files for digest in file.digests}
    if package.sdist is not None and reference is not None and package.sdist.hash is not None:
        digests |= _digests(package.sdist.hash, package.source.url, reference.text, problem)
    if reference is None and not files:
        problem("neither wheels nor an sdist")
    return LockedPackage(
        name=parse_name(package.name),
        version=version,
        marker=marker,
        files=tuple(files),
        digests=frozenset(digests),
        index=None if package.source.registry is None else redact(package.source.registry),
        requires=tuple(
            sorted(_names((*package.dependencies, *_flat(package.optional_dependencies)), problem) - {package.name})
        ),
        reference=reference,
        source_only=reference is None and not package.wheels,
        location=location,
    )


def _names(dependencies: Iterable[Dependency], problem: Problem) -> set[NormalizedName]:
    names: set[NormalizedName] = set()
    for dependency in dependencies:
        try:
            names.add(parse_name(dependency.name))
        except ValueError as error:
            problem(f"a dependency: {error}")
    return names


def _reference(source: Source, problem: Problem) -> Reference | None:
    """What a package that is not from a registry refers to."""
    given = [text for text in (source.registry, source.git, source.url, source.path) if text is not None]
    folders = [text for text in (source.directory, source.editable, source.virtual) if text is not None]
    if len(given) + len(folders) != 1:
        problem(
            "its source is none that is known: expected one of registry, git, url, path, directory, editable, virtual"
        )
        return None
    if source.registry is not None:
        return None
    if source.git is not None:
        # uv keeps what was asked for in the query; the commit in the fragment is what is installed
        address, _, commit = source.git.partition("#")
        return Reference(kind=ReferenceKind.VCS, text=redact(f"git+{address.partition('?')[0]}@{commit}"))
    kind = ReferenceKind.URL if source.url is not None else ReferenceKind.PATH
    return Reference(kind=kind, text=redact((given or folders)[0]), editable=source.editable is not None)


def _file(file: File, name: str, version: Version | None, problem: Problem) -> LockedFile:
    try:
        filename = filename_of(url=file.url, path=file.path, said=file.filename)
        named, said = file_of(filename)
        if named != name or version not in {None, said}:
            problem(f"{quote(filename)} is a file of {named} {said}")
    except ValueError as error:
        problem(str(error))
        filename = ""
    if file.hash is None:
        problem(f"{quote(filename)} has no hash: lock it again from an index that gives a sha256")
    if file.size is not None and file.size < 0:
        problem(f"{quote(filename)} has a negative size")
    return LockedFile(
        filename=filename,
        digests=frozenset() if file.hash is None else _digests(file.hash, file.url, filename, problem),
        size=file.size,
        url=None if file.url is None else redact(file.url),
    )


def _digests(text: str, url: str | None, what: str, problem: Problem) -> frozenset[Digest]:
    """The digest of a file, and what its URL carries beside it."""
    try:
        return frozenset({digest(text)}) | fragment_digests(url or "")
    except ValueError as error:
        problem(f"{quote(what)}: {error}")
        return frozenset()
