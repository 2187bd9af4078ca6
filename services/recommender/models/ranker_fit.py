"""Growing the trees of the learned ranker with LightGBM, and choosing how far to trust them.

Burges: From RankNet to LambdaRank to LambdaMART, Microsoft Research, 2010. Ke et al.: LightGBM, NeurIPS 2017.

Labels come from an inner split of what may be fitted on: collaborative models, habits and states are made from its
first part, and what learners did in the second is what the trees learn to put first. Where that makes fewer lists than
are worth learning from, the first part is split once more: what learners did earlier is learned from as well. Trees
are grown once for each fold of the learners, on the others, and judged on the fold's lists of the later split: that
says how many to grow and how far to trust them. Those that are kept are grown on all learners, several times over, and
their mean is taken. Then everything but the trees is made again from all there is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from services.recommender.application.ports.models import CollaborativeModel
from services.recommender.application.training.train import TooFewPositivesError
from services.recommender.domain.ranking.interaction_statistics import InteractionStatistics, SkillLinks
from services.recommender.domain.ranking.learned import LearnedRanker
from services.recommender.domain.ranking.next_item import directions
from services.recommender.domain.ranking.trees import NO_TREES, Trees, mean_of
from services.recommender.domain.training.metrics import ndcg
from services.recommender.domain.training.splits import WorkSplit
from services.recommender.models.ensemble import Ensemble
from services.recommender.models.families import FAMILIES, Choice, choose
from services.recommender.models.interaction_statistics_fit import fit_interaction_statistics
from services.recommender.models.neighbours import DENSE_RESOURCES_MOST
from services.recommender.models.ranking_dataset import RankingDataset

# What the ranker reads; the others are slow to ask, or say nothing beyond these.
BASE_MODELS = ("sequential", "item_knn", "rp3beta", "als", "ease")

_TOP = 10
# From the leading model alone to the trees alone.
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
_LEARNERS_NEEDED = 20
# With half as many learners again as in a fold, more trees help before they fit what is chance.
_MORE_ROUNDS = 1.25
# As many as the smallest machine has cores: the same trees on any, since they are grown deterministically.
_THREADS = 2


@dataclass(frozen=True, slots=True)
class RankerSettings:
    """Hyper-parameters.

    Attributes:
        learners: most learners whose work is learned from; where there are fewer, their earlier work is too.
        folds: in how many parts they are judged.
        bags: how often trees are grown on all of them, each time on other shares of lists and features.
        trees: most trees of each; fewer where more do not help.
        patience: trees without an improvement after which growing stops.
        leaves: of each tree.
        rate: how much of each tree counts.
        leaf_rows: least candidates in a leaf.
        truncation: pairs count that involve one of the first so many.
        others: most candidates of a list that are learned from beside the relevant ones.
    """

    learners: int = 3_600
    folds: int = 3
    bags: int = 3
    trees: int = 100
    patience: int = 30
    leaves: int = 15
    rate: float = 0.1
    leaf_rows: int = 50
    truncation: int = 20
    others: int = 200


@dataclass(frozen=True)
class FittedRanker:
    """What came of it.

    Attributes:
        ranker: what scores.
        ensemble: the collaborative models it reads, fitted to everything.
        choice: the families' settings.
        measures: NDCG@10 on held-out learners of the inner split, by share of the trees.
    """

    ranker: LearnedRanker
    ensemble: Ensemble
    choice: Choice
    measures: Mapping[str, float]


class TooFewToLearnError(ValueError):
    """There is too little to learn a ranking from; the message says what there is and what is needed."""


@dataclass(frozen=True)
class ListsOfCandidates:
    """Candidates of learners, list after list.

    Attributes:
        columns: features of the candidates.
        labels: 1 where relevant.
        sizes: candidates of each list.
        relevant: how many resources are relevant for each list, candidates or not.
        fold: the fold of each list; a learner's lists are in one.
    """

    columns: NDArray[np.float32]
    labels: NDArray[np.float32]
    sizes: NDArray[np.int64]
    relevant: NDArray[np.int64]
    fold: NDArray[np.int64]

    def of(self, chosen: NDArray[np.bool_]) -> ListsOfCandidates:
        """Some of the lists."""
        candidates = chosen.repeat(self.sizes)
        return ListsOfCandidates(
            self.columns[candidates],
            self.labels[candidates],
            self.sizes[chosen],
            self.relevant[chosen],
            self.fold[chosen],
        )

    def and_those(self, more: ListsOfCandidates) -> ListsOfCandidates:
        """These lists and others."""
        return ListsOfCandidates(
            np.concatenate([self.columns, more.columns]),
            np.concatenate([self.labels, more.labels]),
            np.concatenate([self.sizes, more.sizes]),
            np.concatenate([self.relevant, more.relevant]),
            np.concatenate([self.fold, more.fold]),
        )

    def thinned(self, others: int) -> ListsOfCandidates:
        """Of each list what is relevant and the first so many others; lists without anything relevant are left out.

        Candidates stand in any order, so the first are any.
        """
        of_list = np.arange(len(self.sizes)).repeat(self.sizes)
        other = (self.labels == 0.0).astype(np.int64)
        before = np.cumsum(other) - other
        first = np.cumsum(self.sizes) - self.sizes
        found = np.bincount(of_list, self.labels, len(self.sizes)) > 0.0
        kept = found[of_list] & ((other == 0) | (before - before[first][of_list] < others))
        return ListsOfCandidates(
            self.columns[kept],
            self.labels[kept],
            np.bincount(of_list[kept], minlength=len(self.sizes))[found],
            self.relevant[found],
            self.fold[found],
        )


def fit_ranker(
    split: WorkSplit,
    *,
    seed: int,
    settings: RankerSettings = RankerSettings(),
    choice: Choice | None = None,
    fit_base_models: Callable[[WorkSplit, Choice], Ensemble] | None = None,
    advance: Callable[[str], None] = lambda _step: None,
) -> FittedRanker:
    """Learn a ranking from what learners did.

    Args:
        split: whose side before may be used.
        seed: of the inner split, the models, and which learners are learned from.
        settings: hyper-parameters.
        choice: the families' settings where they were chosen before, on `split.inner(seed=seed)`.
        fit_base_models: fits the chosen models to everything, where they are there already.
        advance: told what is being done.

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
    # A learner's lists are in one fold, whichever split they are of.
    rng = np.random.default_rng(seed)
    fold = rng.permutation(len(split.before.learners)) % settings.folds
    learners = rng.permutation(sorted(inner.relevant))[: settings.learners].tolist()
    rows = _rows_of(_dataset_of(inner, {name: choice.models[name] for name in base_models}), learners, rng, fold)
    if len(set(rows.fold.tolist())) < settings.folds:
        raise TooFewToLearnError("too few learners have candidates to learn from")
    best_base_model = max(range(len(base_models)), key=lambda place: choice.measures[base_models[place]])
    learnable = rows
    if len(learners) < settings.learners:
        advance("learning to rank, from earlier work too")
        earlier = _earlier_rows(inner, choice, base_models, settings.learners - len(learners), rng, fold, seed)
        learnable = rows if earlier is None else rows.and_those(earlier)
    learnable = learnable.thinned(settings.others)
    rounds, found = [], []
    for number in range(settings.folds):
        learned, judged = learnable.of(learnable.fold != number), rows.of(rows.fold == number)
        trees = trees_of(_grow(learned, base_models, settings, seed + number, settings.trees, judged))
        rounds.append(len(trees.starts) - 1)
        found.append(
            [
                _measure(LearnedRanker(base_models, trees, share, best_base_model, _nothing_known()), judged)
                for share in _SHARES
            ]
        )
    values = np.concatenate(found, axis=1)
    share = trusted_share(values)
    most = round(_MORE_ROUNDS * sum(rounds) / len(rounds))
    trees = (
        mean_of([trees_of(_grow(learnable, base_models, settings, seed + each, most)) for each in range(settings.bags)])
        if share
        else NO_TREES
    )
    advance("fitting to everything")
    ensemble = (fit_base_models or _fit_base_models(seed))(split, choice)
    statistics = fit_interaction_statistics(split.before, split.positives)
    return FittedRanker(
        LearnedRanker(base_models, trees, share, best_base_model, statistics),
        ensemble,
        choice,
        {f"{each:g}": float(value) for each, value in zip(_SHARES, values.mean(axis=1), strict=True)},
    )


