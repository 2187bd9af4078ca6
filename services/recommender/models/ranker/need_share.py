"""Chooses how much need counts in a tenant's lists."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from services.recommender.domain.ranking.learned import DEFAULT_NEED_SHARE, LearnedRanker
from services.recommender.domain.ranking.pipeline import rank
from services.recommender.domain.ranking.prepared import prepare
from services.recommender.domain.ranking.weights import DEFAULT_WEIGHTS
from services.recommender.domain.training.metrics import ndcg
from services.recommender.models.ranker.dataset import RankingDataset

# Largest first.
_SHARES = (DEFAULT_NEED_SHARE, 0.4, 0.3, 0.2, 0.1)
_COST_MOST = 0.03
_LEARNERS_MOST = 1_000
_TOP = 10


def choose_need_share(dataset: RankingDataset, ranker: LearnedRanker, learners: Sequence[int]) -> float:
    """Return the largest share of need that costs little of a list's NDCG@10; lists are made as by a server.

    Without outcomes or skills nothing is known of need, and the share is the default.

    Args:
        dataset: an inner split.
        ranker: its trees were not grown on the lists of `learners`.
        learners: of the split; at most 1,000 of them are asked for.
    """
    if not dataset.split.graded or not any(dataset.split.tags):
        return DEFAULT_NEED_SHARE
    asked = learners[:_LEARNERS_MOST]
    return largest_that_costs_little(lambda share: _measure(dataset, ranker, asked, share))


def largest_that_costs_little(measure: Callable[[float], NDArray[np.float64]]) -> float:
    """Return the largest share of need whose cost is at most 3 %, or within one standard error of it.

    Args:
        measure: returns the NDCG@10 of each list for a share of need; the same lists for every share.
    """
    without = measure(0.0)
    for share in _SHARES:
        cost = without - measure(share)
        if cost.mean() - cost.std() / np.sqrt(len(cost)) <= _COST_MOST * without.mean():
            return share
    return 0.0


def _measure(
    dataset: RankingDataset, ranker: LearnedRanker, learners: Sequence[int], need_share: float
) -> NDArray[np.float64]:
    """NDCG@10 of each learner's list."""
    prepared = prepare(dataset.catalog, dataset.parameters, None, ranker)
    found = []
    with threadpool_limits(1, user_api="blas"):
        for learner in learners:
            state = dataset.states.of(learner)
            request = dataset.request(learner, dataset.models(state), limit=_TOP, need_share=need_share)
            listed = rank(prepared, request, DEFAULT_WEIGHTS, time.perf_counter)
            rows = [one.row for one in listed.resources]
            found.append(ndcg(rows, set(dataset.split.relevant[learner]), _TOP))
    return np.array(found)
