"""Evaluates how well recall is predicted: the first responses of later days on skills that were practised before."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.special import expit
from threadpoolctl import threadpool_limits

from services.recommender.application.training.train import FittedTracing
from services.recommender.domain.learner.mastery import DEFAULT_RULE
from services.recommender.domain.learner.recall import LATER_HOURS, RecallFeature
from services.recommender.domain.learner.success_features import SHARED_FEATURES
from services.recommender.domain.training.responses import ResponseTable
from services.recommender.domain.training.splits import SHARE_BEFORE
from services.recommender.evaluation.intervals import Draws, Floats, compared, estimate, of_forecasts
from services.recommender.evaluation.results import SERVED, Check, Evaluation
from services.recommender.evaluation.tables import DataUnusableError
from services.recommender.evaluation.tracing import DRAWS, SEED, Advance, TracingSplit
from services.recommender.models.tracing.difficulty_fit import difficulties_of
from services.recommender.models.tracing.fit import fit_tracing
from services.recommender.models.tracing.fsrs import Fsrs
from services.recommender.models.tracing.logistic import fit_logistic
from services.recommender.models.tracing.recall_fit import LaterResponses, later_responses, predict_recall
from services.recommender.models.tracing.success_fit import predict_success
from services.recommender.models.tracing.success_table import success_features

AVERAGE_ITEM, FORMULA = "cairn_average_item", "fixed_formula"
# How much of a skill the formula takes to be forgotten where a review is due.
_FORMULA_OPENS = 0.5
_MODELS = 8
_LEAST = 20
_COUNTS = [SHARED_FEATURES.index(name) for name in ("skill_successes", "skill_failures")]


@dataclass(frozen=True)
class ReviewSplit:
    """Responses to fit on, and those among which recall is predicted.

    Attributes:
        train: to fit on.
        test: to follow learners through, in a table with the same ids.
        evaluated: which rows of `test` count, if they are first responses of later days.
        description: the data and the split in words.
        tracing: the split by learner that it was made from.
    """

    train: ResponseTable
    test: ResponseTable
    evaluated: NDArray[np.bool_]
    description: str
    tracing: TracingSplit


def by_learner(folder: Path, split: TracingSplit) -> ReviewSplit:
    """Fit on some learners and evaluate on the others. Raises DataUnusableError when responses have no times."""
    _check_times(folder, split)
    return ReviewSplit(split.train, split.test, np.ones(len(split.test), np.bool_), split.description, split)


def by_time(folder: Path, split: TracingSplit) -> ReviewSplit:
    """Fit on what was before the time by which four fifths of all responses were given, and evaluate on the rest.

    Raises:
        DataUnusableError: when responses have no times.
    """
    whole = _check_times(folder, split)
    before = whole.at_s < np.sort(whole.at_s)[int(SHARE_BEFORE * len(whole))]
    description = f"{folder.name}: all learners{split.twins.described}, fitted on the first {before.mean():.0%} in time"
    return ReviewSplit(whole.rows(before), whole, ~before, description, split)


def _check_times(folder: Path, split: TracingSplit) -> ResponseTable:
    whole = split.test if split.whole is None else split.whole
    if not whole.at_s.any():
        raise DataUnusableError(f"{folder}: recall needs the times of responses; add the column time")
    return whole


def evaluate_review(
    protocol: str, split: ReviewSplit, *, commit: str = "", advance: Advance = lambda *_: None
) -> Evaluation:
    """Fit every model, and evaluate it on the first responses of later days.

    Args:
        protocol: its name.
        split: the data.
        commit: of the code.
        advance: progress callback: the current model, models done, models in total.

    Raises:
        DataUnusableError: when there are too few such responses.
    """
    advance(SERVED, 0, _MODELS)
    started_s = time.perf_counter()
    with threadpool_limits(1):
        models = _Models(split, fit_tracing(split.train, seed=SEED))
    elapsed_s = {SERVED: round(time.perf_counter() - started_s, 3)}
    chances: dict[str, Floats] = {}
    with threadpool_limits(1):
        for name, chance in models.chances():
            advance(name, len(chances), _MODELS)
            chances[name] = chance
    advance("intervals", _MODELS, _MODELS)
    after = models.after
    _, learner = np.unique(after.learner, return_inverse=True)
    draws = Draws.of(int(learner.max()) + 1, draws=DRAWS, seed=SEED)
    outcome = after.response.astype(np.float64)
    measured = {name: of_forecasts(learner, outcome, chance, draws) for name, chance in chances.items()}
    values = {
        name: {measure: drawn for measure, drawn in of_model.items() if not np.isnan(drawn).any()}
        for name, of_model in measured.items()
    }
    return Evaluation(
        protocol=protocol,
        data=(
            f"{split.description}; fitted on {len(models.before.rows):,} first responses of later days, evaluated on "
            f"{len(after.rows):,} of {int(learner.max()) + 1:,} learners"
        ),
        commit=commit,
        models={
            name: {measure: estimate(drawn) for measure, drawn in of_model.items()} for name, of_model in values.items()
        },
        differences=compared(values, SERVED),
        checks=(_due_check(models, chances),),
        twins=split.tracing.twins._asdict(),
        notes=(
            split.tracing.twins.note,
            f"A response counts if each of its skills was practised before, last at least {LATER_HOURS:g} hours ago.",
            f"{AVERAGE_ITEM} is what reasons say. It does not know the item; nor do the first four models.",
            "success_model is the model of chances, which is not bound to fall with time.",
            f"Intervals are central 95 % of {DRAWS} bootstrap resamples of learners; differences use the same ones.",
        ),
        seeds={"bootstrap": SEED, "held-out learners": SEED},
        elapsed_s=elapsed_s,
    )


@dataclass(frozen=True, eq=False)
class _Models:
    """Everything that predicts recall, fitted to the training side of a split."""

    split: ReviewSplit
    fitted: FittedTracing

    @cached_property
    def before(self) -> LaterResponses:
        """The responses to fit on."""
        train = self.split.train
        return later_responses(train, difficulties_of(train, self.fitted.parameters))

    @cached_property
    def after(self) -> LaterResponses:
        """The responses to predict."""
        return self._after(average=False)

    @cached_property
    def after_on_average_items(self) -> LaterResponses:
        """The same, on the average items of their skills."""
        return self._after(average=True)

    def chances(self) -> Iterator[tuple[str, Floats]]:
        """The models by name, with the chance of each of `after`; raises DataUnusableError where there are too few."""
        before, after, test = self.before, self.after, self.split.test
        if len(before.rows) < _LEAST or len(np.unique(after.learner)) < 2:
            raise DataUnusableError(
                f"{self.split.description}: {len(before.rows)} responses to fit on and {len(after.rows)} to evaluate "
                f"on are the first after {LATER_HOURS:g} hours on skills practised before; it takes {_LEAST} and "
                "those of two learners"
            )
        yield "constant", np.full(len(after.rows), float(before.response.mean()))
        yield FORMULA, self._by_formula()
        fsrs = Fsrs()
        fsrs.fit(self.split.train, before.rows)
        yield "fsrs", fsrs.predict(test)[after.rows]
        yield "skill_wins_losses", _by_wins_and_losses(self)
        yield "filter", after.by_filter
        if self.fitted.success is not None:
            features = success_features(test, difficulties_of(test, self.fitted.parameters), self.fitted.success.pairs)
            yield "success_model", predict_success(test, features, self.fitted.success)[after.rows]
        yield AVERAGE_ITEM, self._served(self.after_on_average_items)
        yield SERVED, self._served(after)

    def _after(self, *, average: bool) -> LaterResponses:
        test, skills = self.split.test, self.fitted.parameters.skills
        of_skills = [skills[skill].mean_item_difficulty if skill in skills else 0.0 for skill in test.skills]
        found = later_responses(
            test, difficulties_of(test, self.fitted.parameters), np.array(of_skills) if average else None
        )
        return found.of(self.split.evaluated[found.rows])

    def _served(self, later: LaterResponses) -> Floats:
        model = self.fitted.recall
        return self._by_formula() if model is None else predict_recall(later, self.split.test.skills, model)

    def _by_formula(self) -> Floats:
        """What the fixed formula takes to be remembered, from the mean over the skills of what it reads."""
        days = np.expm1(-self.after.features[:, RecallFeature.ELAPSED])
        successes = np.expm1(self.after.features[:, RecallFeature.PRACTICE])
        return np.asarray(2.0 ** (-days / (7.0 * np.sqrt(1.0 + successes))))


def _by_wins_and_losses(models: _Models) -> Floats:
    """Logistic regression on the skills and the logarithms of successes and failures on them so far."""

    def design(table: ResponseTable, later: LaterResponses) -> scipy.sparse.csr_matrix:
        features = success_features(table, difficulties_of(table, models.fitted.parameters))[later.rows]
        return scipy.sparse.hstack([later.skills, scipy.sparse.csr_matrix(features[:, _COUNTS])], format="csr")

    before = models.before
    weights = fit_logistic(design(models.split.train, before), before.response.astype(np.float64), solver="lbfgs")
    chances: Floats = expit(design(models.split.test, models.after) @ weights.coefficients + weights.intercept)
    return chances


def _due_check(models: _Models, chances: Mapping[str, Floats]) -> Check:
    """Whether skills that the learner is good at are forgotten more often where a review is due."""
    after, settings = models.after, models.fitted.parameters.settings
    on_average = models.after_on_average_items.features
    chance = expit(settings.base + on_average[:, RecallFeature.ABILITY] + on_average[:, RecallFeature.EASINESS])
    good = chance >= DEFAULT_RULE.success

    def described(due: NDArray[np.bool_]) -> tuple[str, bool]:
        of_due, of_others = (after.response[good & one] for one in (due, ~due))
        text = f"{_right_of(of_due)} where a review is due, {_right_of(of_others)} others"
        return text, not len(of_due) or not len(of_others) or bool(of_due.mean() < of_others.mean())

    ours, holds = described(chances[AVERAGE_ITEM] < DEFAULT_RULE.success)
    formula, _ = described(chances[FORMULA] <= _FORMULA_OPENS)
    return Check(
        f"on skills with a chance of at least {DEFAULT_RULE.success:g}, fewer answers are right where a review is due",
        holds,
        f"{SERVED}: right are {ours}; {FORMULA}: {formula}",
    )


def _right_of(responses: NDArray[np.float32]) -> str:
    return f"{responses.mean():.3f} of {len(responses):,}" if len(responses) else "none of 0"
