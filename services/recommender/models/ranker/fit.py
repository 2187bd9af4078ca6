"""Fitting the learned ranker: its trees, and how they are blended with its best base model.

Labels come from an inner split of the data: collaborative models, interaction statistics and states are made from its
first part, and the trees learn to put first what learners did in the second. If that gives too few lists, the first
part is split again, so that earlier work is learned from as well. The learners are divided into folds. For each fold,
trees are grown on the other folds and judged on this one, which decides how many trees to grow and how to weigh them.
The final trees are the mean of several sets grown on all learners. Then everything but the trees is fitted again, to
all data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.recommender.application.ports.models import CollaborativeModel
from services.recommender.application.training.train import TooFewPositivesError
from services.recommender.domain.ranking.interaction_statistics import NO_STATISTICS
from services.recommender.domain.ranking.learned import LearnedRanker
from services.recommender.domain.ranking.trees import NO_TREES, mean_of
from services.recommender.domain.training.metrics import ndcg
from services.recommender.domain.training.splits import WorkSplit
from services.recommender.models.collaborative.ensemble import Ensemble
from services.recommender.models.collaborative.families import FAMILIES, Choice, choose
from services.recommender.models.collaborative.neighbours import DENSE_RESOURCES_MOST
from services.recommender.models.ranker.dataset import RankingDataset
from services.recommender.models.ranker.interaction_statistics_fit import fit_interaction_statistics
from services.recommender.models.ranker.lists import ListsOfCandidates, TooFewToLearnError, lists_of
from services.recommender.models.ranker.trees import DEFAULT_SETTINGS, TOP, RankerSettings, grow_trees, trees_of

# The models the ranker reads. The others are slow, or add nothing to these.
BASE_MODELS = ("sequential", "item_knn", "rp3beta", "als", "ease")

# From the best base model alone to the trees alone.
_BLEND_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
_LEARNERS_NEEDED = 20
# With 1.5 times the learners of a training fold, more trees help before they overfit.
_MORE_ROUNDS = 1.25


@dataclass(frozen=True)
class FittedRanker:
    """A fitted learned ranker.

    Attributes:
        ranker: scores candidates.
        ensemble: its base models, fitted to everything.
        choice: the families' settings.
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
    """Learn a ranking from what learners did.

    Args:
        split: its side before is learned from.
        seed: of the inner split, the models, and which learners are learned from.
        settings: hyper-parameters.
        choice: the families' settings where they were chosen before, on `split.inner(seed=seed)`.
        fit_base_models: returns the chosen models, fitted to everything; without it they are fitted here.
        advance: called with the name of each step that begins.

    Raises:
        TooFewToLearnError: when there is too little to learn from.
    """
    inner = split.inner(seed=seed)
    if len(inner.relevant) < _LEARNERS_NEEDED:
        raise TooFewToLearnError(
            f"{len(inner.relevant)} learners worked on something new lately; {_LEARNERS_NEEDED} are needed"
        )
    if choice is None:
        choice = choose(inner, seed=seed, families=BASE_MODELS, advance=lambda name: advance(f"tuning {name}"))
    base_models = base_models_of(split, choice)
    if not base_models:
        raise TooFewToLearnError(f"no collaborative model could be fitted: {'; '.join(choice.absent.values())}")
    advance("learning to rank")
    held_out, learnable = _lists(split, inner, choice, base_models, settings, seed, advance)
    best_base_model = max(range(len(base_models)), key=lambda place: choice.measures[base_models[place]])
    measures, rounds = _cross_validate(held_out, learnable, base_models, best_base_model, settings, seed)
    blend_weight = choose_blend_weight(measures)
    most = round(_MORE_ROUNDS * sum(rounds) / len(rounds))
    bags = range(settings.bags) if blend_weight else ()
    grown = [trees_of(grow_trees(learnable, base_models, settings, seed + bag, most)) for bag in bags]
    trees = mean_of(grown) if grown else NO_TREES
    advance("fitting to everything")
    ensemble = (fit_base_models or _fit_base_models(seed))(split, choice)
    statistics = fit_interaction_statistics(split.before, split.positives)
    return FittedRanker(
        LearnedRanker(base_models, trees, blend_weight, best_base_model, statistics),
        ensemble,
        choice,
        {f"{each:g}": float(value) for each, value in zip(_BLEND_WEIGHTS, measures.mean(axis=1), strict=True)},
    )


