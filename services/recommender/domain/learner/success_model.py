"""The success model: how likely a response is to be right, given what the filter foresees and the learner's counts.

A logistic regression on top of the filter. It changes no state: it is read when a chance is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.learner.parameters import ItemDifficulty, SkillDifficulty, TenantParameters
from services.recommender.domain.learner.state import SKILL_RECORD, LearnerState

# Columns of the shared features: first those of learner and item, then those of skills, which are means over the item's
# skills. Counts are before the response. Times are 0 where nobody knows them.
LEARNER_FEATURES = (
    "intercept",
    "logit",  # what the filter foresees, as a logit
    "ability",  # the learner's ability
    "item_mean",  # the item's difficulty
    "item_deviation",  # and how well it is known
    "learner_attempts",  # log(1 + responses to all skills)
    "learner_success",  # (successes + 2) / (responses + 4) - 1/2 over all skills
    "skills_met",  # log(1 + skills with responses)
    "hours_since",  # log(1 + whole hours since the last response to any skill)
    "latest_response",  # the last response to the skill worked on last - 1/2
)
MEAN_SKILL_FEATURES = (
    "skill_attempts",  # log(1 + n_k)
    "skill_success",  # (s_k + 1) / (n_k + 2) - 1/2
    "skill_successes",  # log(1 + s_k)
    "skill_failures",  # log(1 + n_k - s_k)
    "recency",  # (recent successes - recent failures) / (1 + both)
    "last_response",  # the last response - 1/2; 0 on a skill not met
    "first_attempt",  # 1 on a skill not met
    "skill_timed",  # 1 where the time of the last response is known
    "skill_hours_since",  # log(1 + whole hours since then)
    "skill_is_latest",  # 1 where no skill was worked on since
    "skills_since",  # log(1 + skills worked on since)
)
SHARED_FEATURES = (*LEARNER_FEATURES, *MEAN_SKILL_FEATURES)
# Those that need to know when responses were given.
CLOCK_FEATURES = (
    "hours_since",
    "latest_response",
    "skill_timed",
    "skill_hours_since",
    "skill_is_latest",
    "skills_since",
)  # fmt: skip
_FILTERED = SHARED_FEATURES.index("logit")
_OF_ITEM = SHARED_FEATURES.index("item_mean")
_NO_RECORDS = np.zeros(0, SKILL_RECORD)
_NOT_MET = np.array([float(name == "first_attempt") for name in MEAN_SKILL_FEATURES])

Chances = Callable[[NDArray[np.intp], NDArray[np.float64]], NDArray[np.float64]]
"""From resources (rows of a catalog) and what the filter foresees on each to what the head says, for one learner."""


@dataclass(frozen=True, eq=False)
class SuccessModel:
    """Weights of the success model: logit = x' W x + the mean over the item's skills of w_k' x.

    x are the SHARED_FEATURES, each cut to the range it was fitted on, so that no product of two leaves what data has
    spoken for.

    Attributes:
        products: float64, SHARED_FEATURES twice, upper triangular: W. Its first row weighs the features themselves.
        ranges: float64, 2 by SHARED_FEATURES: least and greatest.
        skills: the skills that have weights of their own; another has none.
        per_skill: float64, a row w_k of SHARED_FEATURES per skill, on top of W.
    """

    products: NDArray[np.float64]
    ranges: NDArray[np.float64]
    skills: tuple[str, ...]
    per_skill: NDArray[np.float64]

    @cached_property
    def _row_of_skill(self) -> dict[str, int]:
        return {skill: row for row, skill in enumerate(self.skills)}

    def chance(
        self,
        state: LearnerState | None,
        item: str,
        skills: Sequence[str],
        parameters: TenantParameters,
        at_s: float = 0.0,
    ) -> float:
        """The chance that the learner's next response to an item is right.

        Args:
            state: the learner's state; None: a learner without events.
            item: its id; one that was never fitted has difficulty 0 at its prior variance.
            skills: its distinct skills.
            parameters: the tenant's, that both the state and this head were made with.
            at_s: when it would be given, Unix seconds; 0: not known.
        """
        x = np.clip(features_of(state, item, skills, parameters, at_s), *self.ranges)
        logit = float(x @ self.products @ x)
        for skill in skills:
            row = self._row_of_skill.get(skill)
            if row is not None:
                logit += float(self.per_skill[row] @ x) / len(skills)
        return 1.0 / (1.0 + math.exp(-logit))


@dataclass(frozen=True, eq=False)
class CatalogSuccessModel:
    """A success model over the resources of a catalog, in columns; made once per catalog, parameters and head.

    Attributes:
        success_model: the head.
        slot_of_skill: slot of each of the catalog's S skills.
        item_means: difficulty of each of N resources as an item, its skills' difficulty left out.
        item_variances: and its variance, N.
        tag_starts: N + 1; the tags of resource r are those from tag_starts[r] on, up to tag_starts[r + 1].
        tag_slots: the skill of each tag.
        tag_shares: how much of its resource each tag measures; a resource's sum to 1, or are all 0.
    """

    success_model: SuccessModel
    slot_of_skill: Mapping[str, int]
    item_means: NDArray[np.float64]
    item_variances: NDArray[np.float64]
    tag_starts: NDArray[np.intp]
    tag_slots: NDArray[np.intp]
    tag_shares: NDArray[np.float64]

    @cached_property
    def _skill_weights(self) -> NDArray[np.float64]:
        weights = np.zeros((len(self.slot_of_skill), len(SHARED_FEATURES)))
        for skill, row in zip(self.success_model.skills, self.success_model.per_skill, strict=True):
            slot = self.slot_of_skill.get(skill)
            if slot is not None:
                weights[slot] = row
        return weights

    def of(self, state: LearnerState | None, at_s: float) -> Chances:
        """What turns the filter's chances on some resources into the head's, for one learner.

        Args:
            state: the learner's state; None: a learner without events.
            at_s: when the resource would be worked on, Unix seconds; 0: not known.
        """
        names: tuple[str, ...] = () if state is None else state.skill_names
        slots = np.fromiter((self.slot_of_skill.get(name, -1) for name in names), np.intp, len(names))
        of_learner, of_records = _of_state(state, at_s)
        of_skills = _spread(slots, of_records, len(self._skill_weights))

        def chances(rows: NDArray[np.intp], predicted: NDArray[np.float64]) -> NDArray[np.float64]:
            corrected: NDArray[np.float64] = _chances(
                rows,
                predicted,
                of_learner,
                of_skills,
                self.item_means,
                self.item_variances,
                self.tag_starts,
                self.tag_slots,
                self.tag_shares,
                self.success_model.products,
                self.success_model.ranges,
                self._skill_weights,
            )
            return corrected

        return chances


def features_of(
    state: LearnerState | None, item: str, skills: Sequence[str], parameters: TenantParameters, at_s: float = 0.0
) -> NDArray[np.float64]:
    """The SHARED_FEATURES of one learner's next response."""
    settings = parameters.settings
    of_learner, of_records = _of_state(state, at_s)
    ability, variance = (0.0, settings.learner_variance) if state is None else (state.mean, state.variance)
    difficulty = parameters.items.get(item, ItemDifficulty(0.0, settings.item_difficulty_variance))
    unknown = SkillDifficulty(0.0, settings.skill_difficulty_variance)
    share = 1.0 / max(len(skills), 1)
    logit = settings.base + ability - difficulty.mean
    logit_variance = min(variance + settings.learner_noise, settings.learner_variance) + difficulty.variance
    of_skills = np.tile(_NOT_MET, (len(skills), 1))
    for number, skill in enumerate(skills):
        slot = -1 if state is None else state.slot_of_skill.get(skill, -1)
        mean, skill_variance = 0.0, settings.skill_variance
        if state is not None and slot >= 0:
            mean, skill_variance = (float(state.skill_records[slot][name]) for name in ("mean", "variance"))
            of_skills[number] = of_records[slot]
        of_skill = parameters.skills.get(skill, unknown)
        logit += share * (mean - of_skill.mean)
        skill_variance = min(skill_variance + settings.skill_noise, settings.skill_variance)
        logit_variance += share * share * (skill_variance + of_skill.variance)
    predicted = logit / math.sqrt(1.0 + math.pi / 8.0 * logit_variance)
    of_learner[_FILTERED] = predicted
    of_learner[_OF_ITEM : _OF_ITEM + 2] = difficulty.mean, math.sqrt(difficulty.variance)
    return np.concatenate([of_learner, share * of_skills.sum(axis=0)])


