"""The features of the success model, for training and for serving.

Both start from SKILL_RECORDs. Training gets them from `kernel.trace_responses`, serving from a stored state, and both
call the functions below. So the features in serving equal those in training, bit for bit.

All compiled callers are in this file: numba's cache does not notice when a function in another file changes.
"""

from __future__ import annotations

import math
from enum import IntEnum, auto

import numba
import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.learner.state import RECENT_ITEMS


class LearnerFeature(IntEnum):
    """Features of the learner and the item: the first columns. Counts are before the response."""

    @staticmethod
    def _generate_next_value_(_name: str, _start: int, count: int, _last: list[int]) -> int:
        return count

    INTERCEPT = auto()
    LOGIT = auto()  # of the chance that the filter predicts
    ABILITY = auto()  # the learner's ability
    ITEM_MEAN = auto()  # the item's difficulty
    ITEM_DEVIATION = auto()  # its standard deviation
    ITEM_UNFITTED = auto()  # 1 on an item without a fitted difficulty: its variance is the prior's
    LEARNER_ATTEMPTS = auto()  # log(1 + responses to all skills)
    LEARNER_SUCCESS = auto()  # (successes + 2) / (responses + 4) - 1/2 over all skills
    SKILLS_MET = auto()  # log(1 + skills with responses)
    HOURS_SINCE = auto()  # log(1 + whole hours since the last response to any skill); 0: not known
    LATEST_RESPONSE = auto()  # the last response to the most recent skill - 1/2; 0: not known
    PREVIOUS_RESPONSE = auto()  # the last response - 1/2; 0 without any
    EARLIER_RESPONSES = auto()  # the sum of those before it that the state keeps, each - 1/2
    PAIR_LOGIT = auto()  # how much better than the filter says others did on the item after the same outcomes
    PAIR_INFORMATION = auto()  # log(1 + the information in that)


class SkillFeature(IntEnum):
    """Features of a skill: the columns after those of the learner hold their means over the item's skills."""

    @staticmethod
    def _generate_next_value_(_name: str, _start: int, count: int, _last: list[int]) -> int:
        return count

    SKILL_ATTEMPTS = auto()  # log(1 + n_k)
    SKILL_SUCCESS = auto()  # (s_k + 1) / (n_k + 2) - 1/2
    SKILL_SUCCESSES = auto()  # log(1 + s_k)
    SKILL_FAILURES = auto()  # log(1 + n_k - s_k)
    RECENCY = auto()  # (recent successes - recent failures) / (1 + both)
    LAST_RESPONSE = auto()  # the last response - 1/2; 0 on a skill not met
    FIRST_ATTEMPT = auto()  # 1 on a skill not met
    SKILL_TIMED = auto()  # 1 where the time of the last response is known
    SKILL_HOURS_SINCE = auto()  # log(1 + whole hours since then); 0: not known
    SKILL_IS_LATEST = auto()  # 1 if no other skill was worked on since
    SKILLS_SINCE = auto()  # log(1 + skills worked on since)


LEARNER_FEATURES = tuple(feature.name.lower() for feature in LearnerFeature)
SKILL_FEATURES = tuple(feature.name.lower() for feature in SkillFeature)
SHARED_FEATURES = (*LEARNER_FEATURES, *SKILL_FEATURES)
"""The columns of a feature matrix, in order."""

CLOCK_FEATURES = tuple(
    feature.name.lower()
    for feature in (
        LearnerFeature.HOURS_SINCE,
        LearnerFeature.LATEST_RESPONSE,
        SkillFeature.SKILL_TIMED,
        SkillFeature.SKILL_HOURS_SINCE,
        SkillFeature.SKILL_IS_LATEST,
        SkillFeature.SKILLS_SINCE,
    )
)
"""The columns that depend on the times of responses."""

RECENT_FEATURES = LEARNER_FEATURES[LearnerFeature.PREVIOUS_RESPONSE : LearnerFeature.PAIR_INFORMATION + 1]
"""The columns that depend on the recent items of a state."""

_OF_LEARNER = len(LearnerFeature)
_OF_SKILL = len(SkillFeature)
_WIDTH = len(SHARED_FEATURES)
_SECONDS_PER_HOUR = 3_600.0
# Chances are clipped to this distance from 0 and 1, so that their logits are finite.
_SMALLEST_CHANCE = 2.0**-53
# Information of the prior that a pair says nothing.
_PAIR_PRIOR = 1.0


