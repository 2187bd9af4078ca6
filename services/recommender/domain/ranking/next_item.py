"""What a learner is likely to work on next: candidates and features of the learned ranker.

This is about likelihood, not need. It follows what the learner worked on lately, what others with a similar history
worked on next, and in which order resources and skills usually come. Gap, readiness and challenge are among its
features, so that it can learn whether learners follow them. `need` says what a learner needs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Self

import numba
import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.ranking.catalog import BoolColumn, CatalogColumns, FloatColumn, IntColumn
from services.recommender.domain.ranking.compiled import pick_highest
from services.recommender.domain.ranking.interaction_statistics import InteractionColumns
from services.recommender.domain.ranking.recent_activity import NEVER, RecentActivity, SkillActivity, SkillRecord
from services.recommender.domain.ranking.signals import fit
from services.recommender.domain.ranking.signals.signal import Candidates, TagMean

# Raise it when features change their meaning: trees that were grown on other features are of no use.
FEATURES_VERSION = 1
CANDIDATES = 500
_PER_MODEL = 80
_SKILLS = 6
_PER_SKILL = 40
_LATEST = 3

Matrix = NDArray[np.float32]


class FeatureGroup(IntEnum):
    """What a feature is about; reasons are made from these."""

    GAP = 0
    FIT = 1
    REVIEW = 2
    SIMILAR_LEARNERS = 3
    RECENT_WORK = 4


class NextItemFeature(IntEnum):
    """The features, apart from those of collaborative models: each one's number is its column.

    Attributes:
        group: what it is about.
        direction: 1 where a score may only grow with it, else 0.
    """

    group: FeatureGroup
    direction: int

    GAP = FeatureGroup.GAP, 1
    REVIEW = FeatureGroup.REVIEW, 0
    READY = FeatureGroup.FIT, 1
    SUCCESS = FeatureGroup.FIT, 0
    FIT = FeatureGroup.FIT, 0
    UNCERTAINTY = FeatureGroup.FIT, 0
    POPULARITY = FeatureGroup.SIMILAR_LEARNERS, 0
    POPULARITY_IN_SKILL = FeatureGroup.SIMILAR_LEARNERS, 0
    RANK_IN_SKILL = FeatureGroup.SIMILAR_LEARNERS, 0
    SKILL_SIZE = FeatureGroup.SIMILAR_LEARNERS, 0
    SKILL_LATEST = FeatureGroup.RECENT_WORK, 0
    SKILL_RECENT = FeatureGroup.RECENT_WORK, 0
    SKILL_AGE = FeatureGroup.RECENT_WORK, 0
    SKILL_FOLLOWS = FeatureGroup.RECENT_WORK, 0
    SKILL_TOGETHER = FeatureGroup.RECENT_WORK, 0
    SKILL_DONE = FeatureGroup.RECENT_WORK, 0
    SKILL_DONE_SHARE = FeatureGroup.RECENT_WORK, 0
    SKILL_ATTEMPTS = FeatureGroup.RECENT_WORK, 0
    SKILL_SUCCESS = FeatureGroup.RECENT_WORK, 0
    SKILL_RECENT_SUCCESSES = FeatureGroup.RECENT_WORK, 0
    SKILL_RECENT_FAILURES = FeatureGroup.RECENT_WORK, 0
    PLACE_AHEAD = FeatureGroup.RECENT_WORK, 0
    OWN_AGE = FeatureGroup.RECENT_WORK, 0
    HISTORY = FeatureGroup.RECENT_WORK, 0

    def __new__(cls, group: FeatureGroup, direction: int) -> Self:
        """Number members in their order."""
        number = len(cls.__members__)
        member = int.__new__(cls, number)
        member._value_ = number
        member.group, member.direction = group, direction
        return member


class ModelFeature(IntEnum):
    """The features of each collaborative model."""

    STANDARDISED = 0
    """Its score, standardised over the candidates."""
    RANK = 1
    """log(1 + rank of the score)."""
    SHARE = 2
    """Share of the highest score."""


_OWN_FEATURES = len(NextItemFeature)
_MODEL_FEATURES = len(ModelFeature)


def feature_names(models: tuple[str, ...]) -> tuple[str, ...]:
    """The features' names, in order, with these collaborative models."""
    return tuple(feature.name.lower() for feature in NextItemFeature) + tuple(
        f"{model}_{feature.name.lower()}" for model in models for feature in ModelFeature
    )


