"""Candidates, features, scores, policy and explanation, one after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from services.recommender.domain.learner.events import InteractionKind
from services.recommender.domain.learner.parameters import TenantParameters
from services.recommender.domain.learner.preferences import NO_PREFERENCES
from services.recommender.domain.learner.state import SKILL_RECORD, LearnerState, RecentResource
from services.recommender.domain.learner.success_features import SHARED_FEATURES
from services.recommender.domain.learner.success_model import CatalogSuccessModel, SuccessModel
from services.recommender.domain.ranking.candidates import InvertedIndex, build_index, random_seed, select_candidates
from services.recommender.domain.ranking.catalog import (
    BoolColumn,
    CatalogColumns,
    CatalogResource,
    FloatColumn,
    IntColumn,
    build_columns,
)
from services.recommender.domain.ranking.explain import WEIGHED_KINDS, Explanation, ReasonKind, explain, weighed
from services.recommender.domain.ranking.features import (
    CollaborativeScores,
    Difficulties,
    SkillEstimates,
    collaborative_rows,
    compute_features,
    corrected,
    difficulties_of,
    estimate_skills,
    index_success_model,
)
from services.recommender.domain.ranking.learned import (
    LearnedRanker,
    NextItemCandidates,
    PreparedRanker,
    prepare_ranker,
    smallest_ranker,
)
from services.recommender.domain.ranking.next_item import ModelScores
from services.recommender.domain.ranking.policy import (
    EVERYTHING,
    Eligibility,
    Reassessments,
    ResourceFilter,
    compose,
    eligibility,
)
from services.recommender.domain.ranking.preferences import RankingPreferences, keep_away, paced, ranking_preferences_of
from services.recommender.domain.ranking.rules import NO_RULES, ActiveRules
from services.recommender.domain.ranking.scoring import score
from services.recommender.domain.ranking.weights import DEFAULT_WEIGHTS, RankingWeights


@dataclass(frozen=True)
class PreparedCatalog:
    """A catalog prepared for ranking with some parameters; made once for many requests.

    Attributes:
        catalog: the catalog.
        difficulties: how hard everything in it is.
        index: where candidates stand.
        success_model: the success model over it; None: the filter alone says how likely success is.
        learned: the learned ranker over it, if any.
    """

    catalog: CatalogColumns
    difficulties: Difficulties
    index: InvertedIndex
    success_model: CatalogSuccessModel | None = None
    learned: PreparedRanker | None = None


@dataclass(frozen=True)
class RankingRequest:
    """What a list is made for.

    Attributes:
        tenant: the tenant.
        learner: the learner's pseudonym.
        state: the learner's state; None for a new learner.
        collaborative: the learner's collaborative scores where the hand-weighted score ranks; None without a model.
        bundle: id of the bundle; empty when none.
        as_of_s: the moment to answer for, Unix seconds.
        day: its ISO date.
        wanted: which resources may be in the list.
        limit: most resources in it.
        rules: what teachers and the tenant laid down for it.
        models: what the learned ranker's collaborative models say; None: the hand-weighted score ranks.
        need_share: how much of the score is need (the hand-weighted one), from 0 to 1, where the learned ranker ranks.
        repeats: whether resources are worked on again and again, so that nothing is held back as just answered.
    """

    tenant: str
    learner: str
    state: LearnerState | None
    collaborative: CollaborativeScores | None
    bundle: str
    as_of_s: float
    day: str
    wanted: ResourceFilter
    limit: int
    rules: ActiveRules = NO_RULES
    models: ModelScores | None = None
    need_share: float = 0.0
    repeats: bool = False


class RankedResource(NamedTuple):
    """A resource of a list.

    Attributes:
        row: where it stands in the catalog.
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
    """A list, best first, and what making it took.

    Attributes:
        resources: the list.
        candidates: how many were scored.
        stage_seconds: time by stage.
    """

    resources: tuple[RankedResource, ...]
    candidates: int
    stage_seconds: Mapping[str, float]


def prepare(
    catalog: CatalogColumns,
    parameters: TenantParameters,
    success_model: SuccessModel | None = None,
    ranker: LearnedRanker | None = None,
) -> PreparedCatalog:
    """Make a catalog ready for ranking.

    Args:
        catalog: the catalog.
        parameters: the tenant's, that learners' states are folded with.
        success_model: the success model that goes with them, if any.
        ranker: the learned ranker, if any.
    """
    difficulties = difficulties_of(catalog, parameters)
    index = build_index(catalog, difficulties)
    indexed = None if success_model is None else index_success_model(catalog, difficulties, success_model)
    learned = None if ranker is None else prepare_ranker(catalog, ranker)
    return PreparedCatalog(catalog, difficulties, index, indexed, learned)


