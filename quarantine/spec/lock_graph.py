"""Under which conditions a lock's roots reach its packages.

A condition is a set of paths, a path the set of markers on its way: a package is reached where all markers of one of
its paths hold. Paths that another one makes superfluous are dropped. Where a package has more than a few paths, or its
condition keeps changing, it is taken as reached always, which can only make it be judged more often.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

__all__ = ["Edge", "conditions"]

MAX_PATHS = 12
MAX_MARKERS = 8
MAX_CHANGES = 64
_ALWAYS: frozenset[frozenset[str]] = frozenset({frozenset()})

Paths = frozenset[frozenset[str]]


class Edge(msgspec.Struct, frozen=True):
    """A way to a node, under a marker or, with None, always."""

    target: object
    marker: str | None


def conditions(start: Iterable[Edge], edges: Mapping[object, Sequence[Edge]]) -> dict[object, Paths]:
    """The condition of every node that is reached; nodes that are missing are not reached.

    The conditions only grow, and there are finitely many, so that cycles come to an end.
    """
    reached: dict[object, Paths] = {}
    changes: dict[object, int] = {}
    waiting: dict[object, None] = {}  # in order, each once

    def reach(edge: Edge, through: Paths) -> None:
        known = reached.get(edge.target, frozenset())
        if known == _ALWAYS:
            return
        changed = changes.get(edge.target, 0)
        grown = _with(known, through, edge.marker) if changed < MAX_CHANGES else _ALWAYS
        if grown != known or edge.target not in reached:
            reached[edge.target] = grown
            changes[edge.target] = changed + 1
            waiting[edge.target] = None

    for edge in start:
        reach(edge, _ALWAYS)
    while waiting:
        node = next(iter(waiting))
        del waiting[node]
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
