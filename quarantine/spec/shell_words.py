"""Words of a shell before and after their expansion: values are put in, split at blanks, and marked where they aren't known.

Source: POSIX.1-2017 Shell Command Language 2.6 (parameter expansion, field splitting).
"""

import re
from collections.abc import Callable, Iterator
from enum import Enum, auto

import msgspec

__all__ = ["Field", "Lookup", "Missing", "Piece", "Word", "assigned_value", "expand", "whole"]

MAX_EXPANDED = 64 * 1024
MAX_SPLIT = 64
# variables that shells set by themselves
_OF_SHELL = re.compile(
    r"_|PWD|OLDPWD|PPID|IFS|PS[0-9]|OPT(?:ARG|IND)|RANDOM|SRANDOM|SECONDS|LINENO|HOST(?:NAME|TYPE)|(?:MACH|OS)TYPE"
    r"|E?UID|GROUPS|SHLVL|SHELLOPTS|BASH.*|EPOCH.*|DIRSTACK|FUNCNAME|PIPESTATUS|REPLY|COMP_.*|HIST.*|COLUMNS|LINES"
)
# extras behind a name: what else has brackets is a pattern of files
_EXTRAS = re.compile(r"[\w./+-]*\[[\w,.-]{2,}\][^\[\]]*")
_BRACES = re.compile(r"\{[^{}]*(?:,|\.\.)")


class Missing(Enum):
    """What is known of a variable that has no known value."""

    UNSET = auto()
    """Nobody sets it here: a default behind it holds. Without one it's unresolved, since a build may set it."""
    UNKNOWN = auto()
    """It has, or may have, a value that isn't in the file."""


Lookup = Callable[[str], str | Missing]


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a word: literal text, a variable (`name`, with what stands behind it), or what can't be told (`opaque`).

    A `value` is what a variable has in its place.
    """

    text: str = ""
    quoted: bool = False
    name: str = ""
    operator: str = ""
    argument: tuple["Piece", ...] = ()
    value: bool = False
    opaque: bool = False


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """A word before its expansion, and where it begins in the script."""

    pieces: tuple[Piece, ...]
    start: int

    @property
    def literal(self) -> str | None:
        """Its text where none of it is quoted or a variable: only such a word is a keyword."""
        if all(not piece.quoted and not piece.name and not piece.opaque for piece in self.pieces):
            return "".join(piece.text for piece in self.pieces)
        return None

    @property
    def plain(self) -> str | None:
        """Its text without the quotes, where no variable is in it."""
        if any(piece.name or piece.opaque for piece in self.pieces):
            return None
        return "".join(piece.text for piece in self.pieces)


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One word of a command after expansion. What couldn't be told stands in `text` as it was written.

    `unknown` are the names of the variables that aren't known; `several` is whether it may be more or fewer words than
    one; `pattern` is whether the names of files may take its place.
    """

    text: str
    unknown: tuple[str, ...] = ()
    several: bool = False
    pattern: bool = False
    start: int = 0

    @property
    def known(self) -> str | None:
        """Its text, if that is all that it can be."""
        return None if self.unknown or self.pattern else self.text


def expand(word: Word, lookup: Lookup) -> tuple[Field, ...]:
    """The words that a shell makes of one, with its variables' values; unquoted values are split at blanks."""
    return tuple(_Expansion(_own(lookup), word.start).fields(word.pieces))


def assigned_value(word: Word, lookup: Lookup) -> Field:
    """The one text that a word has behind the `=` of an assignment, where nothing is split."""
    home = word.pieces and not word.pieces[0].quoted and word.pieces[0].text.startswith("~")
    found = _Expansion(_own(lookup), word.start).whole(word.pieces)
    return msgspec.structs.replace(found, unknown=("HOME", *found.unknown)) if home else found


def _own(lookup: Lookup) -> Lookup:
    """The variables as a shell has them: those that it sets itself are never what the file gives them."""
    return lambda name: Missing.UNKNOWN if _OF_SHELL.fullmatch(name) else lookup(name)


def whole(pieces: tuple[Piece, ...], lookup: Lookup) -> Field:
    """The one text that the pieces of a Dockerfile's word stand for."""
    return _Expansion(lookup, 0).whole(pieces)


# --- expansion --------------------------------------------------------------------------------------------------------


