"""Groups of learners who share a gap: few enough to teach, and chosen so that gaps matter to their learners.

A group's skill matters to a learner by its urgency, as a share of the urgency of their most urgent gap, so that a
learner with many large gaps does not outvote others. The skills are chosen one by one, each the one that adds most to
the total (greedy facility location: at least 1 - 1/e of the best choice; G. Nemhauser, L. Wolsey, M. Fisher, 1978, "An
analysis of approximations for maximizing submodular set functions").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LEAST_GAIN = 1e-9


@dataclass(frozen=True, slots=True)
class LearnerGroup:
    """Learners who share a gap.

    Attributes:
        slot: the skill, as a column of the matrix of gaps.
        members: the learners, as rows of it, ascending.
    """

    slot: int
    members: tuple[int, ...]


def form_groups(gaps: NDArray[np.float64], groups_max: int) -> list[LearnerGroup]:
    """Put learners who share a gap together; the largest group first, equal ones by slot.

    Args:
        gaps: L x S; how urgent skill s is for learner l, 0 where it is no gap or cannot be worked on.
        groups_max: most groups.

    Returns:
        Groups with at least one member. A learner with none of the groups' gaps is in none.
    """
    if not gaps.size:
        return []
    largest = gaps.max(axis=1, keepdims=True)
    shares = np.divide(gaps, largest, out=np.zeros_like(gaps), where=largest > 0)
    served = np.zeros(len(gaps))
    slots: list[int] = []
    while len(slots) < groups_max:
        gained = np.maximum(shares - served[:, None], 0.0).sum(axis=0)
        best = int(gained.argmax())
        if gained[best] < _LEAST_GAIN:
            break
        slots.append(best)
        served = np.maximum(served, shares[:, best])
    if not slots:
        return []
    chosen = shares[:, slots]
    place = chosen.argmax(axis=1)
    placed = chosen.max(axis=1) > 0.0
    groups = [
        LearnerGroup(slot, tuple(np.flatnonzero(placed & (place == index)).tolist()))
        for index, slot in enumerate(slots)
    ]
    return sorted((group for group in groups if group.members), key=lambda group: (-len(group.members), group.slot))
