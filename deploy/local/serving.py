"""Whether a process says that it does its work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


def channel_to(address: str, authority: Path | None = None, **options: int) -> grpc.Channel:
    """A channel to a process at `host:port`, over TLS if the certificate of its authority is named.

    Args:
        address: of the process.
        authority: a file with that certificate in PEM.
        options: of gRPC, without `grpc.` in front.
    """
    given = [(f"grpc.{name}", value) for name, value in options.items()]
    if authority is None:
        return grpc.insecure_channel(address, given)
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(authority.read_bytes()), given)


def is_serving(address: str, timeout_s: float = 1.0, authority: Path | None = None) -> bool:
    """Whether the process at `host:port` reports SERVING through the standard health service."""
    with channel_to(address, authority) as channel:
        # Its type stubs lack the methods.
        health: Any = health_pb2_grpc.HealthStub(channel)
        try:
            reply = health.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.RpcError:
            return False
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)
