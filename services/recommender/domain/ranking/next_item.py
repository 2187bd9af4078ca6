"""What a learner is likely to work on next: candidates and features of the learned ranker.

This is about likelihood, not need: it follows what the learner worked on lately, what others with such a history
worked on next, and in which order resources and skills usually come. Gap, readiness and challenge are among its
features, so that it can learn whether learners follow them. What a learner needs is up to the hand-weighted score
(`scoring`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numba
import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.learner.state import LearnerState
from services.recommender.domain.ranking.catalog import BoolColumn, CatalogColumns, FloatColumn, IntColumn
from services.recommender.domain.ranking.compiled import pick_highest
from services.recommender.domain.ranking.features import Features
from services.recommender.domain.ranking.interaction_statistics import InteractionColumns

# Raised when features change their meaning: trees grown on others are of no use.
FEATURES_VERSION = 1
SHORT_HALF_LIFE = 1.5
LONG_HALF_LIFE = 10.0
CANDIDATES = 500
_PER_MODEL = 80
_SKILLS = 6
_PER_SKILL = 40
_NEVER = 200.0
_LATEST = 3

Matrix = NDArray[np.float32]


class FeatureGroup(IntEnum):
    """What a feature tells of; reasons are made from these."""

    GAP = 0
    FIT = 1
    REVIEW = 2
    SIMILAR_LEARNERS = 3
    RECENT_WORK = 4


# Every feature with what it tells of and whether a score may only grow with it (1), in the order of the columns.
_OWN_FEATURES: tuple[tuple[str, FeatureGroup, int], ...] = (
    ("gap", FeatureGroup.GAP, 1),
    ("review", FeatureGroup.REVIEW, 0),
    ("ready", FeatureGroup.FIT, 1),
    ("success", FeatureGroup.FIT, 0),
    ("fit", FeatureGroup.FIT, 0),
    ("uncertainty", FeatureGroup.FIT, 0),
    ("popularity", FeatureGroup.SIMILAR_LEARNERS, 0),
    ("popularity_in_skill", FeatureGroup.SIMILAR_LEARNERS, 0),
    ("rank_in_skill", FeatureGroup.SIMILAR_LEARNERS, 0),
    ("skill_size", FeatureGroup.SIMILAR_LEARNERS, 0),
    ("skill_latest", FeatureGroup.RECENT_WORK, 0),
    ("skill_recent", FeatureGroup.RECENT_WORK, 0),
    ("skill_age", FeatureGroup.RECENT_WORK, 0),
    ("skill_follows", FeatureGroup.RECENT_WORK, 0),
    ("skill_together", FeatureGroup.RECENT_WORK, 0),
    ("skill_done", FeatureGroup.RECENT_WORK, 0),
    ("skill_done_share", FeatureGroup.RECENT_WORK, 0),
    ("skill_attempts", FeatureGroup.RECENT_WORK, 0),
    ("skill_success", FeatureGroup.RECENT_WORK, 0),
    ("skill_recent_successes", FeatureGroup.RECENT_WORK, 0),
    ("skill_recent_failures", FeatureGroup.RECENT_WORK, 0),
    ("place_ahead", FeatureGroup.RECENT_WORK, 0),
    ("own_age", FeatureGroup.RECENT_WORK, 0),
    ("history", FeatureGroup.RECENT_WORK, 0),
)
_OF_EACH_MODEL = ("standardised", "rank", "share")


def feature_names(models: tuple[str, ...]) -> tuple[str, ...]:
    """The features' names, in order, with these collaborative models."""
    return tuple(name for name, _, _ in _OWN_FEATURES) + tuple(
        f"{model}_{form}" for model in models for form in _OF_EACH_MODEL
    )


def feature_groups(models: int) -> NDArray[np.intp]:
    """What each feature tells of, with so many collaborative models."""
    own = [int(feature_group) for _, feature_group, _ in _OWN_FEATURES]
    return np.array(own + [int(FeatureGroup.SIMILAR_LEARNERS)] * (models * len(_OF_EACH_MODEL)), np.intp)


def directions(models: int) -> list[int]:
    """1 for features that may only raise a score, else 0, with so many collaborative models."""
    return [direction for _, _, direction in _OWN_FEATURES] + [0] * (models * len(_OF_EACH_MODEL))


@dataclass(frozen=True)
class ModelScores:
    """What several collaborative models say for one learner.

    Attributes:
        scores: (M, R); of the R resources they know.
        rows: R; the catalog row of each, -1 where the catalog has no such active resource.
        index_of_row: N; the inverse, -1 where they do not know the resource.
    """

    scores: Matrix
    rows: IntColumn
    index_of_row: IntColumn


@dataclass(frozen=True)
class RecentActivity:
    """What a learner worked on lately.

    Attributes:
        recent: catalog rows, newest last.
        attempts: S; log(1 + responses).
        success: S; (successes + 1) / (responses + 2).
        recent_successes: S; decaying sums, see `learner.SKILL_RECORD`.
        recent_failures: S.
        skills: (6, S); see `_follow_skills`.
    """

    recent: IntColumn
    attempts: FloatColumn
    success: FloatColumn
    recent_successes: FloatColumn
    recent_failures: FloatColumn
    skills: FloatColumn


