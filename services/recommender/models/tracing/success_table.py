"""The features of the success model before each response of a table."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.learner.item_pairs import NO_PAIRS, ItemPairs, paired_in_trace
from services.recommender.domain.learner.kernel import EVENT_RECORD, EVENT_SKILL_RECORD, trace_responses
from services.recommender.domain.learner.parameter_columns import settings_row
from services.recommender.domain.learner.parameters import FilterSettings
from services.recommender.domain.learner.state import LEARNER_RECORD, SKILL_RECORD
from services.recommender.domain.learner.success_features import SHARED_FEATURES, features_of_trace
from services.recommender.domain.training.responses import ResponseTable
from services.recommender.models.tracing.difficulty_fit import Difficulties, fit_difficulties
from services.recommender.models.tracing.pair_fit import fit_item_pairs


def success_features(
    table: ResponseTable, difficulties: Difficulties, pairs: ItemPairs = NO_PAIRS
) -> NDArray[np.float64]:
    """Return the features of the success model before each response of a table, with fixed difficulties and pairs.

    Returns:
        Rows by SHARED_FEATURES.
    """
    settings = difficulties.settings
    items, skills = difficulties.columns()
    slots, met = _slots(table.learner, table.skill_start, table.skill, len(table.learners), len(table.skills))
    counts = np.diff(table.skill_start)
    events, event_skills = np.zeros(len(table), EVENT_RECORD), np.empty(len(table.skill), EVENT_SKILL_RECORD)
    events["row"], events["item"], events["response"] = table.learner, table.item, table.response
    events["at_s"], events["evidence"], events["skills"] = table.at_s, 1, counts
    event_skills["slot"], event_skills["skill"] = slots, table.skill
    learners, records = np.zeros(len(table.learners), LEARNER_RECORD), np.zeros(int(met.sum()), SKILL_RECORD)
    learners["variance"], records["variance"] = settings.learner_variance, settings.skill_variance
    chances, abilities, left = trace_responses(
        learners,
        records,
        np.cumsum(met) - met,
        np.zeros(len(learners), np.int64),
        events,
        event_skills,
        np.array([settings_row(settings)]),
        items,
        skills,
    )
    row_of_item = {item: row for row, item in enumerate(pairs.items)}
    rows = np.array([*(row_of_item.get(item, -1) for item in table.items), -1], np.int64)[table.item]
    paired = paired_in_trace(
        table.learner, table.response, rows, pairs.starts, pairs.later, pairs.surprise, pairs.information
    )
    shares = np.repeat(1.0 / np.maximum(counts, 1), counts)
    features: NDArray[np.float64] = features_of_trace(
        table.learner,
        table.item,
        table.at_s,
        items,
        table.skill_start,
        slots,
        shares,
        chances,
        abilities,
        left,
        table.response,
        paired,
    )
    return features


def features_from_others(
    table: ResponseTable, settings: FilterSettings, cv_fold: NDArray[np.int64], item_fold: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the features, each fold's from difficulties and pairs of other learners and of other items."""
    features = np.zeros((len(table), len(SHARED_FEATURES)))
    for number in range(int(cv_fold.max(initial=0)) + 1):
        rows = (cv_fold == number)[table.learner]
        if rows.any():
            others = table.rows(~rows & (item_fold != number))
            difficulties = fit_difficulties(others, settings)
            features[rows] = success_features(table.rows(rows), difficulties, fit_item_pairs(others, difficulties))
    return features


@numba.njit(cache=True)
def _slots(
    learner: NDArray[np.int32],
    skill_start: NDArray[np.int64],
    skill: NDArray[np.int32],
    learners: int,
    skills: int,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Number each entry of `skill` among its learner's skills, in order of first use; and count skills per learner."""
    slots, met = np.empty(len(skill), np.int32), np.zeros(learners, np.int64)
    owner, slot_of_skill = np.full(skills, -1, np.int64), np.empty(skills, np.int32)
    for row in range(len(learner)):
        current = learner[row]
        for entry in range(skill_start[row], skill_start[row + 1]):
            k = skill[entry]
            if owner[k] != current:
                owner[k], slot_of_skill[k] = current, met[current]
                met[current] += 1
            slots[entry] = slot_of_skill[k]
    return slots, met
