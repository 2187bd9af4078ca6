"""The success head: how likely a response is to be right, given what the filter foresees and the learner's counts.

A logistic regression on top of the filter. It changes no state: it is read when a chance is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.learner import LearnerState
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


@dataclass(frozen=True, eq=False)
class SuccessHead:
    """Weights of the success head.

    Attributes:
        shared: float64, one per SHARED_FEATURES.
        skills: the skills that have weights of their own; another has none.
        per_skill: float64, a row of SKILL_FEATURES per skill; a skill of an item counts 1/K.
    """

    shared: NDArray[np.float64]
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
        logit = float(self.shared @ shared)
        for skill, values in zip(skills, own, strict=True):
            row = self._row_of_skill.get(skill)
            if row is not None:
                logit += float(self.per_skill[row] @ values) / len(skills)
        return 1.0 / (1.0 + math.exp(-logit))


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
            last = float(record["last_response"])
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
