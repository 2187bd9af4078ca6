"""Chances of success and mastery per skill, from a learner's state. Pure, vectorised, and never written to state.

The logit of success on a skill's average item is normal with the posterior's mean and variance. Its chance is
`kernel.chance_of_success`; intervals are the logit's quantiles, mapped through the sigmoid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.learner.kernel import chance_of_success
from services.recommender.domain.learner.parameters import FilterSettings, SkillDifficulty, TenantParameters
from services.recommender.domain.learner.state import LearnerState

_CENTRAL_95 = 1.959963984540054

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MasteryRule:
    """When a skill counts as mastered.

    Attributes:
        success: the chance of success on the skill's average item that the learner must exceed.
        certainty: the probability that this must have.
        responses: the least number of responses.
    """

    success: float = 0.7
    certainty: float = 0.8
    responses: int = 3


DEFAULT_RULE = MasteryRule()


@dataclass(frozen=True, slots=True)
class SkillLogits:
    """The logit of success on each skill's average item, aligned arrays over skills.

    Attributes:
        mean: b0 + mu_u + mu_uk - sigma_k - the mean difficulty of the skill's items.
        variance: how uncertain it is; see `logit_variance`.
        attempts: responses that were evidence of the skill.
        successes: their sum.
        last_at_s: when the last was given, Unix seconds; 0: not known, or none.
    """

    mean: Floats
    variance: Floats
    attempts: NDArray[np.int64]
    successes: Floats
    last_at_s: NDArray[np.int64]


def skill_logits(state: LearnerState | None, skills: Sequence[str], parameters: TenantParameters) -> SkillLogits:
    """The logits of a learner on some skills.

    Args:
        state: the learner's state; None: a learner without events, at the priors.
        skills: the skills; one that the learner has not met is at its prior.
        parameters: the tenant's parameters, of the epoch that the state was folded in.
    """
    settings = parameters.settings
    count = len(skills)
    ability, variance = (0.0, settings.learner_variance) if state is None else (state.mean, state.variance)
    mean = np.full(count, settings.base + ability)
    of_abilities = np.full(count, variance + settings.skill_variance)
    attempts = np.zeros(count, np.int64)
    successes = np.zeros(count)
    last_at_s = np.zeros(count, np.int64)
    if state is not None and state.skill_names:
        slots = np.array([state.slot_of_skill.get(skill, -1) for skill in skills], np.int64)
        met = slots >= 0
        records = state.skill_records[slots[met]]
        mean[met] += records["mean"]
        of_abilities[met] = variance + records["variance"].astype(np.float64)
        attempts[met] = records["attempts"]
        successes[met] = records["successes"]
        last_at_s[met] = records["last_at_s"]
    unknown = SkillDifficulty(0.0, settings.skill_difficulty_variance)
    difficulties = [parameters.skills.get(skill, unknown) for skill in skills]
    mean -= np.array([difficulty.mean + difficulty.mean_item_difficulty for difficulty in difficulties])
    of_skills = np.array([difficulty.variance for difficulty in difficulties])
    return SkillLogits(
        mean, logit_variance(of_abilities, of_skills, attempts, settings), attempts, successes, last_at_s
    )


def logit_variance(
    of_abilities: Floats, of_skills: Floats, attempts: NDArray[np.integer], settings: FilterSettings
) -> Floats:
    """The variance of the logits on skills: f (v_u + v_uk), plus v_sk on a skill without responses, elementwise.

    With responses, the filter's m follows how hard the skill is for the learner, so its difficulty adds nothing.

    Args:
        of_abilities: v_u + v_uk.
        of_skills: v_sk, of the skills' difficulties.
        attempts: responses to each skill.
        settings: has f, which differs between skills with responses and without.
    """
    return np.where(
        attempts > 0, settings.inflation_met * of_abilities, settings.inflation_new * of_abilities + of_skills
    )


def success_probability(mean: Floats | float, variance: Floats | float) -> Floats:
    """Chance of success when its logit is normal with this mean and variance, elementwise."""
    return np.asarray(chance_of_success(mean, variance))


def success_interval(mean: Floats, variance: Floats) -> tuple[Floats, Floats]:
    """Ends of the central 95 % interval of a chance whose logit is normal with this mean and variance, elementwise."""
    reach = _CENTRAL_95 * np.sqrt(variance)
    return success_probability(mean - reach, 0.0), success_probability(mean + reach, 0.0)


def mastered(
    mean: Floats, variance: Floats, attempts: NDArray[np.integer], rule: MasteryRule = DEFAULT_RULE
) -> NDArray[np.bool_]:
    """Whether each skill counts as mastered, from the logit on its average item and its responses, elementwise."""
    bar = math.log(rule.success / (1.0 - rule.success)) + NormalDist().inv_cdf(rule.certainty) * np.sqrt(variance)
    return np.asarray((mean >= bar) & (attempts >= rule.responses))
