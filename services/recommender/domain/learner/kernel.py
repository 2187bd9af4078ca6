"""The learner model's arithmetic: the one piece of code that turns responses into posteriors, live and in bulk.

Computed in float64 in a fixed order; every component is rounded to its stored precision after each event, because the
arrays it is stored into have that precision. So batching cannot matter. Only operations that IEEE 754 rounds correctly
are used (+, -, *, / and square root), so neither the processor nor its mathematics library matters either.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

# Sums of recent successes and failures halve every four responses.
RECENCY_DECAY = 2.0**-0.25

# An event as the kernel reads it.
EVENT_RECORD = np.dtype(
    [
        ("row", "<i4"),  # its learner
        ("item", "<i4"),  # row of the item's difficulty
        ("response", "<f4"),  # on [0, 1]
        ("at_s", "<u4"),  # when the learner acted, Unix seconds; 0: not known
        ("evidence", "<u2"),  # 0: counted as applied, moves nothing else
        ("skills", "<u2"),  # how many skills it has
    ]
)
# A skill of an event.
EVENT_SKILL_RECORD = np.dtype(
    [
        ("slot", "<i4"),  # which of the learner's skills
        ("skill", "<i4"),  # row of the skill's difficulty
    ]
)

# Columns of the settings array.
BASE, LEARNER_VARIANCE, SKILL_VARIANCE, LEARNER_NOISE, SKILL_NOISE, VARIANCE_FLOOR = range(6)
SETTINGS_COLUMNS = 6

_LARGEST_LOGIT = 40.0


@numba.njit(cache=True)
def exponential(x: float) -> float:
    """The number e to the power of x for |x| <= 700, from correctly rounded operations only.

    Reduction and rational approximation of fdlibm's e_exp.c (Sun Microsystems, 1993); error below 1 ulp.
    """
    k = int(1.44269504088896338700 * x + (0.5 if x >= 0.0 else -0.5))
    high = x - k * 6.93147180369123816490e-01
    low = k * 1.90821492927058770002e-10
    r = high - low
    t = r * r
    c = r - t * (
        1.66666666666666019037e-01
        + t
        * (
            -2.77777777770155933842e-03
            + t * (6.61375632143793436117e-05 + t * (-1.65339022054652515390e-06 + t * 4.13813679705723846039e-08))
        )
    )
    return math.ldexp(1.0 - ((low - (r * c) / (2.0 - c)) - high), k)


@numba.njit(cache=True)
def sigmoid(x: float) -> float:
    """Chance of a logit; logits beyond +-40 count as +-40."""
    if x >= 0.0:
        return 1.0 / (1.0 + exponential(-min(x, _LARGEST_LOGIT)))
    e = exponential(max(x, -_LARGEST_LOGIT))
    return e / (1.0 + e)


@numba.njit(cache=True)
def fold_responses(
    learners: NDArray[np.void],
    skills: NDArray[np.void],
    first_slot: NDArray[np.int64],
    settings_row: NDArray[np.int64],
    events: NDArray[np.void],
    event_skills: NDArray[np.void],
    settings: NDArray[np.float64],
    item_difficulty: NDArray[np.float64],
    skill_difficulty: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Fold events into learners in the order given, in place.

    An extended Kalman step on the logit of success. With ability mu_u, v_u, ability per skill mu_uk, v_uk, item
    difficulty delta, v_i and skill difficulty sigma_k, v_sk, for an event with K skills and response y:

        v_u <- min(v_u + q_u, v_u0),  v_uk <- min(v_uk + q_k, v_k0)
        m = b0 + mu_u - delta + 1/K sum (mu_uk - sigma_k),  s2 = v_u + v_i + 1/K^2 sum (v_uk + v_sk)
        g = y - sigmoid(m),  h = sigmoid(m) (1 - sigmoid(m)),  D = 1 + h s2
        mu += a v g / D,  v -= a^2 v^2 h / D, at least the floor, with a = 1 for the learner and 1/K for each skill

    Args:
        learners: (L,) LEARNER_RECORD; written.
        skills: (S,) SKILL_RECORD, each learner's skills one after the other; written.
        first_slot: (L,) where each learner's skills begin in `skills`.
        settings_row: (L,) the row of `settings` that holds for each learner.
        events: (E,) EVENT_RECORD.
        event_skills: EVENT_SKILL_RECORD of the first event, then of the second, and so on; distinct within an event.
        settings: (T, SETTINGS_COLUMNS) constants of the filter, a row per tenant.
        item_difficulty: (I, 2) delta and v_i.
        skill_difficulty: (K, 2) sigma_k and v_sk.

    Returns:
        (E,) the chance of success foreseen before each event, sigmoid(m / sqrt(1 + pi s2 / 8)); NaN without evidence.
    """
    predicted = np.full(len(events), np.nan)
    end = 0
    for number in range(len(events)):
        event = events[number]
        start = end
        end = start + event.skills
        learner = learners[event.row]
        learner.applied += np.uint32(1)
        learner.last_at_s = max(learner.last_at_s, event.at_s)
        if not event.evidence:
            continue
        constants = settings[settings_row[event.row]]
        share = 1.0 / max(end - start, 1)
        base_slot = first_slot[event.row]
        y = float(event.response)

        learner_variance = min(float(learner.variance) + constants[LEARNER_NOISE], constants[LEARNER_VARIANCE])
        logit_of_skills = 0.0
        variance_of_skills = 0.0
        for entry in range(start, end):
            skill = skills[base_slot + event_skills[entry].slot]
            difficulty = skill_difficulty[event_skills[entry].skill]
            variance = min(float(skill.variance) + constants[SKILL_NOISE], constants[SKILL_VARIANCE])
            logit_of_skills += float(skill.mean) - difficulty[0]
            variance_of_skills += variance + difficulty[1]
        logit = constants[BASE] + float(learner.mean) - item_difficulty[event.item, 0] + share * logit_of_skills
        logit_variance = learner_variance + item_difficulty[event.item, 1] + share * share * variance_of_skills
        predicted[number] = sigmoid(logit / math.sqrt(1.0 + math.pi / 8.0 * logit_variance))

        expected = sigmoid(logit)
        surprise = y - expected
        information = expected * (1.0 - expected)
        damping = 1.0 + information * logit_variance
        floor = constants[VARIANCE_FLOOR]

        learner.mean = float(learner.mean) + learner_variance * surprise / damping
        learner.variance = max(learner_variance - learner_variance * learner_variance * information / damping, floor)
        learner.responses += np.uint32(1)
        for entry in range(start, end):
            skill = skills[base_slot + event_skills[entry].slot]
            variance = min(float(skill.variance) + constants[SKILL_NOISE], constants[SKILL_VARIANCE])
            skill.mean = float(skill.mean) + share * variance * surprise / damping
            skill.variance = max(variance - share * share * variance * variance * information / damping, floor)
            skill.attempts += np.uint32(1)
            skill.successes = float(skill.successes) + y
            skill.recent_successes = float(skill.recent_successes) * RECENCY_DECAY + y
            skill.recent_failures = float(skill.recent_failures) * RECENCY_DECAY + (1.0 - y)
            skill.last_response = y
            skill.last_at_s = event.at_s
    return predicted
