"""What a ranking signal is, and what it can read.

A signal gives each candidate a value from 0 to 1. The score is the sum of the signals, each times its weight and its
gate (`scoring`). A signal also says which reason it gives a resource, and how that reason reads in English.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from services.recommender.domain.ranking.catalog import BoolColumn, CatalogColumns, FloatColumn, IntColumn
from services.recommender.domain.ranking.compiled import Gate
from services.recommender.domain.ranking.features import CollaborativeScores, Difficulties, SkillEstimates
from services.recommender.domain.ranking.messages import Message, Template, message
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


class Pick(NamedTuple):
    """A candidate that made it into the list.

    Attributes:
        row: its row of the catalog.
        slot: slot of the skill it serves, -1 without tags.
        kind: number of its resource kind.
        success: chance of success on it.
        teaches: whether it teaches that skill.
    """

    row: int
    slot: int
    kind: int
    success: float
    teaches: bool


class Evidence(NamedTuple):
    """What reasons of one list can refer to.

    Attributes:
        catalog: the catalog.
        estimates: the learner's skills.
        preferences: what the learner prefers; None: nothing.
        thresholds: the thresholds.
        positives: how many resources of the learner's history similar learners were found by.
        served: by slot, for each skill that a resource of the list serves, the values of messages about it: its name
            `skill`; `chance`, `low` and `high`, the chance of success and the ends of its central 95 % interval, per
            cent; `responses` and `successes`, the learner's so far.
    """

    catalog: CatalogColumns
    estimates: SkillEstimates
    preferences: RankingPreferences | None
    thresholds: RankingThresholds
    positives: int
    served: Mapping[int, tuple[tuple[str, Hashable], ...]]

    def record(self, slot: int) -> Message:
        """The learner's responses to a skill so far."""
        responses, successes = int(self.estimates.responses[slot]), float(self.estimates.successes[slot])
        return message("record", responses=responses, successes=successes)


ReasonMessage = Callable[[Evidence, Pick], Message | None]
"""Returns the reason why a resource is in the list; None: no reason."""


@dataclass(frozen=True, kw_only=True)
class ReasonSource:
    """Something that adds to a score and is a reason for it.

    Attributes:
        kind: number of the contract's `ReasonKind`.
        reason: says why.
    """

    kind: int
    reason: ReasonMessage


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