class _Expansion:
    """Makes fields of pieces; used once."""

    def __init__(self, lookup: Lookup, start: int) -> None:
        self.lookup = lookup
        self.start = start
        self.text: list[str] = []
        self.unknown: list[str] = []
        self.bare: list[str] = []
        self.several = False
        self.pattern = False
        self.brackets = False
        self.begun = False
        self.size = 0

    def fields(self, pieces: tuple[Piece, ...]) -> Iterator[Field]:
        """The fields, split at the blanks of unquoted values."""
        if pieces and not pieces[0].quoted and pieces[0].text.startswith("~"):
            self.unknown.append("HOME")
        for piece in self._resolved(pieces):
            if piece.opaque:
                self._opaque(piece)
            elif piece.quoted or not piece.value:
                self._literal(piece)
            else:
                yield from self._split(piece.text)
        yield from self._close()

    def whole(self, pieces: tuple[Piece, ...]) -> Field:
        """The one text that a Dockerfile's word stands for: nothing is split there, and `~` and `*` mean themselves."""
        for piece in self._resolved(pieces):
            self.text.append(piece.text)
            if piece.opaque:
                self.unknown.append(piece.name or piece.text)
        return Field(text="".join(self.text), unknown=tuple(dict.fromkeys(self.unknown)))

    def _resolved(self, pieces: tuple[Piece, ...]) -> Iterator[Piece]:
        """The pieces with variables as their values; those that have none that is known become opaque."""
        for piece in pieces:
            if not piece.name or piece.opaque:
                yield piece
                continue
            value = self.lookup(piece.name)
            there = value if isinstance(value, str) else ""
            absent = value is Missing.UNSET or (value == "" and piece.operator.startswith(":"))
            operator = piece.operator[-1:]
            if value is Missing.UNKNOWN or (absent and operator in {"", "?"} and value is Missing.UNSET):
                yield Piece(name=piece.name, text=piece.text, quoted=piece.quoted, opaque=True)
            elif (operator == "-" and absent) or (operator == "+" and not absent):
                yield from self._resolved(tuple(_default(part, quoted=piece.quoted) for part in piece.argument))
            elif operator != "+":
                # variables that hold variables could grow without end
                self.size += len(there)
                if self.size > MAX_EXPANDED:
                    yield Piece(name=piece.name, text=piece.text, quoted=piece.quoted, opaque=True)
                else:
                    yield Piece(text=there, quoted=piece.quoted, value=True)

    def _opaque(self, piece: Piece) -> None:
        self.text.append(piece.text)
        self.unknown.append(piece.name or piece.text)
        self.several = self.several or not piece.quoted
        self.begun = True

    def _literal(self, piece: Piece) -> None:
        self.text.append(piece.text)
        self.begun = True
        if not piece.quoted:
            self.bare.append(piece.text)
            self._mark(piece.text)

    def _mark(self, bare: str) -> None:
        """Text outside quotes, in which some characters make a pattern."""
        self.pattern = self.pattern or "*" in bare or "?" in bare
        self.brackets = self.brackets or "[" in bare

    def _split(self, value: str) -> Iterator[Field]:
        """An unquoted value: its blanks end fields."""
        parts = re.split(r"[ \t\n]+", value, maxsplit=MAX_SPLIT + 1)
        if len(parts) > MAX_SPLIT:
            self._opaque(Piece(text=f"{parts[0]} ..."))
            return
        for place, part in enumerate(parts):
            if place:
                yield from self._close()
            if part:
                self.text.append(part)
                self.begun = True
                self._mark(part)

    def _close(self) -> Iterator[Field]:
        if self.begun:
            bare = "".join(self.bare)
            braces = "{" in bare and _BRACES.search(bare) is not None
            text = "".join(self.text)
            self.pattern = self.pattern or (self.brackets and "]" in text and _EXTRAS.fullmatch(text) is None)
            unknown = (*self.unknown, *(("{...}",) if braces else ()))
            yield Field(
                text=text,
                unknown=tuple(dict.fromkeys(unknown)),
                several=self.several or braces,
                pattern=self.pattern,
                start=self.start,
            )
        self.text, self.unknown, self.bare = [], [], []
        self.several = self.pattern = self.brackets = self.begun = False


def _default(piece: Piece, *, quoted: bool) -> Piece:
    """A piece of a default: in quotes if the variable is, else split at its blanks as a value is."""
    if quoted:
        return msgspec.structs.replace(piece, quoted=True)
    return piece if piece.name or piece.opaque or piece.quoted else msgspec.structs.replace(piece, value=True)
