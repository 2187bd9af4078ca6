"""Calls for whole rosters, compared with the call for one learner."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np

from cairn.v1 import recommender_pb2, recommender_pb2_grpc

BATCH_LEARNERS = 30
PLAN_LEARNERS = 150
_ROUNDS = 40
_WARM_UP = 5
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class RosterFigures:
    """Medians in milliseconds: one learner's list, the lists of a roster of 30, and a plan for 150 learners.

    Every list has `limit` resources, so that the calls are comparable.
    """

    limit: int
    recommend_p50_ms: float
    batch_of_30_p50_ms: float
    plan_of_150_p50_ms: float


async def measure_rosters(
    stub: recommender_pb2_grpc.RecommendationServiceStub, metadata: tuple[tuple[str, str], ...], limit: int = 10
) -> RosterFigures:
    """Time the three calls in turn, so that other load on the machine affects all of them equally."""
    batch = recommender_pb2.RecommendBatchRequest(learner_ids=_roster(BATCH_LEARNERS), limit=limit)
    plan = recommender_pb2.PlanGroupRequest(learner_ids=_roster(PLAN_LEARNERS))

    async def one(number: int) -> object:
        request = recommender_pb2.RecommendRequest(learner_id=f"learner-{number % PLAN_LEARNERS}", limit=limit)
        return await stub.Recommend(request, metadata=metadata, timeout=_TIMEOUT_S)

    async def roster(_number: int) -> object:
        reply = await stub.RecommendBatch(batch, metadata=metadata, timeout=_TIMEOUT_S)
        if any(result.HasField("problem") for result in reply.results):
            raise ValueError("a learner of the roster has no list")
        return reply

    async def planned(_number: int) -> object:
        reply = await stub.PlanGroup(plan, metadata=metadata, timeout=_TIMEOUT_S)
        if not reply.groups:
            raise ValueError("the plan has no group")
        return reply

    taken: list[list[float]] = [[], [], []]
    for number in range(_WARM_UP + _ROUNDS):
        for times, call in zip(taken, (one, roster, planned), strict=True):
            times.append(await _timed_ms(call, number))
    recommend, batches, plans = (float(np.median(times[_WARM_UP:])) for times in taken)
    return RosterFigures(limit, recommend, batches, plans)


async def _timed_ms(call: Callable[[int], Awaitable[object]], number: int) -> float:
    began = time.perf_counter()
    await call(number)
    return (time.perf_counter() - began) * 1000


def _roster(size: int) -> list[str]:
    return [f"learner-{number}" for number in range(size)]
