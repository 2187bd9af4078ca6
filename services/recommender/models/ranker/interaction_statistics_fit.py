"""Counts what learners usually work on: popularity, positions, and which skills follow or accompany others."""

from __future__ import annotations

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from services.recommender.domain.ranking.interaction_statistics import InteractionStatistics, SkillLinks
from services.recommender.domain.training.positives import Positives
from services.recommender.domain.training.responses import ResponseTable

_WINDOW = 5
_HALF_LIFE = 2.0
_LINKS_PER_SKILL = 60
# Shrinkage of links, in visits of a skill and in common learners.
_VISITS_SHRINK = 5.0
_LEARNERS_SHRINK = 20.0


def fit_interaction_statistics(table: ResponseTable, positives: Positives) -> InteractionStatistics:
    """Count the statistics.

    Args:
        table: responses, each learner's in order.
        positives: the positives of these responses.
    """
    size = len(positives.resources)
    popularity = np.bincount(positives.resource, minlength=size)
    lengths = np.diff(positives.start)
    learner = np.repeat(np.arange(len(lengths)), lengths)
    places = (np.arange(len(learner)) - positives.start[learner]) / np.maximum(lengths[learner] - 1, 1)
    mean_places = np.bincount(positives.resource, places, minlength=size) / np.maximum(popularity, 1)
    follows, together = _skill_links(table)
    return InteractionStatistics(
        resources=positives.resources,
        skills=table.skills,
        popularity=popularity.astype(np.float32),
        places=np.where(popularity > 0, mean_places, 0.5).astype(np.float32),
        follows=follows,
        together=together,
        responses=_responses_per_learner(table),
    )


def _responses_per_learner(table: ResponseTable) -> NDArray[np.float32]:
    """Return for each skill the mean number of responses of the learners who responded to it."""
    size = len(table.skills)
    learner = table.learner[table.skill_rows()].astype(np.int64)
    learners = np.bincount(np.unique(learner * size + table.skill) % max(size, 1), minlength=size)
    counts = np.bincount(table.skill, minlength=size)
    mean: NDArray[np.float32] = (counts / np.maximum(learners, 1)).astype(np.float32)
    return mean


def _skill_links(table: ResponseTable) -> tuple[SkillLinks, SkillLinks]:
    """Return weighted visits of other skills soon after a visit of each skill, and the cosine of their learners."""
    size = len(table.skills)
    learner = table.learner[table.skill_rows()]
    begins = np.ones(len(learner), np.bool_)
    begins[1:] = (np.diff(table.skill) != 0) | (np.diff(learner) != 0)
    learner, skill = learner[begins], table.skill[begins]
    follows = scipy.sparse.csr_matrix((size, size))
    for distance in range(1, _WINDOW + 1):
        same = learner[distance:] == learner[:-distance]
        pairs = (skill[:-distance][same], skill[distance:][same])
        weight = np.full(len(pairs[0]), 0.5 ** ((distance - 1) / _HALF_LIFE))
        follows = follows + scipy.sparse.csr_matrix((weight, pairs), (size, size))
    visits = np.bincount(skill, minlength=size)
    follows = scipy.sparse.diags(1.0 / (visits + _VISITS_SHRINK)) @ follows
    visited = scipy.sparse.csr_matrix((np.ones(len(skill)), (learner, skill)), (len(table.learners), size))
    visited.data[:] = 1.0
    common = (visited.T @ visited).tocoo()
    learners = np.asarray(visited.sum(axis=0)).ravel()
    cosine = common.data / np.sqrt(learners[common.row] * learners[common.col] + _LEARNERS_SHRINK)
    cosine[common.row == common.col] = 0.0
    return _links(follows.tocsr()), _links(
        scipy.sparse.csr_matrix((cosine, (common.row, common.col)), (size, size))
    )  # fmt: skip


def _links(matrix: scipy.sparse.csr_matrix) -> SkillLinks:
    """Return the strongest links of each skill."""
    kept: list[NDArray[np.int64]] = []
    for row in range(matrix.shape[0]):
        first, last = matrix.indptr[row], matrix.indptr[row + 1]
        order = np.argsort(-matrix.data[first:last], kind="stable")[:_LINKS_PER_SKILL]
        kept.append(first + np.sort(order[matrix.data[first:last][order] > 0.0]))
    entries = np.concatenate(kept) if kept else np.zeros(0, np.int64)
    starts = np.concatenate([[0], np.cumsum([len(row) for row in kept])]).astype(np.int32)
    return SkillLinks(starts, matrix.indices[entries].astype(np.int32), matrix.data[entries].astype(np.float32))
