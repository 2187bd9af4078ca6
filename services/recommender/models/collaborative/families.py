"""The families of collaborative models, and the choice of their settings by predicting what learners did next.

Settings are tried on an inner split of the training data; the evaluation data is never used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from threadpoolctl import threadpool_limits

from services.recommender.application.ports.models import CollaborativeModel
from services.recommender.application.training.train import TooFewPositivesError
from services.recommender.domain.ranking.trees import Matrix
from services.recommender.domain.training.metrics import ndcg
from services.recommender.domain.training.positives import Positives
from services.recommender.domain.training.splits import WorkSplit
from services.recommender.models.collaborative.als import AlsModel
from services.recommender.models.collaborative.als_fit import AlsSettings, fit_als
from services.recommender.models.collaborative.bpr import fit_bpr
from services.recommender.models.collaborative.neighbours_fit import (
    EaseModel,
    TooLargeError,
    ease_memory,
    fit_item_knn,
    fit_rp3beta,
    fit_sequential,
)
from services.recommender.models.collaborative.popular import fit_popular

Settings = Mapping[str, float]
Fit = Callable[[Positives, int, Settings], CollaborativeModel]

# With a few hundred learners, the standard error of NDCG@10 is larger than the difference between settings.
_LEARNERS = 1_500
_TOP = 10


@dataclass(frozen=True)
class Family:
    """A family of collaborative models.

    Attributes:
        fit: fits it to positives, with a seed and settings.
        grid: settings to try, in an order along which the measure is assumed to have one peak.
        grid_in_time: more of them, for data with times.
        compared: whether it is fitted to an inner split at all.
    """

    fit: Fit
    grid: Sequence[Settings]
    grid_in_time: Sequence[Settings] = ()
    compared: bool = True

    def grid_for(self, positives: Positives) -> Sequence[Settings]:
        """The settings to try on these positives."""
        return [*self.grid, *self.grid_in_time] if positives.latest_s.any() else self.grid


def _als(positives: Positives, seed: int, settings: Settings) -> CollaborativeModel:
    chosen = AlsSettings(factors=int(settings["factors"]), confidence=settings["confidence"])
    return AlsModel.from_arrays(fit_als(positives, chosen, seed=seed).model)


def _ease(positives: Positives, _seed: int, settings: Settings) -> CollaborativeModel:
    # With more threads, sums are split: other last digits for every number of threads.
    with threadpool_limits(1, user_api="blas"):
        return EaseModel(positives, regularization=settings["regularization"])


def _bpr(positives: Positives, seed: int, settings: Settings) -> CollaborativeModel:
    return fit_bpr(positives, factors=int(settings["factors"]), seed=seed)


def _item_knn(positives: Positives, _seed: int, settings: Settings) -> CollaborativeModel:
    return fit_item_knn(positives, half_life=settings["half_life"], shrinkage=settings["shrinkage"])


def _rp3beta(positives: Positives, _seed: int, settings: Settings) -> CollaborativeModel:
    return fit_rp3beta(positives, alpha=settings["alpha"], beta=settings["beta"])


def _sequential(positives: Positives, _seed: int, settings: Settings) -> CollaborativeModel:
    return fit_sequential(
        positives,
        window=int(settings["window"]),
        half_life=settings["half_life"],
        popularity=settings["popularity"],
    )


def _popular(positives: Positives, _seed: int, settings: Settings) -> CollaborativeModel:
    return fit_popular(positives, days=settings["days"])


# With a half-life this long, the whole history has equal weight; a window this long covers all data.
FOREVER = 1e6

FAMILIES: Mapping[str, Family] = {
    "sequential": Family(
        _sequential,
        [{"window": 15, "half_life": life, "popularity": 0.0} for life in (1.0, 2.0, 6.0, 20.0)],
    ),
    "item_knn": Family(
        _item_knn,
        [{"half_life": life, "shrinkage": 10.0} for life in (5.0, 20.0, FOREVER)],
    ),
    "rp3beta": Family(
        _rp3beta, [{"alpha": alpha, "beta": beta} for alpha, beta in ((0.6, 0.6), (0.6, 0.4), (0.8, 0.2))]
    ),
    "als": Family(
        _als,
        [
            {"factors": factors, "confidence": confidence}
            for factors, confidence in ((32, 4.0), (64, 2.0), (128, 1.0), (256, 1.0))
        ],
    ),
    # Slow, and only there for comparison.
    "bpr": Family(_bpr, [{"factors": 64}], compared=False),
    "ease": Family(_ease, [{"regularization": strength} for strength in (10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0)]),
    "popular": Family(_popular, [{"days": FOREVER}], [{"days": days} for days in (28.0, 7.0)]),
}


@dataclass(frozen=True)
class Choice:
    """The result of trying each family's settings.

    Attributes:
        settings: the best settings by family.
        absent: the reason a family could not be fitted, by family.
        models: the best model of each family, fitted to the inner split's positives.
        measures: NDCG@10 of the best model, by family.
        remarks: sentences about the rankers fitted with these models.
    """

    settings: Mapping[str, Settings]
    absent: Mapping[str, str]
    models: Mapping[str, CollaborativeModel]
    measures: Mapping[str, float]
    remarks: list[str] = field(default_factory=list)

    @property
    def described(self) -> dict[str, str]:
        """The settings in words, by family."""
        return {name: described(chosen) for name, chosen in self.settings.items()}


def described(settings: Settings) -> str:
    """Settings in words."""
    return " ".join(f"{name}={value:g}" for name, value in settings.items())


def choose(
    inner: WorkSplit,
    *,
    seed: int,
    families: Sequence[str] = tuple(FAMILIES),
    advance: Callable[[str], None] = lambda _name: None,
) -> Choice:
    """Choose for each family the settings that best predict what learners did next.

    Hill climbing starts in the middle of the grid and moves towards better settings, so that few models are fitted. For
    a family that is not compared, no model is fitted.

    Args:
        inner: a split of the training data.
        seed: seeds the models, and the sample of learners if there are many.
        families: which families to try.
        advance: called with the next family, and for EASE also with the memory it needs.
    """
    learners = np.sort(np.random.default_rng(seed).permutation(sorted(inner.relevant))[:_LEARNERS]).tolist()
    settings: dict[str, Settings] = {}
    models: dict[str, CollaborativeModel] = {}
    measures: dict[str, float] = {}
    absent: dict[str, str] = {}
    for name in families:
        if not FAMILIES[name].compared:
            settings[name] = FAMILIES[name].grid[0]
            continue
        # Report before the fit: if memory runs out, the last line shows why.
        advance(f"{name}, {ease_memory(inner.positives)}" if name == "ease" else name)
        try:
            hill_climb = _HillClimb(FAMILIES[name], inner, learners, seed)
            hill_climb.to_peak()
        except (TooFewPositivesError, TooLargeError) as error:
            absent[name] = str(error)
            continue
        settings[name] = hill_climb.grid[hill_climb.best]
        measures[name], models[name] = hill_climb.measures[hill_climb.best], hill_climb.model
    return Choice(settings, absent, models, measures)


class _HillClimb:
    """Hill climbing over the grid of one family, with the best model so far."""

    def __init__(self, family: Family, inner: WorkSplit, learners: Sequence[int], seed: int) -> None:
        self._family = family
        self._inner = inner
        self._learners = learners
        self._seed = seed
        self.grid = family.grid_for(inner.positives)
        self.measures: dict[int, float] = {}
        self.best = (len(self.grid) - 1) // 2
        self.model = self._fit_at(self.best)

    def to_peak(self) -> None:
        """Step down while that is better; if the first step down is worse, step up."""
        start = self.best
        for step in (-1, 1):
            while self._better_at(self.best + step):
                pass
            if self.best != start:
                return

    def _better_at(self, place: int) -> bool:
        if not 0 <= place < len(self.grid) or place in self.measures:
            return False
        model = self._fit_at(place)
        if self.measures[place] <= self.measures[self.best]:
            return False
        self.best, self.model = place, model
        return True

    def _fit_at(self, place: int) -> CollaborativeModel:
        model = self._family.fit(self._inner.positives, self._seed, self.grid[place])
        self.measures[place] = mean_ndcg(model, self._inner, self._learners)
        return model


def mean_ndcg(model: CollaborativeModel, split: WorkSplit, learners: Sequence[int]) -> float:
    """Return the mean NDCG@10 of a model's lists, over some learners of a split."""
    resources = split.positives.resources
    number = {resource: place for place, resource in enumerate(resources)}
    columns = np.array([number[resource] for resource in model.resources], np.int64)
    found = []
    # One learner's matrices are small: synchronising threads would take longer than computing on one.
    with threadpool_limits(1, user_api="blas"):
        for learner in learners:
            own = split.own(learner)
            scores = np.full(len(resources), -np.inf, np.float32)
            scores[columns] = model.scores([resources[row] for row in own])
            if not split.repeats:
                scores[own] = -np.inf
            found.append(ndcg(best_rows(scores, _TOP), split.relevant[learner], _TOP))
    return float(np.mean(found)) if found else 0.0


def best_rows(scores: Matrix, most: int) -> list[int]:
    """Return the indices of the highest scores above -inf, best first; ties keep their order."""
    if most < len(scores):
        bar = np.partition(scores, len(scores) - most)[len(scores) - most]
        among = np.flatnonzero(scores >= bar)
    else:
        among = np.arange(len(scores))
    among = among[scores[among] > -np.inf]
    rows: list[int] = among[np.argsort(-scores[among], kind="stable")][:most].tolist()
    return rows
