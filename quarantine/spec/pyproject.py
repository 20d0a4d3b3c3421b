"""pyproject.toml: dependencies, optional dependencies and dependency groups, all judged together.

- `requires-python`, `dynamic` and the origins that tools read from their own tables are kept: the origins as directives.
- A reference of the project to its own extras (`proj[all]`) asks for nothing new where the project stands beside it: in
  its dependencies. Anywhere else, and with a version, installers take that name from an index, so it is judged.
- Not judged: `build-system.requires`, since build tools go into an isolated build of the project itself, which a check
  never runs; and the environments that tools make for themselves (`[tool.hatch.envs]`, tox, nox, cibuildwheel, ...),
  which are not the project's. Check what such a tool installs as a requirements file of its own.
"""

import hashlib
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName

from quarantine.model import (
    EnvironmentSpec,
    Location,
    Requirement,
    SourceFile,
    Unverifiable,
    parse_name,
)
from quarantine.spec.origins import origins
from quarantine.spec.requirement import parse_pep508, parse_python
from quarantine.spec.text import MAX_REQUIREMENTS, Problems, quote
from quarantine.spec.toml import Toml, load_toml

__all__ = ["read"]

Table = Mapping[str, object]


def read(file: str, data: bytes) -> EnvironmentSpec:
    """What a pyproject.toml asks for, raising SpecError with every problem of the file."""
    document = load_toml(file, data)
    reader = _Reader(document)
    project = reader.table("project")
    reader.project(project)
    reader.groups(reader.table("dependency-groups"))
    reader.uv(reader.table("tool", "uv"))
    directives, unverifiable = origins(document)
    unverifiable = (*reader.unverifiable, *unverifiable)
    if not reader.requirements and not directives and not unverifiable and not reader.problems:
        reader.problem(_nothing(document.value), *(("project",) if "project" in document.value else ()))
    reader.problems.check()
    return EnvironmentSpec(
        file=file,
        format="pyproject",
        requirements=tuple(reader.requirements),
        constraints=tuple(reader.constraints),
        directives=directives,
        requires_python=reader.requires_python,
        unverifiable=unverifiable,
        sources=(SourceFile(path=file, sha256=hashlib.sha256(data).hexdigest()),),
    )


def _nothing(document: Table) -> str:
    tool = document.get("tool")
    if "project" not in document and isinstance(tool, dict) and "poetry" in tool:
        return (
            "only [tool.poetry] names dependencies, which is read by Poetry alone: move them to [project], or check "
            "what `poetry export` writes"
        )
    if "project" not in document and "dependency-groups" not in document:
        return "no requirements found: there is neither [project] nor [dependency-groups]"
    return "no requirements found"


