"""The learned ranker as data, and the score it gives. `models` grows its trees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from services.recommender.domain.learner.state import LearnerState
from services.recommender.domain.ranking.catalog import BoolColumn, CatalogColumns, FloatColumn, IntColumn
from services.recommender.domain.ranking.compiled import mean_and_deviation, most_of_rows
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
from services.recommender.domain.ranking.recent_activity import SkillActivity, recent_activity_of
from services.recommender.domain.ranking.signals.signal import Candidates
from services.recommender.domain.ranking.trees import NO_TREES, Matrix, Trees

DEFAULT_NEED_SHARE = 0.5

# Without a learned ranker, popularity counts half as much as scope.
_POPULARITY = 0.5

POPULAR = "popular"
"""The base model that scores what is popular, the same for every learner."""


@dataclass(frozen=True)
class LearnedRanker:
    """Scores what a learner is likely to work on next.

    Attributes:
        models: names of the collaborative models whose scores it reads, its base models, in order.
        trees: over the columns of `next_item.feature_names(models)`; without any, the base models rank.
        blend_weight: weight of the trees in the score, from 0 to 1; the rest is the weight of the base models.
        base_weights: weight of each base model in the rest.
        statistics: interaction statistics.
        need_share: share of need in the score of a list, unless the tenant says otherwise.
    """

    models: tuple[str, ...]
    trees: Trees
    blend_weight: float
    base_weights: tuple[float, ...]
    statistics: InteractionStatistics
    need_share: float = DEFAULT_NEED_SHARE

    def score(self, columns: Matrix) -> FloatColumn:
        """The score of each candidate, from its features."""
        return self.blend(self.trees.total(columns), columns)

    def blend(self, trees: FloatColumn, columns: Matrix) -> FloatColumn:
        """W * trees + (1 - w) * base models, both standardised; with w = 1 the trees' sum as it is."""
        weight = self.blend_weight
        if weight == 1.0:
            return trees
        return weight * standardised(trees) + (1.0 - weight) * self._of_base_models(columns)

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
            added[:, FeatureGroup.SIMILAR_LEARNERS] += (1.0 - weight) * self._of_base_models(columns)
        return added

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the columns it reads."""
        return feature_names(self.models)

    def _of_base_models(self, columns: Matrix) -> FloatColumn:
        places = [model_column(place, ModelFeature.STANDARDISED) for place in range(len(self.models))]
        of_base_models: FloatColumn = columns[:, places].astype(np.float64) @ np.array(self.base_weights)
        return of_base_models

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
    return LearnedRanker(("model",), trees, blend_weight=1.0, base_weights=(1.0,), statistics=NO_STATISTICS)


NO_RANKER = LearnedRanker((), NO_TREES, blend_weight=0.0, base_weights=(), statistics=NO_STATISTICS)
"""Where nothing was learned."""

ONE_MODEL = LearnedRanker(("collaborative",), NO_TREES, blend_weight=0.0, base_weights=(1.0,), statistics=NO_STATISTICS)
"""Where a single collaborative model is all that was learned."""


@dataclass(frozen=True)
class PreparedRanker:
    """A learned ranker over a catalog; made once for many requests."""

    ranker: LearnedRanker
    statistics: InteractionColumns = field(repr=False)


def prepare_ranker(catalog: CatalogColumns, ranker: LearnedRanker) -> PreparedRanker:
    """A learned ranker over a catalog."""
    return PreparedRanker(ranker, index_interactions(catalog, ranker.statistics))


class NextScores(NamedTuple):
    """What is likely to come next, for C candidates.

    Attributes:
        values: C; standardised over the candidates.
        added: returns what each FeatureGroup added to the values of some candidates, (picked, groups), without what is
            the same for all candidates.
    """

    values: FloatColumn
    added: Callable[[IntColumn], FloatColumn]


class NextItem:
    """What one learner is likely to work on next, over a catalog.

    A learned ranker says so where there is one and the learner worked on something it knows. Elsewhere it is what is
    in scope, and what many learners work on.
    """

    def __init__(
        self,
        catalog: CatalogColumns,
        prepared: PreparedRanker,
        state: LearnerState | None,
        recent: IntColumn,
        models: ModelScores | None,
    ) -> None:
        """Collect the learner's activity and scores.

        Args:
            catalog: the catalog.
            prepared: the ranker over it.
            state: the learner's state; None for a new learner.
            recent: rows they worked on lately, newest last.
            models: scores of the base models; None where they know nothing the learner worked on.
        """
        self._catalog = catalog
        self._prepared = prepared
        self._models = models if len(recent) and prepared.ranker.models else None
        self._recent_activity = (
            None
            if state is None or not prepared.ranker.models
            else recent_activity_of(catalog, prepared.statistics, state, recent)
        )

    @property
    def statistics(self) -> InteractionColumns | None:
        """What learners usually work on, over the catalog; None where nothing was learned."""
        return self._prepared.statistics if self._prepared.ranker.models else None

    @property
    def by_best_base_model(self) -> CollaborativeScores | None:
        """The scores of the base model that counts most; None without models."""
        models, activity = self._models, self._recent_activity
        if models is None or activity is None:
            return None
        positives = int(np.count_nonzero(models.index_of_row[activity.recent] >= 0))
        ranker = self._prepared.ranker
        best = int(np.argmax(ranker.base_weights))
        return CollaborativeScores(
            models.scores[best], models.rows, models.index_of_row, positives, for_all=ranker.models[best] == POPULAR
        )

    @property
    def learned(self) -> bool:
        """Whether a learned ranker or collaborative models say what comes next."""
        return self._models is not None

    @property
    def follows(self) -> FloatColumn | None:
        """S; how usually learners work on each skill after the latest ones; None: not known."""
        activity = self._recent_activity
        return None if activity is None else activity.skills[SkillActivity.FOLLOWS]

    def candidates(self, usable: BoolColumn) -> BoolColumn:
        """N; the rows that are likely to come next, of those that may be in the list."""
        if self._models is None or self._recent_activity is None:
            return np.zeros(len(self._catalog), np.bool_)
        return next_item_candidates(
            self._catalog, self._prepared.statistics, self._recent_activity, self._models, usable
        )

    def score(self, candidates: Candidates, scope: FloatColumn, likely: BoolColumn) -> NextScores:
        """Score candidates.

        Args:
            candidates: the candidates.
            scope: S; the scope of each of the catalog's skills, 0 where nothing is left to do.
            likely: N; of `candidates`. Values are standardised over these.
        """
        expected = likely[candidates.rows]
        if self._models is None or self._recent_activity is None or not expected.any():
            return self._score_by_scope(candidates, scope)
        ranker = self._prepared.ranker
        columns = next_item_features(
            self._prepared.statistics, self._recent_activity, self._models, candidates, expected
        )
        trees = ranker.trees.total(columns)
        spread = 1.0 if ranker.blend_weight == 1.0 else _deviation(trees)
        score = ranker.blend(trees, columns)
        mean, deviation = mean_and_deviation(score[expected])
        scale = 1.0 / (deviation or 1.0)
        return NextScores(scale * (score - mean), lambda picked: scale * ranker.contributions(columns[picked], spread))

    def _score_by_scope(self, candidates: Candidates, scope: FloatColumn) -> NextScores:
        tags = candidates.catalog.tags
        of_rows = standardised(most_of_rows(tags.starts, tags.values, candidates.rows, scope))
        popularity = _POPULARITY * standardised(self._prepared.statistics.popularity[candidates.rows])
        scale = 1.0 / _deviation(of_rows + popularity)

        def added(picked: IntColumn) -> FloatColumn:
            groups = np.zeros((len(picked), len(FeatureGroup)))
            # Scope says where a gap matters.
            groups[:, FeatureGroup.GAP] = scale * of_rows[picked]
            groups[:, FeatureGroup.SIMILAR_LEARNERS] = scale * popularity[picked]
            return groups

        return NextScores(standardised(of_rows + popularity), added)


def _deviation(values: FloatColumn) -> float:
    """Standard deviation; 1 where all are equal."""
    _, deviation = mean_and_deviation(values)
    return deviation or 1.0


def standardised(values: FloatColumn) -> FloatColumn:
    """Values minus their mean, in standard deviations; 0 where all are equal."""
    mean, deviation = mean_and_deviation(values)
    return (values - mean) / (deviation or 1.0)
