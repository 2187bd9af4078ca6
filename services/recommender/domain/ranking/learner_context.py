"""What is known about the learner of one request."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from services.recommender.domain.learner.events import InteractionKind
from services.recommender.domain.learner.preferences import NO_PREFERENCES
from services.recommender.domain.learner.state import LearnerState
from services.recommender.domain.learner.success_model import Chances
from services.recommender.domain.ranking.catalog import BoolColumn, CatalogColumns, IntColumn
from services.recommender.domain.ranking.features import CollaborativeScores, SkillEstimates, estimate_skills
from services.recommender.domain.ranking.learned import NextItemCandidates
from services.recommender.domain.ranking.policy import Eligibility, eligibility
from services.recommender.domain.ranking.prepared import PreparedCatalog
from services.recommender.domain.ranking.request import RankingRequest
from services.recommender.domain.ranking.stated_preferences import (
    RankingPreferences,
    keep_away,
    paced,
    ranking_preferences_of,
)
from services.recommender.domain.ranking.weights import RankingWeights


class LearnerContext(NamedTuple):
    """One request, and what is known about its learner.

    Attributes:
        prepared: the prepared catalog.
        request: what the list is for.
        weights: at the learner's pace.
        estimates: the learner's skills.
        eligible: what the learner may be given.
        preferences: what the learner prefers.
        by_success_model: the success model's chances; None without a model.
        recent: rows the learner worked on lately, oldest first.
        done: those of them that they answered or completed.
        held: rows that are shown only when nothing else is left, because the learner just answered them.
        is_held: N; whether a row is one of them.
        next_item: what the learner is likely to work on next; None where the hand-weighted score ranks alone.
        collaborative: the collaborative scores that count, if any.
    """

    prepared: PreparedCatalog
    request: RankingRequest
    weights: RankingWeights
    estimates: SkillEstimates
    eligible: Eligibility
    preferences: RankingPreferences
    by_success_model: Chances | None
    recent: IntColumn
    done: IntColumn
    held: IntColumn
    is_held: BoolColumn
    next_item: NextItemCandidates | None
    collaborative: CollaborativeScores | None


def look_up_learner(prepared: PreparedCatalog, request: RankingRequest, weights: RankingWeights) -> LearnerContext:
    """Look up what a request is about."""
    catalog, state = prepared.catalog, request.state
    stated = NO_PREFERENCES if state is None else state.preferences
    weights = paced(weights, stated)
    estimates = estimate_skills(catalog, prepared.difficulties, state, request.as_of_s, weights)
    eligible = request.rules.permit(eligibility(catalog, request.wanted))
    recent, done = _worked_on(catalog, state)
    held = done[:0] if request.repeats else done
    is_held = np.zeros(len(catalog), np.bool_)
    is_held[held] = True
    next_item = _next_item(prepared, request, recent)
    return LearnerContext(
        prepared=prepared,
        request=request,
        weights=weights,
        estimates=estimates,
        eligible=keep_away(catalog, estimates, state, eligible, weights),
        preferences=ranking_preferences_of(catalog, estimates, stated),
        by_success_model=_success_model(prepared, request),
        recent=recent,
        done=done,
        held=held,
        is_held=is_held,
        next_item=next_item,
        collaborative=request.collaborative if next_item is None else next_item.similar,
    )


def _next_item(prepared: PreparedCatalog, request: RankingRequest, recent: IntColumn) -> NextItemCandidates | None:
    """What the learner is likely to work on next; None where the hand-weighted score ranks alone.

    That is so for learners who have not worked on anything in the catalog yet: there is no activity to go by.
    """
    if prepared.learned is None or request.models is None or request.state is None or not len(recent):
        return None
    return NextItemCandidates(
        prepared.catalog, prepared.learned, request.state, recent, request.models, request.need_share
    )


def _success_model(prepared: PreparedCatalog, request: RankingRequest) -> Chances | None:
    return None if prepared.success_model is None else prepared.success_model.of(request.state, request.as_of_s)


def _worked_on(catalog: CatalogColumns, state: LearnerState | None) -> tuple[IntColumn, IntColumn]:
    """Rows the learner worked on lately, oldest first, and those of them that they answered or completed.

    What they only opened may be given again.
    """
    recent = () if state is None else state.resources
    row_of = catalog.row_of_resource
    rows = np.array([row_of.get(one.resource, -1) for one in recent], np.intp)
    opened = np.array([one.kind is InteractionKind.OPENED for one in recent], np.bool_)
    return rows[rows >= 0], rows[(rows >= 0) & ~opened]
