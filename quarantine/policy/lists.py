"""The upstreams' lists of allow and deny entries -> entries that can be looked up, or every problem in them."""

import re
from collections.abc import Hashable, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec
from packaging.utils import NormalizedName

from quarantine.document import Document
from quarantine.errors import Problem  # noqa: TC001  # a list of them is made here
from quarantine.model import Ecosystem, parse_name
from quarantine.policy.entries import Entry, EntryIndex, NamePattern, Publisher, end_of, parse_pattern, parse_specifier
from quarantine.policy.files import DenyFileEntry, EntryFile, ListFile

__all__ = ["EntryList", "Path", "Problems", "read_list"]

Path = tuple[str | int, ...]
_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]{1,100}(?:/[A-Za-z0-9_.-]{1,100}){1,10}")


class Problems:
    """What is wrong with the files, gathered while they are given their meaning."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def add(self, document: Document, path: Path, message: str) -> None:
        """Adds a problem at the value that the path leads to."""
        self.found.append(document.problem(path, message))

    def once(self, document: Document, path: Path, seen: dict[Hashable, Path], key: Hashable, what: str) -> None:
        """Adds a problem when the key was seen before; `seen` keeps where each stands."""
        first = seen.setdefault(key, path)
        if first != path:
            self.add(document, path, f"{what} stands twice: also in line {document.line(first)}")


class EntryList(msgspec.Struct, frozen=True):
    """What a list comes to."""

    allow: EntryIndex
    deny: tuple[Entry, ...]
    popular: frozenset[NormalizedName]


class _Reading(msgspec.Struct, frozen=True):
    """The list that is being read, for whom, and when. `below` is what the names of its images begin with."""

    document: Document
    ecosystem: Ecosystem
    below: str
    now: datetime | None
    problems: Problems


def read_list(
    document: Document, file: ListFile, ecosystem: Ecosystem, below: str, now: datetime | None, problems: Problems
) -> EntryList:
    """The list of an upstream of this ecosystem; what is wrong with it is added to `problems`.

    `below` is the host and path that the names of a registry's images begin with, "" for other upstreams.
    """
    reading = _Reading(document, ecosystem, below, now, problems)
    allow = _entries(reading, "allow", file.allow)
    deny = _entries(reading, "deny", file.deny)
    popular: dict[Hashable, Path] = {}
    names: set[NormalizedName] = set()
    for index, text in enumerate(file.popular):
        if ecosystem is not Ecosystem.PYPI:
            problems.add(document, ("popular",), "names are compared in lists of type pypi only: remove `popular` here")
            break
        try:
            name = parse_name(text)
        except ValueError as error:
            problems.add(document, ("popular", index), str(error))
            continue
        problems.once(document, ("popular", index), popular, name, f"{name} under popular")
        names.add(name)
    return EntryList(allow=EntryIndex(allow), deny=deny, popular=frozenset(names))


def _entries(reading: _Reading, key: str, files: Sequence[EntryFile | DenyFileEntry]) -> tuple[Entry, ...]:
    seen: dict[Hashable, Path] = {}
    entries = []
    for index, file in enumerate(files):
        entry = _entry(reading, (key, index), file)
        if entry is not None:
            what = f"{entry.pattern}{entry.specifier} under {key}"
            reading.problems.once(reading.document, (key, index), seen, (entry.pattern, entry.specifier), what)
            entries.append(entry)
    return tuple(entries)


def _entry(reading: _Reading, path: Path, file: EntryFile | DenyFileEntry) -> Entry | None:
    document, ecosystem, now, problems = reading.document, reading.ecosystem, reading.now, reading.problems
    before = len(problems.found)
    pattern, specifier = NamePattern(file.name), parse_specifier("", ecosystem)
    try:
        pattern = parse_pattern(file.name, ecosystem, reading.below)
    except ValueError as error:
        problems.add(document, (*path, "name"), str(error))
    try:
        specifier = parse_specifier(file.specifier, ecosystem)
    except ValueError as error:
        problems.add(document, (*path, "specifier"), str(error))
    if file.expires is not None and file.expires <= file.added:
        problems.add(document, (*path, "expires"), f"expires {file.expires}, not after it was added ({file.added})")
    if now is not None and end_of(file.added) > now + timedelta(days=1):
        problems.add(document, (*path, "added"), f"added {file.added}, which is yet to come")
    publisher = _publisher(document, (*path, "publisher"), file, problems)
    entry = Entry(
        pattern=pattern,
        specifier=specifier,
        owner=file.owner,
        reason=file.reason,
        added=file.added,
        expires=file.expires,
        allow_yanked=isinstance(file, EntryFile) and file.allow_yanked,
        publisher=publisher,
        place=f"{document.file.rpartition('/')[2]}:{document.line(path)}",
    )
    if entry.allow_yanked and (entry.exact_version is None or pattern.boundary):
        problems.add(
            document,
            (*path, "allow_yanked"),
            "allow_yanked needs one name and one version: expected a specifier like '==2.1.0'",
        )
    return entry if len(problems.found) == before else None


def _publisher(document: Document, path: Path, file: EntryFile | DenyFileEntry, problems: Problems) -> Publisher | None:
    """Who must have attested what the entry names; None where it doesn't say."""
    named = file.publisher if isinstance(file, EntryFile) else None
    if named is None:
        return None
    hosts: tuple[tuple[Literal["github", "gitlab"], str | None], ...]
    hosts = (("github", named.github), ("gitlab", named.gitlab))
    given = [(host, repository) for host, repository in hosts if repository is not None]
    if len(given) != 1 or not _REPOSITORY.fullmatch(given[0][1]):
        problems.add(
            document, path, "a publisher is one repository: expected `github: OWNER/NAME` or `gitlab: GROUP/NAME`"
        )
        return None
    ((host, repository),) = given
    return Publisher(host=host, repository=repository, workflow=named.workflow, environment=named.environment)