def recent_activity_of(
    catalog: CatalogColumns, statistics: InteractionColumns, state: LearnerState, recent: IntColumn
) -> RecentActivity:
    """What a learner's state says of their recent work.

    Args:
        catalog: the catalog.
        statistics: over it.
        state: the learner's state.
        recent: catalog rows of what they worked on lately, newest last.
    """
    slots = np.fromiter((catalog.slot_of_skill.get(name, -1) for name in state.skill_names), np.intp)
    here = slots >= 0
    records, slots = state.skill_records[here], slots[here]
    known = np.zeros((4, len(catalog.skill_ids)))
    known[1] = 0.5
    known[0, slots] = np.log1p(records["attempts"])
    known[1, slots] = (records["successes"] + 1.0) / (records["attempts"] + 2.0)
    known[2, slots] = records["recent_successes"]
    known[3, slots] = records["recent_failures"]
    skills = _follow_skills(
        recent,
        catalog.tags.starts,
        catalog.tags.values,
        catalog.tag_weights,
        len(catalog.skill_ids),
        statistics.follows.starts,
        statistics.follows.skills,
        statistics.follows.strengths,
        statistics.together.starts,
        statistics.together.skills,
        statistics.together.strengths,
    )
    return RecentActivity(recent, known[0], known[1], known[2], known[3], skills)


def next_item_candidates(
    catalog: CatalogColumns,
    statistics: InteractionColumns,
    recent_activity: RecentActivity,
    models: ModelScores,
    usable: BoolColumn,
) -> BoolColumn:
    """Which rows to score: the first of each collaborative model, and what is popular in the current skills.

    Args:
        catalog: the catalog.
        statistics: over it.
        recent_activity: the learner's.
        models: what collaborative models say for the learner.
        usable: rows that may be in the list.
    """
    chosen = np.zeros(len(catalog), np.bool_)
    for scores in models.scores:
        pick_highest(scores, models.rows, usable, _PER_MODEL, chosen)
    wanted = recent_activity.skills[0] + recent_activity.skills[3]
    current = (-wanted).argsort(kind="stable")[:_SKILLS]
    _pick_popular(
        current[wanted[current] > 0.0],
        statistics.index_starts,
        statistics.index,
        usable,
        _PER_SKILL,
        CANDIDATES,
        chosen,
    )
    return chosen


def next_item_features(
    catalog: CatalogColumns,
    statistics: InteractionColumns,
    recent_activity: RecentActivity,
    models: ModelScores,
    rows: IntColumn,
    features: Features,
) -> Matrix:
    """The columns of `feature_names` for some rows of a catalog and one learner.

    Args:
        catalog: the catalog.
        statistics: over it.
        recent_activity: the learner's.
        models: what collaborative models say for the learner.
        rows: the candidates.
        features: those of the hand-weighted score, of the same candidates.
    """
    own = len(_OWN_FEATURES)
    columns = np.empty((len(rows), own + len(_OF_EACH_MODEL) * len(models.scores)), np.float32)
    base = np.stack(
        (features.gap, features.review, features.ready, features.success, features.fit, features.uncertainty)
    )
    latest = statistics.places[recent_activity.recent[-_LATEST:]].tolist()
    _fill_own(
        rows,
        base,
        catalog.tags.starts,
        catalog.tags.values,
        catalog.tag_weights,
        recent_activity.skills,
        np.stack(
            (
                recent_activity.attempts,
                recent_activity.success,
                recent_activity.recent_successes,
                recent_activity.recent_failures,
            )
        ),
        statistics.popularity,
        statistics.popularity_in_skill,
        statistics.rank_in_skill,
        statistics.skill_sizes,
        statistics.places,
        sum(latest) / max(len(latest), 1),
        recent_activity.recent,
        columns,
    )
    _fill_models(models.scores, models.index_of_row[rows], own, columns)
    return columns


@numba.njit(cache=True)
def _follow_skills(
    recent: IntColumn,
    tag_starts: IntColumn,
    tag_slots: IntColumn,
    tag_weights: FloatColumn,
    skills: int,
    follow_starts: NDArray[np.int32],
    follow_slots: NDArray[np.int32],
    follow_strengths: NDArray[np.float32],
    together_starts: NDArray[np.int32],
    together_slots: NDArray[np.int32],
    together_strengths: NDArray[np.float32],
) -> FloatColumn:
    """Recent work by skill.

    Returns:
        (6, S): share of the very latest work, share of recent work, resources since it was last worked on, what
        follows the latest skills, what goes together with the recent ones, and how many resources were about it.
    """
    of_skill = np.zeros((6, skills))
    of_skill[2, :] = _NEVER
    for age in range(len(recent)):
        row = recent[len(recent) - 1 - age]
        short, long = 0.5 ** (age / SHORT_HALF_LIFE), 0.5 ** (age / LONG_HALF_LIFE)
        for tag in range(tag_starts[row], tag_starts[row + 1]):
            slot = tag_slots[tag]
            of_skill[0, slot] += short * tag_weights[tag]
            of_skill[1, slot] += long * tag_weights[tag]
            of_skill[2, slot] = min(of_skill[2, slot], age)
            of_skill[5, slot] += 1.0
    for share in range(2):
        whole = of_skill[share].sum()
        if whole > 0.0:
            of_skill[share] /= whole
    for slot in range(skills):
        if of_skill[0, slot] > 1e-4:
            for link in range(follow_starts[slot], follow_starts[slot + 1]):
                of_skill[3, follow_slots[link]] += of_skill[0, slot] * follow_strengths[link]
        if of_skill[1, slot] > 1e-4:
            for link in range(together_starts[slot], together_starts[slot + 1]):
                of_skill[4, together_slots[link]] += of_skill[1, slot] * together_strengths[link]
    return of_skill