class _Reader:
    """Gathers what the tables ask for; used once."""

    def __init__(self, document: Toml) -> None:
        self.document = document
        self.problems = Problems()
        self.requirements: list[Requirement] = []
        self.constraints: list[Requirement] = []
        self.unverifiable: list[Unverifiable] = []
        self.requires_python = SpecifierSet()
        self.name: NormalizedName | None = None
        self.extras: frozenset[str] = frozenset()

    def problem(self, message: str, *path: str) -> None:
        """Keeps a problem at the line of a key."""
        self.problems.add(self.document.file, self.document.line(*path), message)

    def table(self, *path: str) -> Table:
        """The table at the path, empty where there is none."""
        table: Table = self.document.value
        for depth, key in enumerate(path, start=1):
            value = table.get(key, {})
            if not isinstance(value, dict):
                self.problem(f"{'.'.join(path[:depth])} is {_kind(value)}: expected a table", *path[:depth])
                return {}
            table = value
        return table

    # --- [project] ----------------------------------------------------------------------------------------------------

    def project(self, project: Table) -> None:
        """The standard metadata (PEP 621)."""
        if not project:
            return
        self._identity(project)
        self._dynamic(project)
        optional = self.table("project", "optional-dependencies")
        self.extras = frozenset(map(_loosely, optional))
        self._list(project.get("dependencies", []), "project", "dependencies")
        for extra, items in optional.items():
            self._named(extra, "project", "optional-dependencies", extra)
            self._list(items, "project", "optional-dependencies", extra)

    def _identity(self, project: Table) -> None:
        name = project.get("name")
        if not isinstance(name, str):
            self.problem(f"project.name is {_kind(name)}: expected the project's name", "project", "name")
        else:
            self.name = self._named(name, "project", "name")
        python = project.get("requires-python", "")
        try:
            if not isinstance(python, str):
                self.problem(f"requires-python is {_kind(python)}: expected a string", "project", "requires-python")
            else:
                self.requires_python = parse_python(python)
        except ValueError as error:
            self.problem(str(error), "project", "requires-python")

    def _dynamic(self, project: Table) -> None:
        dynamic = project.get("dynamic", [])
        if not isinstance(dynamic, list):
            self.problem(f"project.dynamic is {_kind(dynamic)}: expected a list", "project", "dynamic")
            return
        for key in ("dependencies", "optional-dependencies"):
            if key in dynamic and key in project:
                # PEP 621: a field may not be both given and dynamic
                self.problem(f"{key} is given and also listed in project.dynamic", "project", "dynamic")
            elif key in dynamic:
                location = Location(file=self.document.file, line=self.document.line("project", "dynamic"))
                why = "the build backend computes them when it runs, and nothing is run here"
                self.unverifiable.append(Unverifiable(location=location, what=f"dynamic {key}", why=why))

    # --- [dependency-groups] ------------------------------------------------------------------------------------------

    def groups(self, groups: Table) -> None:
        """The dependency groups (PEP 735): each one's own items, and includes that must exist and form no cycle."""
        spelled: dict[NormalizedName, str] = {}
        graph: dict[NormalizedName, list[NormalizedName]] = {}
        for group, items in groups.items():
            path = ("dependency-groups", group)
            name = self._named(group, *path)
            if name is None:
                continue
            if name in spelled:
                self.problem(f"group {quote(group)} stands twice: also as {quote(spelled[name])}", *path)
            spelled[name] = group
            tables = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
            graph[name] = [included for item in tables if (included := self._included(item, *path)) is not None]
            plain = [item for item in items if not isinstance(item, dict)] if isinstance(items, list) else items
            self._list(plain, *path)
        for name, includes in graph.items():
            for missing in sorted(set(includes) - set(graph)):
                self.problem(f"includes group {quote(missing)}, which is not there", "dependency-groups", spelled[name])
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            chain: Sequence[str] = error.args[1]
            place = ("dependency-groups", spelled[parse_name(chain[0])])
            self.problem(f"groups include each other in a cycle: {' -> '.join(reversed(chain))}", *place)

    def _included(self, item: Table, *path: str) -> NormalizedName | None:
        group = item.get("include-group")
        if set(item) != {"include-group"} or not isinstance(group, str):
            self.problem(f"an item of group {quote(path[-1])} is no requirement and no {{include-group = NAME}}", *path)
            return None
        return self._named(group, *path)

    # --- [tool.uv] ----------------------------------------------------------------------------------------------------

    def uv(self, table: Table) -> None:
        """What uv adds to the standard tables; what changes origins is in `origins`."""
        if "dev-dependencies" in table:
            self._list(table["dev-dependencies"], "tool", "uv", "dev-dependencies")
        if "constraint-dependencies" in table:
            self._list(table["constraint-dependencies"], "tool", "uv", "constraint-dependencies", into=self.constraints)

    # --- items --------------------------------------------------------------------------------------------------------

    def _list(self, items: object, *path: str, into: list[Requirement] | None = None) -> None:
        where = ".".join(path)
        if not isinstance(items, list):
            self.problem(f"{quote(where)[1:-1]} is {_kind(items)}: expected a list of requirements", *path)
            return
        for item, line in zip(items, self.document.item_lines(items, *path), strict=True):
            if not isinstance(item, str):
                message = f"an item of {quote(where)[1:-1]} is {_kind(item)}: expected a requirement"
                self.problems.add(self.document.file, line, message)
                continue
            if len(self.requirements) + len(self.constraints) >= MAX_REQUIREMENTS:
                self.problems.add(self.document.file, line, f"more than {MAX_REQUIREMENTS} requirements")
                return
            try:
                requirement = parse_pep508(item, Location(file=self.document.file, line=line))
            except ValueError as error:
                self.problems.add(self.document.file, line, str(error))
                continue
            if path[0] == "project" and self._is_itself(requirement):
                self._itself(requirement, line)
            else:
                (self.requirements if into is None else into).append(requirement)

    def _is_itself(self, requirement: Requirement) -> bool:
        """Whether it names extras of this project and nothing else, which installers read in the same file."""
        free = requirement.reference is None and not requirement.specifier
        return self.name is not None and requirement.name == self.name and bool(requirement.extras) and free

    def _itself(self, requirement: Requirement, line: int | None) -> None:
        unknown = sorted(set(requirement.extras) - self.extras)
        if unknown and not any("optional" in entry.what for entry in self.unverifiable):
            message = f"{requirement.name} is this project, which has no extra {', '.join(map(quote, unknown))}"
            self.problems.add(self.document.file, line, message)

    def _named(self, text: str, *path: str) -> NormalizedName | None:
        try:
            return parse_name(text)
        except ValueError as error:
            self.problem(str(error), *path)
            return None


def _loosely(extra: str) -> str:
    try:
        return parse_name(extra)
    except ValueError:
        return extra


def _kind(value: object) -> str:
    """What a TOML value is, in the words of TOML."""
    match value:
        case None:
            return "missing"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return "a date"
