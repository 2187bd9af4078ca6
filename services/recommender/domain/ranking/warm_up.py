"""Loading compiled code before the first request."""

from __future__ import annotations

import dataclasses

import numpy as np

from services.recommender.domain.learner.events import InteractionKind
from services.recommender.domain.learner.parameters import TenantParameters
from services.recommender.domain.learner.recall import RECALL_FEATURES, RecallModel
from services.recommender.domain.learner.state import SKILL_RECORD, LearnerState, RecentResource
from services.recommender.domain.learner.success_features import SHARED_FEATURES
from services.recommender.domain.learner.success_model import SuccessModel
from services.recommender.domain.ranking.catalog import CatalogResource, CatalogSkill, build_columns
from services.recommender.domain.ranking.features import collaborative_rows
from services.recommender.domain.ranking.learned import smallest_ranker
from services.recommender.domain.ranking.next_item import ModelScores
from services.recommender.domain.ranking.pipeline import rank
from services.recommender.domain.ranking.policy import EVERYTHING
from services.recommender.domain.ranking.prepared import prepare
from services.recommender.domain.ranking.request import RankingRequest
from services.recommender.domain.ranking.weights import DEFAULT_WEIGHTS

# A learner who answered the resource `a`.
_ANSWERED_A = LearnerState(
    mean=0.0,
    variance=1.0,
    responses=1,
    skill_names=("s",),
    skill_records=np.array([(0.0, 1.0, 1, 0.0, 0.0, 1.0, 0.0, 0)], SKILL_RECORD),
    resources=(RecentResource("a", InteractionKind.ANSWERED, 0),),
    applied=1,
    last_at_s=0,
)


def warm_up() -> None:
    """Load the compiled loops, or compile them, so that the first request does not wait for it."""
    skills = [CatalogSkill("s", prerequisites=("p",), grades=("3",)), CatalogSkill("p", grades=("2",))]
    catalog = build_columns(
        [CatalogResource("a", assesses=(("s", 1.0),)), CatalogResource("b"), CatalogResource("c", grades=("12",))],
        skills,
    )
    rows, index_of_row = collaborative_rows(catalog, ("a", "b"))
    width = len(SHARED_FEATURES)
    success_model = SuccessModel(
        np.zeros((width, width)), np.zeros((2, width)), (), np.zeros((0, len(SHARED_FEATURES)))
    )
    recall_model = RecallModel(0.0, np.zeros(len(RECALL_FEATURES)), (), np.zeros(0))
    unknown = RankingRequest("", "", None, "", 0.0, "1970-01-01", EVERYTHING, limit=1)
    rank(prepare(catalog, TenantParameters(), success_model), unknown, DEFAULT_WEIGHTS, lambda: 0.0)
    known = dataclasses.replace(
        unknown, state=_ANSWERED_A, models=ModelScores(np.zeros((1, 2), np.float32), rows, index_of_row)
    )
    learned = prepare(catalog, TenantParameters(), success_model, smallest_ranker(), recall_model)
    rank(learned, known, DEFAULT_WEIGHTS, lambda: 0.0)
