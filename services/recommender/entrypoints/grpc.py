"""RecommendationService over gRPC."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING

from prometheus_client import Counter, Histogram

from cairn.v1 import recommender_pb2, recommender_pb2_grpc
from services.common.rpc.call_context import current_tenant
from services.common.rpc.statuses import abort, data_loss, failed_precondition, invalid_argument
from services.recommender.application.answers.dependencies import AnswerDependencies
from services.recommender.application.answers.fresh_state import LogDiffersError
from services.recommender.application.answers.plan_group import PlanGroup
from services.recommender.application.answers.preview_rule import PreviewRule
from services.recommender.application.answers.rank_learner import Recommendations
from services.recommender.application.answers.recommend import Recommend
from services.recommender.application.answers.recommend_batch import LearnerAnswer, RecommendBatch
from services.recommender.application.answers.show_learner import ShowLearner
from services.recommender.application.ports.learners import StateUnavailableError
from services.recommender.application.ports.quarantine import LearnerDamagedError
from services.recommender.entrypoints.subscriptions import SubscriptionStreams
from services.recommender.entrypoints.unavailable import state_unavailable
from services.recommender.wire.calls import (
    RequestInvalidError,
    learner_query,
    learner_response,
    recommend_query,
    recommend_response,
)
from services.recommender.wire.preview import preview_query, preview_response
from services.recommender.wire.rosters import add_result, batch_query, batch_response, plan_query, plan_response

if TYPE_CHECKING:
    from services.common.rpc.call_context import Context

SERVICE_NAME = "cairn.v1.RecommendationService"

_FASTEST_S = 0.0005

REQUESTS = Counter("cairn_server_requests", "Calls answered, by method and outcome.", ["method", "outcome"])
SECONDS = Histogram(
    "cairn_server_request_seconds",
    "Time to answer, waiting for freshness included.",
    ["method"],
    buckets=[_FASTEST_S * 2**power for power in range(15)],
)
STAGE_SECONDS = Counter("cairn_server_stage_seconds", "Time spent in Recommend, by stage.", ["stage"])
CANDIDATES = Counter("cairn_server_candidates", "Resources scored.")
RECOMMENDED = Counter("cairn_server_recommended", "Resources recommended.")
DEGRADED = Counter("cairn_server_degraded", "Answers with something missing, by kind.", ["kind"])

# Looking up a labelled child takes longer than counting with it.
_requests, _seconds, _stage_seconds = cache(REQUESTS.labels), cache(SECONDS.labels), cache(STAGE_SECONDS.labels)


class RecommendationServicer(recommender_pb2_grpc.RecommendationServiceServicer):
    """Ranks for learners, and shows what is known about them: one use case per RPC."""

    def __init__(self, answers: AnswerDependencies, subscribe: SubscriptionStreams) -> None:
        """Args: `answers`, the dependencies of use cases; `subscribe` answers Subscribe."""
        states, catalogs, ranking, clock = answers.states, answers.catalogs, answers.ranking, answers.clock
        self._turns = turns = answers.turns
        self._recommend = Recommend(states, catalogs, ranking, turns, answers.timer)
        self._show_learner = ShowLearner(states)
        self._recommend_batch = RecommendBatch(states, catalogs, ranking, turns, clock)
        self._plan_group = PlanGroup(states, catalogs, answers.active_models, turns, clock)
        self._preview_rule = PreviewRule(states, catalogs, ranking, turns, clock)
        self._subscribe = subscribe

    async def Recommend(  # noqa: N802 - the name of the RPC.
        self, request: recommender_pb2.RecommendRequest, context: Context
    ) -> recommender_pb2.RecommendResponse:
        """A ranked list for one learner."""
        async with _answering("Recommend", context):
            tenant = current_tenant()
            answer = await self._recommend(tenant.name, recommend_query(request, tenant), _remaining_s(context))
            _observe(answer)
            return recommend_response(request.learner_id, answer)

    async def GetLearner(  # noqa: N802 - the name of the RPC.
        self, request: recommender_pb2.GetLearnerRequest, context: Context
    ) -> recommender_pb2.GetLearnerResponse:
        """What is known about one learner."""
        async with _answering("GetLearner", context):
            tenant = current_tenant()
            learner, freshness = learner_query(request, tenant)
            view = await self._show_learner(tenant.name, learner, freshness, _remaining_s(context))
            for degradation in view.degraded:
                DEGRADED.labels(degradation.name.lower()).inc()
            return learner_response(request.learner_id, view)

    async def RecommendBatch(  # noqa: N802 - the name of the RPC.
        self, request: recommender_pb2.RecommendBatchRequest, context: Context
    ) -> recommender_pb2.RecommendBatchResponse:
        """Lists for a roster."""
        async with _answering("RecommendBatch", context):
            tenant = current_tenant()
            answers = await self._recommend_batch(tenant.name, batch_query(request, tenant))
            reply = batch_response(answers)
            for learner_id, answer in zip(request.learner_ids, answers, strict=True):
                async with self._turns.piece(tenant.name):
                    if isinstance(answer, LearnerAnswer):
                        _observe(answer.answer)
                    add_result(reply, learner_id, answer)
            return reply

    async def PlanGroup(  # noqa: N802 - the name of the RPC.
        self, request: recommender_pb2.PlanGroupRequest, context: Context
    ) -> recommender_pb2.PlanGroupResponse:
        """A plan for a class."""
        async with _answering("PlanGroup", context):
            tenant = current_tenant()
            plan = await self._plan_group(tenant.name, plan_query(request, tenant))
            for degradation in plan.degraded:
                DEGRADED.labels(degradation.name.lower()).inc()
            return plan_response(request.learner_ids, plan)

    async def PreviewRule(  # noqa: N802 - the name of the RPC.
        self, request: recommender_pb2.PreviewRuleRequest, context: Context
    ) -> recommender_pb2.PreviewRuleResponse:
        """The effect of a rule."""
        async with _answering("PreviewRule", context):
            tenant = current_tenant()
            previews = await self._preview_rule(tenant.name, preview_query(request, tenant))
            return preview_response(request.learner_ids, previews)

    async def Subscribe(  # type: ignore[override]  # noqa: N802 - the RPC's name. It writes its messages itself.
        self, request: recommender_pb2.SubscribeRequest, context: Context
    ) -> None:
        """Lists kept up to date."""
        await self._subscribe(request, context)


@asynccontextmanager
async def _answering(method: str, context: Context) -> AsyncIterator[None]:
    """Counts and times a call, and turns exceptions into a status."""
    began_s = time.perf_counter()
    outcome, status = "failed", None
    try:
        yield
        outcome = "answered"
    except RequestInvalidError as error:
        outcome, status = "invalid", invalid_argument(error.violations)
    except LogDiffersError as error:
        outcome, status = "other_log", failed_precondition(f"freshness_token: {error}", reason="LOG_DIFFERS")
    except LearnerDamagedError as error:
        outcome, status = "damaged", data_loss(str(error), reason="LEARNER_DAMAGED")
    except StateUnavailableError as error:
        outcome, status = "unavailable", state_unavailable(error)
    finally:
        _requests(method, outcome).inc()
        _seconds(method).observe(time.perf_counter() - began_s)
    if status is not None:
        # After it was counted: whoever has the answer finds it in the metrics.
        await abort(context, status)


def _remaining_s(context: Context) -> float:
    # The interceptor refuses calls without a deadline.
    return float(context.time_remaining() or 0.0)


def _observe(answer: Recommendations) -> None:
    CANDIDATES.inc(answer.candidates)
    RECOMMENDED.inc(len(answer.resources))
    for stage, seconds in answer.stage_seconds.items():
        _stage_seconds(stage).inc(seconds)
    for degradation in answer.degraded:
        DEGRADED.labels(degradation.name.lower()).inc()
