"""From candidates to the values of the signals, and from these to a score that can be explained signal by signal."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from services.recommender.domain.learner.mastery import success_probability
from services.recommender.domain.learner.success_model import Chances
from services.recommender.domain.ranking.catalog import BoolColumn, CatalogColumns, FloatColumn, IntColumn
from services.recommender.domain.ranking.compiled import average_over_tags, least_of_rows, weigh
from services.recommender.domain.ranking.features import CollaborativeScores, Difficulties, SkillEstimates
from services.recommender.domain.ranking.signals import SIGNALS
from services.recommender.domain.ranking.signals.signal import Candidates, Signal
from services.recommender.domain.ranking.stated_preferences import RankingPreferences
from services.recommender.domain.ranking.weights import RankingWeights

COLUMN_OF_SIGNAL = MappingProxyType({signal.name: column for column, signal in enumerate(SIGNALS)})
_BY_SKILL = tuple((signal, signal.skills) for signal in SIGNALS if signal.skills is not None)
_BY_CANDIDATE = tuple((COLUMN_OF_SIGNAL[signal.name], signal.value) for signal in SIGNALS if signal.value is not None)
_OPENING = tuple((COLUMN_OF_SIGNAL[signal.name], signal.opens) for signal in SIGNALS if signal.opens is not None)
_ROW_OF_SKILL_SIGNAL = MappingProxyType({signal.name: row for row, (signal, _) in enumerate(_BY_SKILL)})
_COLUMNS_BY_SKILL = tuple(COLUMN_OF_SIGNAL[signal.name] for signal, _ in _BY_SKILL)
_GATES = np.array([signal.gate for signal in SIGNALS], np.intp)


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

    def of(self, signal: Signal) -> FloatColumn:
        """The contribution of one signal, C."""
        column: FloatColumn = self.added[COLUMN_OF_SIGNAL[signal.name]]
        return column


def describe(
    catalog: CatalogColumns,
    difficulties: Difficulties,
    estimates: SkillEstimates,
    rows: IntColumn,
    weights: RankingWeights,
    *,
    collaborative: CollaborativeScores | None = None,
    preferences: RankingPreferences | None = None,
    by_success_model: Chances | None = None,
) -> Candidates:
    """The inputs of signals for some rows of a catalog and one learner.

    The filter's chance of success is its prediction for the learner's next response.

    Args:
        catalog: the catalog.
        difficulties: its difficulties.
        estimates: the learner's skills.
        rows: the candidates.
        weights: the weights.
        collaborative: the learner's collaborative scores, if any.
        preferences: what the learner prefers, if anything.
        by_success_model: turns the filter's chances of success into the success model's, if there is one.
    """
    settings, tags = difficulties.settings, catalog.tags
    tag_means, ability, variance, served_tags = average_over_tags(
        rows,
        tags.starts,
        tags.values,
        catalog.tag_weights,
        catalog.tag_measures,
        np.array([skills(estimates) for _, skills in _BY_SKILL]),
        weights.serving,
        estimates.means,
        np.minimum(estimates.variances + settings.skill_noise, settings.skill_variance),
    )
    success = success_probability(
        (settings.base + estimates.learner_mean) + ability - difficulties.resource_means[rows],
        min(estimates.learner_variance + settings.learner_noise, settings.learner_variance)
        + variance
        + difficulties.resource_variances[rows],
    )
    prerequisites = catalog.prerequisites
    served, teaches = _served(catalog, served_tags)
    return Candidates(
        catalog=catalog,
        difficulties=difficulties,
        estimates=estimates,
        collaborative=collaborative,
        preferences=preferences,
        thresholds=weights,
        rows=rows,
        tag_means=tag_means,
        success=success if by_success_model is None else by_success_model(rows, success),
        success_by_filter=success,
        ready=least_of_rows(prerequisites.starts, prerequisites.values, rows, estimates.readiness),
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


def mean_over_tags(candidates: Candidates, signal: Signal) -> FloatColumn:
    """The value of a signal that has `skills`, C."""
    column: FloatColumn = candidates.tag_means[_ROW_OF_SKILL_SIGNAL[signal.name]]
    return column


def evaluate(candidates: Candidates) -> SignalValues:
    """The value of each signal for each candidate."""
    columns = np.zeros((len(SIGNALS), len(candidates.rows)))
    for row, column in enumerate(_COLUMNS_BY_SKILL):
        columns[column] = candidates.tag_means[row]
    for column, value in _BY_CANDIDATE:
        values = value(candidates)
        if values is not None:
            columns[column] = values
    return SignalValues(columns)


def is_open(values: SignalValues, weights: RankingWeights) -> BoolColumn:
    """Whether a signal opens a candidate: gap > .05, or a review is due, or it is on the path to a goal."""
    opened = np.zeros(values.columns.shape[1], np.bool_)
    for column, opens in _OPENING:
        opened |= opens(values.columns[column], weights)
    return opened


def score(values: SignalValues, ready: FloatColumn, weights: RankingWeights) -> Scores:
    """The sum ready * open * (1.0 gap + .8 fit + .5 review + .4 cf + .3 goal + .15 preference) + .1 uncertainty.

    open is 1 for what `is_open`, else .1; cf is `similar` where open, else 0.
    """
    added, total = weigh(
        values.columns,
        weights.of_signals,
        _GATES,
        ready,
        is_open(values, weights),
        weights.closed,
    )
    return Scores(total, added)