@numba.njit(cache=True)
def features_of_records(
    records: NDArray[np.void], ability: float, at_s: float, recent: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The features of a learner's next response that do not depend on the item.

    Args:
        records: (S,) SKILL_RECORD of the learner, in the order of the slots.
        ability: the learner's ability.
        at_s: when the response would be given, Unix seconds; 0: not known.
        recent: the last responses, the latest first.

    Returns:
        LearnerFeature, those of the item 0; and (S, SkillFeature).
    """
    of_learner, of_records = np.zeros(_OF_LEARNER), np.zeros((len(records), _OF_SKILL))
    latest_s = _learner_features(records, ability, at_s, recent, of_learner)
    for slot in range(len(records)):
        _skill_features(records, slot, at_s, latest_s, of_records[slot])
    return of_learner, of_records


@numba.njit(cache=True)
def _learner_features(
    records: NDArray[np.void], ability: float, at_s: float, recent: NDArray[np.float32], written: NDArray[np.float64]
) -> int:
    """Write a learner's LearnerFeature; the time of the latest response, 0: not known."""
    all_attempts = all_successes = 0.0
    met, latest_s, latest_response = 0, 0, 0.5
    for slot in range(len(records)):
        record = records[slot]
        if record.attempts == 0:
            continue
        all_attempts += float(record.attempts)
        all_successes += float(record.successes)
        met += 1
        # Of skills with the same time, the one met last.
        if record.last_at_s > 0 and record.last_at_s >= latest_s:
            latest_s, latest_response = int(record.last_at_s), float(record.last_response)
    written[:] = 0.0
    written[LearnerFeature.INTERCEPT] = 1.0
    written[LearnerFeature.ABILITY] = ability
    written[LearnerFeature.LEARNER_ATTEMPTS] = math.log1p(all_attempts)
    written[LearnerFeature.LEARNER_SUCCESS] = (all_successes + 2.0) / (all_attempts + 4.0) - 0.5
    written[LearnerFeature.SKILLS_MET] = math.log1p(met)
    if at_s > 0.0 and latest_s > 0:
        written[LearnerFeature.HOURS_SINCE] = math.log1p(max(at_s - latest_s, 0.0) // _SECONDS_PER_HOUR)
        written[LearnerFeature.LATEST_RESPONSE] = latest_response - 0.5
    for place in range(len(recent)):
        column = LearnerFeature.EARLIER_RESPONSES if place else LearnerFeature.PREVIOUS_RESPONSE
        written[column] += float(recent[place]) - 0.5
    return latest_s


@numba.njit(cache=True)
def _skill_features(
    records: NDArray[np.void], slot: int, at_s: float, latest_s: int, written: NDArray[np.float64]
) -> None:
    """Write the SkillFeature of one of a learner's skills."""
    record = records[slot]
    written[:] = 0.0
    if record.attempts == 0:
        written[SkillFeature.FIRST_ATTEMPT] = 1.0
        return
    attempts, successes = float(record.attempts), float(record.successes)
    recent_successes, recent_failures = float(record.recent_successes), float(record.recent_failures)
    written[SkillFeature.SKILL_ATTEMPTS] = math.log1p(attempts)
    written[SkillFeature.SKILL_SUCCESS] = (successes + 1.0) / (attempts + 2.0) - 0.5
    written[SkillFeature.SKILL_SUCCESSES] = math.log1p(successes)
    written[SkillFeature.SKILL_FAILURES] = math.log1p(max(attempts - successes, 0.0))
    written[SkillFeature.RECENCY] = (recent_successes - recent_failures) / (1.0 + recent_successes + recent_failures)
    written[SkillFeature.LAST_RESPONSE] = float(record.last_response) - 0.5
    last_s = int(record.last_at_s)
    if at_s <= 0.0 or last_s == 0:
        return
    since = 0
    for other in range(len(records)):
        since += records[other].attempts > 0 and int(records[other].last_at_s) > last_s
    written[SkillFeature.SKILL_TIMED] = 1.0
    written[SkillFeature.SKILL_HOURS_SINCE] = math.log1p(max(at_s - last_s, 0.0) // _SECONDS_PER_HOUR)
    written[SkillFeature.SKILL_IS_LATEST] = 1.0 if last_s == latest_s else 0.0
    written[SkillFeature.SKILLS_SINCE] = math.log1p(since)


@numba.njit(inline="always")
def _response_features(
    of_learner: NDArray[np.float64],
    of_skills: NDArray[np.float64],
    chance: float,
    item: tuple[float, float],
    prior_variance: float,
    paired: tuple[float, float],
    slots: NDArray[np.integer],
    shares: NDArray[np.float64],
    first: int,
    end: int,
    written: NDArray[np.float64],
) -> None:
    """Write the SHARED_FEATURES of one response.

    Args:
        of_learner: LearnerFeature, those of the item not read.
        of_skills: (skills, SkillFeature).
        chance: what the filter predicts.
        item: mean and variance of the item's difficulty.
        prior_variance: of the difficulty of an item that was never fitted.
        paired: surprise and information of its pairs with the learner's recent items.
        slots: the rows of `of_skills` that the item's skills have, from `first` up to `end`.
        shares: how much of the item each measures, likewise.
        first: where the item's skills begin.
        end: one past the last.
        written: SHARED_FEATURES.
    """
    written[:_OF_LEARNER], written[_OF_LEARNER:] = of_learner, 0.0
    written[LearnerFeature.LOGIT] = math.log(max(chance, _SMALLEST_CHANCE) / max(1.0 - chance, _SMALLEST_CHANCE))
    written[LearnerFeature.ITEM_MEAN] = item[0]
    written[LearnerFeature.ITEM_DEVIATION] = math.sqrt(item[1])
    written[LearnerFeature.ITEM_UNFITTED] = 1.0 if item[1] >= prior_variance else 0.0
    written[LearnerFeature.PAIR_LOGIT] = paired[0] / (paired[1] + _PAIR_PRIOR)
    written[LearnerFeature.PAIR_INFORMATION] = math.log1p(paired[1])
    for entry in range(first, end):
        for column in range(_OF_SKILL):
            written[_OF_LEARNER + column] += shares[entry] * of_skills[slots[entry], column]


@numba.njit(cache=True)
def features_of_trace(
    learner: NDArray[np.int32],
    item: NDArray[np.int32],
    at_s: NDArray[np.int64],
    item_difficulty: NDArray[np.float64],
    skill_start: NDArray[np.int64],
    slots: NDArray[np.int32],
    shares: NDArray[np.float64],
    chances: NDArray[np.float64],
    abilities: NDArray[np.float64],
    left: NDArray[np.void],
    response: NDArray[np.float32],
    paired: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The features of every response of a table, each from what its learner did before.

    Args:
        learner: (R,) one learner's responses follow each other.
        item: (R,) row of the item's difficulty; -1: unknown, the last row.
        at_s: (R,) when it was given, Unix seconds; 0: not known.
        item_difficulty: (I + 1, 2) mean and variance; an unknown item, the last row, has those of the prior.
        skill_start: (R + 1,) where the skills of each response begin in `slots`.
        slots: which of the learner's skills each is, in the order first met.
        shares: how much of its item each measures.
        chances: (R,) of `kernel.trace_responses`, as are the next two.
        abilities: (R,) before each response.
        left: SKILL_RECORD after the response, aligned with `slots`.
        response: (R,) the outcome.
        paired: (R, 2) surprise and information of the pairs of recent items with the item.

    Returns:
        (R, SHARED_FEATURES).
    """
    features, of_learner = np.empty((len(learner), _WIDTH)), np.empty(_OF_LEARNER)
    most = slots.max() + 1 if len(slots) else 0
    records, of_skills = np.zeros(most, left.dtype), np.empty((most, _OF_SKILL))
    met, current, begin, prior_variance = 0, -1, 0, item_difficulty[-1, 1]
    for row in range(len(learner)):
        if learner[row] != current:
            met, current, begin = 0, learner[row], row
        first, end = skill_start[row], skill_start[row + 1]
        # A skill met just now has a record without attempts.
        before = met
        for entry in range(first, end):
            met = max(met, slots[entry] + 1)
        for slot in range(before, met):
            records[slot].attempts = 0
        recent = response[max(row - RECENT_ITEMS, begin) : row][::-1]
        latest_s = _learner_features(records[:met], abilities[row], at_s[row], recent, of_learner)
        for entry in range(first, end):
            _skill_features(records[:met], slots[entry], at_s[row], latest_s, of_skills[slots[entry]])
        difficulty = (item_difficulty[item[row], 0], item_difficulty[item[row], 1])
        of_pairs = (paired[row, 0], paired[row, 1])
        _response_features(
            of_learner, of_skills, chances[row], difficulty, prior_variance, of_pairs, slots, shares, first, end,
            features[row],
        )  # fmt: skip
        for entry in range(first, end):
            records[slots[entry]] = left[entry]
    return features


@numba.njit(cache=True)
def spread(slots: NDArray[np.intp], of_records: NDArray[np.float64], skills: int) -> NDArray[np.float64]:
    """The features of records over a catalog's skills; those of a skill not met where there is no record.

    Args:
        slots: the slot in the catalog of each record; -1: none.
        of_records: (records, SkillFeature).
        skills: how many skills the catalog has.
    """
    features = np.zeros((skills, _OF_SKILL))
    features[:, SkillFeature.FIRST_ATTEMPT] = 1.0
    for number in range(len(slots)):
        if slots[number] >= 0:
            features[slots[number]] = of_records[number]
    return features


@numba.njit(cache=True)
def features_of_catalog(
    rows: NDArray[np.intp],
    chances: NDArray[np.float64],
    of_learner: NDArray[np.float64],
    of_skills: NDArray[np.float64],
    item_means: NDArray[np.float64],
    item_variances: NDArray[np.float64],
    prior_variance: float,
    pair_places: NDArray[np.int32],
    paired: NDArray[np.float64],
    tag_starts: NDArray[np.intp],
    tag_slots: NDArray[np.intp],
    tag_shares: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The features of a learner's next response to each of some resources.

    Args:
        rows: (C,) the resources.
        chances: (C,) what the filter predicts on each.
        of_learner: of `features_of_records`.
        of_skills: of `spread`.
        item_means: (N,) difficulty of each resource as an item.
        item_variances: (N,) and its variance.
        prior_variance: of the difficulty of an item that was never fitted.
        pair_places: (N,) of `item_pairs.paired_with`, as is the next.
        paired: surprise and information of each place.
        tag_starts: (N + 1,) where the tags of each resource begin in `tag_slots`.
        tag_slots: the skill of each tag.
        tag_shares: how much of its resource each tag measures.

    Returns:
        (C, SHARED_FEATURES).
    """
    features = np.empty((len(rows), _WIDTH))
    for place in range(len(rows)):
        row = rows[place]
        first, end = tag_starts[row], tag_starts[row + 1]
        chance, item = chances[place], (item_means[row], item_variances[row])
        of_pairs = (paired[pair_places[row], 0], paired[pair_places[row], 1])
        _response_features(
            of_learner, of_skills, chance, item, prior_variance, of_pairs, tag_slots, tag_shares, first, end,
            features[place],
        )  # fmt: skip
    return features


@numba.njit(cache=True)
def chances_of_catalog(
    rows: NDArray[np.intp],
    chances: NDArray[np.float64],
    of_learner: NDArray[np.float64],
    of_skills: NDArray[np.float64],
    item_means: NDArray[np.float64],
    item_variances: NDArray[np.float64],
    prior_variance: float,
    pair_places: NDArray[np.int32],
    paired: NDArray[np.float64],
    tag_starts: NDArray[np.intp],
    tag_slots: NDArray[np.intp],
    tag_shares: NDArray[np.float64],
    ranges: NDArray[np.float64],
    products: NDArray[np.float64],
    skill_weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The success model's chance on each of some resources, (C,), in one pass over them.

    Arguments up to `tag_shares` as of `features_of_catalog`; then `ranges` and `products` of the `SuccessModel`, and
    the weights of the catalog's skills, (S, SHARED_FEATURES).
    """
    weighed = np.empty(len(rows))
    x = np.empty(_WIDTH)
    for place in range(len(rows)):
        row = rows[place]
        first, end = tag_starts[row], tag_starts[row + 1]
        chance, item = chances[place], (item_means[row], item_variances[row])
        of_pairs = (paired[pair_places[row], 0], paired[pair_places[row], 1])
        _response_features(
            of_learner, of_skills, chance, item, prior_variance, of_pairs, tag_slots, tag_shares, first, end, x
        )  # fmt: skip
        for i in range(len(x)):
            x[i] = min(max(x[i], ranges[0, i]), ranges[1, i])
        logit = 0.0
        for i in range(len(x)):
            with_others = 0.0
            for j in range(i, len(x)):
                with_others += products[i, j] * x[j]
            logit += x[i] * with_others
        for tag in range(first, end):
            for column in range(len(x)):
                logit += tag_shares[tag] * skill_weights[tag_slots[tag], column] * x[column]
        weighed[place] = 1.0 / (1.0 + math.exp(-logit))
    return weighed
