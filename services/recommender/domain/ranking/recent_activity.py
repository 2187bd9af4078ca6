"""What a learner worked on lately, by skill: the input of the learned ranker's features."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numba
import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.learner.state import LearnerState
from services.recommender.domain.ranking.catalog import CatalogColumns, FloatColumn, IntColumn
from services.recommender.domain.ranking.interaction_statistics import InteractionColumns

SHORT_HALF_LIFE = 1.5
LONG_HALF_LIFE = 10.0
NEVER = 200.0
"""The age of a skill that the learner never worked on."""
_SHARE_LEAST = 1e-4


class SkillActivity(IntEnum):
    """Rows of `RecentActivity.skills`."""

    LATEST = 0
    """Its share of the very latest work."""
    RECENT = 1
    """Its share of recent work."""
    AGE = 2
    """Number of resources since it was last worked on."""
    FOLLOWS = 3
    """How strongly it follows the latest skills."""
    TOGETHER = 4
    """How strongly it occurs together with the recent skills."""
    DONE = 5
    """Number of resources about it."""


class SkillRecord(IntEnum):
    """Rows of `RecentActivity.records`."""

    ATTEMPTS = 0
    """log(1 + responses)."""
    SUCCESS = 1
    """(successes + 1) / (responses + 2)."""
    RECENT_SUCCESSES = 2
    """Decaying sum; see `learner.SKILL_RECORD`."""
    RECENT_FAILURES = 3
    """Likewise."""


@dataclass(frozen=True)
class RecentActivity:
    """What a learner worked on lately.

    Attributes:
        recent: catalog rows, newest last.
        records: (4, S); see `SkillRecord`.
        skills: (6, S); see `SkillActivity`.
    """

    recent: IntColumn
    records: FloatColumn
    skills: FloatColumn


def recent_activity_of(
    catalog: CatalogColumns, statistics: InteractionColumns, state: LearnerState, recent: IntColumn
) -> RecentActivity:
    """The recent activity in a learner's state.

    Args:
        catalog: the catalog.
        statistics: over it.
        state: the learner's state.
        recent: catalog rows of what they worked on lately, newest last.
    """
    slots = np.fromiter((catalog.slot_of_skill.get(name, -1) for name in state.skill_names), np.intp)
    here = slots >= 0
    known, slots = state.skill_records[here], slots[here]
    records = np.zeros((len(SkillRecord), len(catalog.skill_ids)))
    records[SkillRecord.SUCCESS] = 0.5
    records[SkillRecord.ATTEMPTS, slots] = np.log1p(known["attempts"])
    records[SkillRecord.SUCCESS, slots] = (known["successes"] + 1.0) / (known["attempts"] + 2.0)
    records[SkillRecord.RECENT_SUCCESSES, slots] = known["recent_successes"]
    records[SkillRecord.RECENT_FAILURES, slots] = known["recent_failures"]
    skills = np.zeros((len(SkillActivity), len(catalog.skill_ids)))
    _fill_activity(
        recent,
        catalog.tags.starts,
        catalog.tags.values,
        catalog.tag_weights,
        statistics.follows.starts,
        statistics.follows.skills,
        statistics.follows.strengths,
        statistics.together.starts,
        statistics.together.skills,
        statistics.together.strengths,
        skills,
    )
    return RecentActivity(recent, records, skills)


@numba.njit(cache=True)
def _fill_activity(
    recent: IntColumn,
    tag_starts: IntColumn,
    tag_slots: IntColumn,
    tag_weights: FloatColumn,
    follow_starts: NDArray[np.int32],
    follow_slots: NDArray[np.int32],
    follow_strengths: NDArray[np.float32],
    together_starts: NDArray[np.int32],
    together_slots: NDArray[np.int32],
    together_strengths: NDArray[np.float32],
    skills: FloatColumn,
) -> None:
    """Write the rows of `SkillActivity` into `skills`, which is all 0."""
    latest, recently, age = skills[SkillActivity.LATEST], skills[SkillActivity.RECENT], skills[SkillActivity.AGE]
    follows, together, done = (
        skills[SkillActivity.FOLLOWS],
        skills[SkillActivity.TOGETHER],
        skills[SkillActivity.DONE],
    )
    age[:] = NEVER
    for since in range(len(recent)):
        row = recent[len(recent) - 1 - since]
        short, long = 0.5 ** (since / SHORT_HALF_LIFE), 0.5 ** (since / LONG_HALF_LIFE)
        for tag in range(tag_starts[row], tag_starts[row + 1]):
            slot = tag_slots[tag]
            latest[slot] += short * tag_weights[tag]
            recently[slot] += long * tag_weights[tag]
            age[slot] = min(age[slot], since)
            done[slot] += 1.0
    for share in (latest, recently):
        whole = share.sum()
        if whole > 0.0:
            share[:] = share / whole
    for slot in range(skills.shape[1]):
        if latest[slot] > _SHARE_LEAST:
            for link in range(follow_starts[slot], follow_starts[slot + 1]):
                follows[follow_slots[link]] += latest[slot] * follow_strengths[link]
        if recently[slot] > _SHARE_LEAST:
            for link in range(together_starts[slot], together_starts[slot + 1]):
                together[together_slots[link]] += recently[slot] * together_strengths[link]
