"""Entries of an allowlist: which names and versions they speak of, and until when they hold.

An allow entry is read narrowly and a deny entry widely, so that a doubt about a version never opens the gate.
"""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from functools import lru_cache
from typing import Literal, assert_never

import msgspec
from packaging.specifiers import InvalidSpecifier, Specifier, SpecifierSet
from packaging.version import Version

from quarantine.model import Ecosystem, parse_name
from quarantine.policy.conda_versions import CondaSpecifier, parse_conda_specifier

__all__ = [
    "IMAGE_PATH",
    "Entry",
    "EntryIndex",
    "NamePattern",
    "Publisher",
    "end_of",
    "name_in",
    "parse_pattern",
    "parse_specifier",
]

IMAGE_PATH = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*")
"""The path of an image in its registry (OCI distribution specification, `<name>`)."""
_CONDA_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?")
_AZUREML_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_.-]*[a-z0-9_])?")
MAX_NAME = 256


class NamePattern(msgspec.Struct, frozen=True, order=True):
    """A name, or every name below a prefix that ends at a segment boundary: `azureml-*` isn't `azureml-evil`'s `azure`.

    `boundary` is empty for an exact name, else what parts the prefix from the rest.
    """

    name: str
    boundary: str = ""

    def __str__(self) -> str:
        return f"{self.name}{self.boundary}*" if self.boundary else self.name

    def matches(self, name: str) -> bool:
        """Whether it speaks of the name (in normalised form). The prefix itself isn't below the prefix."""
        if not self.boundary:
            return name == self.name
        return name.startswith(self.name + self.boundary) and len(name) > len(self.name) + 1


def parse_pattern(text: str, ecosystem: Ecosystem, below: str = "") -> NamePattern:
    """The pattern that an entry's `name` writes, raising ValueError for what is none or would match too much.

    Images are named by their paths in one registry: `below` is its host and path, which the pattern then begins with.
    """
    boundary = "/" if ecosystem is Ecosystem.OCI else "-"
    if len(text) > MAX_NAME:
        raise ValueError(f"a name of {len(text)} characters: at most {MAX_NAME} are read")
    above = f"{below}/" if below else ""
    if "*" not in text:
        return NamePattern(above + name_in(text, ecosystem))
    prefix = text.removesuffix("*")
    if "*" in prefix or not prefix.endswith(boundary) or not prefix.strip(boundary):
        raise ValueError(
            f"{text!a} matches more than whole segments: expected a name or a prefix that ends in '{boundary}*', "
            f"like '{'azureml/*' if boundary == '/' else 'azureml-*'}'"
        )
    return NamePattern(above + name_in(prefix.removesuffix(boundary), ecosystem), boundary)


def name_in(text: str, ecosystem: Ecosystem) -> str:
    """A name as it is compared in its ecosystem, raising ValueError for what is none there."""
    match ecosystem:
        case Ecosystem.PYPI:
            return parse_name(text)
        case Ecosystem.CONDA:
            grammar, expected = _CONDA_NAME, "a conda package's name: expected a-z 0-9 . _ -"
        case Ecosystem.OCI:
            grammar = IMAGE_PATH
            expected = "an image's path: expected segments of a-z 0-9 . _ - between '/', no host or tag"
        case Ecosystem.AZUREML:
            text = text.lower() if text.isascii() else text
            grammar, expected = _AZUREML_NAME, "an Azure ML environment's name: expected a-z 0-9 . _ -"
        case _:
            assert_never(ecosystem)
    if grammar.fullmatch(text) is None:
        raise ValueError(f"{text!a} is not {expected}")
    return text


def parse_specifier(text: str, ecosystem: Ecosystem = Ecosystem.PYPI) -> SpecifierSet | CondaSpecifier:
    """A version specifier, raising ValueError: PEP 440's for Python distributions, comparisons for conda packages.

    `===` is refused, as it compares text and not versions. The versions of images and of Azure ML environments have no
    order, so that their entries name them whole.
    """
    match ecosystem:
        case Ecosystem.PYPI:
            return _python_specifier(text)
        case Ecosystem.CONDA:
            return parse_conda_specifier(text)
        case Ecosystem.OCI | Ecosystem.AZUREML:
            if text:
                raise ValueError(f"versions of type {ecosystem} have no order to compare them by: name the whole of it")
            return SpecifierSet()
        case _:
            assert_never(ecosystem)


def _python_specifier(text: str) -> SpecifierSet:
    complaint = f"{text!a} is not a version specifier (PEP 440): expected one like '>=2.1,<3'"
    if not text.isascii():
        raise ValueError(complaint)
    try:
        specifier = SpecifierSet(text)
    except InvalidSpecifier:
        raise ValueError(complaint) from None
    if any(clause.operator == "===" for clause in specifier):
        raise ValueError(f"{text!a} compares text, not versions: write '==' instead of '==='")
    return specifier


