"""What an installing command of a Dockerfile has at hand: its line, its folder, and the files of the context by their paths in the image."""

import posixpath
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import assert_never

import msgspec

from quarantine.errors import SpecError
from quarantine.model import EnvironmentSpec, SourceFile
from quarantine.spec.dockerfile_files import Inline, Traced, Untraced, join
from quarantine.spec.dockerfile_findings import Findings
from quarantine.spec.paths import is_remote
from quarantine.spec.shell_words import Field, Missing

__all__ = [
    "Install",
    "Kind",
    "Located",
    "Options",
    "option_line",
    "parse_options",
    "path_from",
    "unfilled",
    "unknown_words",
]

_PLACEHOLDER = re.compile(r"\{\{[^{}]*\}\}")


class Kind(Enum):
    """What an option of an installer does, and whether it has a value."""

    FLAG = auto()
    """Nothing to the choice of packages."""
    VALUE = auto()
    """The same, with a value."""
    LINE_FLAG = auto()
    """What it does in a requirements file."""
    LINE = auto()
    """The same, with a value."""
    FILE = auto()
    """Names a file of requirements."""
    CONSTRAINTS = auto()
    """Names a file of constraints."""
    EDITABLE = auto()
    """Names a project."""
    CHANNEL = auto()
    """Names a channel."""
    EXTRA = auto()
    """Names something else to install."""
    JUDGED_FLAG = auto()
    """Changes where packages come from, which ones, or how they are trusted."""
    JUDGED = auto()
    """The same, with a value."""
    UNREAD_FLAG = auto()
    """Makes the command install what isn't read here."""
    UNREAD = auto()
    """The same, with a value."""


_FLAGS = frozenset({Kind.FLAG, Kind.LINE_FLAG, Kind.JUDGED_FLAG, Kind.UNREAD_FLAG})


@dataclass(slots=True, kw_only=True)
class Options:
    """A command's options in their order, each with its long name, kind and value, and the words that are none."""

    given: list[tuple[str, Kind, Field | None]] = field(default_factory=list)
    words: list[Field] = field(default_factory=list)
    why: str = ""

    def has(self, *names: str) -> bool:
        """Whether one of them is given."""
        return any(name in names for name, _, _ in self.given)

    def values(self, *names: str) -> tuple[Field, ...]:
        """The values that they are given."""
        return tuple(value for name, _, value in self.given if name in names and value is not None)


def parse_options(
    words: Sequence[Field], table: dict[str, Kind], short: dict[str, str], *, abbreviate: bool = False
) -> Options:
    """The options in a command's words; `why` says which one isn't known. `abbreviate` is whether beginnings will do."""
    options = Options()
    place = 0
    while place < len(words):
        word = words[place]
        place += 1
        text = word.text
        if text == "--" and word.known is not None:
            options.words += words[place:]
            break
        if not text.startswith("-") or text == "-":
            options.words.append(word)
            continue
        for name, value in _split(text, table, short, abbreviate=abbreviate):
            kind = table.get(name)
            if kind is None:
                options.why = options.why or f"{name[:40]} isn't an option that is known here"
                return options
            given: Field | None = None
            if kind not in _FLAGS:
                if value is not None:
                    given = Field(text=value, unknown=word.unknown, pattern=word.pattern, start=word.start)
                elif place < len(words):
                    given = words[place]
                    place += 1
                else:
                    options.why = options.why or f"{name} stands without its value"
                    return options
            options.given.append((name, kind, given))
    return options


def _split(
    text: str, table: dict[str, Kind], short: dict[str, str], *, abbreviate: bool
) -> Iterable[tuple[str, str | None]]:
    """The options that a word stands for: a long one, or several short ones behind one dash."""
    if text.startswith("--"):
        name, equals, value = text.partition("=")
        if name not in table and abbreviate and len(name) > 2:
            fitting = [known for known in table if known.startswith(name)]
            name = fitting[0] if len(fitting) == 1 else name
        yield name, value if equals else None
        return
    place = 1
    while place < len(text):
        name = short.get(text[place], f"-{text[place]}")
        kind = table.get(name)
        rest = text[place + 1 :]
        if kind is None or kind in _FLAGS:
            yield name, None
        else:
            yield name, rest.removeprefix("=") if rest else None
            return
        place += 1


def option_line(name: str, value: str) -> str:
    """The line of a requirements file that says the same."""
    return f"{name} {shlex.quote(value)}"


