"""The memory model of spaced repetition programs, one memory for each skill, as a baseline for recall. Not served.

FSRS (Ye, Su, Cao: A Stochastic Shortest Path Algorithm for Optimizing Spaced Repetition Scheduling, KDD 2022; version
5 of its formulas, with the decay of version 6): a memory has a stability S in days and a difficulty D from 1 to 10.
Recall after t days is (1 + (.9^(-1/w) - 1) t / S)^(-w). A review on a later day changes S by how surprising it is; a
response on the same day multiplies it. A right answer is graded "good" (3), a wrong one "again" (1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from services.recommender.domain.learner.recall import LATER_HOURS
from services.recommender.domain.training.metrics import SUCCESS_FROM, log_loss
from services.recommender.domain.training.responses import ResponseTable

Floats = NDArray[np.float64]

# All are positive, so the search steps in their logarithms; it starts from the published defaults.
_DEFAULTS = {
    "stability_wrong": 0.40255,
    "stability_right": 3.173,
    "difficulty": 7.1949,
    "difficulty_by_grade": 0.5345,
    "difficulty_step": 1.4604,
    "difficulty_reversion": 0.0046,
    "gain": 1.54575,
    "gain_by_stability": 0.1192,
    "gain_by_recall": 1.01925,
    "lapse": 1.9395,
    "lapse_by_difficulty": 0.11,
    "lapse_by_stability": 0.29605,
    "lapse_by_recall": 2.2698,
    "same_day": 0.51655,
    "same_day_grade": 0.6621,
    "decay": 0.5,
}
_BOUNDS = (math.log(1e-3), math.log(100.0))
_ITERATIONS = 40
_SMALLEST_STABILITY, _LARGEST_STABILITY = 0.01, 36_500.0
_SECONDS_PER_DAY = 86_400.0
_LATER_DAYS = LATER_HOURS / 24.0


@dataclass
class Fsrs:
    """A memory for each skill of each learner; the chance of a response is the mean over its skills."""

    _weights: Floats = field(default_factory=lambda: np.array(list(_DEFAULTS.values())))

    def fit(self, table: ResponseTable, later: NDArray[np.int64]) -> None:
        """Search the weights with the lowest log-loss on the first responses of later days, the rows `later`."""

        def loss(logarithms: Floats) -> float:
            return log_loss(table.response[later], _run(table, np.exp(logarithms))[later])

        found = minimize(
            loss,
            np.log(self._weights),
            method="L-BFGS-B",
            bounds=[_BOUNDS] * len(self._weights),
            options={"maxiter": _ITERATIONS, "eps": 1e-4},
        )
        self._weights = np.exp(found.x)

    def predict(self, table: ResponseTable) -> Floats:
        """Predict the chance of each response; one half where a skill was not practised before at a known time."""
        return _run(table, self._weights)


def _run(table: ResponseTable, weights: Floats) -> Floats:
    keys = table.learner[table.skill_rows()].astype(np.int64) * len(table.skills) + table.skill
    _, memory = np.unique(keys, return_inverse=True)
    chances: Floats = _recalls(table.response, table.at_s, table.skill_start, memory, weights)
    return chances


@numba.njit(cache=True)
def _clipped(stability: float) -> float:
    return min(max(stability, _SMALLEST_STABILITY), _LARGEST_STABILITY)


@numba.njit(cache=True)
def _recalls(
    response: NDArray[np.float32],
    at_s: NDArray[np.int64],
    skill_start: NDArray[np.int64],
    memory: NDArray[np.int64],
    weights: Floats,
) -> Floats:
    """The recall expected before each response; `memory` numbers the pairs of a learner and a skill."""
    (first_wrong, first_right, base, by_grade, step, reversion, gain, gain_by_stability, gain_by_recall, lapse,
     lapse_by_difficulty, lapse_by_stability, lapse_by_recall, same_day, same_day_grade, decay) = weights  # fmt: skip
    memories = memory.max() + 1 if len(memory) else 0
    stabilities, difficulties, last_s = np.zeros(memories), np.zeros(memories), np.zeros(memories, np.int64)
    factor = 0.9 ** (-1.0 / decay) - 1.0
    chances = np.full(len(response), 0.5)
    for row in range(len(response)):
        first, end = skill_start[row], skill_start[row + 1]
        right, expected, known = response[row] >= SUCCESS_FROM, 0.0, end > first and at_s[row] > 0
        grade = 3.0 if right else 1.0
        for entry in range(first, end):
            one = memory[entry]
            stability, difficulty = stabilities[one], difficulties[one]
            days = (at_s[row] - last_s[one]) / _SECONDS_PER_DAY
            if stability == 0.0:
                known = False
                stabilities[one] = _clipped(first_right if right else first_wrong)
                difficulties[one] = min(max(base - math.exp(by_grade * (grade - 1.0)) + 1.0, 1.0), 10.0)
            elif last_s[one] == 0 or days < _LATER_DAYS:
                known = False
                stabilities[one] = _clipped(stability * math.exp(same_day * (grade - 3.0 + same_day_grade)))
            else:
                recall = (1.0 + factor * days / stability) ** -decay
                expected += recall
                if right:
                    growth = math.exp(gain) * (11.0 - difficulty) * stability**-gain_by_stability
                    stability *= 1.0 + growth * (math.exp(gain_by_recall * (1.0 - recall)) - 1.0)
                else:
                    lapsed = lapse * difficulty**-lapse_by_difficulty * ((stability + 1.0) ** lapse_by_stability - 1.0)
                    stability = min(stability, lapsed * math.exp(lapse_by_recall * (1.0 - recall)))
                stabilities[one] = _clipped(stability)
                easiest = base - math.exp(by_grade * 3.0) + 1.0
                moved = difficulty - step * (grade - 3.0) * (10.0 - difficulty) / 9.0
                difficulties[one] = min(max(reversion * easiest + (1.0 - reversion) * moved, 1.0), 10.0)
            last_s[one] = max(last_s[one], at_s[row])
        if known:
            chances[row] = expected / (end - first)
    return chances
