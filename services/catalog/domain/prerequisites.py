"""The prerequisite graph: its cycles, and an order that puts every skill after what it requires."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

Requires = Mapping[str, Sequence[str]]
"""Ids of the skills each skill requires, by id. Ids that are not keys have no requirements."""


def cycles(requires: Requires) -> list[list[str]]:
    """Cycles of the graph, each as the ids along it with the first repeated at the end; empty when there is none.

    One cycle is named for every edge that closes one in a depth-first walk, so that without those edges no cycle is
    left. Walks start at the ids in order, which makes the answer a function of the graph alone.
    """
    found: list[list[str]] = []
    done: set[str] = set()
    for start in sorted(requires):
        if start not in done:
            found.extend(_cycles_from(start, requires, done))
    return found


def requirements_first(requires: Requires) -> list[str]:
    """The keys of a graph, each after every key it requires; ties in the order of the ids.

    Of a cycle, the edges that `cycles` names are passed over.
    """
    order: list[str] = []
    done: set[str] = set()
    for start in sorted(requires):
        if start not in done:
            for _ in _cycles_from(start, requires, done, order):
                pass
    return [skill for skill in order if skill in requires]


def _cycles_from(start: str, requires: Requires, done: set[str], order: list[str] | None = None) -> Iterator[list[str]]:
    # A walk with a stack of its own: chains of prerequisites may be longer than Python's.
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
