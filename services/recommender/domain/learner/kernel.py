"""The learner model's arithmetic. All code that turns responses into posteriors, live or when fitting, calls it.

`step` is an extended Kalman step on the logit of success. With ability mu_u, v_u, ability per skill mu_uk, v_uk, item
difficulty delta, v_i and skill difficulty sigma_k, v_sk, for a response y to K skills:

    v_u <- min(v_u + q_u, v_u0),  v_uk <- min(v_uk + q_k, v_k0)
    m = b0 + mu_u - delta + 1/K sum (mu_uk - sigma_k),  s2 = v_u + v_i + v_b + 1/K^2 sum (v_uk + v_sk)
    D = sqrt(1 + pi s2 / 8),  p = sigmoid(m / D),  g = y - p,  h = p (1 - p) / D
    mu += a v g / D,  v -= a^2 v^2 h / D, at least the floor, with a = 1 for the learner and 1/K for each skill
    mu_uk <- rho mu_uk + lambda,  v_uk <- max(rho^2 v_uk, floor)

The last line is what a response teaches: without a learning term, lambda = 0 and rho = 1, it changes no bit. Where
moderation is 0, as in parameters of earlier releases, p = sigmoid(m), h = p (1 - p) and D = 1 + h s2. v_b is 0 unless
the base is being fitted. Fitting moves difficulties too, with a = -1 for the item, -1/K for each skill and 1 for the
base.

Everything is computed in float64 in a fixed order. Each component is rounded to its stored precision after each event,
because the arrays that hold it have that precision. So batching does not affect the result. Only operations that IEEE
754 rounds correctly are used (+, -, *, / and square root), so neither the processor nor its mathematics library affects
it.

All callers of `step` are in this file: numba's cache does not notice when a function in another file changes.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

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
        ("evidence", "<u2"),  # 0: counted as applied, changes nothing else
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
# An ability or a difficulty while difficulties are fitted: nothing is rounded yet.
GAUSSIAN_RECORD = np.dtype([("mean", "<f8"), ("variance", "<f8")])

# Columns of the settings array.
BASE, LEARNER_VARIANCE, SKILL_VARIANCE, LEARNER_NOISE, SKILL_NOISE, VARIANCE_FLOOR = range(6)
LEARNING, RETENTION, MODERATION = range(6, 9)
SETTINGS_COLUMNS = 9

# A row of a structured array, whose fields mypy does not know.
Record = Any

_LARGEST_LOGIT = 40.0
_SMALLEST_DIFFICULTY_VARIANCE = 1e-4


class Innovation(NamedTuple):
    """The information in a response, relative to its prediction.

    Attributes:
        surprise: g, the response minus its expectation.
        information: h, the derivative of the expectation with respect to the logit.
        damping: D.
    """

    surprise: float
    information: float
    damping: float


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
    # 2 to the power of k, by its bits: a call to ldexp takes longer and keeps loops from being vectorised.
    power_of_two = np.int64((k + 1023) << 52).view(np.float64)
    return (1.0 - ((low - (r * c) / (2.0 - c)) - high)) * power_of_two


@numba.njit(cache=True)
def sigmoid(x: float) -> float:
    """Chance of a logit; logits beyond +-40 count as +-40."""
    e = exponential(-min(abs(x), _LARGEST_LOGIT))
    return (1.0 if x >= 0.0 else e) / (1.0 + e)


@numba.njit(inline="always")
def _chance(logit: float, variance: float) -> float:
    return sigmoid(logit / math.sqrt(1.0 + math.pi / 8.0 * variance))


@numba.vectorize(["float64(float64, float64)"], cache=True)  # type: ignore[no-untyped-call,untyped-decorator]  # numba.
def chance_of_success(logit: float, variance: float) -> float:
    """Chance of success when its logit is normal with this mean and variance: sigmoid(m / sqrt(1 + pi s2 / 8)).

    MacKay's approximation of the logit-normal's mean (D. MacKay, 1992, "The evidence framework applied to
    classification networks").
    """
    return _chance(logit, variance)


@numba.njit(inline="always")
def _moved(
    mean: float, variance: float, coefficient: float, innovation: Innovation, floor: float
) -> tuple[float, float]:
    """A component of the logit after a response: mu + a v g / D, and v - a^2 v^2 h / D, at least the floor."""
    surprise, information, damping = innovation
    return (
        mean + coefficient * variance * surprise / damping,
        max(variance - coefficient * coefficient * variance * variance * information / damping, floor),
    )


@numba.njit(inline="always")
def step(
    learner: Record,
    skills: NDArray[np.void],
    base_slot: int,
    event_skills: NDArray[np.void],
    first: int,
    end: int,
    response: float,
    constants: NDArray[np.float64],
    base: tuple[float, float],
    item: tuple[float, float],
    skill_difficulty: NDArray[np.float64],
) -> tuple[float, float, Innovation]:
    """Move a learner's abilities by one response, and by what it teaches.

    Args:
        learner: mean and variance; written.
        skills: mean and variance of each; written.
        base_slot: where the learner's skills begin in `skills`.
        event_skills: EVENT_SKILL_RECORD; the response's are those from `first` up to `end`.
        first: see `event_skills`.
        end: see `event_skills`.
        response: y.
        constants: a row of the settings.
        base: b0 and v_b.
        item: delta and v_i.
        skill_difficulty: (K, 2) sigma_k and v_sk.

    Returns:
        m and s2 before the response, whose `chance_of_success` is the prediction; and the response's information.
    """
    share = 1.0 / max(end - first, 1)
    learner_variance = min(float(learner.variance) + constants[LEARNER_NOISE], constants[LEARNER_VARIANCE])
    logit_of_skills = 0.0
    variance_of_skills = 0.0
    for entry in range(first, end):
        skill = skills[base_slot + event_skills[entry].slot]
        difficulty = skill_difficulty[event_skills[entry].skill]
        variance = min(float(skill.variance) + constants[SKILL_NOISE], constants[SKILL_VARIANCE])
        logit_of_skills += float(skill.mean) - difficulty[0]
        variance_of_skills += variance + difficulty[1]
    logit = base[0] + float(learner.mean) - item[0] + share * logit_of_skills
    logit_variance = learner_variance + item[1] + share * share * variance_of_skills + base[1]

    moderation = constants[MODERATION]
    scale = math.sqrt(1.0 + moderation * (math.pi / 8.0) * logit_variance)
    expected = sigmoid(logit / scale)
    information = expected * (1.0 - expected) / scale
    damping = (1.0 - moderation) * (1.0 + information * logit_variance) + moderation * scale
    innovation = Innovation(response - expected, information, damping)
    floor, retention = constants[VARIANCE_FLOOR], constants[RETENTION]
    learner.mean, learner.variance = _moved(float(learner.mean), learner_variance, 1.0, innovation, floor)
    for entry in range(first, end):
        skill = skills[base_slot + event_skills[entry].slot]
        variance = min(float(skill.variance) + constants[SKILL_NOISE], constants[SKILL_VARIANCE])
        mean, variance = _moved(float(skill.mean), variance, share, innovation, floor)
        skill.mean = retention * mean + constants[LEARNING]
        skill.variance = max(retention * retention * variance, floor)
    return logit, logit_variance, innovation


@numba.njit(inline="always")
def _fold_response(
    learner: Record,
    skills: NDArray[np.void],
    base_slot: int,
    event: Record,
    event_skills: NDArray[np.void],
    first: int,
    end: int,
    constants: NDArray[np.float64],
    item_difficulty: NDArray[np.float64],
    skill_difficulty: NDArray[np.float64],
) -> tuple[float, float]:
    """Fold one response that is evidence; m and s2 before it. Arguments as of `step`."""
    y = float(event.response)
    base, item = (constants[BASE], 0.0), (item_difficulty[event.item, 0], item_difficulty[event.item, 1])
    logit, logit_variance, _ = step(
        learner, skills, base_slot, event_skills, first, end, y, constants, base, item, skill_difficulty
    )
    learner.responses += np.uint32(1)
    for entry in range(first, end):
        skill = skills[base_slot + event_skills[entry].slot]
        skill.attempts += np.uint32(1)
        skill.successes = float(skill.successes) + y
        skill.recent_successes = float(skill.recent_successes) * RECENCY_DECAY + y
        skill.recent_failures = float(skill.recent_failures) * RECENCY_DECAY + (1.0 - y)
        # A response that was given before the latest one arrived late; one of unknown time counts as just given.
        if event.at_s == 0 or event.at_s >= skill.last_at_s:
            skill.last_response = y
        skill.last_at_s = max(skill.last_at_s, event.at_s)
    return logit, logit_variance


@numba.njit(inline="always")
def _remember(recent_items: NDArray[np.void], item: int, response: float) -> None:
    """Put a response before the others; the oldest one is forgotten."""
    for place in range(len(recent_items) - 1, 0, -1):
        recent_items[place].item = recent_items[place - 1].item
        recent_items[place].response = recent_items[place - 1].response
    recent_items[0].item, recent_items[0].response = item, response


@numba.njit(cache=True, nogil=True)
def fold_responses(
    learners: NDArray[np.void],
    recent_items: NDArray[np.void],
    skills: NDArray[np.void],
    first_slot: NDArray[np.int64],
    settings_row: NDArray[np.int64],
    events: NDArray[np.void],
    event_skills: NDArray[np.void],
    settings: NDArray[np.float64],
    item_difficulty: NDArray[np.float64],
    skill_difficulty: NDArray[np.float64],
    item_codes: NDArray[np.uint32],
) -> None:
    """Fold events into learners in the order given, in place.

    Args:
        learners: (L,) LEARNER_RECORD; written.
        recent_items: (L, RECENT_ITEMS) RECENT_ITEM_RECORD, the latest first; written.
        skills: (S,) SKILL_RECORD, each learner's skills one after the other; written.
        first_slot: (L,) where each learner's skills begin in `skills`.
        settings_row: (L,) the row of `settings` that applies to each learner.
        events: (E,) EVENT_RECORD.
        event_skills: EVENT_SKILL_RECORD of the first event, then of the second, and so on; distinct within an event.
        settings: (T, SETTINGS_COLUMNS) constants of the filter, a row per tenant.
        item_difficulty: (I, 2) delta and v_i.
        skill_difficulty: (K, 2) sigma_k and v_sk.
        item_codes: (I,) what each item is remembered as; 0: recent items are not kept.
    """
    end = 0
    for number in range(len(events)):
        event = events[number]
        first = end
        end = first + event.skills
        learner = learners[event.row]
        learner.applied += np.uint32(1)
        learner.last_at_s = max(learner.last_at_s, event.at_s)
        # Not in `_fold_response`: an early return from an inlined function doubles the time of the loop.
        if not event.evidence:
            continue
        base_slot, constants = first_slot[event.row], settings[settings_row[event.row]]
        _fold_response(
            learner, skills, base_slot, event, event_skills, first, end, constants, item_difficulty, skill_difficulty
        )
        if item_codes[event.item]:
            _remember(recent_items[event.row], item_codes[event.item], event.response)


@numba.njit(cache=True)
def trace_responses(
    learners: NDArray[np.void],
    skills: NDArray[np.void],
    first_slot: NDArray[np.int64],
    settings_row: NDArray[np.int64],
    events: NDArray[np.void],
    event_skills: NDArray[np.void],
    settings: NDArray[np.float64],
    item_difficulty: NDArray[np.float64],
    skill_difficulty: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.void]]:
    """Fold events that are all evidence, like `fold_responses`, and record the estimates before and after each.

    Returns:
        (E,) the chance of success predicted before each event; (E,) the learner's ability before it; and for each entry
        of `event_skills` the SKILL_RECORD after it.
    """
    predicted, abilities = np.empty(len(events)), np.empty(len(events))
    left = np.empty(len(event_skills), skills.dtype)
    end = 0
    for number in range(len(events)):
        event = events[number]
        first = end
        end = first + event.skills
        learner = learners[event.row]
        abilities[number] = learner.mean
        base_slot, constants = first_slot[event.row], settings[settings_row[event.row]]
        logit, variance = _fold_response(
            learner, skills, base_slot, event, event_skills, first, end, constants, item_difficulty, skill_difficulty
        )
        predicted[number] = _chance(logit, variance)
        for entry in range(first, end):
            left[entry] = skills[base_slot + event_skills[entry].slot]
    return predicted, abilities, left


@numba.njit(inline="always")
def _move_difficulty(difficulty: NDArray[np.float64], coefficient: float, innovation: Innovation) -> None:
    """Move a difficulty, its mean and variance, which are written."""
    difficulty[0], difficulty[1] = _moved(
        difficulty[0], difficulty[1], coefficient, innovation, _SMALLEST_DIFFICULTY_VARIANCE
    )


@numba.njit(cache=True)
def filter_responses(
    learner: NDArray[np.int32],
    item: NDArray[np.int32],
    response: NDArray[np.float32],
    skill_start: NDArray[np.int64],
    event_skills: NDArray[np.void],
    constants: NDArray[np.float64],
    base: NDArray[np.float64],
    item_difficulty: NDArray[np.float64],
    skill_difficulty: NDArray[np.float64],
    fitting: bool,  # noqa: FBT001 - numba knows no keyword-only arguments.
) -> NDArray[np.float64]:
    """Run the filter over the responses of one learner after another, without rounding; fit difficulties if `fitting`.

    Args:
        learner: (R,) one learner's responses follow each other.
        item: (R,) row of the item's difficulty; -1: unknown, the last row, which is never written.
        response: (R,) on [0, 1].
        skill_start: (R + 1,) where the skills of each response begin in `event_skills`.
        event_skills: EVENT_SKILL_RECORD; both fields are the row of the skill's difficulty.
        constants: a row of the settings; its base is not read.
        base: b0 and v_b; written when `fitting`, as are the next two.
        item_difficulty: (I + 1, 2) delta and v_i.
        skill_difficulty: (K, 2) sigma_k and v_sk.
        fitting: whether difficulties and base move.

    Returns:
        (R,) the chance of success predicted before each response; empty when `fitting`.
    """
    chances = np.empty(0 if fitting else len(response))
    abilities = np.zeros(1, GAUSSIAN_RECORD)
    skills = np.zeros(len(skill_difficulty), GAUSSIAN_RECORD)
    # Abilities per skill are those of the learner in `owner`; another learner starts from the prior.
    owner, current = np.full(len(skill_difficulty), -1, np.int64), -1
    for row in range(len(response)):
        ability = abilities[0]
        if learner[row] != current:
            current = learner[row]
            ability.mean, ability.variance = 0.0, constants[LEARNER_VARIANCE]
        first, end = skill_start[row], skill_start[row + 1]
        for entry in range(first, end):
            skill = event_skills[entry].skill
            if owner[skill] != current:
                owner[skill] = current
                skills[skill].mean, skills[skill].variance = 0.0, constants[SKILL_VARIANCE]
        y, of_base = float(response[row]), (base[0], base[1] if fitting else 0.0)
        of_item = (item_difficulty[item[row], 0], item_difficulty[item[row], 1])
        logit, variance, innovation = step(
            ability, skills, 0, event_skills, first, end, y, constants, of_base, of_item, skill_difficulty
        )
        if fitting:
            for entry in range(first, end):
                share = 1.0 / (end - first)
                _move_difficulty(skill_difficulty[event_skills[entry].skill], -share, innovation)
            if item[row] >= 0:
                _move_difficulty(item_difficulty[item[row]], -1.0, innovation)
            base[0], base[1] = _moved(base[0], base[1], 1.0, innovation, 0.0)
        else:
            chances[row] = _chance(logit, variance)
    return chances
