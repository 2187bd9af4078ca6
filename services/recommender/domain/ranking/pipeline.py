"""Candidates, signals, scores, the list and its reasons, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from services.recommender.domain.ranking.candidates import random_seed, select_candidates
from services.recommender.domain.ranking.catalog import BoolColumn, CatalogColumns, FloatColumn, IntColumn
from services.recommender.domain.ranking.evidence import Evidence
from services.recommender.domain.ranking.explain import (
    REASON_SOURCES,
    added_by_sources,
    explain,
    picks_of,
    stated,
)
from services.recommender.domain.ranking.first_step import can_begin_with, first_step
from services.recommender.domain.ranking.learned import NextScores
from services.recommender.domain.ranking.learner_context import LearnerContext, look_up_learner
from services.recommender.domain.ranking.need import need_of
from services.recommender.domain.ranking.policy import Reassessments, by_score, compose
from services.recommender.domain.ranking.prepared import PreparedCatalog
from services.recommender.domain.ranking.priorities import priorities_of, prioritised
from services.recommender.domain.ranking.reasons import Explanation
from services.recommender.domain.ranking.request import RankedList, RankedResource, RankingRequest
from services.recommender.domain.ranking.scoring import Scores, describe, evaluate, score
from services.recommender.domain.ranking.signals.signal import Candidates, TagMean
from services.recommender.domain.ranking.weights import RankingWeights

_OUT_OF_SCOPE = 0.01


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
    likely = learner.next_item.candidates(learner.eligible.allowed & ~learner.is_held)
    rows = _candidate_rows(learner, likely)
    selected = timer()
    candidates, next_item = _describe(learner, rows, likely)
    described = timer()
    scored = _score(learner, candidates, next_item)
    scored_at = timer()
    picked = _compose(learner, candidates, scored.totals)
    composed = timer()
    explanations = _explain(learner, candidates, scored, picked)
    resources = _ranked_resources(learner, candidates, scored.totals, picked, explanations)
    stages = {
        "candidates": selected - started,
        "features": described - selected,
        "scoring": scored_at - described,
        "policy": composed - scored_at,
        "explain": timer() - composed,
    }
    gap = learner.gaps.most_urgent
    if gap < 0:
        return RankedList(resources, len(rows), stages)
    # Of skills that are the same, the gap is the one that the learner answered.
    name = prepared.catalog.skill_ids[learner.sources.get(gap, gap)]
    return RankedList(resources, len(rows), stages, name, _has_resource(prepared.catalog, gap))


def _has_resource(catalog: CatalogColumns, slot: int) -> bool:
    same = (slot, *catalog.equivalents.row(slot).tolist())
    return any(len(catalog.skill_tags.row(each)) for each in same)


class _Scored(NamedTuple):
    """Scores of the candidates.

    Attributes:
        needed: the need part, as it counts in the score.
        next_item: returns what each FeatureGroup added to the rest for some candidates, as it counts in the score.
        totals: the final scores, with the boosts of rules.
    """

    needed: Scores
    next_item: Callable[[IntColumn], FloatColumn]
    totals: FloatColumn


def _candidate_rows(learner: LearnerContext, likely: BoolColumn) -> IntColumn:
    """Rows to score, ascending."""
    request, allowed = learner.request, learner.eligible.allowed
    # Skills out of scope come last, but they come. What was just missed comes first, however able the learner is. So
    # does the gap that the list must be about, as many skills that were never met may be more urgent.
    urgencies = np.maximum(learner.scope, _OUT_OF_SCOPE) * learner.estimates.urgencies
    urgencies[learner.gaps.missed] = 1.0
    if learner.gaps.most_urgent >= 0:
        urgencies[learner.gaps.most_urgent] = 1.0
    select = partial(
        select_candidates,
        learner.prepared.index,
        learner.estimates,
        urgencies,
        likely,
        held=learner.is_held.nonzero()[0],
        limit=request.limit,
        seed=random_seed(request.tenant, request.learner, request.models_id, request.day),
        thresholds=learner.weights,
        wanted=learner.preferences.urgency(learner.estimates),
    )
    rows = select(allowed)
    favoured = request.rules.favoured(allowed)
    if favoured is None:
        return rows
    # Resources that rules favour are always scored, even if they do not suit the learner.
    named = np.array(request.rules.pinned(allowed)[: request.limit], np.intp)
    return np.unique(np.concatenate((rows, select(favoured), named)))


def _describe(learner: LearnerContext, rows: IntColumn, likely: BoolColumn) -> tuple[Candidates, NextScores]:
    prepared = learner.prepared
    candidates = describe(
        prepared.catalog,
        prepared.difficulties,
        learner.estimates,
        rows,
        learner.weights,
        scope=learner.scope,
        preferences=learner.preferences or None,
        by_success_model=learner.by_success_model,
    )
    # What is mastered and not due says where the learner is, and not what comes next.
    ahead = np.where(learner.gaps.mastered, 0.0, learner.scope)
    next_item = learner.next_item.score(candidates, ahead, likely)
    need = need_of(
        prepared.catalog,
        rows,
        candidates.success,
        candidates.ready,
        next_item.values,
        prepared.ranker.statistics.responses,
    )
    return candidates._replace(need=need), next_item


def _score(learner: LearnerContext, candidates: Candidates, next_item: NextScores) -> _Scored:
    """Score candidates: 2 ((1 - need_share) * next item + need_share * need), with the boosts of rules."""
    stated = learner.request.need_share
    need_scale = 2.0 * (learner.prepared.ranker.ranker.need_share if stated is None else stated)
    next_scale = 2.0 - need_scale
    needed = score(evaluate(candidates), learner.weights).scaled(need_scale)
    totals = next_scale * next_item.values + needed.total
    return _Scored(
        needed,
        lambda picked: next_scale * next_item.added(picked),
        learner.request.rules.boost(candidates.rows, totals),
    )


def _compose(learner: LearnerContext, candidates: Candidates, totals: FloatColumn) -> IntColumn:
    """Indices of the listed candidates, in list order."""
    limit, request = learner.request.limit, learner.request
    # Where others show what comes next, that is mostly of one skill.
    per_skill = limit if learner.next_item.learned else learner.weights.per_skill
    not_due = candidates.tag_means[TagMean.REVIEW] < learner.weights.review_opens
    held_back = learner.is_held[candidates.rows] & not_due
    first = _pinned(learner, candidates, totals, held_back, per_skill)
    # What is pinned is in the list, whether or not it was answered lately.
    held_back[first] = False
    # Answers for learners without a state are alike, so that they do not tell who is known elsewhere.
    known = request.learner if request.state is not None else ""
    order = by_score(totals, candidates.rows, random_seed(request.tenant, known, request.models_id, request.day))
    listed = compose(order, candidates.served, held_back, len(order), per_skill, first)
    is_done = np.zeros(len(learner.prepared.catalog), np.bool_)
    is_done[learner.done] = True
    done = is_done[candidates.rows]
    possible, lead = _first_entry(learner, candidates, totals, done)
    return prioritised(
        listed,
        priorities_of(candidates, learner.gaps, possible, lead),
        head=learner.weights.head,
        first=len(first),
        fresh=len(order) - int(np.count_nonzero(held_back)),
        limit=limit,
    )


def _first_entry(
    learner: LearnerContext, candidates: Candidates, totals: FloatColumn, done: BoolColumn
) -> tuple[BoolColumn, FloatColumn]:
    """Whether the learner can begin with each candidate, and what decides: its score and how well it suits as a step.

    What a rule favours suits as well as any. Without prerequisites and lessons nothing is known about steps, so the
    score decides alone.
    """
    if not learner.prepared.has_steps:
        return np.zeros(len(candidates.rows), np.bool_), totals
    step = first_step(candidates, learner.scope, learner.level, done)
    favoured = learner.request.rules.favoured(learner.eligible.allowed)
    if favoured is not None:
        step[favoured[candidates.rows]] = step.max(initial=0.0)
    return can_begin_with(candidates, done), totals + step


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
    order = np.argsort(-totals[places], kind="stable")
    best = compose(order, candidates.served[places], held_back[places], limit, per_skill)
    return [*named, *places[best].tolist()]


def _explain(learner: LearnerContext, candidates: Candidates, scored: _Scored, picked: IntColumn) -> list[Explanation]:
    """The explanation of each picked candidate."""
    next_item = learner.next_item
    evidence = Evidence(
        catalog=candidates.catalog,
        estimates=candidates.estimates,
        preferences=candidates.preferences,
        thresholds=candidates.thresholds,
        state=learner.request.state,
        recent=learner.recent,
        similar=next_item.by_best_base_model,
        statistics=next_item.statistics,
        sources=learner.sources,
    )
    return explain(
        evidence,
        picks_of(candidates, picked),
        REASON_SOURCES,
        added_by_sources(scored.needed, scored.next_item(picked), picked),
        stated(scored.needed, picked),
        learner.request.rules.favour(candidates.rows[picked]),
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
