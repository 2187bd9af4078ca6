"""Grows the trees of the learned ranker with LightGBM.

Burges: From RankNet to LambdaRank to LambdaMART, Microsoft Research, 2010. Ke et al.: LightGBM, NeurIPS 2017.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np

from services.recommender.domain.ranking.next_item import directions
from services.recommender.domain.ranking.trees import Trees
from services.recommender.models.ranker.lists import ListsOfCandidates

TOP = 10
"""Lists are evaluated by NDCG at this length."""
# More threads wait for one another on a busy machine, for several times the processor time.
_THREADS = 1


@dataclass(frozen=True, slots=True)
class RankerSettings:
    """Hyper-parameters.

    Attributes:
        learners: most learners to train on; if there are fewer, their earlier work is used as well.
        folds: number of folds for cross-validation.
        bags: how many sets of trees are grown on all learners, each on a different sample of lists and features.
        trees: most trees in each set; fewer if more do not help.
        patience: growing stops after this number of trees without an improvement.
        leaves: most leaves of a tree.
        rate: learning rate.
        leaf_rows: least number of candidates in a leaf.
        truncation: only pairs with at least one of this many top candidates count.
        others: most candidates of a list to train on in addition to the relevant ones.
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


DEFAULT_SETTINGS = RankerSettings()


def grow_trees(
    learned: ListsOfCandidates,
    base_models: Sequence[str],
    settings: RankerSettings,
    seed: int,
    rounds: int,
    validation: ListsOfCandidates | None = None,
) -> lightgbm.Booster:
    """Grow at most `rounds` trees; with evaluation lists, as many as rank those best.

    They read the features of `base_models`, which are the first of those in the lists, and no others.
    """
    directed = directions(len(base_models))
    read = slice(len(directed))
    parameters = {
        "objective": "lambdarank",
        "lambdarank_truncation_level": settings.truncation,
        "metric": "ndcg",
        "eval_at": [TOP],
        "num_leaves": settings.leaves,
        "learning_rate": settings.rate,
        "min_data_in_leaf": settings.leaf_rows,
        "monotone_constraints": directed,
        "feature_fraction": 0.7,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "seed": seed,
        # Grow the same trees on every machine with the same number of threads.
        "deterministic": True,
        "force_col_wise": True,
        "num_threads": _THREADS,
        "verbosity": -1,
    }
    train = lightgbm.Dataset(learned.columns[:, read], learned.labels, group=learned.sizes, free_raw_data=False)
    if validation is None:
        return lightgbm.train(parameters, train, num_boost_round=rounds)
    valid = lightgbm.Dataset(validation.columns[:, read], validation.labels, group=validation.sizes, reference=train)
    return lightgbm.train(
        parameters,
        train,
        num_boost_round=rounds,
        valid_sets=[valid],
        callbacks=[lightgbm.early_stopping(settings.patience, verbose=False)],
    )


def trees_of(booster: lightgbm.Booster) -> Trees:
    """Return the booster's trees as arrays, up to its best round if it was evaluated."""
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
    """Add a node, then everything below it; return its number."""
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
    """Return the largest float32 not above a threshold, so that the same float32 values go left."""
    rounded = np.float32(threshold)
    return np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > threshold else rounded
