"""The request for a list, and the list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from services.recommender.domain.learner.state import LearnerState
from services.recommender.domain.ranking.next_item import ModelScores
from services.recommender.domain.ranking.policy import ResourceFilter
from services.recommender.domain.ranking.reasons import Explanation
from services.recommender.domain.ranking.rules import NO_RULES, ActiveRules


@dataclass(frozen=True)
class RankingRequest:
    """The inputs of a list.

    Attributes:
        tenant: the tenant.
        learner: the learner's pseudonym.
        state: the learner's state; None for a new learner.
        models_id: identifies the models; empty without a bundle.
        as_of_s: the moment to answer for, Unix seconds.
        day: its ISO date.
        wanted: which resources the list may contain.
        limit: most resources in it.
        rules: the rules of teachers and the tenant that apply to it.
        models: scores of the ranker's base models; None where there are none, or they know nothing of the learner.
        need_share: share of need in the score, from 0 (only what is likely to come next) to 1 (only need); None: that
            of the ranker.
        repeats: whether resources are worked on repeatedly, so that nothing is held back as just answered.
    """

    tenant: str
    learner: str
    state: LearnerState | None
    models_id: str
    as_of_s: float
    day: str
    wanted: ResourceFilter
    limit: int
    rules: ActiveRules = NO_RULES
    models: ModelScores | None = None
    need_share: float | None = None
    repeats: bool = False


class RankedResource(NamedTuple):
    """A resource of a list.

    Attributes:
        row: its row of the catalog.
        score: its score.
        success: chance of success on it.
        explanation: skill served, step and reasons.
        reassess_with: id of another resource that assesses the skill; empty when there is none.
    """

    row: int
    score: float
    success: float
    explanation: Explanation
    reassess_with: str


@dataclass(frozen=True, slots=True)
class RankedList:
    """A list, best first, and measurements.

    Attributes:
        resources: the list.
        candidates: how many were scored.
        stage_seconds: time by stage.
        gap: id of the learner's most urgent gap in scope; empty without any.
        gap_has_resource: whether a resource of the catalog is about it, or about the same skill of another framework.
    """

    resources: tuple[RankedResource, ...]
    candidates: int
    stage_seconds: Mapping[str, float]
    gap: str = ""
    gap_has_resource: bool = True