def rank(
    prepared: PreparedCatalog, request: RankingRequest, weights: RankingWeights, timer: Callable[[], float]
) -> RankedList:
    """Make a list. The same basis, request and weights give the same list.

    Args:
        prepared: the prepared catalog.
        request: what the list is for.
        weights: the weights.
        timer: monotonic seconds, for `stage_seconds` only.
    """
    catalog = prepared.catalog
    if not len(catalog):
        return RankedList((), 0, {})
    started = timer()
    answered, done = _worked_on(catalog, request.state)
    weights, estimates, eligible, preferences = _about_learner(prepared, request, weights)
    seed = random_seed(request.tenant, request.learner, request.bundle, request.day)
    next_item = _next_item(prepared, request, answered)
    collaborative = request.collaborative if next_item is None else next_item.similar
    held = done[:0] if request.repeats else done
    needed = partial(
        select_candidates,
        catalog,
        prepared.index,
        estimates,
        collaborative,
        answered=done,
        limit=request.limit,
        seed=seed,
        weights=weights,
        wanted=preferences.urgency(estimates),
    )
    rows = (
        needed(eligible.allowed)
        if next_item is None
        else next_item.candidates(eligible.allowed, held, lambda: needed(eligible.allowed), request.limit)
    )
    favoured = request.rules.favoured(eligible.allowed)
    if favoured is not None:
        # What rules favour is looked at however little it suits the learner.
        more = needed(favoured)
        named = np.array(request.rules.pinned(eligible.allowed)[: request.limit], np.intp)
        rows = np.unique(np.concatenate((rows, more, named)))
    selected = timer()
    by_success_model = (
        None if prepared.success_model is None else prepared.success_model.of(request.state, request.as_of_s)
    )
    # The trees were grown on what the filter alone foresees.
    by_filter = compute_features(catalog, prepared.difficulties, estimates, collaborative, rows, weights)
    features = corrected(by_filter, by_success_model, prepared.difficulties, rows, weights)
    computed = timer()
    features = preferences.mark(catalog, rows, features)
    scores = score(features, weights)
    mixed = None if next_item is None else next_item.mix(rows, by_filter, scores)
    totals = request.rules.boost(rows, scores.total if mixed is None else mixed.total)
    # What is worked on next is mostly of one skill; a cap would put need before behaviour unasked.
    per_skill = weights.per_skill if next_item is None else request.limit
    scored = timer()
    was_answered = np.zeros(len(catalog), np.bool_)
    was_answered[held] = True
    held_back = was_answered[rows] & (features.review < weights.review_opens)
    first = _pinned(request.rules, eligible.allowed, rows, totals, features.served, held_back, request.limit, per_skill)
    picked = np.array(compose(totals, features.served, held_back, request.limit, per_skill, first), np.intp)
    composed = timer()
    positives = 0 if collaborative is None else collaborative.positives
    if mixed is None:
        kinds: tuple[ReasonKind, ...] = WEIGHED_KINDS
        added = weighed(features, scores, positives, picked, weights)
    else:
        kinds, added = mixed.kinds, mixed.added(picked)
        positives = len(answered)
    explanations = explain(catalog, estimates, rows, features, added, kinds, positives, picked, weights)
    explanations = preferences.tell(catalog, rows, scores, picked, explanations)
    for row, favour in request.rules.favour(rows[picked]).items():
        place = int(np.flatnonzero(rows[picked] == row)[0])
        explanations[place] = favour.told_in(explanations[place], float(totals[picked[place]]))
    reassessments = Reassessments(catalog, eligible.suitable, was_answered)
    resources = tuple(
        RankedResource(row, total, success, explanation, reassessments.after(row, slot))
        for row, total, success, explanation, slot in zip(
            rows[picked].tolist(),
            totals[picked].tolist(),
            features.success[picked].tolist(),
            explanations,
            features.served[picked].tolist(),
            strict=True,
        )
    )
    return RankedList(
        resources,
        len(rows),
        {
            "candidates": selected - started,
            "features": computed - selected,
            "scoring": scored - computed,
            "policy": composed - scored,
            "explain": timer() - composed,
        },
    )