def trusted_share(values: NDArray[np.float64]) -> float:
    """The least share of the trees that is not worse than the best share by more than one standard error.

    The rule of Breiman, Friedman, Olshen, Stone: Classification and Regression Trees, 1984: what is simpler is taken
    unless the data tell it apart from the best. Later the leading model is fitted to more than it was here, which
    gains it more than the trees, which stay as they are.

    Args:
        values: (shares, lists); NDCG@10 of each list by share.
    """
    means = values.mean(axis=1)
    best = int(means.argmax())
    for share, of_share in zip(_SHARES, values, strict=True):
        behind = values[best] - of_share
        if behind.mean() <= behind.std() / np.sqrt(len(behind)):
            return share
    return _SHARES[best]


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


def _nothing_known() -> InteractionStatistics:
    """The statistics are not asked for while trees are judged: the features are there already."""
    none = SkillLinks(np.zeros(1, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32))
    return InteractionStatistics((), (), np.zeros(0, np.float32), np.zeros(0, np.float32), none, none)


def _dataset_of(inner: WorkSplit, models: Mapping[str, CollaborativeModel]) -> RankingDataset:
    return RankingDataset(
        inner, Ensemble(inner.positives.resources, models), fit_interaction_statistics(inner.before, inner.positives)
    )


def _earlier_rows(
    inner: WorkSplit,
    choice: Choice,
    base_models: Sequence[str],
    most: int,
    rng: np.random.Generator,
    fold: NDArray[np.int64],
    seed: int,
) -> ListsOfCandidates | None:
    """Lists of learners as they stood before; None where there was too little yet."""
    earlier = inner.inner(seed=seed)
    learners = rng.permutation(sorted(earlier.relevant))[:most].tolist()
    try:
        models = {name: FAMILIES[name].fit(earlier.positives, seed, choice.settings[name]) for name in base_models}
        return _rows_of(_dataset_of(earlier, models), learners, rng, fold)
    except (TooFewPositivesError, TooFewToLearnError):
        return None


