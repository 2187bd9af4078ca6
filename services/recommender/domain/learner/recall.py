"""The recall model: the chance that a learner is right on a later day about a skill that they practised.

A logistic regression on the stored state, fitted to the first responses after a break of LATER_HOURS or more. All its
weights are at least 0, and no feature falls with a right answer or rises with time. So neither does the chance, except
that a learning term that slows down takes a little of a high ability away with every response:

    ability     mu_u + mu_uk
    easiness    minus the difficulty: of the item in training, of the skill's average item in serving
    practice    log(1 + s_k), with s_k the sum of the marks
    recency     r = (recent successes - recent failures) / (1 + both)
    elapsed     -t, with t = log(1 + days since the last response), at most that of a year
    fading      (r (T - t) - t) / 2, with T the t of a year: what the latest answers show counts less with time

The odds of recall thus fall as a power of time, as memory does (Wixted and Ebbesen, On the Form of Forgetting,
Psychological Science 2(6), 1991), and faster for what was known well.

All compiled callers are in this file: numba's cache does not notice when a function in another file changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, auto

import numba
import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.learner.kernel import Record

LATER_HOURS = 8.0
"""A response at least this long after the last one on its skills is one of a later day: in no time zone do learners
work through a night, and most work twice on one day within less."""

_MOST_DAYS = 365.0
_MOST_TIME = math.log1p(_MOST_DAYS)
_SECONDS_PER_DAY = 86_400.0
_LATER_DAYS = LATER_HOURS / 24.0


class RecallFeature(IntEnum):
    """The features, in the order of the weights; see the top of this file."""

    @staticmethod
    def _generate_next_value_(_name: str, _start: int, count: int, _last: list[int]) -> int:
        return count

    ABILITY = auto()
    EASINESS = auto()
    PRACTICE = auto()
    RECENCY = auto()
    ELAPSED = auto()
    FADING = auto()


RECALL_FEATURES = tuple(feature.name.lower() for feature in RecallFeature)
_WIDTH = len(RECALL_FEATURES)


@dataclass(frozen=True, eq=False)
class RecallModel:
    """Weights of the recall model: logit = intercept + the mean over the item's skills of (weights' x + offset).

    Attributes:
        intercept: of the logit.
        weights: float64, of RECALL_FEATURES; none is negative.
        skills: the skills that have an offset.
        offsets: float64, one for each of them.
    """

    intercept: float
    weights: NDArray[np.float64]
    skills: tuple[str, ...]
    offsets: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CatalogRecall:
    """A recall model over the skills of a catalog; made once per catalog, parameters and model.

    Attributes:
        model: the model.
        skill_logits: S; difficulty of each skill's average item.
        offsets: S; 0 for a skill that has none.
    """

    model: RecallModel
    skill_logits: NDArray[np.float64]
    offsets: NDArray[np.float64]

    def of(
        self, slots: NDArray[np.intp], records: NDArray[np.void], ability: float, as_of_s: float
    ) -> NDArray[np.float64]:
        """The chance of recall of each of the catalog's skills, on its average item; NaN where there is none yet.

        There is one from LATER_HOURS after the last response on, if its time is known.

        Args:
            slots: the slot of each record, -1 for a skill the catalog does not know.
            records: SKILL_RECORDs, writable.
            ability: the learner's, mu_u.
            as_of_s: the moment to answer for, Unix seconds.
        """
        recalls: NDArray[np.float64] = recall_of_skills(
            slots, records, ability, self.skill_logits, self.offsets, self.model.intercept, self.model.weights, as_of_s
        )
        return recalls


def index_recall_model(
    model: RecallModel, slot_of_skill: Mapping[str, int], skill_logits: NDArray[np.float64]
) -> CatalogRecall:
    """A recall model over a catalog, given the slot and the average item's difficulty of each of its skills."""
    offsets = np.zeros(len(skill_logits))
    for skill, offset in zip(model.skills, model.offsets.tolist(), strict=True):
        slot = slot_of_skill.get(skill)
        if slot is not None:
            offsets[slot] = offset
    return CatalogRecall(model, skill_logits, offsets)


