"""The success head: how likely a response is to be right, given what the filter foresees and the learner's counts.

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

from services.recommender.domain.learner import SKILL_RECORD, LearnerState
from services.recommender.domain.tracing import ItemDifficulty, SkillDifficulty, TenantParameters

# Columns of the shared features. Those of skills are means over the item's skills; counts are before the response.
SHARED_FEATURES = (
    "intercept",
    "logit",  # what the filter foresees, as a logit
    "ability",  # the learner's ability
    "item_mean",  # the item's difficulty
    "item_deviation",  # and how well it is known
    "learner_attempts",  # log(1 + responses to all skills)
    "learner_success",  # (successes + 2) / (responses + 4) - 1/2 over all skills
    "skill_attempts",  # log(1 + n_k)
    "skill_success",  # (s_k + 1) / (n_k + 2) - 1/2
    "skill_successes",  # log(1 + s_k)
    "skill_failures",  # log(1 + n_k - s_k)
    "recency",  # (recent successes - recent failures) / (1 + both)
    "last_response",  # the last response - 1/2; 0 on a skill not met
    "first_attempt",  # 1 on a skill not met
)
# Columns of the features that have weights per skill.
SKILL_FEATURES = ("intercept", "skill_successes", "skill_failures", "logit")

Chances = Callable[[NDArray[np.intp], NDArray[np.float64]], NDArray[np.float64]]
"""From resources (rows of a catalog) and what the filter foresees on each to what the head says, for one learner."""

_NO_RECORDS = np.zeros(0, SKILL_RECORD)
_COUNTS = ("attempts", "successes", "recent_successes", "recent_failures", "last_response")


@dataclass(frozen=True, eq=False)
class SuccessHead:
    """Weights of the success head: logit = x' W x + the mean over the item's skills of w_k' x_k.

    x are the SHARED_FEATURES, each cut to the range it was fitted on, so that a product of two never leaves what data
    has spoken for; x_k the SKILL_FEATURES.

    Attributes:
        products: float64, SHARED_FEATURES twice, upper triangular: W. Its first row weighs the features themselves.
        ranges: float64, 2 by SHARED_FEATURES: least and greatest.
        skills: the skills that have weights of their own; another has none.
        per_skill: float64, a row of SKILL_FEATURES per skill; a skill of an item counts 1/K.
    """

    products: NDArray[np.float64]
    ranges: NDArray[np.float64]
    skills: tuple[str, ...]
    per_skill: NDArray[np.float64]

    @cached_property
    def _row_of_skill(self) -> dict[str, int]:
        return {skill: row for row, skill in enumerate(self.skills)}

    def chance(
        self, state: LearnerState | None, item: str, skills: Sequence[str], parameters: TenantParameters
    ) -> float:
        """The chance that the learner's next response to an item is right.

        Args:
            state: the learner's state; None: a learner without events.
            item: its id; one that was never fitted has difficulty 0 at its prior variance.
            skills: its distinct skills.
            parameters: the tenant's, that both the state and this head were made with.
        """
        shared, own = features_of(state, item, skills, parameters)
        shared = np.clip(shared, *self.ranges)
        logit = float(shared @ self.products @ shared)
        for skill, values in zip(skills, own, strict=True):
            row = self._row_of_skill.get(skill)
            if row is not None:
                logit += float(self.per_skill[row] @ values) / len(skills)
        return 1.0 / (1.0 + math.exp(-logit))


@dataclass(frozen=True, eq=False)
class CatalogHead:
    """A success head over the resources of a catalog, in columns; made once per catalog, parameters and head.

    Attributes:
        head: the head.
        slot_of_skill: slot of each of the catalog's S skills.
        item_means: difficulty of each of N resources as an item, its skills' difficulty left out.
        item_variances: and its variance, N.
        tag_starts: N + 1; the tags of resource r are those from tag_starts[r] on, up to tag_starts[r + 1].
        tag_slots: the skill of each tag.
        tag_shares: how much of its resource each tag measures; a resource's sum to 1, or are all 0.
    """

    head: SuccessHead
    slot_of_skill: Mapping[str, int]
    item_means: NDArray[np.float64]
    item_variances: NDArray[np.float64]
    tag_starts: NDArray[np.intp]
    tag_slots: NDArray[np.intp]
    tag_shares: NDArray[np.float64]

    @cached_property
    def _skill_weights(self) -> NDArray[np.float64]:
        weights = np.zeros((len(self.slot_of_skill), len(SKILL_FEATURES)))
        for skill, row in zip(self.head.skills, self.head.per_skill, strict=True):
            slot = self.slot_of_skill.get(skill)
            if slot is not None:
                weights[slot] = row
        return weights

    def of(self, state: LearnerState | None) -> Chances:
        """What turns the filter's chances on some resources into the head's, for one learner.

        Args:
            state: the learner's state; None: a learner without events.
        """
        names: tuple[str, ...] = () if state is None else state.skill_names
        records = _NO_RECORDS if state is None else state.skill_records
        slots = np.fromiter((self.slot_of_skill.get(name, -1) for name in names), np.intp, len(names))
        counts = _counts_of(records)
        attempts, successes = counts[0].sum(), counts[1].sum()
        of_learner = np.array([
            0.0 if state is None else state.mean,
            math.log1p(attempts),
            (successes + 2.0) / (attempts + 4.0) - 0.5,
        ])  # fmt: skip

        def chances(rows: NDArray[np.intp], foreseen: NDArray[np.float64]) -> NDArray[np.float64]:
            corrected: NDArray[np.float64] = _chances(
                rows,
                foreseen,
                of_learner,
                _spread_counts(slots, counts, len(self._skill_weights)),
                self.item_means,
                self.item_variances,
                self.tag_starts,
                self.tag_slots,
                self.tag_shares,
                self.head.products,
                self.head.ranges,
                self._skill_weights,
            )
            return corrected

        return chances


def features_of(
    state: LearnerState | None, item: str, skills: Sequence[str], parameters: TenantParameters
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The features of one learner's next response: SHARED_FEATURES, and SKILL_FEATURES by skill."""
    settings = parameters.settings
    ability, variance = (0.0, settings.learner_variance) if state is None else (state.mean, state.variance)
    difficulty = parameters.items.get(item, ItemDifficulty(0.0, settings.item_difficulty_variance))
    unknown = SkillDifficulty(0.0, settings.skill_difficulty_variance)
    share = 1.0 / max(len(skills), 1)
    logit = settings.base + ability - difficulty.mean
    logit_variance = min(variance + settings.learner_noise, settings.learner_variance) + difficulty.variance
    of_skills = np.zeros(7)
    own = np.zeros((len(skills), len(SKILL_FEATURES)))
    for number, skill in enumerate(skills):
        slot = -1 if state is None else state.slot_of_skill.get(skill, -1)
        mean, skill_variance = 0.0, settings.skill_variance
        attempts = successes = recent_successes = recent_failures = 0.0
        last = 0.5
        if state is not None and slot >= 0:
            record = state.skill_records[slot]
            mean, skill_variance = float(record["mean"]), float(record["variance"])
            attempts, successes = float(record["attempts"]), float(record["successes"])
            recent_successes, recent_failures = float(record["recent_successes"]), float(record["recent_failures"])
            last = float(record["last_response"]) if attempts else 0.5
        of_skill = parameters.skills.get(skill, unknown)
        logit += share * (mean - of_skill.mean)
        skill_variance = min(skill_variance + settings.skill_noise, settings.skill_variance)
        logit_variance += share * share * (skill_variance + of_skill.variance)
        own[number] = 1.0, math.log1p(successes), math.log1p(max(attempts - successes, 0.0)), 0.0
        of_skills += share * np.array([
            math.log1p(attempts),
            (successes + 1.0) / (attempts + 2.0) - 0.5,
            own[number, 1],
            own[number, 2],
            (recent_successes - recent_failures) / (1.0 + recent_successes + recent_failures),
            last - 0.5,
            float(attempts == 0.0),
        ])  # fmt: skip
    foreseen = logit / math.sqrt(1.0 + math.pi / 8.0 * logit_variance)
    own[:, 3] = foreseen
    all_attempts = all_successes = 0.0
    if state is not None:
        all_attempts = float(state.skill_records["attempts"].sum(dtype=np.float64))
        all_successes = float(state.skill_records["successes"].sum(dtype=np.float64))
    of_learner = [
        1.0,
        foreseen,
        ability,
        difficulty.mean,
        math.sqrt(difficulty.variance),
        math.log1p(all_attempts),
        (all_successes + 2.0) / (all_attempts + 4.0) - 0.5,
    ]
    return np.concatenate([of_learner, of_skills]), own