def _rows_of(
    dataset: RankingDataset, learners: Sequence[int], rng: np.random.Generator, folds: NDArray[np.int64]
) -> ListsOfCandidates:
    """Candidates with what is relevant marked, shuffled within each learner.

    Unshuffled, what stands first would win ties, and an untrained tree be as good as any.

    Args:
        dataset: what is known.
        learners: whose lists.
        rng: shuffles.
        folds: the fold of each learner.

    Raises:
        TooFewToLearnError: when there are no lists.
    """
    columns, labels, sizes, relevant, fold = [], [], [], [], []
    with threadpool_limits(1, user_api="blas"):
        for learner in learners:
            example = dataset.example(learner)
            wanted = dataset.split.relevant[learner]
            # Where resources are worked on again and again, what is new is to be ranked well by itself too.
            own = dataset.split.own(learner)
            for known in (np.zeros(0, np.int32), own) if dataset.split.repeats else (own,):
                kept = rng.permutation(np.flatnonzero(~np.isin(example.rows, known)))
                left = wanted.difference(known.tolist())
                hit = np.isin(example.rows[kept], list(left))
                if left and len(kept):
                    columns.append(example.columns[kept])
                    labels.append(hit.astype(np.float32))
                    sizes.append(len(kept))
                    relevant.append(len(left))
                    fold.append(folds[learner])
    if not sizes:
        raise TooFewToLearnError("too few learners have candidates to learn from")
    return ListsOfCandidates(
        np.concatenate(columns), np.concatenate(labels), np.array(sizes), np.array(relevant), np.array(fold)
    )


