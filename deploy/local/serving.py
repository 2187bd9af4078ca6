"""Whether a process says that it does its work."""

from __future__ import annotations

from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


def is_serving(address: str, timeout_s: float = 1.0) -> bool:
    """Whether the process at `host:port` reports SERVING through the standard health service."""
    with grpc.insecure_channel(address) as channel:
        # Its type stubs lack the methods.
        health: Any = health_pb2_grpc.HealthStub(channel)
        try:
            reply = health.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.RpcError:
            return False
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)
