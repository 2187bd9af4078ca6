"""Which skills of a catalog are the same skill in several frameworks, and what follows for what builds on them.

Skills are the same if one names the other among its equivalents, or if both have a name in common; what is the same as
the same skill is the same, too. In names that are web addresses, `https`, `www.` and a slash at the end make no
difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def equivalent_slots(names: Sequence[Sequence[str]]) -> list[list[int]]:
    """For each skill the slots of the other skills that are the same, ascending.

    Args:
        names: of each skill all of its names, its id first.
    """
    # Union-find over names: two frameworks may be linked by a third that the catalog does not have.
    root: dict[str, str] = {}

    def find(name: str) -> str:
        while root.setdefault(name, name) != name:
            root[name] = root[root[name]]
            name = root[name]
        return name

    comparable = [[*map(_comparable, own)] for own in names]
    for own in comparable:
        for other in own[1:]:
            root[find(other)] = find(own[0])
    members: dict[str, list[int]] = {}
    for slot, own in enumerate(comparable):
        if own[0] in root:
            members.setdefault(find(own[0]), []).append(slot)
    others: list[list[int]] = [[] for _ in names]
    for same in members.values():
        for slot in same:
            others[slot] = [other for other in same if other != slot]
    return others


def _comparable(name: str) -> str:
    if name.startswith(("http://", "https://")):
        return name.partition("://")[2].removeprefix("www.").rstrip("/")
    return name


def prerequisite_slots(
    prerequisites: Sequence[Sequence[str]], slot_of_skill: Mapping[str, int], equivalents: Sequence[Sequence[int]]
) -> list[list[int]]:
    """For each skill the slots of its prerequisites, ascending: those of the same skill in any framework, in each.

    Args:
        prerequisites: of each skill the ids of its prerequisites.
        slot_of_skill: slot by id.
        equivalents: as `equivalent_slots` gives them.
    """
    needed = [{slot_of_skill[each] for each in ids} for ids in prerequisites]
    found = []
    for slot, same in enumerate(equivalents):
        own = needed[slot].union(*(needed[other] for other in same))
        everywhere = own.union(*(equivalents[each] for each in own))
        found.append(sorted(everywhere - {slot, *same}))
    return found
