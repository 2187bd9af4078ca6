"""What a ranking signal is, and what it can read.

A signal gives each candidate a value from 0 to 1. The score is the sum of the signals, each times its weight and its
gate (`scoring`). A signal also says which reason it gives a resource, and how that reason reads in English.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from services.recommender.domain.ranking.catalog import BoolColumn, CatalogColumns, FloatColumn, IntColumn
from services.recommender.domain.ranking.compiled import Gate
from services.recommender.domain.ranking.evidence import Evidence, Pick
from services.recommender.domain.ranking.features import CollaborativeScores, Difficulties, SkillEstimates
from services.recommender.domain.ranking.messages import Template
from services.recommender.domain.ranking.reasons import Claim
from services.recommender.domain.ranking.stated_preferences import RankingPreferences
from services.recommender.domain.ranking.thresholds import RankingThresholds


class Candidates(NamedTuple):
    """The candidates for one learner: what signals read.

    Attributes:
        catalog: the catalog.
        difficulties: its difficulties.
        estimates: the learner's skills.
        collaborative: the learner's collaborative scores, if any.
        preferences: what the learner prefers; None: nothing.
        thresholds: the thresholds.
        rows: C; the candidates.
        tag_means: (signals with `skills`, C); mean of each signal's skill column over a resource's tags.
        success: C; chance of success, by the success model if there is one, else by the filter.
        success_by_filter: C; chance of success by the filter; the learned ranker's trees were grown on it.
        ready: C; least readiness of the prerequisites outside the resource's own skills; 1 without any.
        served: C; slot of the skill it serves, -1 without tags.
        teaches: C; whether it teaches that skill.
    """

    catalog: CatalogColumns
    difficulties: Difficulties
    estimates: SkillEstimates
    collaborative: CollaborativeScores | None
    preferences: RankingPreferences | None
    thresholds: RankingThresholds
    rows: IntColumn
    tag_means: FloatColumn
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
    """A ranking signal. Its value comes from `skills` or from `value`.

    Attributes:
        name: its name, unique among signals.
        weight: its default weight.
        messages: the English templates of the messages that `reason` makes, by id.
        gate: what its value is multiplied by.
        skills: one value per skill; the signal's value is their mean over a resource's tags, by tag weight.
        value: one value per candidate, C; None: 0 for all.
        serves: whether the skill that a resource serves is chosen by this signal; only with `skills`.
        opens: which values open a resource; without it the signal opens none.
        is_reason: for which candidates, with their values, the signal may be given as a reason; without it for all.
        stated: whether it comes from the learner's stated preferences: then it is among the reasons even if two others
            are stronger.
    """

    name: str
    weight: float
    messages: Mapping[str, Template]
    gate: Gate = Gate.READY
    skills: Callable[[SkillEstimates], FloatColumn] | None = None
    value: Callable[[Candidates], FloatColumn | None] | None = None
    serves: bool = False
    opens: Callable[[FloatColumn, RankingThresholds], BoolColumn] | None = None
    is_reason: Callable[[FloatColumn, Candidates], BoolColumn] | None = None
    stated: bool = False

    def __post_init__(self) -> None:
        if (self.skills is None) == (self.value is None):
            raise ValueError(f"signal {self.name!r} must have either `skills` or `value`")
        if self.serves and self.skills is None:
            raise ValueError(f"signal {self.name!r} has no `skills`, so it cannot have `serves`")
