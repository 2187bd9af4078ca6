"""The dependencies of the use cases that answer requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.common.turns import Turns
from services.recommender.application.answers.active_models import ActiveModels
from services.recommender.application.answers.answer_clock import AnswerClock
from services.recommender.application.answers.fresh_state import FreshStates
from services.recommender.application.answers.prepared_catalogs import PreparedCatalogs
from services.recommender.application.answers.rank_learner import RankLearner


@dataclass(frozen=True, slots=True)
class AnswerDependencies:
    """Created once per process; each use case takes those that it needs.

    Attributes:
        states: reads learners' states.
        active_models: the epoch and the models to answer from.
        catalogs: tenants' catalogs, prepared for ranking.
        ranking: ranks one for a learner.
        clock: the moment to answer for.
        turns: shares the process's time between tenants.
        timer: monotonic seconds.
    """

    states: FreshStates
    active_models: ActiveModels
    catalogs: PreparedCatalogs
    ranking: RankLearner
    clock: AnswerClock
    turns: Turns
    timer: Callable[[], float]
