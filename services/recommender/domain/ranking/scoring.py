"""From candidates to the values of the signals, and from these to a score that can be explained signal by signal."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from services.recommender.domain.learner.mastery import success_probability
from services.recommender.domain.learner.success_model import Chances
from services.recommender.domain.ranking.catalog import BoolColumn, CatalogColumns, FloatColumn, IntColumn
from services.recommender.domain.ranking.compiled import average_over_tags, least_of_rows
from services.recommender.domain.ranking.features import Difficulties, SkillEstimates
from services.recommender.domain.ranking.signals import SIGNALS
from services.recommender.domain.ranking.signals.signal import Candidates, Signal
from services.recommender.domain.ranking.stated_preferences import RankingPreferences
from services.recommender.domain.ranking.thresholds import RankingThresholds
from services.recommender.domain.ranking.weights import RankingWeights

# Weight of a review's urgency, against that of a need, in the choice of the skill a resource serves.
_REVIEW_SERVES = 0.5

COLUMN_OF_SIGNAL = MappingProxyType({signal.name: column for column, signal in enumerate(SIGNALS)})


@dataclass(frozen=True)
class SignalValues:
    """The value of each signal for each candidate.

    Attributes:
        columns: (signals, C), in the order of `SIGNALS`.
    """

    columns: FloatColumn

    def of(self, signal: Signal) -> FloatColumn:
        """The values of one signal, C."""
        column: FloatColumn = self.columns[COLUMN_OF_SIGNAL[signal.name]]
        return column


@dataclass(frozen=True)
class Scores:
    """The score of each candidate and its summands.

    Attributes:
        total: C; the scores.
        added: (signals, C); what each signal added to it, in the order of `SIGNALS`.
    """

    total: FloatColumn
    added: FloatColumn

    def scaled(self, factor: float) -> Scores:
        """The scores times a factor."""
        return Scores(factor * self.total, factor * self.added)

    def of(self, signal: Signal) -> FloatColumn:
        """The contribution of one signal, C."""
        column: FloatColumn = self.added[COLUMN_OF_SIGNAL[signal.name]]
        return column


def describe(
    catalog: CatalogColumns,
    difficulties: Difficulties,
    estimates: SkillEstimates,
    rows: IntColumn,
    thresholds: RankingThresholds,
    *,
    scope: FloatColumn | None = None,
    preferences: RankingPreferences | None = None,
    by_success_model: Chances | None = None,
) -> Candidates:
    """The inputs of signals for some rows of a catalog and one learner, apart from their need.

    A resource serves the skill with the largest product of tag weight, scope and the need or half the review's urgency.

    Args:
        catalog: the catalog.
        difficulties: its difficulties.
        estimates: the learner's skills.
        rows: the candidates.
        thresholds: the thresholds.
        scope: S; the scope of each skill; None: 1 for all.
        preferences: the learner's, if any.
        by_success_model: turns the filter's chances of success into the success model's, if there is one.
    """
    settings, tags, needed = difficulties.settings, catalog.tags, catalog.prerequisites
    wanted = np.maximum(estimates.needs, _REVIEW_SERVES * estimates.reviews)
    tag_means, ability, variance, served_tags = average_over_tags(
        rows,
        tags.starts,
        tags.values,
        catalog.tag_weights,
        catalog.tag_measures,
        np.array([estimates.needs, estimates.reviews, estimates.unknowns]),
        wanted if scope is None else wanted * scope,
        estimates.means,
        np.minimum(estimates.variances + settings.skill_noise, settings.skill_variance),
    )
    success = success_probability(
        (settings.base + estimates.learner_mean) + ability - difficulties.resource_means[rows],
        min(estimates.learner_variance + settings.learner_noise, settings.learner_variance)
        + variance
        + difficulties.resource_variances[rows],
    )
    served, teaches = _served(catalog, served_tags)
    return Candidates(
        catalog=catalog,
        difficulties=difficulties,
        estimates=estimates,
        preferences=preferences,
        thresholds=thresholds,
        rows=rows,
        tag_means=tag_means,
        need=np.zeros(len(rows)),
        success=success if by_success_model is None else by_success_model(rows, success),
        success_by_filter=success,
        ready=least_of_rows(needed.starts, needed.values, rows, estimates.readiness),
        served=served,
        teaches=teaches,
    )


def _served(catalog: CatalogColumns, tags: IntColumn) -> tuple[IntColumn, BoolColumn]:
    """The skill's slot of each tag, and whether the tag teaches it; -1 and false for tag -1."""
    tagged = tags >= 0
    slots, teaches = np.full(len(tags), -1, np.intp), np.zeros(len(tags), np.bool_)
    slots[tagged] = catalog.tags.values[tags[tagged]]
    teaches[tagged] = catalog.tag_teaches[tags[tagged]]
    return slots, teaches


def evaluate(candidates: Candidates) -> SignalValues:
    """The value of each signal for each candidate."""
    columns = np.zeros((len(SIGNALS), len(candidates.rows)))
    for column, signal in enumerate(SIGNALS):
        values = signal.value(candidates)
        if values is not None:
            columns[column] = values
    return SignalValues(columns)


def score(values: SignalValues, weights: RankingWeights) -> Scores:
    """The sum 3 gap + .2 fit + 1.5 review + .1 uncertainty + 2 goal + .5 preference."""
    added = weights.of_signals[:, None] * values.columns
    return Scores(added.sum(axis=0), added)
