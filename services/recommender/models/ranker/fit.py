"""Fits the learned ranker: its trees, and their blend with the best base model.

Labels come from an inner split of the data. Collaborative models, interaction statistics and states are computed from
its first part, and the trees learn to rank first what learners did in the second. If that gives too few lists, the
first part is split again, so that the trees also learn from earlier work. Learners are divided into folds. For each
fold, trees are grown on the other folds and evaluated on this one, which decides the number and weight of trees. The
final trees are the mean of several sets grown on all learners. Then everything except the trees is fitted again, to all
data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from services.recommender.application.ports.models import CollaborativeModel
from services.recommender.application.training.train import TooFewPositivesError
from services.recommender.domain.ranking.interaction_statistics import NO_STATISTICS
from services.recommender.domain.ranking.learned import POPULAR, LearnedRanker
from services.recommender.domain.ranking.trees import NO_TREES, Trees, mean_of
from services.recommender.domain.training.metrics import ndcg
from services.recommender.domain.training.splits import WorkSplit
from services.recommender.models.collaborative.ensemble import Ensemble
from services.recommender.models.collaborative.families import FAMILIES, FOREVER, Choice, Settings, choose
from services.recommender.models.collaborative.neighbours_fit import DENSE_RESOURCES_MOST, TooLargeError
from services.recommender.models.ranker.dataset import RankingDataset
from services.recommender.models.ranker.interaction_statistics_fit import fit_interaction_statistics
from services.recommender.models.ranker.lists import ListsOfCandidates, TooFewToLearnError, lists_of
from services.recommender.models.ranker.need_share import choose_need_share
from services.recommender.models.ranker.trees import DEFAULT_SETTINGS, TOP, RankerSettings, grow_trees, trees_of

# Models that the ranker reads, popularity last. The others are slow, or do not improve on these.
BASE_MODELS = ("sequential", "item_knn", "rp3beta", "als", "ease", POPULAR)

# Weights of the base models where no trees rank.
_WITHOUT_TREES = MappingProxyType({"sequential": 2.0, "item_knn": 1.0, "als": 1.0})

# From the best base model alone to the trees alone.
_BLEND_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
_LEARNERS_NEEDED = 20
# With 1.5 times the learners of a training fold, more trees can be grown before they overfit.
_MORE_ROUNDS = 1.25


@dataclass(frozen=True)
class FittedRanker:
    """A fitted learned ranker.

    Attributes:
        ranker: scores candidates.
        ensemble: its base models, fitted to everything.
        choice: the settings of the families.
        measures: NDCG@10 on held-out learners of the inner split, by blend weight.
    """

    ranker: LearnedRanker
    ensemble: Ensemble
    choice: Choice
    measures: Mapping[str, float]


def fit_ranker(
    split: WorkSplit,
    *,
    seed: int,
    settings: RankerSettings = DEFAULT_SETTINGS,
    choice: Choice | None = None,
    fit_base_models: Callable[[WorkSplit, Choice], Ensemble] | None = None,
    advance: Callable[[str], None] = lambda _step: None,
) -> FittedRanker:
    """Fit a ranker to what learners did.

    Args:
        split: only its earlier side is used.
        seed: decides the inner split, the models and the sample of learners.
        settings: hyper-parameters.
        choice: the settings of the families, if already chosen on `split.inner(seed=seed)`.
        fit_base_models: returns the chosen models fitted to all data; by default they are fitted here.
        advance: called with the name of each step as it starts.

    Raises:
        TooFewToLearnError: when there is too little data.
    """
    inner = split.inner(seed=seed)
    if len(inner.relevant) < _LEARNERS_NEEDED:
        raise TooFewToLearnError(
            f"{len(inner.relevant)} learners recently worked on new resources; {_LEARNERS_NEEDED} are needed"
        )
    if choice is None:
        choice = choose(inner, seed=seed, families=BASE_MODELS, advance=lambda name: advance(f"tuning {name}"))
    base_models = base_models_of(split, choice)
    if not base_models:
        raise TooFewToLearnError(f"no collaborative model could be fitted: {'; '.join(choice.absent.values())}")
    ranker, measures = _learn(inner, choice, base_models, settings, seed, advance)
    advance("fitting to everything")
    ensemble = (fit_base_models or _fit_base_models(seed))(split, choice)
    statistics = fit_interaction_statistics(split.before, split.positives)
    return FittedRanker(replace(ranker, statistics=statistics), ensemble, choice, measures)


def _learn(
    inner: WorkSplit,
    choice: Choice,
    base_models: tuple[str, ...],
    settings: RankerSettings,
    seed: int,
    advance: Callable[[str], None],
) -> tuple[LearnedRanker, Mapping[str, float]]:
    """Return the ranker, with the statistics of the inner split, and its NDCG@10 by blend weight."""
    advance("learning to rank")
    models = {name: choice.models[name] for name in base_models}
    statistics = fit_interaction_statistics(inner.before, inner.positives)
    dataset = RankingDataset(inner, Ensemble(inner.positives.resources, models), statistics)
    rng = np.random.default_rng(seed)
    # All lists of a learner are in the same fold, regardless of the split they come from.
    folds = rng.permutation(len(inner.before.learners)) % settings.folds
    held_out, learnable = _lists(dataset, choice, base_models, settings, rng, folds, seed, advance)
    best_base_model = max(range(len(base_models)), key=lambda place: choice.measures[base_models[place]])
    read = _read_by_trees(base_models, choice)
    measures, cross_validated = _cross_validate(
        held_out, learnable, (base_models, read), best_base_model, settings, seed
    )
    ranker = LearnedRanker(
        base_models, cross_validated[0], choose_blend_weight(measures), _only(best_base_model, base_models), statistics
    )
    held_out_of_trees = [learner for learner in sorted(inner.relevant) if folds[learner] == 0]
    need_share = choose_need_share(dataset, ranker, held_out_of_trees)
    rounds = [len(trees.starts) - 1 for trees in cross_validated]
    most = round(_MORE_ROUNDS * sum(rounds) / len(rounds))
    bags = range(settings.bags) if ranker.blend_weight else ()
    grown = [trees_of(grow_trees(learnable, read, settings, seed + bag, most)) for bag in bags]
    return (
        replace(ranker, trees=mean_of(grown) if grown else NO_TREES, need_share=need_share),
        {f"{each:g}": float(value) for each, value in zip(_BLEND_WEIGHTS, measures.mean(axis=1), strict=True)},
    )


def fit_base_ranker(split: WorkSplit, *, seed: int, choice: Choice | None = None) -> FittedRanker:
    """Fit a ranker without trees, for data that is too little to learn to rank from.

    Its base models are those of `_WITHOUT_TREES` that can be fitted, with the settings of the choice or else the first
    of their grids. Sequential scores count twice.

    Args:
        split: only its earlier side is used.
        seed: of the models.
        choice: the settings of the families, if any were chosen.

    Raises:
        TooFewToLearnError: when none of them can be fitted.
    """
    chosen = {} if choice is None else choice.settings
    models: dict[str, CollaborativeModel] = {}
    settings: dict[str, Settings] = {}
    absent: dict[str, str] = {}
    for name in _WITHOUT_TREES:
        settings[name] = chosen.get(name, FAMILIES[name].grid[0])
        try:
            models[name] = FAMILIES[name].fit(split.positives, seed, settings[name])
        except (TooFewPositivesError, TooLargeError) as error:
            absent[name] = str(error)
    if not models:
        raise TooFewToLearnError(f"no collaborative model could be fitted: {'; '.join(absent.values())}")
    return FittedRanker(
        LearnedRanker(
            tuple(models),
            NO_TREES,
            0.0,
            tuple(_WITHOUT_TREES[name] for name in models),
            fit_interaction_statistics(split.before, split.positives),
        ),
        Ensemble(split.positives.resources, models),
        Choice({name: settings[name] for name in models}, absent, models, {}, []),
        {},
    )


def _read_by_trees(base_models: tuple[str, ...], choice: Choice) -> tuple[str, ...]:
    """Return the base models that trees read: popularity of all time is among their other features already."""
    lately = choice.settings.get(POPULAR, {}).get("days", FOREVER) < FOREVER
    return tuple(name for name in base_models if lately or name != POPULAR)


def _only(place: int, models: Sequence[str]) -> tuple[float, ...]:
    """Weights that let only one model count."""
    return tuple(float(each == place) for each in range(len(models)))


def _lists(
    dataset: RankingDataset,
    choice: Choice,
    base_models: Sequence[str],
    settings: RankerSettings,
    rng: np.random.Generator,
    folds: NDArray[np.int64],
    seed: int,
    advance: Callable[[str], None],
) -> tuple[ListsOfCandidates, ListsOfCandidates]:
    """Return the lists to evaluate trees on, and the sampled lists to train on, which may include earlier work.

    Raises:
        TooFewToLearnError: when there are too few lists to evaluate on.
    """
    inner = dataset.split
    learners = rng.permutation(sorted(inner.relevant))[: settings.learners].tolist()
    held_out = lists_of(dataset, learners, rng, folds)
    if len(set(held_out.fold.tolist())) < settings.folds:
        raise TooFewToLearnError("too few learners have candidates to learn from")
    learnable = held_out
    if len(learners) < settings.learners:
        advance("learning to rank, from earlier work too")
        earlier = _earlier_lists(inner, choice, base_models, settings.learners - len(learners), rng, folds, seed)
        learnable = held_out if earlier is None else held_out.and_those(earlier)
    return held_out, learnable.thinned(settings.others)


def _cross_validate(
    held_out: ListsOfCandidates,
    learnable: ListsOfCandidates,
    models: tuple[tuple[str, ...], tuple[str, ...]],
    best_base_model: int,
    settings: RankerSettings,
    seed: int,
) -> tuple[NDArray[np.float64], list[Trees]]:
    """Grow trees on all folds but one, and evaluate them on that one; repeat for every fold.

    `models` are the base models, and those that trees read.

    Returns:
        NDCG@10 of each held-out list, (blend weights, lists), and the trees of each fold.
    """
    base_models, read = models
    grown, found = [], []
    for fold in range(settings.folds):
        learned, validation = learnable.of(learnable.fold != fold), held_out.of(held_out.fold == fold)
        trees = trees_of(grow_trees(learned, read, settings, seed + fold, settings.trees, validation))
        grown.append(trees)
        rankers = [
            LearnedRanker(base_models, trees, weight, _only(best_base_model, base_models), NO_STATISTICS)
            for weight in _BLEND_WEIGHTS
        ]
        found.append([_measure(ranker, validation) for ranker in rankers])
    return np.concatenate(found, axis=1), grown


def choose_blend_weight(measures: NDArray[np.float64]) -> float:
    """Return the smallest weight of the trees whose measure is within one standard error of the best.

    The one-standard-error rule of Breiman, Friedman, Olshen, Stone: Classification and Regression Trees, 1984: take the
    simplest model that the data do not distinguish from the best. Later the best base model is fitted to more data
    than here and improves, while the trees stay as they are.

    Args:
        measures: (blend weights, lists); NDCG@10 of each list by weight.
    """
    means = measures.mean(axis=1)
    best = int(means.argmax())
    for weight, of_weight in zip(_BLEND_WEIGHTS, measures, strict=True):
        behind = measures[best] - of_weight
        if behind.mean() <= behind.std() / np.sqrt(len(behind)):
            return weight
    return _BLEND_WEIGHTS[best]


def base_models_of(split: WorkSplit, choice: Choice) -> tuple[str, ...]:
    """Return the models a ranker reads: those that could be fitted, and EASE only if it fits into a bundle.

    EASE needs its dense weights: with only the largest of each resource it ranks much worse.
    """
    small = len(split.positives.resources) <= DENSE_RESOURCES_MOST
    return tuple(name for name in BASE_MODELS if name in choice.models and (small or name != "ease"))


def _fit_base_models(seed: int) -> Callable[[WorkSplit, Choice], Ensemble]:
    def fit(split: WorkSplit, choice: Choice) -> Ensemble:
        return Ensemble(
            split.positives.resources,
            {
                name: FAMILIES[name].fit(split.positives, seed, choice.settings[name])
                for name in base_models_of(split, choice)
            },
        )

    return fit


def _dataset_of(inner: WorkSplit, models: Mapping[str, CollaborativeModel]) -> RankingDataset:
    return RankingDataset(
        inner, Ensemble(inner.positives.resources, models), fit_interaction_statistics(inner.before, inner.positives)
    )


def _earlier_lists(
    inner: WorkSplit,
    choice: Choice,
    base_models: Sequence[str],
    most: int,
    rng: np.random.Generator,
    folds: NDArray[np.int64],
    seed: int,
) -> ListsOfCandidates | None:
    """Return lists of learners at an earlier time; None if there was too little data then."""
    earlier = inner.inner(seed=seed)
    learners = rng.permutation(sorted(earlier.relevant))[:most].tolist()
    try:
        models = {name: FAMILIES[name].fit(earlier.positives, seed, choice.settings[name]) for name in base_models}
        return lists_of(_dataset_of(earlier, models), learners, rng, folds)
    except (TooFewPositivesError, TooFewToLearnError):
        return None


def _measure(ranker: LearnedRanker, rows: ListsOfCandidates) -> list[float]:
    """Return the NDCG@10 of each list; ties keep the order of the list."""
    found, start = [], 0
    for size, relevant in zip(rows.sizes.tolist(), rows.relevant.tolist(), strict=True):
        end = start + size
        order = np.argsort(-ranker.score(rows.columns[start:end]), kind="stable")[:TOP]
        hits = np.flatnonzero(rows.labels[start:end]).tolist()
        # Relevant resources that are not candidates still count in the ideal list.
        missed = range(-1, -1 - relevant + len(hits), -1)
        found.append(ndcg(order.tolist(), {*hits, *missed}, TOP))
        start = end
    return found
