"""Grows the tagger's trees with LightGBM. In its own module: who runs a tagger does not have LightGBM.

Ke et al.: LightGBM: A Highly Efficient Gradient Boosting Decision Tree, NeurIPS 2017.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from services.catalog.tagging.trees import LEAF, Trees

_TREES = 100
_PARAMETERS = {
    "objective": "binary",
    "num_leaves": 15,
    "learning_rate": 0.05,
    "min_data_in_leaf": 20,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    # Grow the same trees on every machine.
    "deterministic": True,
    "force_col_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}


def grow_trees(features: NDArray[np.float32], right: NDArray[np.bool_], seed: int) -> Trees:
    """Trees whose total is the logit of a pair being right.

    Args:
        features: (pairs, features).
        right: whether each pair is right; both kinds must occur.
        seed: of the samples of pairs and features.
    """
    booster = lightgbm.train(_PARAMETERS | {"seed": seed}, lightgbm.Dataset(features, right), num_boost_round=_TREES)
    roots: list[int] = []
    nodes: list[tuple[int, float, int, int, float]] = []
    for tree in booster.dump_model()["tree_info"]:
        roots.append(len(nodes))
        _append(tree["tree_structure"], nodes)
    split_features, thresholds, lefts, rights, leaf_values = zip(*nodes, strict=True)
    return Trees(
        np.array(roots, np.int32),
        np.array(split_features, np.int32),
        np.array(thresholds, np.float64),
        np.array(lefts, np.int32),
        np.array(rights, np.int32),
        np.array(leaf_values, np.float64),
    )


def _append(node: Mapping[str, Any], nodes: list[tuple[int, float, int, int, float]]) -> int:
    """Add a node, then everything below it; return its number."""
    number = len(nodes)
    if "split_feature" not in node:
        nodes.append((LEAF, 0.0, number, number, float(node["leaf_value"])))
        return number
    nodes.append((LEAF, 0.0, number, number, 0.0))
    left, right = _append(node["left_child"], nodes), _append(node["right_child"], nodes)
    nodes[number] = (int(node["split_feature"]), float(node["threshold"]), left, right, 0.0)
    return number