def _lists(
    split: WorkSplit,
    inner: WorkSplit,
    choice: Choice,
    base_models: Sequence[str],
    settings: RankerSettings,
    seed: int,
    advance: Callable[[str], None],
) -> tuple[ListsOfCandidates, ListsOfCandidates]:
    """The lists that trees are judged on, and the thinned ones they learn from, which may include earlier work.

    Raises:
        TooFewToLearnError: when there are too few lists to judge on.
    """
    rng = np.random.default_rng(seed)
    # All lists of a learner are in the same fold, whichever split they come from.
    folds = rng.permutation(len(split.before.learners)) % settings.folds
    learners = rng.permutation(sorted(inner.relevant))[: settings.learners].tolist()
    models = {name: choice.models[name] for name in base_models}
    held_out = lists_of(_dataset_of(inner, models), learners, rng, folds)
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
    base_models: tuple[str, ...],
    best_base_model: int,
    settings: RankerSettings,
    seed: int,
) -> tuple[NDArray[np.float64], list[int]]:
    """Grow trees on all folds but one, and judge them on that one.

    Returns:
        (blend weights, lists): NDCG@10 of each held-out list. How many trees were best, for each fold.
    """
    rounds, found = [], []
    for fold in range(settings.folds):
        learned, judged = learnable.of(learnable.fold != fold), held_out.of(held_out.fold == fold)
        trees = trees_of(grow_trees(learned, base_models, settings, seed + fold, settings.trees, judged))
        rounds.append(len(trees.starts) - 1)
        rankers = [
            LearnedRanker(base_models, trees, weight, best_base_model, NO_STATISTICS) for weight in _BLEND_WEIGHTS
        ]
        found.append([_measure(ranker, judged) for ranker in rankers])
    return np.concatenate(found, axis=1), rounds


def choose_blend_weight(measures: NDArray[np.float64]) -> float:
    """The least weight of the trees that is not worse than the best one by more than one standard error.

    The rule of Breiman, Friedman, Olshen, Stone: Classification and Regression Trees, 1984: the simpler model is taken
    unless the data tell it apart from the best. Later the best base model is fitted to more data than here, which
    improves it more than the trees, which stay as they are.

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
    """The models a ranker reads: those that could be fitted, EASE only where a bundle can hold it.

    Its weights are dense, and cut down to the largest of each resource they rank far worse.
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
    """Lists of learners at an earlier time; None where there was too little to learn from yet."""
    earlier = inner.inner(seed=seed)
    learners = rng.permutation(sorted(earlier.relevant))[:most].tolist()
    try:
        models = {name: FAMILIES[name].fit(earlier.positives, seed, choice.settings[name]) for name in base_models}
        return lists_of(_dataset_of(earlier, models), learners, rng, folds)
    except (TooFewPositivesError, TooFewToLearnError):
        return None


def _measure(ranker: LearnedRanker, rows: ListsOfCandidates) -> list[float]:
    """NDCG@10 of each list; ties keep the order of the list."""
    found, start = [], 0
    for size, relevant in zip(rows.sizes.tolist(), rows.relevant.tolist(), strict=True):
        end = start + size
        order = np.argsort(-ranker.score(rows.columns[start:end]), kind="stable")[:TOP]
        hits = np.flatnonzero(rows.labels[start:end]).tolist()
        # What is relevant and no candidate counts in the ideal list, whatever its number.
        missed = range(-1, -1 - relevant + len(hits), -1)
        found.append(ndcg(order.tolist(), {*hits, *missed}, TOP))
        start = end
    return found
