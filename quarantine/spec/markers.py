"""Environment markers (PEP 508) as a gate needs them: bounded, decidable for every target, wrong only on the safe side.

A marker has no negation outside a comparison, so taking a comparison as true can only make a package be judged on more
targets, never on fewer.
"""

import re
from collections.abc import Iterable

from packaging.markers import InvalidMarker, Marker, UndefinedComparison, UndefinedEnvironmentName

from quarantine.model import Target
from quarantine.spec.text import escape, quote

__all__ = ["assume", "decidable", "disjunction", "parse_marker", "shallow"]

MAX_DEPTH = 32
_ALWAYS = 'python_version >= "0"'
_TARGET = {**Target("3.11", "linux-x86_64").environment(), "extra": ""}

_UNKNOWN_TO_TARGETS = frozenset({"platform_release", "platform_version"})
IN_LOCKS = _UNKNOWN_TO_TARGETS | {"extra", "extras", "dependency_groups"}
"""What a lock's markers may ask that is not a matter of the target: all extras and groups are judged together."""

# applied to what packaging prints: one blank between the parts, quoted strings always closed
_COMPARISON = re.compile(
    r"""("[^"]*"|'[^']*'|\w+)[ ](===|==|~=|!=|<=|>=|<|>|not[ ]in|in)[ ]("[^"]*"|'[^']*'|\w+)""", re.VERBOSE
)

# packaging speaks of its tokens
_SAID = {
    "semicolon (after name with no version specifier)": "what follows the name is no version specifier and no marker",
    "matching RIGHT_BRACKET": "the extras are not names between '[' and ']'",
    "matching RIGHT_PARENTHESIS": "a parenthesis is not closed, or encloses something else than expected",
}


def shallow(text: str) -> None:
    """Nothing, raising ValueError for parentheses nested so deep that a parser could run out of stack."""
    depth = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if depth > MAX_DEPTH:
            raise ValueError(f"parentheses nested deeper than {MAX_DEPTH}")


def parse_marker(text: str, unknown: frozenset[str] = _UNKNOWN_TO_TARGETS) -> Marker | None:
    """A marker that every target can decide, None for one that always holds; ValueError for anything else."""
    shallow(text)
    try:
        marker = Marker(text)
    except InvalidMarker as error:
        raise ValueError(f"{quote(text)} is not a marker: {first_line(error)}") from error
    return decidable(marker, unknown)


def decidable(marker: Marker, unknown: frozenset[str] = _UNKNOWN_TO_TARGETS) -> Marker | None:
    """The marker with comparisons of `unknown` variables taken as true, raising ValueError when no target decides it.

    The comparisons of a marker are all evaluated whatever their results, so one target speaks for all.
    """
    known = assume(marker, unknown)
    if known is None:
        return None
    try:
        known.evaluate(_TARGET)
    except UndefinedEnvironmentName as error:
        raise ValueError(
            f"marker {quote(str(marker))} asks for {quote(str(error.args[0]))}, which is unknown"
        ) from error
    except (UndefinedComparison, ValueError) as error:
        message = f"marker {quote(str(marker))} can't be decided: it compares what has no such order"
        raise ValueError(message) from error
    return known


def assume(marker: Marker, unknown: frozenset[str]) -> Marker | None:
    """The marker with every comparison of one of the variables taken as true; None when nothing else is left."""
    text = str(marker)
    if not any(variable in text for variable in unknown):
        return marker

    def replaced(found: re.Match[str]) -> str:
        return _ALWAYS if found[1] in unknown or found[3] in unknown else found[0]

    assumed = _COMPARISON.sub(replaced, text)
    if assumed == text:
        return marker
    return None if assumed == _ALWAYS else Marker(assumed)


def disjunction(paths: Iterable[Iterable[Marker]]) -> Marker | None:
    """A marker that holds where all markers of one of the paths hold; None when one of the paths is free."""
    whole: Marker | None = None
    for path in paths:
        together: Marker | None = None
        for marker in path:
            together = marker if together is None else together & marker
        if together is None:
            return None
        whole = together if whole is None else whole | together
    return whole


def first_line(error: Exception) -> str:
    """The first line of a library's message as part of ours."""
    line = str(error).split("\n", 1)[0]
    for theirs, ours in _SAID.items():
        if theirs in line:
            return ours
    return line[:1].lower() + escape(line[1:])
