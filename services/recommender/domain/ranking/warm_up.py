"""Loading compiled code before the first request."""

from __future__ import annotations

import dataclasses

import numpy as np

from services.recommender.domain.learner.events import InteractionKind
from services.recommender.domain.learner.parameters import TenantParameters
from services.recommender.domain.learner.state import SKILL_RECORD, LearnerState, RecentResource
from services.recommender.domain.learner.success_features import SHARED_FEATURES
from services.recommender.domain.learner.success_model import SuccessModel
from services.recommender.domain.ranking.catalog import CatalogResource, build_columns
from services.recommender.domain.ranking.features import CollaborativeScores, collaborative_rows
from services.recommender.domain.ranking.learned import smallest_ranker
from services.recommender.domain.ranking.next_item import ModelScores
from services.recommender.domain.ranking.pipeline import rank
from services.recommender.domain.ranking.policy import EVERYTHING
from services.recommender.domain.ranking.prepared import prepare
from services.recommender.domain.ranking.request import RankingRequest
from services.recommender.domain.ranking.weights import DEFAULT_WEIGHTS

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
    """Load the compiled loops, or compile them, so that the first request does not wait for it."""
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