@lru_cache(maxsize=4096)
def end_of(day: date) -> datetime:
    """The instant from which something that expires on this day has expired: its first one, in UTC."""
    return datetime.combine(day, time(), UTC)


class Publisher(msgspec.Struct, frozen=True, kw_only=True):
    """Who may publish a project (PEP 740): a repository of a host, and the workflow and environment where they are named."""

    host: Literal["github", "gitlab"]
    repository: str
    workflow: str | None = None
    environment: str | None = None

    def __str__(self) -> str:
        parts = (self.repository, self.workflow, self.environment)
        return f"{self.host}:{'/'.join(part for part in parts if part is not None)}"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One allow or deny entry. `place` is where it stands (`pypi.yaml:12`); without `expires` it holds for good."""

    pattern: NamePattern
    specifier: SpecifierSet | CondaSpecifier = SpecifierSet()
    owner: str
    reason: str
    added: date
    expires: date | None = None
    allow_yanked: bool = False
    publisher: Publisher | None = None
    place: str

    def __str__(self) -> str:
        return f"{self.pattern}{self.specifier} ({self.place})"

    def live(self, now: datetime) -> bool:
        """Whether it still holds: it has expired at `now >= expires`."""
        return self.expires is None or now < end_of(self.expires)

    @property
    def whole(self) -> bool:
        """Whether it speaks of every version."""
        return not str(self.specifier)

    @property
    def clauses(self) -> tuple[Specifier, ...]:
        """The clauses of a specifier of Python versions."""
        return tuple(self.specifier) if isinstance(self.specifier, SpecifierSet) else ()

    @property
    def exact_version(self) -> Version | None:
        """The one version that it names with a single `==`, None when it names more."""
        clauses = self.clauses
        if len(clauses) != 1 or clauses[0].operator != "==" or clauses[0].version.endswith(".*"):
            return None
        return Version(clauses[0].version)

    def allows(self, version: Version | str) -> bool:
        """Whether an allow entry reaches this version: a Python one, or text of another ecosystem.

        For PEP 440 (version matching) `==2.0` holds for 2.0+evil, since a specifier without a local label disregards
        the candidate's. Local versions are somebody else's builds, so here only a clause that names one reaches it.
        Pre-releases need a specifier that names one, or none at all.
        """
        if isinstance(version, str):
            return self.specifier.allows(version) if isinstance(self.specifier, CondaSpecifier) else self.whole
        if isinstance(self.specifier, CondaSpecifier):
            return False
        if version.local is not None:
            named = any(
                clause.operator == "==" and not clause.version.endswith(".*") and Version(clause.version) == version
                for clause in self.specifier
            )
            return named and self.specifier.contains(version, prereleases=True)
        pre_releases = not self.specifier or self.specifier.prereleases is True
        return self.specifier.contains(version, prereleases=pre_releases)

    def denies(self, version: Version | str) -> bool:
        """Whether a deny entry reaches this version: by PEP 440, or by plain order where PEP 440 leaves gaps.

        `<2` doesn't contain 2.0rc1, nor `>2` 2.0.post1, nor `!=2` 2+local, but who denies those means these too. A
        version of another kind than the entry's can't be told from those that it means.
        """
        if isinstance(version, str):
            return self.specifier.denies(version) if isinstance(self.specifier, CondaSpecifier) else True
        if isinstance(self.specifier, CondaSpecifier):
            return True
        return all(_reaches(clause, version) for clause in self.specifier)


def _reaches(clause: Specifier, version: Version) -> bool:
    if clause.contains(version, prereleases=True):
        return True
    if clause.version.endswith(".*"):
        return False
    bound = Version(clause.version)
    match clause.operator:
        case "<":
            return version < bound
        case ">":
            return version > bound
        case "!=":
            return version != bound
        case _:
            return False


class EntryIndex:
    """Entries, found by name without looking at all of them."""

    __slots__ = ("_exact", "_prefixes", "entries")

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = tuple(entries)
        self._exact: dict[str, list[Entry]] = {}
        self._prefixes: list[Entry] = []
        for entry in self.entries:
            if entry.pattern.boundary:
                self._prefixes.append(entry)
            else:
                self._exact.setdefault(entry.pattern.name, []).append(entry)

    def of(self, name: str) -> tuple[Entry, ...]:
        """The entries that speak of the name, expired ones too: exact names first, each in the order of the file."""
        exact = self._exact.get(name, ())
        return (*exact, *(entry for entry in self._prefixes if entry.pattern.matches(name)))
