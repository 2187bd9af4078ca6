"""The learned ranker as data, and the score it gives; growing its trees is the models' work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from services.recommender.domain.learner.state import LearnerState
from services.recommender.domain.ranking.catalog import BoolColumn, CatalogColumns, FloatColumn, IntColumn
from services.recommender.domain.ranking.compiled import mean_and_deviation
from services.recommender.domain.ranking.explain import WEIGHED_KINDS, ReasonKind
from services.recommender.domain.ranking.features import CollaborativeScores, Features
from services.recommender.domain.ranking.interaction_statistics import (
    InteractionColumns,
    InteractionStatistics,
    SkillLinks,
    index_interactions,
)
from services.recommender.domain.ranking.next_item import (
    FeatureGroup,
    ModelScores,
    feature_groups,
    feature_names,
    next_item_candidates,
    next_item_features,
    recent_activity_of,
)
from services.recommender.domain.ranking.scoring import Scores
from services.recommender.domain.ranking.trees import Matrix, Trees

_FORMS = 3
_KINDS = (*WEIGHED_KINDS, ReasonKind.RECENT_WORK)
# Where among _KINDS each FeatureGroup stands.
_SCORE_COLUMN_OF_GROUP = np.array([0, 1, 2, 3, 5])


@dataclass(frozen=True)
class LearnedRanker:
    """Scores what a learner is likely to work on next.

    Attributes:
        models: names of the collaborative models whose scores it reads, in order.
        trees: over the columns of `next_item.feature_names(models)`.
        share: of the trees in the score, from 0 to 1; the rest is the leading collaborative model's.
        best_base_model: which of the models that is.
        statistics: what learners usually do.
    """

    models: tuple[str, ...]
    trees: Trees
    share: float
    best_base_model: int
    statistics: InteractionStatistics

    def score(self, columns: Matrix) -> FloatColumn:
        """The score of each candidate, from its features."""
        return self.blend(self.trees.total(columns), columns)

    def blend(self, trees: FloatColumn, columns: Matrix) -> FloatColumn:
        """Share * trees + (1 - share) * lead, both standardised; the trees' sum as it is where they stand alone."""
        if self.share == 1.0:
            return trees
        return self.share * standardised(trees) + (1.0 - self.share) * columns[:, self._lead_column]

    def contributions(self, columns: Matrix, spread: float) -> FloatColumn:
        """What each `FeatureGroup` adds to the score, (C, groups); what all candidates share is left out.

        Args:
            columns: features of the candidates to explain.
            spread: standard deviation of the trees' sum over all candidates; 1 where nothing is standardised.
        """
        added = self.trees.contributions(columns, self._feature_groups, len(FeatureGroup))[:, :-1] / spread
        if self.share < 1.0:
            added *= self.share
            added[:, FeatureGroup.SIMILAR_LEARNERS] += (1.0 - self.share) * columns[:, self._lead_column]
        return added

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the columns it reads."""
        return feature_names(self.models)

    @property
    def _lead_column(self) -> int:
        return len(feature_names(())) + _FORMS * self.best_base_model

    @cached_property
    def _feature_groups(self) -> IntColumn:
        return feature_groups(len(self.models))


def smallest_ranker() -> LearnedRanker:
    """A ranker of one collaborative model and one tree without a question: it tells nothing apart."""
    none = SkillLinks(np.zeros(1, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32))
    leaf = np.zeros(1, np.int32)
    trees = Trees(
        starts=np.array([0, 1], np.int32),
        features=leaf - 1,
        thresholds=np.zeros(1, np.float32),
        lefts=leaf,
        rights=leaf,
        values=np.zeros(1, np.float32),
    )
    statistics = InteractionStatistics((), (), np.zeros(0, np.float32), np.zeros(0, np.float32), none, none)
    return LearnedRanker(("model",), trees, share=1.0, best_base_model=0, statistics=statistics)


@dataclass(frozen=True)
class PreparedRanker:
    """A learned ranker over a catalog; made once for many requests."""

    ranker: LearnedRanker
    statistics: InteractionColumns = field(repr=False)


def prepare_ranker(catalog: CatalogColumns, ranker: LearnedRanker) -> PreparedRanker:
    """A learned ranker over a catalog."""
    return PreparedRanker(ranker, index_interactions(catalog, ranker.statistics))


@dataclass(frozen=True)
class Mixed:
    """Scores of the candidates in which behaviour and need are mixed.

    Attributes:
        total: the score.
        kinds: the kinds of reasons it is made of.
    """

    total: FloatColumn
    kinds: tuple[ReasonKind, ...]
    _ranker: LearnedRanker
    _columns: Matrix
    _scale: float
    _spread: float
    _needed: Scores
    _need_scale: float

    def added(self, picked: IntColumn) -> FloatColumn:
        """What each kind of reason added to the score of each picked candidate, (picked, kinds).

        What all candidates have in common is left out; otherwise the entries sum to `total`.
        """
        next_item = self._scale * self._ranker.contributions(self._columns[picked], self._spread)
        needed = self._needed
        parts = (needed.gap, needed.fit, needed.review, needed.similar, needed.uncertainty)
        added = np.stack([self._need_scale * part[picked] for part in parts] + [np.zeros(len(picked))], axis=1)
        added[:, _SCORE_COLUMN_OF_GROUP] += next_item
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
        """Put together what is known.

        Args:
            catalog: the catalog.
            prepared: what is laid out over it.
            state: the learner's.
            recent: rows they worked on lately, newest last.
            models: what the collaborative models say.
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
            needed: gives the candidates of the hand-weighted score; they are looked at where need counts, or where too
                few others are found.
            limit: how long the list is to be.
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
    def similar(self) -> CollaborativeScores | None:
        """What similar learners worked on, as the leading model tells it; None where need counts for nothing."""
        if self._need_share == 0.0:
            return None
        models = self._models
        positives = int(np.count_nonzero(models.index_of_row[self._recent_activity.recent] >= 0))
        return CollaborativeScores(
            models.scores[self._prepared.ranker.best_base_model], models.rows, models.index_of_row, positives
        )  # fmt: skip

    def mix(self, rows: IntColumn, features: Features, needed: Scores) -> Mixed:
        """Score candidates: (1 - need_share) * behaviour + need_share * need, both standardised where both count.

        Args:
            rows: the candidates.
            features: of the hand-weighted score.
            needed: the hand-weighted score.
        """
        ranker = self._prepared.ranker
        columns = next_item_features(
            self._catalog, self._prepared.statistics, self._recent_activity, self._models, rows, features
        )
        trees = ranker.trees.total(columns)
        spread = 1.0 if ranker.share == 1.0 else _deviation(trees)
        next_item = ranker.blend(trees, columns)
        share = self._need_share
        scale, need_scale = 1.0, 0.0
        if share > 0.0:
            scale, need_scale = (1.0 - share) / _deviation(next_item), share / _deviation(needed.total)
        total = scale * next_item + need_scale * needed.total
        return Mixed(total, _KINDS, ranker, columns, scale, spread, needed, need_scale)


def _deviation(values: FloatColumn) -> float:
    """Standard deviation; 1 where all are equal."""
    _, deviation = mean_and_deviation(values)
    return deviation or 1.0


def standardised(values: FloatColumn) -> FloatColumn:
    """Values less their mean, in standard deviations; 0 where all are equal."""
    mean, deviation = mean_and_deviation(values)
    return (values - mean) / (deviation or 1.0)
