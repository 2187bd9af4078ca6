"""Published learner models to compare ours with, behind one interface. None of them is served.

Each is fitted on some learners. It then predicts every response of other learners in order, from the earlier responses
of that learner; the parameters of items and skills stay as fitted.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, replace
from typing import Protocol

import numba
import numpy as np
from numpy.typing import NDArray

from services.recommender.application.training.train import FittedTracing
from services.recommender.domain.training.metrics import log_loss
from services.recommender.domain.training.responses import ResponseTable
from services.recommender.models.tracing.difficulty_fit import (
    UNFITTED,
    Difficulties,
    cv_folds,
    difficulties_of,
    fit_difficulties,
    predict,
)
from services.recommender.models.tracing.fit import fit_tracing
from services.recommender.models.tracing.logistic import fitted
from services.recommender.models.tracing.settings_search import search_settings
from services.recommender.models.tracing.success_fit import predict_success
from services.recommender.models.tracing.success_table import success_features

Chances = NDArray[np.float64]

_ELO_STEPS = (0.2, 0.35, 0.6, 1.0)
_ELO_DECAYS = (0.0, 0.02, 0.05, 0.1)
# Of learners too few to hold some out.
_ELO_UNSEARCHED = (0.35, 0.05)


class TracingModel(Protocol):
    """A learner model under evaluation."""

    def fit(self, table: ResponseTable) -> None:
        """Fit to the responses of some learners."""
        ...

    def predict(self, table: ResponseTable) -> Chances:
        """Predict the chance of success before each response of other learners, in a table with the same ids."""
        ...


@dataclass
class Constant:
    """Predicts the share of successes for every learner and item."""

    _chance: float = 0.5

    def fit(self, table: ResponseTable) -> None:
        """Count."""
        self._chance = float(table.response.mean())

    def predict(self, table: ResponseTable) -> Chances:
        """Predict the same for every response."""
        return np.full(len(table), self._chance)


@dataclass
class Elo:
    """Elo rating of learners and items, with steps of a / (1 + b n) after n responses.

    Pelánek: Applications of the Elo rating system in adaptive educational systems, Computers & Education 98, 2016.
    With `per_skill`, a rating per skill on top of the learner's: Abdi, Khosravi, Sadiq, Gasevic: A Multivariate
    Elo-based Learner Model for Adaptive Educational Systems, EDM 2019. The steps are those with the lowest log-loss on
    learners held out of the training data.
    """

    seed: int
    per_skill: bool = False
    _step: tuple[float, float] = (0.0, 0.0)
    _base: float = 0.0
    _item: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def fit(self, table: ResponseTable) -> None:
        """Choose the steps, and rate the items."""
        cv_fold = cv_folds(table, self.seed)
        held_out, rest = table.of_learners(cv_fold == 0), table.of_learners(cv_fold != 0)
        losses = {}
        for step in itertools.product(_ELO_STEPS, _ELO_DECAYS) if len(held_out) and len(rest) else ():
            self._rate(rest, step)
            losses[step] = log_loss(held_out.response, self.predict(held_out))
        self._rate(table, min(losses, key=losses.__getitem__, default=_ELO_UNSEARCHED))

    def predict(self, table: ResponseTable) -> Chances:
        """Rate learners against items with fixed ratings."""
        return self._run(table, rating_items=False)

    def _rate(self, table: ResponseTable, step: tuple[float, float]) -> None:
        self._step = step
        self._item = np.zeros(len(table.items))
        rate = float(np.clip(table.response.mean(), 0.01, 0.99))
        self._base = math.log(rate / (1 - rate))
        self._run(table, rating_items=True)

    def _run(self, table: ResponseTable, *, rating_items: bool) -> Chances:
        return _run_elo(
            table.learner,
            table.item,
            table.response,
            table.skill_start,
            table.skill,
            len(table.skills),
            self._base,
            self._item,
            *self._step,
            self.per_skill,
            rating_items,
        )


@dataclass
class Rasch:
    """One-parameter item response theory with abilities filtered online: our filter without skills."""

    _difficulties: Difficulties | None = None

    def fit(self, table: ResponseTable) -> None:
        """Fit the items."""
        self._difficulties = fit_difficulties(_without_skills(table), replace(UNFITTED, skill_noise=0.0))

    def predict(self, table: ResponseTable) -> Chances:
        """Filter each learner's ability."""
        return predict(_without_skills(table), fitted(self._difficulties))


