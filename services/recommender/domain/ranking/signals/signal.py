"""What a ranking signal is, and what it can read.

A signal gives each candidate a value. The need part of the score is the sum of the signals, each times its weight
(`scoring`). A signal also says which reason it gives a resource, and how that reason reads in English.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from services.recommender.domain.ranking.catalog import BoolColumn, CatalogColumns, FloatColumn, IntColumn
from services.recommender.domain.ranking.evidence import Evidence, Pick
from services.recommender.domain.ranking.features import Difficulties, SkillEstimates
from services.recommender.domain.ranking.messages import Template
from services.recommender.domain.ranking.reasons import Claim
from services.recommender.domain.ranking.stated_preferences import RankingPreferences
from services.recommender.domain.ranking.thresholds import RankingThresholds


class TagMean(IntEnum):
    """Rows of `Candidates.tag_means`: means over a resource's tags, by tag weight."""

    NEED = 0
    """Of `SkillEstimates.needs`."""
    REVIEW = 1
    """Of `SkillEstimates.reviews`."""
    UNKNOWN = 2
    """Of `SkillEstimates.unknowns`."""


class Candidates(NamedTuple):
    """The candidates for one learner: what signals read.

    Attributes:
        catalog: the catalog.
        difficulties: its difficulties.
        estimates: the learner's skills.
        preferences: what the learner prefers; None: nothing.
        thresholds: the thresholds.
        rows: C; the candidates.
        tag_means: (3, C); see `TagMean`.
        need: C; see `need`; 0 for all until it is known.
        success: C; chance of success, by the success model if there is one, else by the filter.
        success_by_filter: C; chance of success by the filter; the learned ranker's trees were grown on it.
        ready: C; least readiness of the prerequisites outside the resource's own skills; 1 without any.
        served: C; slot of the skill it serves, -1 without tags.
        teaches: C; whether it teaches that skill.
    """

    catalog: CatalogColumns
    difficulties: Difficulties
    estimates: SkillEstimates
    preferences: RankingPreferences | None
    thresholds: RankingThresholds
    rows: IntColumn
    tag_means: FloatColumn
    need: FloatColumn
    success: FloatColumn
    success_by_filter: FloatColumn
    ready: FloatColumn
    served: IntColumn
    teaches: BoolColumn


ReasonOf = Callable[[Evidence, Pick], Claim | None]
"""Returns a reason why a resource is in the list; None where what it would say does not hold.

What a source adds to a score says how much it counted, not that its reason holds: trees, for one, also add to the score
of a resource because a feature is low. So a reason is decided here, from the evidence, and never from a contribution.
"""


@dataclass(frozen=True, kw_only=True)
class ReasonSource:
    """Something that adds to a score and is a reason for it.

    Attributes:
        kind: number of the contract's `ReasonKind`: the kind of its reasons, if the evidence does not say otherwise.
        reason: says why.
    """

    kind: int
    reason: ReasonOf


@dataclass(frozen=True, kw_only=True)
class Signal(ReasonSource):
    """A ranking signal.

    Attributes:
        name: its name, unique among signals.
        weight: its default weight.
        messages: the English templates of the messages that `reason` makes, by id.
        value: one value per candidate, C; None: 0 for all.
        stated: whether it comes from the learner's stated preferences: then it is among the reasons even if two others
            are stronger.
    """

    name: str
    weight: float
    messages: Mapping[str, Template]
    value: Callable[[Candidates], FloatColumn | None]
    stated: bool = False
