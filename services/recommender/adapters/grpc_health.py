"""Asks a process for its health over the standard gRPC health service."""

from __future__ import annotations

from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.recommender.application.operations.status import Health


class GrpcHealthProbe:
    """Implements HealthProbe."""

    def __init__(self, timeout_s: float = 2.0) -> None:
        """Args: `timeout_s`: a process that takes longer to answer counts as away."""
        self._timeout_s = timeout_s

    async def health(self, address: str, part: str = "") -> Health:
        """The health of the process at `host:port`, or of a part of it that has a name in its health service."""
        async with grpc.aio.insecure_channel(address) as channel:
            # Its type stubs lack the methods.
            stub: Any = health_pb2_grpc.HealthStub(channel)
            try:
                reply = await stub.Check(health_pb2.HealthCheckRequest(service=part), timeout=self._timeout_s)
            except grpc.aio.AioRpcError as error:
                return Health.UNKNOWN if error.code() is grpc.StatusCode.NOT_FOUND else Health.AWAY
        return Health.SERVING if reply.status == health_pb2.HealthCheckResponse.SERVING else Health.NOT_SERVING