def _measure(ranker: LearnedRanker, rows: ListsOfCandidates) -> list[float]:
    """NDCG@10 of each list; of equal scores those that stand first."""
    found, start = [], 0
    for size, relevant in zip(rows.sizes.tolist(), rows.relevant.tolist(), strict=True):
        end = start + size
        order = np.argsort(-ranker.score(rows.columns[start:end]), kind="stable")[:_TOP]
        hits = np.flatnonzero(rows.labels[start:end]).tolist()
        # What is relevant and no candidate counts in the ideal list, whatever its number.
        missed = range(-1, -1 - relevant + len(hits), -1)
        found.append(ndcg(order.tolist(), {*hits, *missed}, _TOP))
        start = end
    return found


def _grow(
    learned: ListsOfCandidates,
    base_models: Sequence[str],
    settings: RankerSettings,
    seed: int,
    rounds: int,
    judged: ListsOfCandidates | None = None,
) -> lightgbm.Booster:
    """At most so many trees; with lists to judge by, as many as do those best."""
    parameters = {
        "objective": "lambdarank",
        "lambdarank_truncation_level": settings.truncation,
        "metric": "ndcg",
        "eval_at": [_TOP],
        "num_leaves": settings.leaves,
        "learning_rate": settings.rate,
        "min_data_in_leaf": settings.leaf_rows,
        "monotone_constraints": directions(len(base_models)),
        "feature_fraction": 0.7,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "seed": seed,
        # The same trees on every machine with the same number of threads.
        "deterministic": True,
        "force_col_wise": True,
        "num_threads": _THREADS,
        "verbosity": -1,
    }
    train = lightgbm.Dataset(learned.columns, learned.labels, group=learned.sizes, free_raw_data=False)
    if judged is None:
        return lightgbm.train(parameters, train, num_boost_round=rounds)
    valid = lightgbm.Dataset(judged.columns, judged.labels, group=judged.sizes, reference=train)
    return lightgbm.train(
        parameters,
        train,
        num_boost_round=rounds,
        valid_sets=[valid],
        callbacks=[lightgbm.early_stopping(settings.patience, verbose=False)],
    )


def trees_of(booster: lightgbm.Booster) -> Trees:
    """The booster's trees, up to its best round where it was judged, as arrays."""
    starts: list[int] = [0]
    nodes: list[tuple[int, float, int, int, float]] = []
    for tree in booster.dump_model(num_iteration=booster.best_iteration)["tree_info"]:
        _append(tree["tree_structure"], nodes)
        starts.append(len(nodes))
    features, thresholds, lefts, rights, values = zip(*nodes, strict=True) if nodes else ((), (), (), (), ())
    return Trees(
        np.array(starts, np.int32),
        np.array(features, np.int32),
        np.array([_at_most(threshold) for threshold in thresholds], np.float32),
        np.array(lefts, np.int32),
        np.array(rights, np.int32),
        np.array(values, np.float32),
    )


def _append(node: Mapping[str, Any], nodes: list[tuple[int, float, int, int, float]]) -> int:
    """A node and everything below it, itself first; returns its number."""
    number = len(nodes)
    if "split_feature" not in node:
        nodes.append((-1, 0.0, number, number, float(node["leaf_value"])))
        return number
    nodes.append((-1, 0.0, number, number, 0.0))
    left, right = _append(node["left_child"], nodes), _append(node["right_child"], nodes)
    nodes[number] = (
        int(node["split_feature"]),
        float(node["threshold"]),
        left,
        right,
        float(node["internal_value"]),
    )
    return number


def _at_most(threshold: float) -> np.float32:
    """The largest float32 not above a threshold: the same float32 values go left."""
    rounded = np.float32(threshold)
    return np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > threshold else rounded
