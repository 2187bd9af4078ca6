"""The prerequisite graph: its cycles, and a topological order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

Requires = Mapping[str, Sequence[str]]
"""Ids of the skills each skill requires, by id. Ids that are not keys have no requirements."""


def cycles(requires: Requires) -> list[list[str]]:
    """Cycles of the graph, each as the ids along it with the first repeated at the end; empty when there is none.

    There is one cycle for every edge that closes one in a depth-first search, so without those edges the graph is
    acyclic. Searches start at the ids in order, which makes the result deterministic.
    """
    found: list[list[str]] = []
    done: set[str] = set()
    for start in sorted(requires):
        if start not in done:
            found.extend(_cycles_from(start, requires, done))
    return found


def requirements_first(requires: Requires) -> list[str]:
    """The keys of a graph, each after every key it requires; ties in the order of the ids.

    In a cycle, the edges that `cycles` reports are ignored.
    """
    order: list[str] = []
    done: set[str] = set()
    for start in sorted(requires):
        if start not in done:
            for _ in _cycles_from(start, requires, done, order):
                pass
    return [skill for skill in order if skill in requires]


def _cycles_from(start: str, requires: Requires, done: set[str], order: list[str] | None = None) -> Iterator[list[str]]:
    # An explicit stack: chains of prerequisites may be longer than Python's recursion limit.
    path = [start]
    place_on_path = {start: 0}
    pending = [iter(requires.get(start, ()))]
    while path:
        for required in pending[-1]:
            if required in place_on_path:
                yield [*path[place_on_path[required] :], required]
            elif required not in done:
                place_on_path[required] = len(path)
                path.append(required)
                pending.append(iter(requires.get(required, ())))
                break
        else:
            skill = path.pop()
            pending.pop()
            del place_on_path[skill]
            done.add(skill)
            if order is not None:
                order.append(skill)
