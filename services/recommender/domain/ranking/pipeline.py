"""Candidates, signals, scores, the list and its reasons, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from services.recommender.domain.ranking.candidates import random_seed, select_candidates
from services.recommender.domain.ranking.catalog import BoolColumn, FloatColumn, IntColumn
from services.recommender.domain.ranking.evidence import Evidence
from services.recommender.domain.ranking.explain import (
    WEIGHED_SIGNALS,
    explain,
    picks_of,
    stated,
    weighed,
)
from services.recommender.domain.ranking.learned import REASON_SOURCES, BlendedScores
from services.recommender.domain.ranking.learner_context import LearnerContext, look_up_learner
from services.recommender.domain.ranking.policy import Reassessments, compose
from services.recommender.domain.ranking.prepared import PreparedCatalog
from services.recommender.domain.ranking.reasons import Explanation
from services.recommender.domain.ranking.request import RankedList, RankedResource, RankingRequest
from services.recommender.domain.ranking.scoring import Scores, SignalValues, describe, evaluate, score
from services.recommender.domain.ranking.signals import review
from services.recommender.domain.ranking.signals.signal import Candidates, ReasonSource
from services.recommender.domain.ranking.weights import RankingWeights


def rank(
    prepared: PreparedCatalog, request: RankingRequest, weights: RankingWeights, timer: Callable[[], float]
) -> RankedList:
    """Make a list. The same prepared catalog, request and weights give the same list.

    Candidates, then signals, then a score, then a list with its reasons; `render` turns reasons into sentences.

    Args:
        prepared: the prepared catalog.
        request: what the list is for.
        weights: the weights.
        timer: monotonic seconds, for `stage_seconds` only.
    """
    if not len(prepared.catalog):
        return RankedList((), 0, {})
    started = timer()
    learner = look_up_learner(prepared, request, weights)
    rows = _candidate_rows(learner)
    selected = timer()
    candidates = describe(
        prepared.catalog,
        prepared.difficulties,
        learner.estimates,
        rows,
        learner.weights,
        collaborative=learner.collaborative,
        preferences=learner.preferences or None,
        by_success_model=learner.by_success_model,
    )
    values = evaluate(candidates)
    computed = timer()
    scored = _score(learner, candidates, values)
    scored_at = timer()
    picked = _compose(learner, candidates, values, scored.totals)
    composed = timer()
    explanations = _explain(learner, candidates, values, scored, picked)
    resources = _ranked_resources(learner, candidates, scored.totals, picked, explanations)
    stages = {
        "candidates": selected - started,
        "features": computed - selected,
        "scoring": scored_at - computed,
        "policy": composed - scored_at,
        "explain": timer() - composed,
    }
    return RankedList(resources, len(rows), stages)


class _Scored(NamedTuple):
    """Scores of the candidates.

    Attributes:
        needed: the hand-weighted scores.
        blended: the learned ranker's; None where it does not rank.
        totals: the final scores, with the boosts of rules.
    """

    needed: Scores
    blended: BlendedScores | None
    totals: FloatColumn


def _candidate_rows(learner: LearnerContext) -> IntColumn:
    """Rows to score, ascending."""
    request, allowed = learner.request, learner.eligible.allowed
    needed = partial(
        select_candidates,
        learner.prepared.catalog,
        learner.prepared.index,
        learner.estimates,
        learner.collaborative,
        answered=learner.done,
        limit=request.limit,
        seed=random_seed(request.tenant, request.learner, request.bundle, request.day),
        thresholds=learner.weights,
        wanted=learner.preferences.urgency(learner.estimates),
    )
    rows = (
        needed(allowed)
        if learner.next_item is None
        else learner.next_item.candidates(allowed, learner.held, lambda: needed(allowed), request.limit)
    )
    favoured = request.rules.favoured(allowed)
    if favoured is None:
        return rows
    # Resources that rules favour are always scored, even if they do not suit the learner.
    named = np.array(request.rules.pinned(allowed)[: request.limit], np.intp)
    return np.unique(np.concatenate((rows, needed(favoured), named)))


def _score(learner: LearnerContext, candidates: Candidates, values: SignalValues) -> _Scored:
    needed = score(values, candidates.ready, learner.weights)
    blended = None if learner.next_item is None else learner.next_item.blend(candidates, needed)
    total = needed.total if blended is None else blended.total
    return _Scored(needed, blended, learner.request.rules.boost(candidates.rows, total))


def _compose(learner: LearnerContext, candidates: Candidates, values: SignalValues, totals: FloatColumn) -> IntColumn:
    """Indices of the listed candidates, in list order."""
    limit = learner.request.limit
    # Likely next items are mostly of one skill: a cap would mix in need, which the policy did not ask for.
    per_skill = learner.weights.per_skill if learner.next_item is None else limit
    not_due = values.of(review.SIGNAL) < learner.weights.review_opens
    held_back = learner.is_held[candidates.rows] & not_due
    first = _pinned(learner, candidates, totals, held_back, per_skill)
    return np.array(compose(totals, candidates.served, held_back, limit, per_skill, first), np.intp)


def _pinned(
    learner: LearnerContext, candidates: Candidates, totals: FloatColumn, held_back: BoolColumn, per_skill: int
) -> list[int]:
    """Indices of the pinned candidates: those pinned by id, in the rules' order, then the best of the pinned providers.

    A resource that the learner answered lately comes first only if it is pinned by id, not by its provider.
    """
    rules, rows, limit = learner.request.rules, candidates.rows, learner.request.limit
    if not rules:
        return []
    named = np.searchsorted(rows, rules.pinned(learner.eligible.allowed)[:limit]).tolist()
    offered = rules.pinned_by_provider(rows) & ~held_back
    offered[named] = False
    places = offered.nonzero()[0]
    best = compose(totals[places], candidates.served[places], held_back[places], limit, per_skill)
    return [*named, *places[best].tolist()]


def _explain(
    learner: LearnerContext, candidates: Candidates, values: SignalValues, scored: _Scored, picked: IntColumn
) -> list[Explanation]:
    """The explanation of each picked candidate."""
    next_item = learner.next_item
    sources: Sequence[ReasonSource] = WEIGHED_SIGNALS if scored.blended is None else REASON_SOURCES
    evidence = Evidence(
        catalog=candidates.catalog,
        estimates=candidates.estimates,
        preferences=candidates.preferences,
        thresholds=candidates.thresholds,
        state=learner.request.state,
        recent=learner.recent,
        similar=learner.collaborative if next_item is None else next_item.by_best_base_model,
        statistics=None if next_item is None else next_item.statistics,
    )
    return explain(
        evidence,
        picks_of(candidates, picked),
        sources,
        weighed(candidates, values, scored.needed, picked) if scored.blended is None else scored.blended.added(picked),
        stated(scored.needed, picked),
        learner.request.rules.favour(candidates.rows[picked]),
        scored.totals[picked].tolist(),
    )


def _ranked_resources(
    learner: LearnerContext,
    candidates: Candidates,
    totals: FloatColumn,
    picked: IntColumn,
    explanations: Sequence[Explanation],
) -> tuple[RankedResource, ...]:
    reassessments = Reassessments(learner.prepared.catalog, learner.eligible.suitable, learner.is_held)
    return tuple(
        RankedResource(row, total, success, explanation, reassessments.after(row, slot))
        for row, total, success, explanation, slot in zip(
            candidates.rows[picked].tolist(),
            totals[picked].tolist(),
            candidates.success[picked].tolist(),
            explanations,
            candidates.served[picked].tolist(),
            strict=True,
        )
    )
