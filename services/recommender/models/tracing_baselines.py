"""Published learner models that ours is compared with, behind one interface. None of them serves.

Each is fitted on some learners and then foresees every response of others, one after the other, from what it has seen
of that learner so far; what it learnt about items and skills stays as it was fitted.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import numba
import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from services.recommender.application.training.train import FittedTracing
from services.recommender.domain.learner.parameters import FilterSettings
from services.recommender.domain.training.metrics import log_loss
from services.recommender.domain.training.responses import ResponseTable
from services.recommender.models.difficulty_fit import (
    Difficulties,
    difficulties_of,
    fit_difficulties,
    learner_folds,
    predict,
    search_settings,
)
from services.recommender.models.success_fit import predict_success, success_features
from services.recommender.models.tracing_fit import fit_tracing

Chances = NDArray[np.float64]
Value = TypeVar("Value")

_ELO_STEPS = (0.2, 0.35, 0.6, 1.0)
_ELO_DECAYS = (0.0, 0.02, 0.05, 0.1)


class TracingModel(Protocol):
    """A learner model under evaluation."""

    def fit(self, table: ResponseTable) -> None:
        """Learn from the responses of some learners."""
        ...

    def predict(self, table: ResponseTable) -> Chances:
        """The chance of success before each response of other learners, in a table with the same ids."""
        ...


@dataclass
class Constant:
    """The share of successes, whoever answers whatever."""

    _chance: float = 0.5

    def fit(self, table: ResponseTable) -> None:
        """Count."""
        self._chance = float(table.response.mean())

    def predict(self, table: ResponseTable) -> Chances:
        """The same for every response."""
        return np.full(len(table), self._chance)


@dataclass
class Elo:
    """Elo rating of learners and items, with steps of a / (1 + b n) after n responses.

    Pelánek: Applications of the Elo rating system in adaptive educational systems, Computers & Education 98, 2016.
    With `per_skill`, a rating per skill on top of the learner's: Abdi, Khosravi, Sadiq, Gasevic: A Multivariate
    Elo-based Learner Model for Adaptive Educational Systems, EDM 2019. The steps are those with the least log-loss on
    held-out learners of those it is fitted on.
    """

    seed: int
    per_skill: bool = False
    _step: tuple[float, float] = (0.0, 0.0)
    _base: float = 0.0
    _item: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def fit(self, table: ResponseTable) -> None:
        """Choose the steps, rate the items."""
        fold = learner_folds(table, self.seed)
        held_out, rest = table.of_learners(fold == 0), table.of_learners(fold != 0)
        losses = {}
        for step in itertools.product(_ELO_STEPS, _ELO_DECAYS):
            self._rate(rest, step)
            losses[step] = log_loss(held_out.response, self.predict(held_out))
        self._rate(table, min(losses, key=losses.__getitem__))

    def predict(self, table: ResponseTable) -> Chances:
        """Rate learners against items whose ratings stay."""
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
    """Item response theory with one parameter, learners' abilities filtered online: our filter without any skills."""

    _difficulties: Difficulties | None = None

    def fit(self, table: ResponseTable) -> None:
        """Fit the items."""
        self._difficulties = fit_difficulties(_without_skills(table), FilterSettings(skill_noise=0.0))

    def predict(self, table: ResponseTable) -> Chances:
        """Filter each learner's ability."""
        return predict(_without_skills(table), _fitted(self._difficulties))


@dataclass(frozen=True)
class Practice:
    """Successes and responses of one learner so far.

    Attributes:
        overall: 2.
        of_item: (items, 2).
        of_skill: (skills, 2).
    """

    overall: NDArray[np.float64]
    of_item: NDArray[np.float64]
    of_skill: NDArray[np.float64]

    @classmethod
    def of(cls, table: ResponseTable, rows: slice) -> Practice:
        """Count.

        Args:
            table: responses.
            rows: those of the learner.
        """
        response, item = table.response[rows], table.item[rows]
        starts = table.skill_start[rows.start : rows.stop + 1]
        skill = table.skill[starts[0] : starts[-1]]
        known = item >= 0
        return cls(
            np.array([response.sum(), len(response)], np.float64),
            _counted(item[known], response[known], len(table.items)),
            _counted(skill, response.repeat(np.diff(starts)), len(table.skills)),
        )


def _counted(where: NDArray[np.int32], response: NDArray[np.float32], size: int) -> NDArray[np.float64]:
    """(size, 2): successes and responses."""
    return np.stack([np.bincount(where, response, size), np.bincount(where, minlength=size)], axis=1)


