"""The level of a resource or a skill: -1 for grade PK, 0 for K, and 1 to 12."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

LEVEL_OF_GRADE = MappingProxyType({"PK": -1.0, "K": 0.0} | {str(grade): float(grade) for grade in range(1, 13)})


def lowest_level(grades: Sequence[str]) -> float:
    """The level of the lowest grade; NaN where no grade is known."""
    return min((LEVEL_OF_GRADE[grade] for grade in grades if grade in LEVEL_OF_GRADE), default=float("nan"))


def levels_of(
    grades_of_resources: Sequence[Sequence[str]],
    grades_of_skills: Sequence[Sequence[str]],
    tag_rows: NDArray[np.intp],
    tag_slots: NDArray[np.intp],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The levels of N resources and of S skills.

    A skill is at the level of its lowest grade, or else at the median level of its resources. A resource is at the
    level of its lowest grade, and no lower than its lowest skill: what suits two grades may be about a skill of the
    higher one.

    Args:
        grades_of_resources: N.
        grades_of_skills: S.
        tag_rows: the resource of each tag.
        tag_slots: the skill of each tag.
    """
    resources = np.array([lowest_level(grades) for grades in grades_of_resources], np.float64)
    skills = np.array([lowest_level(grades) for grades in grades_of_skills], np.float64)
    _fill_skills(skills, resources[tag_rows], tag_slots)
    lowest = np.full(len(resources), np.inf)
    known = ~np.isnan(skills[tag_slots])
    np.minimum.at(lowest, tag_rows[known], skills[tag_slots[known]])
    # `fmax` takes the other one where one is not known.
    return np.fmax(resources, np.where(np.isinf(lowest), np.nan, lowest)), skills


def _fill_skills(skills: NDArray[np.float64], levels: NDArray[np.float64], slots: NDArray[np.intp]) -> None:
    """Give each skill without a level the median (the lower one of two) of the known levels of its tags."""
    wanted = np.isnan(skills[slots]) & ~np.isnan(levels)
    order = np.lexsort((levels[wanted], slots[wanted]))
    levels, slots = levels[wanted][order], slots[wanted][order]
    found, starts, counts = np.unique(slots, return_index=True, return_counts=True)
    skills[found] = levels[starts + (counts - 1) // 2]