def _of_state(state: LearnerState | None, at_s: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """LEARNER_FEATURES, those of the item 0, and MEAN_SKILL_FEATURES of each of the state's records."""
    records = _NO_RECORDS if state is None else state.skill_records
    ability = 0.0 if state is None else state.mean
    # A copy, because stored records are read-only and would be compiled for again.
    found: tuple[NDArray[np.float64], NDArray[np.float64]] = _features_of_records(records.copy(), ability, at_s)
    return found


@numba.njit(cache=True)
def _features_of_records(
    records: NDArray[np.void], ability: float, at_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    of_learner, of_records = np.zeros(10), np.zeros((len(records), 11))
    all_attempts = all_successes = 0.0
    met, latest_s, latest_response = 0, 0, 0.5
    for number in range(len(records)):
        record, row = records[number], of_records[number]
        attempts, successes = float(record.attempts), float(record.successes)
        if attempts == 0.0:
            row[6] = 1.0
            continue
        all_attempts += attempts
        all_successes += successes
        met += 1
        recent_successes, recent_failures = float(record.recent_successes), float(record.recent_failures)
        row[0], row[1] = math.log1p(attempts), (successes + 1.0) / (attempts + 2.0) - 0.5
        row[2], row[3] = math.log1p(successes), math.log1p(max(attempts - successes, 0.0))
        row[4] = (recent_successes - recent_failures) / (1.0 + recent_successes + recent_failures)
        row[5] = float(record.last_response) - 0.5
        # Of skills worked on at the same moment the one met last.
        if record.last_at_s > 0 and record.last_at_s >= latest_s:
            latest_s, latest_response = int(record.last_at_s), float(record.last_response)
    of_learner[0], of_learner[2] = 1.0, ability
    of_learner[5], of_learner[6] = math.log1p(all_attempts), (all_successes + 2.0) / (all_attempts + 4.0) - 0.5
    of_learner[7] = math.log1p(met)
    if at_s <= 0.0 or latest_s == 0:
        return of_learner, of_records
    of_learner[8], of_learner[9] = math.log1p(max(at_s - latest_s, 0.0) // 3_600.0), latest_response - 0.5
    for number in range(len(records)):
        last_s = int(records[number].last_at_s)
        if last_s == 0 or records[number].attempts == 0:
            continue
        since = 0
        for other in range(len(records)):
            since += records[other].attempts > 0 and int(records[other].last_at_s) > last_s
        of_records[number, 7] = 1.0
        of_records[number, 8] = math.log1p(max(at_s - last_s, 0.0) // 3_600.0)
        of_records[number, 9] = 1.0 if last_s == latest_s else 0.0
        of_records[number, 10] = math.log1p(since)
    return of_learner, of_records


@numba.njit(cache=True)
def _spread(slots: NDArray[np.intp], of_records: NDArray[np.float64], skills: int) -> NDArray[np.float64]:
    """Features of records over a catalog's skills; those of a skill not met where there is no record."""
    features = np.zeros((skills, 11))
    features[:, 6] = 1.0
    for number in range(len(slots)):
        if slots[number] >= 0:
            features[slots[number]] = of_records[number]
    return features


@numba.njit(cache=True)
def _chances(
    rows: NDArray[np.intp],
    predicted: NDArray[np.float64],
    of_learner: NDArray[np.float64],
    of_skills: NDArray[np.float64],
    item_means: NDArray[np.float64],
    item_variances: NDArray[np.float64],
    tag_starts: NDArray[np.intp],
    tag_slots: NDArray[np.intp],
    tag_shares: NDArray[np.float64],
    products: NDArray[np.float64],
    ranges: NDArray[np.float64],
    skill_weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    chances = np.empty(len(rows))
    x = np.empty(len(products))
    for place in range(len(rows)):
        row = rows[place]
        filtered = math.log(predicted[place] / (1.0 - predicted[place]))
        x[:10], x[10:] = of_learner, 0.0
        x[1], x[3], x[4] = filtered, item_means[row], math.sqrt(item_variances[row])
        for tag in range(tag_starts[row], tag_starts[row + 1]):
            for column in range(11):
                x[10 + column] += tag_shares[tag] * of_skills[tag_slots[tag], column]
        for i in range(len(x)):
            x[i] = min(max(x[i], ranges[0, i]), ranges[1, i])
        logit = 0.0
        for i in range(len(x)):
            with_others = 0.0
            for j in range(i, len(x)):
                with_others += products[i, j] * x[j]
            logit += x[i] * with_others
        for tag in range(tag_starts[row], tag_starts[row + 1]):
            for column in range(len(x)):
                logit += tag_shares[tag] * skill_weights[tag_slots[tag], column] * x[column]
        chances[place] = 1.0 / (1.0 + math.exp(-logit))
    return chances
