"""Names that could be taken for a well-known one: one slip of the finger away, or dressed up as its variant.

A slip touches two neighbouring characters at most, so it leaves the first half of a name as it was, or the second. Only
known names that share one of these are compared with the name asked about, and none with one that is longer than all.
"""

from collections import defaultdict
from collections.abc import Iterable

__all__ = ["NearNames"]

MIN_LENGTH = 5
"""Shorter names have too many honest neighbours for nearness to mean anything."""

_PREFIXES = ("python-", "python3-", "py-")
_SUFFIXES = ("-python", "-python3", "-py", "-py3")


class NearNames:
    """A set of well-known names (in normalised form), and which of them another name resembles."""

    __slots__ = ("_by_form", "_by_half", "_longest")

    def __init__(self, known: Iterable[str]) -> None:
        names = sorted({name for name in known if len(name) >= MIN_LENGTH})
        self._longest = max(map(len, names), default=0)
        self._by_half: dict[tuple[int, str], list[str]] = defaultdict(list)
        self._by_form: dict[str, list[str]] = defaultdict(list)
        for name in names:
            for half in _halves(name, len(name)):
                self._by_half[half].append(name)
            for form in _forms(name):
                self._by_form[form].append(name)

    def like(self, name: str) -> tuple[str, ...]:
        """The other well-known names that this one resembles, sorted.

        Alike are names with one character more, fewer or other, with two neighbours swapped, with hyphens set
        differently, or with "python" or "py" put before or after.
        """
        if len(name) < MIN_LENGTH:
            return ()
        near = {known for form in _forms(name) for known in self._by_form.get(form, ())}
        if len(name) <= self._longest + 1:
            lengths = range(max(len(name) - 1, MIN_LENGTH), len(name) + 2)
            halves = (half for length in lengths for half in _halves(name, length))
            similar = {known for half in halves for known in self._by_half.get(half, ())}
            near |= {known for known in similar - {name} if _one_edit(name, known)}
        return tuple(sorted(near - {name}))


def _forms(name: str) -> frozenset[str]:
    """What is left of the name without its hyphens, and without the language's name."""
    root = _root(name)
    return frozenset({f"squashed:{name.replace('-', '')}"} | ({f"root:{root}"} if len(root) >= MIN_LENGTH else set()))


def _root(name: str) -> str:
    """The name without the language's."""
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            name = name.removeprefix(prefix)
            break
    for suffix in _SUFFIXES:
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return name


def _halves(name: str, length: int) -> tuple[tuple[int, str], tuple[int, str]]:
    """What a name has in common, one or the other, with every name of `length` characters that is one slip away."""
    size = length // 2 - 1
    return (length, name[:size]), (-length, name[-size:])


def _one_edit(left: str, right: str) -> bool:
    """Whether the optimal string alignment distance of two different names is 1."""
    if len(left) > len(right):
        left, right = right, left
    start = 0
    while start < len(left) and left[start] == right[start]:
        start += 1
    if len(left) < len(right):
        return left[start:] == right[start + 1 :]
    if left[start + 1 :] == right[start + 1 :]:
        return True
    return left[start : start + 2] == right[start : start + 2][::-1] and left[start + 2 :] == right[start + 2 :]
