"""Counts the pairs of items that learners responded to soon after each other; see `item_pairs`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, hstack

from services.recommender.domain.learner.item_pairs import ItemPairs
from services.recommender.domain.learner.state import RECENT_ITEMS
from services.recommender.domain.training.responses import ResponseTable
from services.recommender.models.tracing.difficulty_fit import Difficulties, predict

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# The most pairs of a tenant, those with the most information: 12 bytes each.
_MOST_PAIRS = 250_000


def fit_item_pairs(table: ResponseTable, difficulties: Difficulties, *, of_resources: bool = False) -> ItemPairs:
    """Return what each item's outcome says about each other that is among the next RECENT_ITEMS of the learner.

    Args:
        table: the responses.
        difficulties: what the filter predicts them with.
        of_resources: also as later items the resources that the items are in; one's pairs are the mean of its items'.
    """
    chance = predict(table, difficulties)
    groups, later, rows, weights = _pairs(table)
    # Both have the same places: none is left out where its sum is 0.
    surprise, information = (
        coo_array((weights * values[rows], (groups, later)), (2 * len(table.items), len(table.items))).tocsr()
        for values in (table.response - chance, chance * (1.0 - chance))
    )
    items = table.items
    if of_resources:
        resources, means = _items_in_resources(table)
        surprise, information = (hstack([each, each @ means], "csr") for each in (surprise, information))
        items = (*items, *(table.resources[resource] for resource in resources))
    for each in (surprise, information):
        each.sort_indices()
    return _kept(items, surprise, information)


def _pairs(table: ResponseTable) -> tuple[Integers, Integers, Integers, Floats]:
    """The earlier item with its outcome, the later item, its row and the weight of the outcome, of each pair."""
    rows, found = np.arange(len(table)), []
    for distance in range(1, RECENT_ITEMS + 1):
        later = rows[distance:]
        earlier = later - distance
        near = (table.learner[earlier] == table.learner[later]) & (table.item[earlier] >= 0) & (table.item[later] >= 0)
        earlier, later = earlier[near], later[near]
        right = table.response[earlier].astype(np.float64)
        for outcome, weight in enumerate((1.0 - right, right)):
            some = weight > 0.0
            group = 2 * table.item[earlier[some]].astype(np.int64) + outcome
            found.append((group, table.item[later[some]].astype(np.int64), later[some], weight[some]))
    groups, later_items, of_rows, weights = map(np.concatenate, zip(*found, strict=True))
    return groups, later_items, of_rows, weights


def _items_in_resources(table: ResponseTable) -> tuple[list[int], csr_array]:
    """The resources that are no items themselves, and (items, resources): the share that each item has of each."""
    items = {*table.items}
    apart = np.array([resource not in items for resource in table.resources] + [False])
    inside = np.column_stack([table.item, table.resource])[(table.item >= 0) & apart[table.resource]]
    inside = np.unique(inside, axis=0)
    resources, column, counts = np.unique(inside[:, 1], return_inverse=True, return_counts=True)
    shape = (len(table.items), len(resources))
    return resources.tolist(), coo_array((1.0 / counts[column], (inside[:, 0], column)), shape).tocsr()


def _kept(items: tuple[str, ...], surprise: csr_array, information: csr_array) -> ItemPairs:
    """The pairs with the most information, of the items that are in any."""
    groups = np.repeat(np.arange(surprise.shape[0]), np.diff(surprise.indptr))
    chosen = np.sort(np.argsort(-information.data, kind="stable")[:_MOST_PAIRS])
    groups, later = groups[chosen], surprise.indices[chosen]
    used = np.union1d(groups // 2, later)
    groups = 2 * np.searchsorted(used, groups // 2) + groups % 2
    return ItemPairs(
        tuple(items[item] for item in used.tolist()),
        np.searchsorted(groups, np.arange(2 * len(used) + 1)),
        np.searchsorted(used, later).astype(np.int32),
        surprise.data[chosen].astype(np.float32),
        information.data[chosen].astype(np.float32),
    )
