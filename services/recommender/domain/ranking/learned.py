"""The learned ranker as data, and the score it gives. `models` grows its trees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from services.recommender.domain.learner.state import LearnerState
from services.recommender.domain.ranking.catalog import BoolColumn, CatalogColumns, FloatColumn, IntColumn
from services.recommender.domain.ranking.compiled import mean_and_deviation
from services.recommender.domain.ranking.explain import WEIGHED_COLUMNS, WEIGHED_SIGNALS
from services.recommender.domain.ranking.features import CollaborativeScores
from services.recommender.domain.ranking.interaction_statistics import (
    NO_STATISTICS,
    InteractionColumns,
    InteractionStatistics,
    index_interactions,
)
from services.recommender.domain.ranking.next_item import (
    FeatureGroup,
    ModelFeature,
    ModelScores,
    feature_groups,
    feature_names,
    model_column,
    next_item_candidates,
    next_item_features,
)
from services.recommender.domain.ranking.recent_activity import recent_activity_of
from services.recommender.domain.ranking.recent_work_reason import RECENT_WORK
from services.recommender.domain.ranking.scoring import Scores
from services.recommender.domain.ranking.signals import fit, gap, review, similar
from services.recommender.domain.ranking.signals.signal import Candidates, ReasonSource
from services.recommender.domain.ranking.trees import Matrix, Trees

REASON_SOURCES: tuple[ReasonSource, ...] = (*WEIGHED_SIGNALS, RECENT_WORK)
"""What reasons for a blended score come from."""
_SOURCE_OF_GROUP: Mapping[FeatureGroup, ReasonSource] = {
    FeatureGroup.GAP: gap.SIGNAL,
    FeatureGroup.FIT: fit.SIGNAL,
    FeatureGroup.REVIEW: review.SIGNAL,
    FeatureGroup.SIMILAR_LEARNERS: similar.SIGNAL,
    FeatureGroup.RECENT_WORK: RECENT_WORK,
}
_COLUMN_OF_GROUP = np.array([REASON_SOURCES.index(_SOURCE_OF_GROUP[group]) for group in FeatureGroup])


@dataclass(frozen=True)
class LearnedRanker:
    """Scores what a learner is likely to work on next.

    Attributes:
        models: names of the collaborative models whose scores it reads, its base models, in order.
        trees: over the columns of `next_item.feature_names(models)`.
        blend_weight: weight of the trees in the score, from 0 to 1; the rest is the weight of the best base model.
        best_base_model: place of that model in `models`.
        statistics: interaction statistics.
    """

    models: tuple[str, ...]
    trees: Trees
    blend_weight: float
    best_base_model: int
    statistics: InteractionStatistics

    def score(self, columns: Matrix) -> FloatColumn:
        """The score of each candidate, from its features."""
        return self.blend(self.trees.total(columns), columns)

    def blend(self, trees: FloatColumn, columns: Matrix) -> FloatColumn:
        """W * trees + (1 - w) * best base model, both standardised; with w = 1 the trees' sum as it is."""
        weight = self.blend_weight
        if weight == 1.0:
            return trees
        return weight * standardised(trees) + (1.0 - weight) * columns[:, self._best_base_model_column]

    def contributions(self, columns: Matrix, spread: float) -> FloatColumn:
        """What each `FeatureGroup` adds to the score, (C, groups), without what is the same for all candidates.

        Args:
            columns: features of the candidates to explain.
            spread: standard deviation of the trees' sum over all candidates; 1 where nothing is standardised.
        """
        added = self.trees.contributions(columns, self._feature_groups, len(FeatureGroup))[:, :-1] / spread
        weight = self.blend_weight
        if weight < 1.0:
            added *= weight
            added[:, FeatureGroup.SIMILAR_LEARNERS] += (1.0 - weight) * columns[:, self._best_base_model_column]
        return added

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the columns it reads."""
        return feature_names(self.models)

    @property
    def _best_base_model_column(self) -> int:
        return model_column(self.best_base_model, ModelFeature.STANDARDISED)

    @cached_property
    def _feature_groups(self) -> IntColumn:
        return feature_groups(len(self.models))


def smallest_ranker() -> LearnedRanker:
    """A ranker with one collaborative model and one tree that is a leaf: all candidates score the same."""
    leaf = np.zeros(1, np.int32)
    trees = Trees(
        starts=np.array([0, 1], np.int32),
        split_features=leaf - 1,
        thresholds=np.zeros(1, np.float32),
        lefts=leaf,
        rights=leaf,
        node_values=np.zeros(1, np.float32),
    )
    return LearnedRanker(("model",), trees, blend_weight=1.0, best_base_model=0, statistics=NO_STATISTICS)


@dataclass(frozen=True)
class PreparedRanker:
    """A learned ranker over a catalog; made once for many requests."""

    ranker: LearnedRanker
    statistics: InteractionColumns = field(repr=False)


def prepare_ranker(catalog: CatalogColumns, ranker: LearnedRanker) -> PreparedRanker:
    """A learned ranker over a catalog."""
    return PreparedRanker(ranker, index_interactions(catalog, ranker.statistics))


@dataclass(frozen=True)
class BlendedScores:
    """Scores that blend what comes next with what the learner needs.

    Attributes:
        total: C; the score.
    """

    total: FloatColumn
    _ranker: LearnedRanker
    _columns: Matrix
    _scale: float
    _spread: float
    _needed: Scores
    _need_scale: float

    def added(self, picked: IntColumn) -> FloatColumn:
        """What each of REASON_SOURCES added to the score of each picked candidate, (picked, sources).

        What all candidates have in common is left out; apart from that the entries sum to `total`.
        """
        next_item = self._scale * self._ranker.contributions(self._columns[picked], self._spread)
        added = np.zeros((len(picked), len(REASON_SOURCES)))
        added[:, : len(WEIGHED_SIGNALS)] = (self._need_scale * self._needed.added[:, picked][WEIGHED_COLUMNS]).T
        added[:, _COLUMN_OF_GROUP] += next_item
        return added


class NextItemCandidates:
    """What one learner is likely to work on next, over a catalog."""

    def __init__(
        self,
        catalog: CatalogColumns,
        prepared: PreparedRanker,
        state: LearnerState,
        recent: IntColumn,
        models: ModelScores,
        need_share: float,
    ) -> None:
        """Collect the learner's activity and scores.

        Args:
            catalog: the catalog.
            prepared: the ranker over it.
            state: the learner's state.
            recent: rows they worked on lately, newest last.
            models: scores of the collaborative models.
            need_share: share of need in the score.
        """
        self._catalog = catalog
        self._prepared = prepared
        self._models = models
        self._need_share = need_share
        self._recent_activity = recent_activity_of(catalog, prepared.statistics, state, recent)

    def candidates(
        self, allowed: BoolColumn, held: IntColumn, needed: Callable[[], IntColumn], limit: int
    ) -> IntColumn:
        """Rows to score, ascending.

        Args:
            allowed: rows that may be in the list.
            held: rows the learner answered lately.
            needed: returns the candidates of the hand-weighted score. It is called where need counts, or where too few
                others are found.
            limit: length of the list.
        """
        usable = allowed.copy()
        usable[held] = False
        chosen = next_item_candidates(
            self._catalog, self._prepared.statistics, self._recent_activity, self._models, usable
        )
        if self._need_share > 0.0 or np.count_nonzero(chosen) < limit:
            chosen[needed()] = True
        return chosen.nonzero()[0]

    @property
    def statistics(self) -> InteractionColumns:
        """What learners usually work on, over the catalog."""
        return self._prepared.statistics

    @property
    def similar(self) -> CollaborativeScores | None:
        """What similar learners worked on, by the best base model; None where need does not count."""
        return None if self._need_share == 0.0 else self.by_best_base_model

    @property
    def by_best_base_model(self) -> CollaborativeScores:
        """The scores of the best base model."""
        models = self._models
        positives = int(np.count_nonzero(models.index_of_row[self._recent_activity.recent] >= 0))
        scores = models.scores[self._prepared.ranker.best_base_model]
        return CollaborativeScores(scores, models.rows, models.index_of_row, positives)

    def blend(self, candidates: Candidates, needed: Scores) -> BlendedScores:
        """Score candidates: (1 - need_share) * next item + need_share * need, both standardised where both count.

        Args:
            candidates: the candidates.
            needed: their hand-weighted scores.
        """
        ranker = self._prepared.ranker
        columns = next_item_features(self._prepared.statistics, self._recent_activity, self._models, candidates)
        trees = ranker.trees.total(columns)
        spread = 1.0 if ranker.blend_weight == 1.0 else _deviation(trees)
        next_item = ranker.blend(trees, columns)
        share = self._need_share
        scale, need_scale = 1.0, 0.0
        if share > 0.0:
            scale, need_scale = (1.0 - share) / _deviation(next_item), share / _deviation(needed.total)
        total = scale * next_item + need_scale * needed.total
        return BlendedScores(total, ranker, columns, scale, spread, needed, need_scale)


def _deviation(values: FloatColumn) -> float:
    """Standard deviation; 1 where all are equal."""
    _, deviation = mean_and_deviation(values)
    return deviation or 1.0


def standardised(values: FloatColumn) -> FloatColumn:
    """Values minus their mean, in standard deviations; 0 where all are equal."""
    mean, deviation = mean_and_deviation(values)
    return (values - mean) / (deviation or 1.0)
