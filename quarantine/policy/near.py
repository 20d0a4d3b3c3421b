"""Names that could be taken for a well-known one: one slip of the finger away, or dressed up as its variant.

The cost of a look-up depends on the length of the longest known name, not on the length of the name asked about nor on
how many are known: both sides are reduced to what is left after dropping one character, and only equal remains compare.
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

    __slots__ = ("_by_form", "_by_remains", "_longest")

    def __init__(self, known: Iterable[str]) -> None:
        names = sorted({name for name in known if len(name) >= MIN_LENGTH})
        self._longest = max(map(len, names), default=0)
        self._by_remains: dict[str, list[str]] = defaultdict(list)
        self._by_form: dict[str, list[str]] = defaultdict(list)
        for name in names:
            for remains in _remains(name):
                self._by_remains[remains].append(name)
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
            similar = {known for remains in _remains(name) for known in self._by_remains.get(remains, ())}
            near |= {known for known in similar if _one_edit(name, known)}
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


def _remains(name: str) -> list[str]:
    """The name, and what is left of it after dropping each of its characters."""
    return [name, *[name[:position] + name[position + 1 :] for position in range(len(name))]]


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