@numba.njit(cache=True)
def _pick_popular(
    slots: IntColumn,
    starts: IntColumn,
    index: IntColumn,
    usable: BoolColumn,
    per_skill: int,
    most: int,
    chosen: BoolColumn,
) -> None:
    """Mark the most popular usable resources of some skills that are not yet chosen, until so many are chosen."""
    left = most - chosen.sum()
    for slot in slots:
        picked = 0
        for entry in range(starts[slot], starts[slot + 1]):
            if picked == per_skill or left <= 0:
                break
            row = index[entry]
            if usable[row] and not chosen[row]:
                chosen[row] = True
                picked += 1
                left -= 1


@numba.njit(cache=True)
def _fill_own(
    rows: IntColumn,
    base: FloatColumn,
    tag_starts: IntColumn,
    tag_slots: IntColumn,
    tag_weights: FloatColumn,
    skills: FloatColumn,
    known: FloatColumn,
    popularity: FloatColumn,
    popularity_in_skill: FloatColumn,
    rank_in_skill: FloatColumn,
    skill_sizes: FloatColumn,
    places: FloatColumn,
    here: float,
    recent: IntColumn,
    columns: Matrix,
) -> None:
    history = math.log1p(len(recent))
    own_age = np.full(len(popularity), _NEVER)
    for since in range(len(recent)):
        row = recent[len(recent) - 1 - since]
        own_age[row] = min(own_age[row], since)
    for place in range(len(rows)):
        row = rows[place]
        for column in range(6):
            columns[place, column] = base[column, place]
        columns[place, 6] = popularity[row]
        columns[place, 7] = popularity_in_skill[row]
        columns[place, 8] = rank_in_skill[row]
        size, latest, lately, age = 0.0, 0.0, 0.0, _NEVER
        follows, together, done, done_share = 0.0, 0.0, 0.0, 0.0
        attempts, success, successes, failures = 0.0, 0.0, 0.0, 0.0
        for tag in range(tag_starts[row], tag_starts[row + 1]):
            slot, weight = tag_slots[tag], tag_weights[tag]
            size += weight * skill_sizes[slot]
            latest += weight * skills[0, slot]
            lately += weight * skills[1, slot]
            age = min(age, skills[2, slot])
            follows += weight * skills[3, slot]
            together += weight * skills[4, slot]
            done += weight * skills[5, slot]
            done_share += weight * skills[5, slot] / max(skill_sizes[slot], 1.0)
            attempts += weight * known[0, slot]
            success += weight * known[1, slot]
            successes += weight * known[2, slot]
            failures += weight * known[3, slot]
        columns[place, 9] = math.log1p(size)
        columns[place, 10] = latest
        columns[place, 11] = lately
        columns[place, 12] = age
        columns[place, 13] = follows
        columns[place, 14] = together
        columns[place, 15] = done
        columns[place, 16] = done_share
        columns[place, 17] = attempts
        columns[place, 18] = success
        columns[place, 19] = successes
        columns[place, 20] = failures
        columns[place, 21] = places[row] - here
        columns[place, 22] = own_age[row]
        columns[place, 23] = history


@numba.njit(cache=True)
def _fill_models(scores: Matrix, indices: IntColumn, first: int, columns: Matrix) -> None:
    """Each model's score standardised over the candidates, log(1 + its rank), and its share of the highest."""
    count = len(indices)
    values = np.empty(count)
    for model in range(len(scores)):
        mean, highest = 0.0, 0.0
        for place in range(count):
            values[place] = scores[model, indices[place]] if indices[place] >= 0 else 0.0
            mean += values[place] / count
            highest = max(highest, values[place])
        spread = 0.0
        for place in range(count):
            spread += (values[place] - mean) ** 2 / count
        spread = math.sqrt(spread)
        order = np.argsort(-values, kind="mergesort")
        column = first + 3 * model
        for rank in range(count):
            place = order[rank]
            columns[place, column] = (values[place] - mean) / spread if spread > 0.0 else 0.0
            columns[place, column + 1] = math.log1p(rank)
            columns[place, column + 2] = values[place] / highest if highest > 0.0 else 0.0