# A learner who touched the resource `a`.
_TOUCHED_A = LearnerState(
    mean=0.0,
    variance=1.0,
    responses=0,
    skill_names=(),
    skill_records=np.zeros(0, SKILL_RECORD),
    resources=(RecentResource("a", InteractionKind.ANSWERED, 0),),
    applied=1,
    last_at_s=0,
)


def warm_up() -> None:
    """Load the compiled loops, or compile them: the first request would wait for it otherwise."""
    catalog = build_columns([CatalogResource("a", assesses=(("s", 1.0),)), CatalogResource("b")], [])
    rows, index_of_row = collaborative_rows(catalog, ("a", "b"))
    collaborative = CollaborativeScores(np.zeros(2, np.float32), rows, index_of_row, positives=1)
    request = RankingRequest("", "", None, collaborative, "", 0.0, "1970-01-01", EVERYTHING, limit=1)
    width = len(SHARED_FEATURES)
    success_model = SuccessModel(
        np.zeros((width, width)), np.zeros((2, width)), (), np.zeros((0, len(SHARED_FEATURES)))
    )
    rank(prepare(catalog, TenantParameters(), success_model), request, DEFAULT_WEIGHTS, lambda: 0.0)
    learned = dataclasses.replace(
        request, state=_TOUCHED_A, models=ModelScores(np.zeros((1, 2), np.float32), rows, index_of_row), need_share=0.5
    )
    rank(prepare(catalog, TenantParameters(), success_model, smallest_ranker()), learned, DEFAULT_WEIGHTS, lambda: 0.0)


def _next_item(prepared: PreparedCatalog, request: RankingRequest, answered: IntColumn) -> NextItemCandidates | None:
    """What is known of what the learner is likely to work on next; None where the hand-weighted score ranks alone.

    It does for learners who have worked on nothing in the catalog yet: there is no behaviour to go by.
    """
    if prepared.learned is None or request.models is None or request.state is None or not len(answered):
        return None
    return NextItemCandidates(
        prepared.catalog, prepared.learned, request.state, answered, request.models, request.need_share
    )


def _pinned(
    rules: ActiveRules,
    allowed: BoolColumn,
    rows: IntColumn,
    totals: FloatColumn,
    served: IntColumn,
    held_back: BoolColumn,
    limit: int,
    per_skill: int,
) -> list[int]:
    """Places of the candidates that are pinned: those named, in their order, then the best of the pinned providers.

    What the learner answered lately is put first by its name only, not because of who offers it.
    """
    if not rules:
        return []
    named = np.searchsorted(rows, rules.pinned(allowed)[:limit]).tolist()
    offered = rules.pinned_by_provider(rows) & ~held_back
    offered[named] = False
    places = offered.nonzero()[0]
    best = compose(totals[places], served[places], held_back[places], limit, per_skill)
    return [*named, *places[best].tolist()]


def _about_learner(
    prepared: PreparedCatalog, request: RankingRequest, weights: RankingWeights
) -> tuple[RankingWeights, SkillEstimates, Eligibility, RankingPreferences]:
    """The weights at the learner's pace, what they can, what they may be given, and what they want."""
    catalog, state = prepared.catalog, request.state
    preferences = NO_PREFERENCES if state is None else state.preferences
    weights = paced(weights, preferences)
    estimates = estimate_skills(catalog, prepared.difficulties, state, request.as_of_s, weights)
    eligible = request.rules.permit(eligibility(catalog, request.wanted))
    return (
        weights,
        estimates,
        keep_away(catalog, estimates, state, eligible, weights),
        ranking_preferences_of(catalog, estimates, preferences),
    )


def _worked_on(catalog: CatalogColumns, state: LearnerState | None) -> tuple[IntColumn, IntColumn]:
    """Rows the learner worked on lately, oldest first, and those of them that they answered or completed.

    What they only opened may be given again.
    """
    recent = () if state is None else state.resources
    row_of = catalog.row_of_resource
    rows = np.array([row_of.get(one.resource, -1) for one in recent], np.intp)
    opened = np.array([one.kind is InteractionKind.OPENED for one in recent], np.bool_)
    return rows[rows >= 0], rows[(rows >= 0) & ~opened]
