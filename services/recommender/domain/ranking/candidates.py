"""Which few hundred resources are worth scoring for a learner.

What is likely to come next; from the skills in scope with the largest needs that the learner is ready for, a handful
each; from the path to the learner's goals; from skills due for review; a few at random. Each source has a quota, so
that no skill with thousands of resources crowds out the rest, and the cost of a request hardly grows with the catalog.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from services.recommender.domain.ranking.catalog import BoolColumn, CatalogColumns, FloatColumn, IntColumn
from services.recommender.domain.ranking.compiled import pick_from_index
from services.recommender.domain.ranking.features import Difficulties, SkillEstimates
from services.recommender.domain.ranking.thresholds import RankingThresholds


@dataclass(frozen=True)
class InvertedIndex:
    """For each skill its resources in the order they are picked from; made once per catalog and parameters.

    Attributes:
        starts: S + 1; where each skill's resources start.
        middles: S; where what is practised ends and the rest (lessons, videos...) begins.
        rows: E; practised ones from easy to hard, then the rest from most to least about the skill.
        difficulties: E; of the practised ones, logits.
    """

    starts: IntColumn
    middles: IntColumn
    rows: IntColumn
    difficulties: FloatColumn


@dataclass(frozen=True, slots=True)
class Quota:
    """How many skills to pick from, and how many resources of each."""

    skills: int
    per_skill: int


def build_index(catalog: CatalogColumns, difficulties: Difficulties) -> InvertedIndex:
    """Sort every skill's resources."""
    rows, slots = catalog.tag_rows, catalog.tags.values
    practised = difficulties.practised[rows]
    keys = np.where(practised, difficulties.resource_means[rows], -catalog.tag_weights)
    order = np.lexsort((rows, keys, ~practised, slots))
    starts = catalog.skill_tags.starts
    return InvertedIndex(
        starts=starts,
        middles=starts[:-1] + np.bincount(slots[practised], minlength=len(catalog.skill_ids)),
        rows=rows[order],
        difficulties=keys[order],
    )


def random_seed(tenant: str, learner: str, models_id: str, day: str) -> int:
    """Seed of the random candidates: a new one for each day, learner and set of models.

    Args:
        tenant: the tenant.
        learner: the learner's pseudonym.
        models_id: identifies the models; empty without a bundle.
        day: ISO date of the moment answered for.
    """
    text = f"{tenant}\0{learner}\0{models_id}\0{day}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def select_candidates(
    index: InvertedIndex,
    estimates: SkillEstimates,
    urgencies: FloatColumn,
    next_item: BoolColumn,
    allowed: BoolColumn,
    held: IntColumn,
    limit: int,
    seed: int,
    thresholds: RankingThresholds,
    wanted: FloatColumn | None = None,
) -> IntColumn:
    """Rows to score, ascending, each once.

    Args:
        index: the catalog's inverted index.
        estimates: the learner's estimates.
        urgencies: S; how urgent each skill is, in scope.
        next_item: rows that are likely to come next.
        allowed: rows that may be in the list.
        held: rows that are held back, such as those answered lately; used only for a review or when the list would
            fall short.
        limit: the length of the list.
        seed: seed of the random candidates.
        thresholds: the quotas.
        wanted: for each skill its urgency on the path to a goal, 0 if it leads to none; None: there is no goal.
    """
    fresh = allowed.copy()
    fresh[held] = False
    chosen = next_item & fresh
    skills = min(max(limit, thresholds.gap_skills_min), thresholds.gap_skills_max)
    per_skill = min(thresholds.gap_candidates_per_skill, thresholds.gap_candidates // skills)
    _pick(index, estimates, urgencies, fresh, Quota(skills, per_skill), chosen, thresholds)
    if wanted is not None:
        quota = Quota(thresholds.goal_skills, thresholds.goal_candidates_per_skill)
        _pick(index, estimates, wanted, fresh, quota, chosen, thresholds)
    due = np.where(estimates.reviews >= thresholds.review_opens, estimates.reviews, 0.0)
    quota = Quota(thresholds.review_skills, thresholds.review_candidates_per_skill)
    _pick(index, estimates, due, allowed, quota, chosen, thresholds)
    found = int(np.count_nonzero(chosen))
    chosen[at_random(fresh & ~chosen, max(thresholds.random_candidates, limit - found), seed)] = True
    if np.count_nonzero(chosen) < limit:
        chosen[held[allowed[held]]] = True
    return chosen.nonzero()[0][: thresholds.candidates]


def _pick(
    index: InvertedIndex,
    estimates: SkillEstimates,
    urgency: FloatColumn,
    fresh: BoolColumn,
    quota: Quota,
    chosen: BoolColumn,
    thresholds: RankingThresholds,
) -> None:
    """Mark the best-fitting resources of the most urgent skills; a skill of urgency 0 picks nothing."""
    slots = urgency.nonzero()[0]
    if not len(slots):
        return
    slots = slots[(-urgency[slots]).argsort(kind="stable")]
    # The logit of success falls by one for each unit of difficulty; the damping by uncertainty is left to the fit.
    target_logit = math.log(thresholds.fit_target / (1.0 - thresholds.fit_target))
    pick_from_index(
        slots,
        estimates.learner_mean + estimates.means[slots] - target_logit,
        index.starts,
        index.middles,
        index.rows,
        index.difficulties,
        fresh,
        quota.skills,
        quota.per_skill,
        quota.per_skill * 2 // 5,
        chosen,
    )


def at_random(usable: BoolColumn, count: int, seed: int) -> IntColumn:
    """A uniform sample of the usable rows; all of them when there are no more than `count`."""
    rows = usable.nonzero()[0]
    if len(rows) <= count:
        return rows
    # Equal steps from a random start: each row is equally likely and none occurs twice, at hardly any cost.
    first, step = seed % len(rows), 1 + (seed >> 32) % (len(rows) - 1)
    while math.gcd(step, len(rows)) != 1:
        step += 1
    return rows[(first + step * np.arange(count)) % len(rows)]
