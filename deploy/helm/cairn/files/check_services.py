"""Checks that services answer: the health service says SERVING, or with TLS, that the server speaks HTTP/2.

Arguments: plain or tls, then host:port of each service. With TLS nothing is sent, as the authority and the client's
certificate may be elsewhere. A Service sends connections only to pods that are ready, so a handshake shows one.
"""

from __future__ import annotations

import socket
import ssl
import sys
import time
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_PATIENCE_S = 60.0
_TIMEOUT_S = 5.0


def answers(address: str, *, tls: bool) -> str:
    """What is wrong with a service, or nothing."""
    if not tls:
        with grpc.insecure_channel(address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            try:
                reply = health.Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_S)
            except grpc.RpcError as error:
                return str(error)
            return "" if reply.status == health_pb2.HealthCheckResponse.SERVING else "it is not serving"
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((host, int(port)), _TIMEOUT_S) as connection,
            context.wrap_socket(connection, server_hostname=host) as secured,
        ):
            return "" if secured.selected_alpn_protocol() == "h2" else "it does not speak HTTP/2"
    except OSError as error:
        return str(error)


def main(mode: str, addresses: list[str]) -> int:
    """Return 0 when every service answers within a minute."""
    deadline_s = time.monotonic() + _PATIENCE_S
    failed = 0
    for address in addresses:
        while (problem := answers(address, tls=mode == "tls")) and time.monotonic() < deadline_s:
            time.sleep(1.0)
        print(f"{address}: {problem or 'answers'}", flush=True)
        failed += bool(problem)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