def model_column(model: int, feature: ModelFeature) -> int:
    """The column of a collaborative model's feature; `model` is its place among the models."""
    return _OWN_FEATURES + _MODEL_FEATURES * model + feature


def feature_groups(models: int) -> NDArray[np.intp]:
    """What each feature is about, with this number of collaborative models."""
    own = [int(feature.group) for feature in NextItemFeature]
    return np.array(own + [int(FeatureGroup.SIMILAR_LEARNERS)] * (models * _MODEL_FEATURES), np.intp)


def directions(models: int) -> list[int]:
    """1 for features that may only raise a score, else 0, with this number of collaborative models."""
    return [feature.direction for feature in NextItemFeature] + [0] * (models * _MODEL_FEATURES)


@dataclass(frozen=True)
class ModelScores:
    """Scores of several collaborative models for one learner.

    Attributes:
        scores: (M, R); of the R resources they know.
        rows: R; the catalog row of each, -1 where the catalog has no such active resource.
        index_of_row: N; the inverse, -1 where they do not know the resource.
    """

    scores: Matrix
    rows: IntColumn
    index_of_row: IntColumn


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
        models: scores of collaborative models for the learner.
        usable: rows that may be in the list.
    """
    chosen = np.zeros(len(catalog), np.bool_)
    for scores in models.scores:
        pick_highest(scores, models.rows, usable, _PER_MODEL, chosen)
    wanted = recent_activity.skills[SkillActivity.LATEST] + recent_activity.skills[SkillActivity.FOLLOWS]
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
    statistics: InteractionColumns,
    recent_activity: RecentActivity,
    models: ModelScores,
    candidates: Candidates,
    expected: BoolColumn,
) -> Matrix:
    """The columns of `feature_names` for some candidates.

    Args:
        statistics: over the catalog.
        recent_activity: the learner's.
        models: scores of collaborative models for the learner.
        candidates: the candidates.
        expected: C; which of them are among `next_item_candidates`. Scores of models are compared with theirs, as when
            the trees were grown.
    """
    catalog, rows = candidates.catalog, candidates.rows
    columns = np.empty((len(rows), _OWN_FEATURES + _MODEL_FEATURES * len(models.scores)), np.float32)
    columns[:, NextItemFeature.GAP] = candidates.tag_means[TagMean.NEED]
    columns[:, NextItemFeature.REVIEW] = candidates.tag_means[TagMean.REVIEW]
    columns[:, NextItemFeature.READY] = candidates.ready
    columns[:, NextItemFeature.SUCCESS] = candidates.success_by_filter
    columns[:, NextItemFeature.FIT] = fit.fit_of(candidates, candidates.success_by_filter)
    columns[:, NextItemFeature.UNCERTAINTY] = candidates.tag_means[TagMean.UNKNOWN]
    latest = statistics.places[recent_activity.recent[-_LATEST:]].tolist()
    _fill_own(
        rows,
        catalog.tags.starts,
        catalog.tags.values,
        catalog.tag_weights,
        recent_activity.skills,
        recent_activity.records,
        statistics.popularity,
        statistics.popularity_in_skill,
        statistics.rank_in_skill,
        statistics.skill_sizes,
        statistics.places,
        sum(latest) / max(len(latest), 1),
        recent_activity.recent,
        columns,
    )
    _fill_models(models.scores, models.index_of_row[rows], expected, columns)
    return columns


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
    """Mark the most popular usable resources of some skills that are not yet chosen, until `most` are chosen."""
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
    tag_starts: IntColumn,
    tag_slots: IntColumn,
    tag_weights: FloatColumn,
    skills: FloatColumn,
    records: FloatColumn,
    popularity: FloatColumn,
    popularity_in_skill: FloatColumn,
    rank_in_skill: FloatColumn,
    skill_sizes: FloatColumn,
    places: FloatColumn,
    here: float,
    recent: IntColumn,
    columns: Matrix,
) -> None:
    """Write the features that come from statistics and recent activity."""
    history = math.log1p(len(recent))
    own_age = np.full(len(popularity), NEVER)
    for since in range(len(recent)):
        row = recent[len(recent) - 1 - since]
        own_age[row] = min(own_age[row], since)
    for place in range(len(rows)):
        row = rows[place]
        size, latest, lately, age = 0.0, 0.0, 0.0, NEVER
        follows, together, done, done_share = 0.0, 0.0, 0.0, 0.0
        attempts, success, successes, failures = 0.0, 0.0, 0.0, 0.0
        for tag in range(tag_starts[row], tag_starts[row + 1]):
            slot, weight = tag_slots[tag], tag_weights[tag]
            size += weight * skill_sizes[slot]
            latest += weight * skills[SkillActivity.LATEST, slot]
            lately += weight * skills[SkillActivity.RECENT, slot]
            age = min(age, skills[SkillActivity.AGE, slot])
            follows += weight * skills[SkillActivity.FOLLOWS, slot]
            together += weight * skills[SkillActivity.TOGETHER, slot]
            done += weight * skills[SkillActivity.DONE, slot]
            done_share += weight * skills[SkillActivity.DONE, slot] / max(skill_sizes[slot], 1.0)
            attempts += weight * records[SkillRecord.ATTEMPTS, slot]
            success += weight * records[SkillRecord.SUCCESS, slot]
            successes += weight * records[SkillRecord.RECENT_SUCCESSES, slot]
            failures += weight * records[SkillRecord.RECENT_FAILURES, slot]
        columns[place, NextItemFeature.POPULARITY] = popularity[row]
        columns[place, NextItemFeature.POPULARITY_IN_SKILL] = popularity_in_skill[row]
        columns[place, NextItemFeature.RANK_IN_SKILL] = rank_in_skill[row]
        columns[place, NextItemFeature.SKILL_SIZE] = math.log1p(size)
        columns[place, NextItemFeature.SKILL_LATEST] = latest
        columns[place, NextItemFeature.SKILL_RECENT] = lately
        columns[place, NextItemFeature.SKILL_AGE] = age
        columns[place, NextItemFeature.SKILL_FOLLOWS] = follows
        columns[place, NextItemFeature.SKILL_TOGETHER] = together
        columns[place, NextItemFeature.SKILL_DONE] = done
        columns[place, NextItemFeature.SKILL_DONE_SHARE] = done_share
        columns[place, NextItemFeature.SKILL_ATTEMPTS] = attempts
        columns[place, NextItemFeature.SKILL_SUCCESS] = success
        columns[place, NextItemFeature.SKILL_RECENT_SUCCESSES] = successes
        columns[place, NextItemFeature.SKILL_RECENT_FAILURES] = failures
        columns[place, NextItemFeature.PLACE_AHEAD] = places[row] - here
        columns[place, NextItemFeature.OWN_AGE] = own_age[row]
        columns[place, NextItemFeature.HISTORY] = history


@numba.njit(cache=True)
def _fill_models(scores: Matrix, indices: IntColumn, expected: BoolColumn, columns: Matrix) -> None:
    """Write the features of each model, compared with the expected candidates."""
    count, compared = len(indices), max(expected.sum(), 1)
    values = np.empty(count)
    for model in range(len(scores)):
        mean, highest = 0.0, 0.0
        for place in range(count):
            values[place] = scores[model, indices[place]] if indices[place] >= 0 else 0.0
            if expected[place]:
                mean += values[place] / compared
                highest = max(highest, values[place])
        spread = 0.0
        for place in range(count):
            if expected[place]:
                spread += (values[place] - mean) ** 2 / compared
        spread = math.sqrt(spread)
        order = np.argsort(-values, kind="mergesort")
        first = _OWN_FEATURES + _MODEL_FEATURES * model
        rank = 0
        for place in order:
            columns[place, first + ModelFeature.STANDARDISED] = (values[place] - mean) / spread if spread > 0.0 else 0.0
            columns[place, first + ModelFeature.RANK] = math.log1p(rank)
            columns[place, first + ModelFeature.SHARE] = values[place] / highest if highest > 0.0 else 0.0
            rank += expected[place]