@dataclass
class LogisticOnCounts:
    """Logistic regression on identities and counts.

    Performance factors analysis: Pavlik, Cen, Koedinger, AIED 2009: per skill an easiness and slopes on successes and
    failures. With `best`, Best-LR: Gervet, Koedinger, Schneider, Mitchell: When is Deep Learning the Best Approach to
    Knowledge Tracing?, JEDM 12(3), 2020: items and skills, and log(1 + successes) and log(1 + responses) overall, per
    skill and on the item.
    """

    best: bool = False
    _model: LogisticRegression | None = None

    def fit(self, table: ResponseTable) -> None:
        """Fit the weights (L2, the library's default strength)."""
        # Plain counts are ill-conditioned, which only second derivatives overcome; of identities there are
        # too many for theirs to be written out, so they are only multiplied with.
        self._model = LogisticRegression(
            solver="newton-cg" if self.best else "newton-cholesky", tol=1e-4, max_iter=1_000
        )
        self._model.fit(self._design(table), table.response >= 0.5)

    def predict(self, table: ResponseTable) -> Chances:
        """Chances from the weights."""
        chances: Chances = _fitted(self._model).predict_proba(self._design(table))[:, 1]
        return chances

    def predict_next(self, practice: Practice, items: NDArray[np.integer], tags: scipy.sparse.csr_matrix) -> Chances:
        """The chance that a learner's next response is right, for each of many; only with `best`.

        Args:
            practice: what the learner did before.
            items: the item of each; NONE where it is not known.
            tags: (of each, skills); 1 where it has a skill.
        """
        model = _fitted(self._model)
        skills = tags.shape[1]
        ends = np.cumsum([len(practice.of_item), skills, 4, skills])
        of_item, easiness, of_count, of_successes, of_responses = np.split(model.coef_[0], ends)
        counts = np.log1p(practice.of_skill)
        by_skill = easiness + of_successes * counts[:, 0] + of_responses * counts[:, 1]
        logits = model.intercept_[0] + tags @ by_skill + np.log1p(practice.overall) @ of_count[:2]
        known = items >= 0
        logits[known] += of_item[items[known]] + np.log1p(practice.of_item[items[known]]) @ of_count[2:]
        chances: Chances = 1.0 / (1.0 + np.exp(-logits))
        return chances

    def _design(self, table: ResponseTable) -> scipy.sparse.csr_matrix:
        overall, on_item, on_skill = (
            np.zeros((len(table), 2)),
            np.zeros((len(table), 2)),
            np.zeros((len(table.skill), 2)),
        )
        _count(
            table.learner,
            table.item,
            table.response,
            table.skill_start,
            table.skill,
            len(table.items),
            len(table.skills),
            overall,
            on_item,
            on_skill,
        )
        rows = table.skill_rows()
        shape = (len(table), len(table.skills))

        def by_skill(values: NDArray[np.float64]) -> scipy.sparse.csr_matrix:
            return scipy.sparse.csr_matrix((values, (rows, table.skill)), shape)

        ones = np.ones(len(table.skill))
        if not self.best:
            failures = on_skill[:, 1] - on_skill[:, 0]
            return scipy.sparse.hstack([by_skill(ones), by_skill(on_skill[:, 0]), by_skill(failures)], format="csr")
        known = table.item >= 0
        items = scipy.sparse.csr_matrix(
            (np.ones(int(known.sum())), (np.flatnonzero(known), table.item[known])), (len(table), len(table.items))
        )
        counts = np.log1p(np.hstack([overall, on_item]))
        return scipy.sparse.hstack(
            [
                items,
                by_skill(ones),
                scipy.sparse.csr_matrix(counts),
                by_skill(np.log1p(on_skill[:, 0])),
                by_skill(np.log1p(on_skill[:, 1])),
            ],
            format="csr",
        )


@dataclass
class Filter:
    """The learner model's filter alone, its constants searched on held-out learners of those it is fitted on."""

    seed: int
    _difficulties: Difficulties | None = None

    def fit(self, table: ResponseTable) -> None:
        """Search the constants, fit the difficulties."""
        self._difficulties = fit_difficulties(table, searched_settings(table, self.seed))

    def predict(self, table: ResponseTable) -> Chances:
        """What the filter foresees."""
        return predict(table, _fitted(self._difficulties))


@dataclass
class Served:
    """The learner model as `cairn train` fits it and a server answers from it: the filter, and the head on top."""

    seed: int
    _fitted: FittedTracing | None = None

    def fit(self, table: ResponseTable) -> None:
        """Fit what a bundle holds."""
        self._fitted = fit_tracing(table, seed=self.seed)

    def predict(self, table: ResponseTable) -> Chances:
        """What the head says, or the filter where no head was kept."""
        fitted = _fitted(self._fitted)
        difficulties = difficulties_of(table, fitted.parameters)
        if fitted.success is None:
            return predict(table, difficulties)
        return predict_success(table, success_features(table, difficulties), fitted.success)


def searched_settings(table: ResponseTable, seed: int) -> FilterSettings:
    """The filter's constants for a table, from a fit to four fifths of its learners judged on the others."""
    fold = learner_folds(table, seed)
    return search_settings(table.of_learners(fold != 0), table.of_learners(fold == 0))


def _fitted(value: Value | None) -> Value:
    if value is None:
        raise RuntimeError("fit comes before foresee")
    return value


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
    per_skill: bool,  # noqa: FBT001 - numba knows no keyword-only arguments.
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


@numba.njit(cache=True)
def _count(
    learner: NDArray[np.int32],
    item: NDArray[np.int32],
    response: NDArray[np.float32],
    skill_start: NDArray[np.int64],
    skill: NDArray[np.int32],
    items: int,
    skills: int,
    overall: NDArray[np.float64],
    on_item: NDArray[np.float64],
    on_skill: NDArray[np.float64],
) -> None:
    """Write successes and responses before each response: of the learner, on the item, and per skill entry."""
    item_owner, skill_owner = np.full(items, -1), np.full(skills, -1)
    of_item, of_skill = np.zeros((items, 2)), np.zeros((skills, 2))
    successes, responses, current = 0.0, 0.0, -1
    for row in range(len(response)):
        if learner[row] != current:
            current, successes, responses = learner[row], 0.0, 0.0
        y, i = response[row], item[row]
        overall[row, 0], overall[row, 1] = successes, responses
        successes += y
        responses += 1.0
        if i >= 0:
            if item_owner[i] != current:
                item_owner[i] = current
                of_item[i] = 0.0
            on_item[row] = of_item[i]
            of_item[i, 0] += y
            of_item[i, 1] += 1.0
        for entry in range(skill_start[row], skill_start[row + 1]):
            k = skill[entry]
            if skill_owner[k] != current:
                skill_owner[k] = current
                of_skill[k] = 0.0
            on_skill[entry] = of_skill[k]
            of_skill[k, 0] += y
            of_skill[k, 1] += 1.0
