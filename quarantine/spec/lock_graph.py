"""Under which conditions a lock's roots reach its packages.

A condition is a set of paths, a path the set of markers on its way: a package is reached where all markers of one of
its paths hold. Paths that another one makes superfluous are dropped. Where a package has more than a few paths it is
taken as reached always, which can only make it be judged more often.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Edge", "conditions"]

MAX_PATHS = 12
MAX_MARKERS = 8
_ALWAYS: frozenset[frozenset[str]] = frozenset({frozenset()})

Paths = frozenset[frozenset[str]]


@dataclass(frozen=True, slots=True)
class Edge:
    """A way to a node, under a marker or, with None, always."""

    target: object
    marker: str | None


def conditions(start: Iterable[Edge], edges: Mapping[object, Sequence[Edge]]) -> dict[object, Paths]:
    """The condition of every node that is reached; nodes that are missing are not reached.

    The conditions only grow, and there are finitely many, so that cycles come to an end.
    """
    reached: dict[object, Paths] = {}
    waiting: deque[object] = deque()

    def reach(edge: Edge, through: Paths) -> None:
        known = reached.get(edge.target, frozenset())
        grown = _with(known, through, edge.marker)
        if grown != known or edge.target not in reached:
            reached[edge.target] = grown
            waiting.append(edge.target)

    for edge in start:
        reach(edge, _ALWAYS)
    while waiting:
        node = waiting.popleft()
        for edge in edges.get(node, ()):
            reach(edge, reached[node])
    return reached


def _with(known: Paths, through: Paths, marker: str | None) -> Paths:
    """The condition with the paths through one more edge."""
    step = frozenset() if marker is None else frozenset({marker})
    paths = known | {path | step for path in through}
    least = frozenset(path for path in paths if not any(other < path for other in paths))
    if len(least) > MAX_PATHS or any(len(path) > MAX_MARKERS for path in least):
        return _ALWAYS
    return least
