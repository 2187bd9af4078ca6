"""Which few hundred resources are worth scoring for a learner.

From the skills with the largest gaps the learner is ready for, a handful each; from skills due for review; from what
similar learners worked on; a few at random. Each source has a quota, so that no skill with thousands of resources
crowds out the rest, and the cost of a request hardly grows with the catalog.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from services.recommender.domain.ranking.catalog import BoolColumn, CatalogColumns, FloatColumn, IntColumn, ragged_range
from services.recommender.domain.ranking.features import (
    CollaborativeScores,
    Difficulties,
    SkillEstimates,
    least_readiness,
)
from services.recommender.domain.ranking.weights import RankingWeights

# Difficulties are kept as shelf * stride + difficulty, so that one sorted column serves to search every shelf at once.
_STRIDE = 1_000.0
_DIFFICULTY_MAX = 100.0
_REST = 200.0


@dataclass(frozen=True)
class Shelves:
    """For each skill its resources in the order they are picked from; made once per catalog and parameters.

    Attributes:
        starts: S; where each skill's shelf starts.
        middles: S; where what is practised ends and the rest (lessons, videos...) begins.
        ends: S; where it ends.
        rows: E; practised ones from easy to hard, then the rest from most to least about the skill.
        keys: E, ascending; slot * 1000 + difficulty (logits) for the practised ones.
    """

    starts: IntColumn
    middles: IntColumn
    ends: IntColumn
    rows: IntColumn
    keys: FloatColumn

    def restricted(self, allowed: BoolColumn) -> Shelves:
        """The same shelves with only the rows that are allowed."""
        kept = allowed[self.rows].nonzero()[0]
        return Shelves(
            starts=kept.searchsorted(self.starts),
            middles=kept.searchsorted(self.middles),
            ends=kept.searchsorted(self.ends),
            rows=self.rows[kept],
            keys=self.keys[kept],
        )


@dataclass(frozen=True, slots=True)
class Quota:
    """How many skills to pick from, and how many resources of each."""

    skills: int
    per_skill: int


def build_shelves(catalog: CatalogColumns, difficulties: Difficulties) -> Shelves:
    """Sort every skill's resources."""
    rows, slots = catalog.tag_rows, catalog.tags.values
    practised = difficulties.practised[rows]
    easy_first = difficulties.resource_means[rows].clip(-_DIFFICULTY_MAX, _DIFFICULTY_MAX)
    keys = slots.astype(np.float64) * _STRIDE + np.where(practised, easy_first, _REST - catalog.tag_weights)
    order = np.lexsort((rows, keys))
    starts = catalog.skill_tags.starts
    return Shelves(
        starts=starts[:-1],
        middles=starts[:-1] + np.bincount(slots[practised], minlength=len(catalog.skill_ids)),
        ends=starts[1:],
        rows=rows[order],
        keys=keys[order],
    )


def random_seed(tenant: str, learner: str, bundle: str, day: str) -> int:
    """Seed of the random candidates: another one each day, for each learner and with each bundle.

    Args:
        tenant: the tenant.
        learner: the learner's pseudonym.
        bundle: id of the bundle; empty when none.
        day: ISO date of the moment answered for.
    """
    text = f"{tenant}\0{learner}\0{bundle}\0{day}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def select_candidates(
    catalog: CatalogColumns,
    shelves: Shelves,
    estimates: SkillEstimates,
    collaborative: CollaborativeScores | None,
    allowed: BoolColumn,
    answered: IntColumn,
    limit: int,
    seed: int,
    weights: RankingWeights,
) -> IntColumn:
    """Rows to score, ascending, each once.

    Args:
        catalog: the catalog.
        shelves: its shelves, restricted to what is allowed.
        estimates: the learner's.
        collaborative: the learner's collaborative scores, if any.
        allowed: rows that may be in the list.
        answered: rows the learner answered lately; they come in only for a review or when the list would fall short.
        limit: how long the list is to be.
        seed: of the random ones.
        weights: the quotas.
    """
    fresh = allowed.copy()
    fresh[answered] = False
    chosen = np.zeros(len(catalog), np.bool_)
    chosen[_from_gaps(catalog, shelves, estimates, fresh, answered, limit, weights)] = True
    chosen[_from_reviews(shelves, estimates, allowed, weights)] = True
    chosen[_from_similar_learners(collaborative, fresh, weights)] = True
    found = int(np.count_nonzero(chosen))
    chosen[at_random(fresh, max(weights.random_candidates, limit - found), seed)] = True
    if np.count_nonzero(chosen) < limit:
        chosen[answered[allowed[answered]]] = True
    return chosen.nonzero()[0][: weights.candidates]


