"""The options that pip takes in a requirements file, read as pip's own parser (optparse) reads them.

That includes unambiguous abbreviations: `--trusted h` is `--trusted-host h` to pip, so it is here.
"""

import shlex
from collections import deque
from difflib import get_close_matches
from enum import Enum, auto

import msgspec

from quarantine.spec.text import quote

__all__ = ["Effect", "Option", "effect", "parse_options", "split_options"]


class Effect(Enum):
    """What an option does to the environment."""

    HASH = auto()
    EDITABLE = auto()
    INCLUDE = auto()
    CONSTRAIN = auto()
    REQUIRE_HASHES = auto()
    JUDGED = auto()
    """It changes where packages come from, how they are trusted or built, or which versions count: the policy's."""
    HARMLESS = auto()
    """It can only make pip take less: wheels, final releases."""


_FLAGS = {
    "--no-index": Effect.JUDGED,
    "--prefer-binary": Effect.HARMLESS,
    "--require-hashes": Effect.REQUIRE_HASHES,
    "--pre": Effect.JUDGED,
}
_WITH_VALUE = {
    "--index-url": Effect.JUDGED,
    "--extra-index-url": Effect.JUDGED,
    "--find-links": Effect.JUDGED,
    "--trusted-host": Effect.JUDGED,
    "--no-binary": Effect.JUDGED,
    "--only-binary": Effect.HARMLESS,
    "--all-releases": Effect.JUDGED,
    "--only-final": Effect.HARMLESS,
    "--use-feature": Effect.JUDGED,
    "--global-option": Effect.JUDGED,
    "--config-settings": Effect.JUDGED,
    "--hash": Effect.HASH,
    "--editable": Effect.EDITABLE,
    "--requirement": Effect.INCLUDE,
    "--constraint": Effect.CONSTRAIN,
}
_ALIASES = {"--pypi-url": "--index-url", "--config-setting": "--config-settings"}
_SHORT = {
    "-i": "--index-url",
    "-f": "--find-links",
    "-e": "--editable",
    "-r": "--requirement",
    "-c": "--constraint",
    "-C": "--config-settings",
}
_LONG = frozenset({*_FLAGS, *_WITH_VALUE, *_ALIASES})
_BLANKS = {ord("\t"): " ", ord("\r"): " ", ord("\n"): " "}
_REMOVED = frozenset(
    {"--install-option", "--allow-external", "--allow-unverified", "--allow-all-external", "--use-wheel",
     "--process-dependency-links", "--always-unzip", "-Z"}
)  # fmt: skip


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """One option by its long name, with the value that it was given."""

    name: str
    value: str | None = None

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name} {self.value}"


def effect(option: Option) -> Effect:
    """What the option does."""
    return _FLAGS[option.name] if option.name in _FLAGS else _WITH_VALUE[option.name]


def split_options(line: str) -> tuple[str, str]:
    """A line as its requirement and its options: these begin, as pip has it, at the first word with a dash in front."""
    if line.startswith("-"):
        return "", line
    place = line.find(" -")
    return (line, "") if place < 0 else (line[:place].strip(), line[place + 1 :])


def parse_options(text: str) -> tuple[tuple[Option, ...], tuple[str, ...]]:
    """The options in a text, and the words that belong to none (pip drops those in silence).

    Raises ValueError for an unknown or ambiguous option, a missing or superfluous value, an unclosed quotation.
    """
    words = deque(_words(text))
    options: list[Option] = []
    left: list[str] = []
    while words:
        word = words.popleft()
        if word == "--":
            left += words
            break
        if word == "-" or not word.startswith("-"):
            left.append(word)
            continue
        name, value = _long(word) if word.startswith("--") else _short(word)
        if name in _FLAGS:
            if value is not None:
                raise ValueError(f"{name} takes no value, found {quote(value)}")
        elif value is None:
            if not words:
                raise ValueError(f"{name} expects a value")
            value = words.popleft()
        options.append(Option(name=name, value=value))
    return tuple(options), tuple(left)


def _words(text: str) -> list[str]:
    """The words of an option string as a POSIX shell splits them."""
    if not any(mark in text for mark in "\"'\\"):
        return [word for word in text.translate(_BLANKS).split(" ") if word]
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ValueError(f"{quote(text)} can't be split into options: {str(error).lower()}") from error


def _long(word: str) -> tuple[str, str | None]:
    given, equals, value = word.partition("=")
    if given in _LONG:
        name = given
    else:
        # optparse takes any beginning that fits one option only
        fitting = sorted(known for known in _LONG if known.startswith(given))
        if len(fitting) > 1:
            raise ValueError(f"{quote(given)} is ambiguous: {', '.join(fitting)}")
        if not fitting:
            raise ValueError(_unknown(given))
        name = fitting[0]
    return _ALIASES.get(name, name), value if equals else None


def _short(word: str) -> tuple[str, str | None]:
    if word[:2] not in _SHORT:
        raise ValueError(_unknown(word[:2]))
    if word[2:3] == "=":
        # pip takes the "=" as part of the value, uv does not
        raise ValueError(f"'=' behind {word[:2]}, which installers read differently: write a blank there")
    return _SHORT[word[:2]], word[2:] or None


def _unknown(given: str) -> str:
    if given in _REMOVED:
        return f"{given} is no longer an option of pip: remove it"
    near = get_close_matches(given[:32], sorted(_LONG), n=1)
    return f"{quote(given)} is no option of a requirements file" + (f": did you mean {near[0]}?" if near else "")
