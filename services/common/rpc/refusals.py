"""Calls that a server refuses before its methods see them, counted by reason."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc
from google.rpc import status_pb2
from prometheus_client import Counter

from services.common.rpc.statuses import abort

REFUSED = Counter(
    "cairn_grpc_refused_calls", "Calls refused before a method saw them, or that failed in it, by reason.", ["reason"]
)
# A counter that begins above 0 does not increase, as Prometheus sees it: the first failed call would raise no alarm.
REFUSED.labels("failed")


async def refuse(context: grpc.aio.ServicerContext[Any, Any], reason: str, status: status_pb2.Status) -> NoReturn:
    """Count a refused call, and end it with a status."""
    REFUSED.labels(reason).inc()
    await abort(context, status)