def _from_gaps(
    catalog: CatalogColumns,
    shelves: Shelves,
    estimates: SkillEstimates,
    fresh: BoolColumn,
    answered: IntColumn,
    limit: int,
    weights: RankingWeights,
) -> IntColumn:
    """From skills by need times the readiness of their prerequisites, about as many as the list is long."""
    skills = min(max(limit, weights.gap_skills_min), weights.gap_skills_max)
    quota = Quota(skills, min(weights.gap_candidates_per_skill, weights.gap_candidates // skills))
    every = np.arange(len(catalog.skill_ids))
    urgency = estimates.needs * least_readiness(catalog.skill_prerequisites, every, estimates.readiness)
    answered_tags = catalog.tags.values[catalog.tags.entries(answered).indices]
    return _from_shelves(shelves, estimates, urgency, fresh, answered_tags, quota, weights)


def _from_reviews(
    shelves: Shelves, estimates: SkillEstimates, allowed: BoolColumn, weights: RankingWeights
) -> IntColumn:
    due = estimates.reviews >= weights.review_opens
    if not due.any():
        return _NONE
    quota = Quota(weights.review_skills, weights.review_candidates_per_skill)
    return _from_shelves(shelves, estimates, estimates.reviews * due, allowed, _NONE, quota, weights)


def _from_shelves(
    shelves: Shelves,
    estimates: SkillEstimates,
    urgency: FloatColumn,
    fresh: BoolColumn,
    stale: IntColumn,
    quota: Quota,
    weights: RankingWeights,
) -> IntColumn:
    """From the shelves of the most urgent skills that have anything, what fits the learner best.

    Args:
        shelves: the shelves.
        estimates: the learner's.
        urgency: S; 0 for a skill not to pick from.
        fresh: rows to pick.
        stale: slots of the tags of rows on the shelves that are not fresh.
        quota: how much to pick.
        weights: where a challenge fits.
    """
    stale_on_shelf = np.bincount(stale, minlength=len(urgency))
    wanted = np.where(shelves.ends - shelves.starts > stale_on_shelf, urgency, 0.0)
    slots = (-wanted).argsort(kind="stable")[: quota.skills]
    slots = slots[wanted[slots] > 0.0]
    starts, middles, ends = shelves.starts[slots], shelves.middles[slots], shelves.ends[slots]
    rest = np.minimum(ends - middles, quota.per_skill * 2 // 5)
    room = quota.per_skill - rest
    # As many more as may turn out not to be fresh.
    width = np.minimum(room + stale_on_shelf[slots], middles - starts)
    # The logit of success falls by one for each unit of difficulty; how uncertainty damps it is left to the fit.
    target_logit = math.log(weights.fit_target / (1.0 - weights.fit_target))
    easier = estimates.learner_mean + estimates.means[slots] - target_logit
    targets = slots * _STRIDE + easier.clip(-_DIFFICULTY_MAX, _DIFFICULTY_MAX)
    nearest = shelves.keys.searchsorted(targets)
    near = ragged_range(np.maximum(np.minimum(nearest - width // 2, middles - width), starts), width)
    rows = shelves.rows[near.indices]
    owners, distances = near.owners, np.abs(shelves.keys[near.indices] - targets[near.owners])
    if len(stale):
        kept = fresh[rows].nonzero()[0]
        nearest_first = kept[(owners[kept] * _STRIDE + distances[kept]).argsort(kind="stable")]
        owners = owners[nearest_first]
        # Counting from the first of its owner.
        places = np.arange(len(owners)) - owners.searchsorted(owners)
        rows = rows[nearest_first[places < room[owners]]]
    others = shelves.rows[ragged_range(middles, rest).indices]
    return np.concatenate((rows, others[fresh[others]]))


def _from_similar_learners(
    collaborative: CollaborativeScores | None, fresh: BoolColumn, weights: RankingWeights
) -> IntColumn:
    if collaborative is None or not collaborative.positives:
        return _NONE
    usable = ((collaborative.rows >= 0) & fresh[collaborative.rows]).nonzero()[0]
    surplus = len(usable) - weights.similar_candidates
    if surplus > 0:
        scores = collaborative.scores[usable]
        least = np.partition(scores, surplus)[surplus]
        above, level = usable[scores > least], usable[scores == least]
        usable = np.concatenate((above, level[: weights.similar_candidates - len(above)]))
    return collaborative.rows[usable]


def at_random(fresh: BoolColumn, count: int, seed: int) -> IntColumn:
    """Some fresh rows, each as likely as any other; all of them when there are no more than `count`."""
    rows = fresh.nonzero()[0]
    if len(rows) <= count:
        return rows
    # Equal steps from a random place: each row is as likely as any other, none comes twice, at hardly any cost.
    first, step = seed % len(rows), 1 + (seed >> 32) % (len(rows) - 1)
    while math.gcd(step, len(rows)) != 1:
        step += 1
    return rows[(first + step * np.arange(count)) % len(rows)]


_NONE = np.zeros(0, np.intp)