def path_from(file: str, path: str) -> str:
    """A path of the root as a line in `file` has to say it."""
    return posixpath.relpath(f"/{path}", f"/{file.rpartition('/')[0]}")


class Located(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the root, its path in the image, and whether it is certain to be there."""

    path: str
    place: str
    sure: bool


@dataclass(slots=True, kw_only=True)
class Install:
    """A command that installs: where it stands, and what it can see."""

    findings: Findings
    line: int
    text: str
    folder: str | None
    context: str
    find: Callable[[str], Traced | Inline | Untraced]
    variable: Callable[[str], str | Missing]
    channels: tuple[tuple[str, int], ...] = ()
    line_of: Callable[[int], int] | None = None

    def line_at(self, word: Field) -> int:
        """The line of a word of the command."""
        return self.line if self.line_of is None else self.line_of(word.start)

    def unread_word(self, word: Field, why: str) -> None:
        """Keeps that a word of the command can't be known without running it."""
        begin = " ".join(self.text.split(None, 2)[:2])
        self.findings.unread(self.line_at(word), f"{begin} ... {word.text}", why)

    def unread(self, why: str) -> None:
        """Keeps that the command can't be known without running it."""
        self.findings.unread(self.line, self.text, why)

    def judged(self, name: str, value: str | None) -> None:
        """Keeps an option that changes where packages come from."""
        self.findings.directive(self.line, name, name if value is None else f"{name} {value}")

    def place(self, word: Field) -> str | Untraced:
        """The path in the image that a word names."""
        if why := unfilled(word):
            return Untraced(why)
        if word.text in {"", "-"} or word.text.startswith(("/dev/", "/proc/")):
            return Untraced(f"{word.text[:40] or 'an empty path'} is no file of the context")
        path = join(self.folder, word.text)
        return Untraced("the folder that it is run in isn't known") if path is None else path

    def locate(self, word: Field) -> Located | Inline | Untraced:
        """The file that a word names."""
        place = self.place(word)
        if isinstance(place, Untraced):
            return place
        match found := self.find(place):
            case Traced():
                path = self.of_root(found.path)
                return Located(path=path, place=place, sure=found.sure or path in self.findings.files)
            case Inline() | Untraced():
                return found
            case _:
                assert_never(found)

    def of_root(self, path: str) -> str:
        """A path of the context as one of the root."""
        return f"{self.context}/{path}" if self.context else path

    def remote(self, word: Field) -> bool:
        """Whether a word names a file by a URL, which is kept then."""
        if word.known is None or not is_remote(word.text):
            return False
        self.findings.directive(self.line, "remote-include", word.text)
        return True

    def keep(self, read: Callable[[], EnvironmentSpec | None]) -> EnvironmentSpec | None:
        """What a reader gives, its refusals kept."""
        try:
            return read()
        except SpecError as error:
            self.findings.refused(error)
            return None

    def untraced(self, word: Field, why: str) -> None:
        """Keeps that a file can't be traced to the context."""
        self.unread_word(word, f"the file can't be traced to the build context: {why}")

    def agree(self, root: str, place: str, sources: Iterable[SourceFile]) -> None:
        """Keeps what a file includes and what is not at the same place in the image as in the context."""
        folder = root.rpartition("/")[0]
        for source in sources:
            if source.path in {root, self.findings.file}:
                continue
            relative = posixpath.relpath(f"/{source.path}", f"/{folder}")
            there = join(place.rpartition("/")[0] or "/", relative)
            found = Untraced("its place isn't known") if there is None else self.find(there)
            if isinstance(found, Traced) and self.of_root(found.path) == source.path:
                continue
            why = found.why if isinstance(found, Untraced) else "another file stands there in the image"
            self.unread(f"{root} includes {source.path}, which can't be traced: {why}")


def unfilled(word: Field) -> str:
    """Why a word can't be known: the variables or the placeholder in it; empty where it can."""
    found = _PLACEHOLDER.search(word.text)
    if found is not None:
        return f"the placeholder {found[0][:60]} isn't filled in"
    return "" if word.known is not None else f"{unknown_words(word)} isn't known"


def unknown_words(word: Field) -> str:
    """The variables of a word that aren't known, for a message."""
    names = [name if name.startswith(("$", "`", "{")) else f"${name}" for name in word.unknown] or ["a pattern"]
    return ", ".join(name[:40] for name in names[:3])
