"""Bayesian knowledge tracing, the field's oldest learner model, as a baseline.

Corbett, Anderson: Knowledge Tracing: Modeling the Acquisition of Procedural Knowledge, UMUAI 4, 1995. A learner either
knows a skill or does not. They may know it from the start, may learn it after each response to it, and do not forget
it. A learner who knows it may slip; one who does not may guess. These four parameters are fitted per skill by
expectation maximisation (Baum, Petrie, Soules, Weiss 1970), in which the smoothed chances of the two states are exact.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import numba
import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.training.responses import ResponseTable

Floats = NDArray[np.float64]

KNOWN, LEARN, GUESS, SLIP = range(4)
_START = (0.4, 0.1, 0.25, 0.15)
_LOWEST = 0.001
# With more slips or right guesses than not, the states would no longer mean knowing and not knowing the skill.
_HIGHEST = np.array([0.999, 0.999, 0.499, 0.499])
# A skill starts from the parameters of all skills, which count as this many observations; rare skills stay near them.
_OBSERVATIONS = 10.0
_ROUNDS = 100
# Stop when a round raises the mean log-likelihood by less than this.
_CONVERGED = 1e-6


@dataclass
class KnowledgeTracing:
    """Bayesian knowledge tracing with parameters per skill.

    A response to several skills counts for each of them, and its chance is the mean of theirs; without skills, it is
    the share of successes. An unseen skill has the parameters fitted to all skills at once.
    """

    _base: float = 0.5
    _parameters: Floats = field(default_factory=lambda: np.zeros((0, 4)))

    def fit(self, table: ResponseTable) -> None:
        """Fit all skills at once, then each skill from there."""
        self._base = float(table.response.mean())
        rows = table.skill_rows()
        entry_learner = table.learner[rows]
        # Responses of one learner to one skill are a sequence; both sorts keep its order.
        order = np.lexsort((entry_learner, table.skill))
        skill, response = table.skill[order], table.response[rows][order].astype(np.float64)
        starts = (np.diff(skill, prepend=-1) != 0) | (np.diff(entry_learner[order], prepend=-1) != 0)
        pooled = fit_sequences(response, starts, np.array(_START), observations=0.0)
        first = np.searchsorted(skill, np.arange(len(table.skills) + 1))
        self._parameters = np.zeros((len(table.skills), 4))
        for number, (start, end) in enumerate(itertools.pairwise(first)):
            self._parameters[number] = fit_sequences(
                response[start:end], starts[start:end], pooled, observations=_OBSERVATIONS
            )

    def predict(self, table: ResponseTable) -> Floats:
        """Predict from the chance that each learner knows each skill."""
        chances: Floats = _follow(
            table.learner, table.response, table.skill_start, table.skill, self._parameters, self._base
        )
        return chances


def fit_sequences(response: Floats, starts: NDArray[np.bool_], parameters: Floats, *, observations: float) -> Floats:
    """Return the maximum-likelihood parameters of one skill for some sequences of responses.

    Args:
        response: N, from 0 to 1; sequences are concatenated.
        starts: N, whether a response is the first of its sequence.
        parameters: initial known, learn, guess and slip.
        observations: the number of observations of each kind that the initial parameters count as.

    Returns:
        4: known, learn, guess and slip.
    """
    fitted = prior = parameters
    previous = -math.inf
    for _ in range(_ROUNDS):
        happened, might_have, likelihood = expected_counts(response, starts, fitted)
        if likelihood - previous <= _CONVERGED * len(response):
            break
        previous = likelihood
        fitted = np.clip(
            (happened + observations * prior) / np.maximum(might_have + observations, 1e-9), _LOWEST, _HIGHEST
        )
    return np.asarray(fitted)


@numba.njit(cache=True)
def expected_counts(response: Floats, starts: NDArray[np.bool_], parameters: Floats) -> tuple[Floats, Floats, float]:
    """Return the expected counts of each of the four events and of its opportunities, given all responses.

    Args:
        response: N, from 0 to 1; sequences are concatenated.
        starts: N, whether a response is the first of its sequence.
        parameters: known, learn, guess and slip.

    Returns:
        4, 4, and the log-likelihood of the responses.
    """
    happened, might_have, likelihood = np.zeros(4), np.zeros(4), 0.0
    before, after = np.empty(len(response)), np.empty(len(response))
    known = 0.0
    for row in range(len(response)):
        known = parameters[KNOWN] if starts[row] else known + (1.0 - known) * parameters[LEARN]
        before[row] = known
        known, chance = _seen(known, response[row], parameters)
        after[row] = known
        likelihood += math.log(chance)
    smoothed = 0.0
    for row in range(len(response) - 1, -1, -1):
        if row + 1 == len(response) or starts[row + 1]:
            smoothed = after[row]
        else:
            # Known at the next response: already known at this one, or learned between the two.
            already = smoothed * after[row] / before[row + 1]
            happened[LEARN] += smoothed - already
            might_have[LEARN] += 1.0 - already
            smoothed = already
        happened[GUESS] += (1.0 - smoothed) * response[row]
        might_have[GUESS] += 1.0 - smoothed
        happened[SLIP] += smoothed * (1.0 - response[row])
        might_have[SLIP] += smoothed
        if starts[row]:
            happened[KNOWN] += smoothed
            might_have[KNOWN] += 1.0
    return happened, might_have, likelihood


@numba.njit(cache=True)
def _seen(known: float, response: float, parameters: Floats) -> tuple[float, float]:
    """Return the chance that the skill is known after a response, and the likelihood of that response."""
    if_known = (1.0 - parameters[SLIP]) ** response * parameters[SLIP] ** (1.0 - response)
    if_not = parameters[GUESS] ** response * (1.0 - parameters[GUESS]) ** (1.0 - response)
    chance = known * if_known + (1.0 - known) * if_not
    return known * if_known / chance, chance


@numba.njit(cache=True)
def _follow(
    learner: NDArray[np.int32],
    response: NDArray[np.float32],
    skill_start: NDArray[np.int64],
    skill: NDArray[np.int32],
    parameters: Floats,
    base: float,
) -> Floats:
    chance = np.empty(len(response))
    owner, known = np.full(len(parameters), -1, np.int64), np.zeros(len(parameters))
    for row in range(len(response)):
        start, end = skill_start[row], skill_start[row + 1]
        expected = base if start == end else 0.0
        for entry in range(start, end):
            of_skill = parameters[skill[entry]]
            if owner[skill[entry]] != learner[row]:
                owner[skill[entry]], known[skill[entry]] = learner[row], of_skill[KNOWN]
            now = known[skill[entry]]
            expected += (now * (1.0 - of_skill[SLIP]) + (1.0 - now) * of_skill[GUESS]) / (end - start)
            now, _ = _seen(now, response[row], of_skill)
            known[skill[entry]] = now + (1.0 - now) * of_skill[LEARN]
        chance[row] = expected
    return chance