@dataclass
class Filter:
    """The learner model's filter alone; its constants are searched on learners held out of a fit."""

    seed: int
    _difficulties: Difficulties | None = None

    def fit(self, table: ResponseTable) -> None:
        """Search the constants, and fit the difficulties."""
        self._difficulties = fit_difficulties(table, search_settings(table, seed=self.seed))

    def predict(self, table: ResponseTable) -> Chances:
        """Predict with the filter."""
        return predict(table, fitted(self._difficulties))


@dataclass
class Served:
    """The learner model that `cairn train` fits and servers use: the filter, and the success model on top."""

    seed: int
    _fitted: FittedTracing | None = None

    def fit(self, table: ResponseTable) -> None:
        """Fit everything that a bundle holds."""
        self._fitted = fit_tracing(table, seed=self.seed)

    def predict(self, table: ResponseTable) -> Chances:
        """Predict with the success model, or with the filter if no success model was kept."""
        kept = fitted(self._fitted)
        difficulties = difficulties_of(table, kept.parameters)
        if kept.success is None:
            return predict(table, difficulties)
        return predict_success(table, success_features(table, difficulties, kept.success.pairs), kept.success)


def _without_skills(table: ResponseTable) -> ResponseTable:
    return replace(table, skills=(), skill=np.zeros(0, np.int32), skill_start=np.zeros(len(table) + 1, np.int64))


@numba.njit(cache=True)
def _run_elo(
    learner: NDArray[np.int32],
    item: NDArray[np.int32],
    response: NDArray[np.float32],
    skill_start: NDArray[np.int64],
    skill: NDArray[np.int32],
    skills: int,
    base: float,
    item_rating: NDArray[np.float64],
    step: float,
    decay: float,
    per_skill: bool,  # noqa: FBT001 - numba has no keyword-only arguments.
    rating_items: bool,  # noqa: FBT001 - as above.
) -> NDArray[np.float64]:
    chance = np.empty(len(response))
    answers = np.zeros(len(item_rating))
    owner, rating_of_skill, responses_of_skill = np.full(skills, -1), np.zeros(skills), np.zeros(skills)
    rating, responses, current = 0.0, 0.0, -1
    for row in range(len(response)):
        if learner[row] != current:
            current, rating, responses = learner[row], 0.0, 0.0
        start, end = skill_start[row], skill_start[row + 1]
        share = 1.0 / max(end - start, 1)
        logit = base + rating
        if item[row] >= 0:
            logit -= item_rating[item[row]]
        if per_skill:
            for entry in range(start, end):
                k = skill[entry]
                if owner[k] != current:
                    owner[k], rating_of_skill[k], responses_of_skill[k] = current, 0.0, 0.0
                logit += share * rating_of_skill[k]
        chance[row] = 1.0 / (1.0 + math.exp(-logit))
        surprise = response[row] - chance[row]
        rating += step * surprise / (1.0 + decay * responses)
        responses += 1.0
        if per_skill:
            for entry in range(start, end):
                k = skill[entry]
                rating_of_skill[k] += step * surprise / (1.0 + decay * responses_of_skill[k])
                responses_of_skill[k] += 1.0
        if rating_items and item[row] >= 0:
            item_rating[item[row]] -= step * surprise / (1.0 + decay * answers[item[row]])
            answers[item[row]] += 1.0
    return chance
