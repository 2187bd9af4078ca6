"""What is known about the learner of one request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from services.recommender.domain.learner.events import InteractionKind
from services.recommender.domain.learner.preferences import NO_PREFERENCES
from services.recommender.domain.learner.state import LearnerState, RecentResource
from services.recommender.domain.learner.success_model import Chances
from services.recommender.domain.ranking.candidates import InvertedIndex
from services.recommender.domain.ranking.catalog import BoolColumn, CatalogColumns, FloatColumn, IntColumn
from services.recommender.domain.ranking.crosswalk import NO_SOURCES, cross
from services.recommender.domain.ranking.features import SkillEstimates, estimate_skills
from services.recommender.domain.ranking.learned import NextItem
from services.recommender.domain.ranking.policy import Eligibility, eligibility
from services.recommender.domain.ranking.prepared import PreparedCatalog
from services.recommender.domain.ranking.priorities import Gaps, gaps_of, latest_skills
from services.recommender.domain.ranking.request import RankingRequest
from services.recommender.domain.ranking.scope import reach_of, scope_of
from services.recommender.domain.ranking.stated_preferences import (
    RankingPreferences,
    keep_away,
    paced,
    ranking_preferences_of,
)
from services.recommender.domain.ranking.thresholds import RankingThresholds
from services.recommender.domain.ranking.weights import RankingWeights


class LearnerContext(NamedTuple):
    """One request, and what is known about its learner.

    Attributes:
        prepared: the prepared catalog.
        request: what the list is for, with the learner's state over all frameworks.
        weights: at the learner's pace.
        estimates: the learner's skills.
        scope: S; see `scope`, 0 where it is out of reach.
        level: the working level; NaN where it is not known.
        gaps: the learner's gaps.
        eligible: what the learner may be given.
        preferences: what the learner prefers.
        by_success_model: the success model's chances; None without a model.
        recent: rows the learner worked on lately, oldest first.
        done: those of them that they answered or completed.
        is_held: N; whether a row is shown only when nothing else is left: the learner just answered it, or opened it
            again and again without finishing it.
        next_item: what the learner is likely to work on next.
        sources: whose answers count for skills that the learner never answered; see `crosswalk`.
    """

    prepared: PreparedCatalog
    request: RankingRequest
    weights: RankingWeights
    estimates: SkillEstimates
    scope: FloatColumn
    level: float
    gaps: Gaps
    eligible: Eligibility
    preferences: RankingPreferences
    by_success_model: Chances | None
    recent: IntColumn
    done: IntColumn
    is_held: BoolColumn
    next_item: NextItem
    sources: Mapping[int, int]


def look_up_learner(prepared: PreparedCatalog, request: RankingRequest, weights: RankingWeights) -> LearnerContext:
    """Look up what a request is about."""
    catalog = prepared.catalog
    state, sources = request.state, NO_SOURCES
    if state is not None:
        state, sources = cross(catalog, state, prepared.difficulties.settings.skill_variance)
        request = replace(request, state=state)
    stated = NO_PREFERENCES if state is None else state.preferences
    weights = paced(weights, stated)
    estimates = estimate_skills(catalog, prepared.difficulties, state, request.as_of_s, weights, prepared.recall)
    preferences = ranking_preferences_of(catalog, estimates, stated)
    recent, done, unfinished = _worked_on(catalog, state, weights)
    next_item = NextItem(catalog, prepared.ranker, state, recent, request.models)
    scope = scope_of(catalog, estimates, recent, next_item.follows, preferences.path, weights.review_opens)
    reach = reach_of(catalog, estimates, scope, recent, preferences.path, weights.levels_above)
    scope = np.where(reach.skills, scope, 0.0)
    eligible = request.rules.permit(eligibility(catalog, request.wanted))
    eligible = keep_away(catalog, estimates, state, eligible, weights)
    is_held = np.zeros(len(catalog), np.bool_)
    is_held[unfinished if request.repeats else np.concatenate((done, unfinished))] = True
    gaps = gaps_of(catalog, estimates, scope, latest_skills(catalog, estimates, recent), weights.review_opens)
    eligible = eligible.narrowed(reach.resources)
    again = done[~np.isin(done, unfinished)]
    is_held[_given_again(prepared.index, gaps, eligible.allowed & ~is_held, eligible.allowed, again)] = False
    return LearnerContext(
        prepared=prepared,
        request=request,
        weights=weights,
        estimates=estimates,
        scope=scope,
        level=reach.level,
        gaps=gaps,
        eligible=eligible,
        preferences=preferences,
        by_success_model=None
        if prepared.success_model is None
        else prepared.success_model.of(request.state, request.as_of_s),
        recent=recent,
        done=done[:0] if request.repeats else done,
        is_held=is_held,
        next_item=next_item,
        sources=sources,
    )


def _given_again(
    index: InvertedIndex, gaps: Gaps, fresh: BoolColumn, allowed: BoolColumn, done: IntColumn
) -> list[int]:
    """Rows that the learner has done and is given again, because too little else is about what they must work on.

    Args:
        index: the catalog's inverted index.
        gaps: the learner's gaps.
        fresh: N; what may be in the list and is not held back.
        allowed: N; what may be in the list.
        done: rows they answered or completed, the earliest first.
    """
    again: list[int] = []
    for slots, least in gaps.to_work_on:
        rows = np.concatenate([index.rows[index.starts[slot] : index.starts[slot + 1]] for slot in slots])
        missing = least - len(np.unique(rows[fresh[rows]]))
        if missing > 0:
            again += done[allowed[done] & np.isin(done, rows)][:missing].tolist()
    return again


def _worked_on(
    catalog: CatalogColumns, state: LearnerState | None, thresholds: RankingThresholds
) -> tuple[IntColumn, IntColumn, IntColumn]:
    """Rows the learner worked on lately, oldest first.

    Returns:
        All of them; those they answered or completed; those they opened again and again without finishing them. What
        they only opened once or twice may be given again.
    """
    recent: tuple[RecentResource, ...] = () if state is None else state.resources
    row_of = catalog.row_of_resource
    rows = np.array([row_of.get(one.resource, -1) for one in recent], np.intp)
    opened = np.array([one.kind is InteractionKind.OPENED for one in recent], np.bool_)
    unfinished = np.array([one.reopened >= thresholds.reopened_most for one in recent], np.bool_)
    known = rows >= 0
    return rows[known], rows[known & ~opened], rows[known & unfinished]