@numba.njit(inline="always")
def _add_features(
    record: Record, ability: float, difficulty: float, days: float, share: float, written: NDArray[np.float64]
) -> None:
    """Add a share of the RECALL_FEATURES of one of a learner's skills."""
    # Not float(), which keeps single precision here.
    right, missed = np.float64(record.recent_successes), np.float64(record.recent_failures)
    recency = (right - missed) / (1.0 + right + missed)
    time = math.log1p(min(days, _MOST_DAYS))
    written[RecallFeature.ABILITY] += share * (ability + np.float64(record.mean))
    written[RecallFeature.EASINESS] -= share * difficulty
    written[RecallFeature.PRACTICE] += share * math.log1p(np.float64(record.successes))
    written[RecallFeature.RECENCY] += share * recency
    written[RecallFeature.ELAPSED] -= share * time
    written[RecallFeature.FADING] += share * 0.5 * (recency * (_MOST_TIME - time) - time)


@numba.njit(cache=True)
def recall_of_skills(
    slots: NDArray[np.intp],
    records: NDArray[np.void],
    ability: float,
    skill_logits: NDArray[np.float64],
    offsets: NDArray[np.float64],
    intercept: float,
    weights: NDArray[np.float64],
    as_of_s: float,
) -> NDArray[np.float64]:
    """See `CatalogRecall.of`."""
    recalls, features = np.full(len(skill_logits), np.nan), np.empty(_WIDTH)
    for number in range(len(slots)):
        slot, record = slots[number], records[number]
        if slot < 0 or record.attempts == 0 or record.last_at_s == 0:
            continue
        days = (as_of_s - np.float64(record.last_at_s)) / _SECONDS_PER_DAY
        if days < _LATER_DAYS:
            continue
        features[:] = 0.0
        _add_features(record, ability, skill_logits[slot], days, 1.0, features)
        logit = intercept + offsets[slot]
        for column in range(_WIDTH):
            logit += weights[column] * features[column]
        recalls[slot] = 1.0 / (1.0 + math.exp(-logit))
    return recalls


@numba.njit(cache=True)
def recall_features_of_trace(
    item: NDArray[np.int32],
    at_s: NDArray[np.int64],
    item_difficulty: NDArray[np.float64],
    skill_difficulty: NDArray[np.float64],
    skill_start: NDArray[np.int64],
    skill: NDArray[np.int32],
    owner: NDArray[np.int64],
    abilities: NDArray[np.float64],
    left: NDArray[np.void],
    owners: int,
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """The features of the responses of a table that are the first of a later day on all of their skills.

    Args:
        item: (R,) row of the item's difficulty; -1: unknown, the last row.
        at_s: (R,) when it was given, Unix seconds; 0: not known.
        item_difficulty: (I + 1, 2) mean and variance.
        skill_difficulty: (K, 2) mean and variance.
        skill_start: (R + 1,) where the skills of each response begin in `skill`.
        skill: the rows of the skills' difficulties.
        owner: aligned with `skill`: a number for each pair of a learner and a skill.
        abilities: (R,) of `kernel.trace_responses`, as is the next.
        left: SKILL_RECORD after the response, aligned with `skill`.
        owners: how many such pairs there are.

    Returns:
        (R,) whether a response is one; (R, RECALL_FEATURES), 0 where it is none.
    """
    is_later, features = np.zeros(len(item), np.bool_), np.zeros((len(item), _WIDTH))
    latest = np.full(owners, -1)
    for row in range(len(item)):
        first, end = skill_start[row], skill_start[row + 1]
        later = end > first and at_s[row] > 0
        for entry in range(first, end):
            before = latest[owner[entry]]
            last_s = 0.0 if before < 0 else np.float64(left[before].last_at_s)
            later &= last_s > 0.0 and (at_s[row] - last_s) / _SECONDS_PER_DAY >= _LATER_DAYS
        is_later[row] = later
        if later:
            share = 1.0 / (end - first)
            for entry in range(first, end):
                record = left[latest[owner[entry]]]
                days = (at_s[row] - np.float64(record.last_at_s)) / _SECONDS_PER_DAY
                difficulty = item_difficulty[item[row], 0] + skill_difficulty[skill[entry], 0]
                _add_features(record, abilities[row], difficulty, days, share, features[row])
        for entry in range(first, end):
            latest[owner[entry]] = entry
    return is_later, features