def _counts_of(records: NDArray[np.void]) -> NDArray[np.float64]:
    """The fields of records that features are made of, in the order of _COUNTS."""
    counts = np.empty((len(_COUNTS), len(records)))
    for row, name in enumerate(_COUNTS):
        counts[row] = records[name]
    return counts


@numba.njit(cache=True)
def _spread_counts(slots: NDArray[np.intp], counts: NDArray[np.float64], skills: int) -> NDArray[np.float64]:
    """The features from `skill_attempts` on, for each of a catalog's skills; those of a skill not met by default."""
    features = np.zeros((skills, 7))
    features[:, 6] = 1.0
    for number in range(len(slots)):
        slot = slots[number]
        if slot < 0:
            continue
        attempts, successes, recent_successes, recent_failures, last = counts[:, number]
        if attempts == 0.0:
            last = 0.5
        row = features[slot]
        row[0] = math.log1p(attempts)
        row[1] = (successes + 1.0) / (attempts + 2.0) - 0.5
        row[2], row[3] = math.log1p(successes), math.log1p(max(attempts - successes, 0.0))
        row[4] = (recent_successes - recent_failures) / (1.0 + recent_successes + recent_failures)
        row[5] = last - 0.5
        row[6] = 1.0 if attempts == 0.0 else 0.0
    return features


@numba.njit(cache=True)
def _chances(
    rows: NDArray[np.intp],
    foreseen: NDArray[np.float64],
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
        filtered = math.log(foreseen[place] / (1.0 - foreseen[place]))
        x[0], x[1], x[2] = 1.0, filtered, of_learner[0]
        x[3], x[4] = item_means[row], math.sqrt(item_variances[row])
        x[5], x[6] = of_learner[1], of_learner[2]
        x[7:] = 0.0
        logit = 0.0
        for tag in range(tag_starts[row], tag_starts[row + 1]):
            features, own, share = of_skills[tag_slots[tag]], skill_weights[tag_slots[tag]], tag_shares[tag]
            logit += share * (own[0] + own[1] * features[2] + own[2] * features[3] + own[3] * filtered)
            for column in range(7):
                x[7 + column] += share * features[column]
        for i in range(len(x)):
            x[i] = min(max(x[i], ranges[0, i]), ranges[1, i])
        for i in range(len(x)):
            with_others = 0.0
            for j in range(i, len(x)):
                with_others += products[i, j] * x[j]
            logit += x[i] * with_others
        chances[place] = 1.0 / (1.0 + math.exp(-logit))
    return chances
