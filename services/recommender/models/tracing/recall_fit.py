"""Fits the recall model to the first responses of later days, and decides whether it is served.

Features come from difficulties that were fitted on other learners, as those of the success model do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from threadpoolctl import threadpool_limits

from services.recommender.domain.learner.kernel import EVENT_RECORD, EVENT_SKILL_RECORD, trace_responses
from services.recommender.domain.learner.parameter_columns import settings_row
from services.recommender.domain.learner.parameters import FilterSettings
from services.recommender.domain.learner.recall import (
    RECALL_FEATURES,
    RecallFeature,
    RecallModel,
    recall_features_of_trace,
)
from services.recommender.domain.learner.state import LEARNER_RECORD, SKILL_RECORD
from services.recommender.domain.training.metrics import log_losses
from services.recommender.domain.training.responses import ResponseTable
from services.recommender.models.tracing.difficulty_fit import Difficulties, at_most, cv_folds, fit_difficulties
from services.recommender.models.tracing.forecasts import certainty

Floats = NDArray[np.float64]

# With fewer, nothing is fitted.
_RESPONSES_LEAST = 100
_RESPONSES_MOST = 1_000_000
# Ridge penalties on the weights of standardised features, and on the skills' offsets.
_PENALTY, _SKILL_PENALTY = 1.0, 4.0
_ITERATIONS = 500
_TIMED = [RecallFeature.ELAPSED, RecallFeature.FADING]


class FittedRecall(NamedTuple):
    """A recall model, None where none is served; and what was measured on learners held out, empty where nothing was.

    Metrics: `recall_responses`, how many first responses of later days there are; `recall_log_loss` of the model on
    them, `recall_filter_log_loss` of the filter alone, and `recall_untimed_log_loss` of the model without time.
    """

    model: RecallModel | None
    metrics: dict[str, float]


@dataclass(frozen=True, eq=False)
class LaterResponses:
    """The responses of a table that are the first of a later day on all of their skills.

    Attributes:
        rows: which of the table they are.
        learner: of each.
        response: the outcome of each.
        features: responses by RECALL_FEATURES.
        skills: responses by skills of the table, each row summing to 1.
        by_filter: the chance that the filter predicts for each.
    """

    rows: NDArray[np.int64]
    learner: NDArray[np.int32]
    response: NDArray[np.float32]
    features: Floats
    skills: scipy.sparse.csr_matrix
    by_filter: Floats

    def of(self, chosen: NDArray[np.bool_]) -> LaterResponses:
        """Some of them."""
        return LaterResponses(
            self.rows[chosen],
            self.learner[chosen],
            self.response[chosen],
            self.features[chosen],
            self.skills[chosen],
            self.by_filter[chosen],
        )


def later_responses(
    table: ResponseTable, difficulties: Difficulties, item_of_skill: Floats | None = None
) -> LaterResponses:
    """Find the first responses of later days, with their features from fixed difficulties.

    Args:
        table: the responses.
        difficulties: the difficulties.
        item_of_skill: the mean difficulty of each skill's items, if features shall be of the skills' average items, as
            in serving; None: of the items that were answered.
    """
    items, skills = difficulties.columns()
    rows, counts = table.skill_rows(), np.diff(table.skill_start)
    pairs, owner = np.unique(
        table.learner[rows].astype(np.int64) * len(table.skills) + table.skill, return_inverse=True
    )
    events, event_skills = np.zeros(len(table), EVENT_RECORD), np.empty(len(table.skill), EVENT_SKILL_RECORD)
    events["row"], events["item"], events["response"] = table.learner, table.item, table.response
    events["at_s"], events["evidence"], events["skills"] = table.at_s, 1, counts
    event_skills["slot"], event_skills["skill"] = owner, table.skill
    learners, records = np.zeros(len(table.learners), LEARNER_RECORD), np.zeros(len(pairs), SKILL_RECORD)
    settings = difficulties.settings
    learners["variance"], records["variance"] = settings.learner_variance, settings.skill_variance
    none = np.zeros(len(learners), np.int64)
    chances, abilities, left = trace_responses(
        learners, records, none, none, events, event_skills, np.array([settings_row(settings)]), items, skills
    )
    if item_of_skill is not None:
        items = np.zeros_like(items)
        skills = skills + np.column_stack([item_of_skill, np.zeros(len(skills))])
    is_later, features = recall_features_of_trace(
        table.item, table.at_s, items, skills, table.skill_start, table.skill, owner, abilities, left, len(pairs)
    )
    shares = 1.0 / np.maximum(counts, 1)[rows]
    by_skill = scipy.sparse.csr_matrix((shares, (rows, table.skill)), (len(table), len(table.skills)))
    found = LaterResponses(
        np.arange(len(table)), table.learner, table.response, features, by_skill, np.asarray(chances)
    )
    return found.of(is_later)


def fit_recall(table: ResponseTable, settings: FilterSettings, *, seed: int) -> FittedRecall:
    """Fit the recall model to a tenant's responses.

    It is served where it predicts the responses of learners held out better than the filter does, and better than it
    would without time, each by more than the standard error over learners. Otherwise nothing is known to be forgotten.
    So there is none without clocks, and with few first responses of later days or all of them in one fold.

    Args:
        table: the responses.
        settings: the filter's constants; its base is not read.
        seed: decides which learners are held out together.
    """
    table = at_most(table, _RESPONSES_MOST)
    fold_of_learner = cv_folds(table, seed)
    folds = np.unique(fold_of_learner[table.learner]).tolist()
    if not table.at_s.any() or len(folds) < 2:
        return FittedRecall(None, {})
    found = [_of_fold(table, settings, fold_of_learner == fold) for fold in folds]
    later = joined(found)
    metrics: dict[str, float] = {"recall_responses": len(later.rows)}
    fold = np.repeat(folds, [len(each.rows) for each in found])
    if len(later.rows) < _RESPONSES_LEAST or len(np.unique(fold)) < 2:
        return FittedRecall(None, metrics)
    losses = log_losses(later.response, _held_out(later, fold, table.skills))
    rivals = {
        "recall_filter_log_loss": log_losses(later.response, later.by_filter),
        "recall_untimed_log_loss": log_losses(later.response, _held_out(_untimed(later), fold, table.skills)),
    }
    metrics["recall_log_loss"] = float(losses.mean())
    metrics |= {name: float(of_rival.mean()) for name, of_rival in rivals.items()}
    model = fit_weights(later, table.skills)
    falls = bool(model.weights[_TIMED].any())
    is_better = all(certainty(later.learner, of_rival - losses) > 0.0 for of_rival in rivals.values())
    return FittedRecall(model if falls and is_better else None, metrics)


def _held_out(later: LaterResponses, fold: NDArray[np.int64], skills: tuple[str, ...]) -> Floats:
    """The chance of each response by a model that was fitted to the other folds."""
    chance = np.empty(len(fold))
    for number in np.unique(fold).tolist():
        own = fold == number
        chance[own] = predict_recall(later.of(own), skills, fit_weights(later.of(~own), skills))
    return chance


def _untimed(later: LaterResponses) -> LaterResponses:
    """The same responses without the features that fall with time."""
    features = later.features.copy()
    features[:, _TIMED] = 0.0
    return replace(later, features=features)


def fit_weights(later: LaterResponses, skills: tuple[str, ...]) -> RecallModel:
    """Return the weights with the lowest penalised log-loss, none of them negative."""
    scale = later.features.std(axis=0)
    scale[scale < 1e-9] = 1.0
    standard, by_skill, response = later.features / scale, later.skills, later.response.astype(np.float64)
    transposed = by_skill.T.tocsr()
    width = len(RECALL_FEATURES)
    penalties = np.concatenate([[0.0], np.full(width, _PENALTY), np.full(len(skills), _SKILL_PENALTY)])

    def loss(values: Floats) -> tuple[float, Floats]:
        logits = values[0] + standard @ values[1 : 1 + width] + by_skill @ values[1 + width :]
        error = expit(logits) - response
        gradient = np.concatenate([[error.sum()], standard.T @ error, transposed @ error]) + penalties * values
        total = np.sum(np.logaddexp(0.0, logits) - response * logits) + 0.5 * penalties @ values**2
        return float(total), gradient

    bounds = [(None, None), *[(0.0, None)] * width, *[(None, None)] * len(skills)]
    with threadpool_limits(1, "blas"):
        found = minimize(
            loss,
            np.zeros(len(penalties)),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": _ITERATIONS, "ftol": 1e-10},
        )
    offsets = found.x[1 + width :]
    used = np.flatnonzero(offsets)
    return RecallModel(
        float(found.x[0]), found.x[1 : 1 + width] / scale, tuple(skills[one] for one in used), offsets[used]
    )


def predict_recall(later: LaterResponses, skills: tuple[str, ...], model: RecallModel) -> Floats:
    """Predict the chance of each response; `skills` are those of the table."""
    offset_of = dict(zip(model.skills, model.offsets.tolist(), strict=True))
    offsets = np.array([offset_of.get(skill, 0.0) for skill in skills])
    return np.asarray(expit(model.intercept + later.features @ model.weights + later.skills @ offsets))


def joined(parts: list[LaterResponses]) -> LaterResponses:
    """The responses of several parts of one table, one part after another."""
    return LaterResponses(
        np.concatenate([each.rows for each in parts]),
        np.concatenate([each.learner for each in parts]),
        np.concatenate([each.response for each in parts]),
        np.vstack([each.features for each in parts]),
        scipy.sparse.vstack([each.skills for each in parts], format="csr"),
        np.concatenate([each.by_filter for each in parts]),
    )


def _of_fold(table: ResponseTable, settings: FilterSettings, held_out: NDArray[np.bool_]) -> LaterResponses:
    """The first responses of later days of some learners, with difficulties that were fitted on the others."""
    return later_responses(table.of_learners(held_out), fit_difficulties(table.of_learners(~held_out), settings))
