"""TLS handshakes with brokers, for the reason why they fail: the libraries hide it, or wait for ever."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from typing import NamedTuple

# A request for the versions of requests, which a broker answers before a login: its size, key, version, number, and no
# name of the client.
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 0, -1)
_LEAST_S = 0.01


class FailedHandshake(NamedTuple):
    """What went wrong at which broker, host:port."""

    error: OSError
    server: str


def failed_handshake(servers: str, context: ssl.SSLContext, timeout_s: float) -> FailedHandshake | None:
    """Why no broker can be reached over TLS, by the last one that was tried; None: one answers. It blocks meanwhile.

    Args:
        servers: `host:port`, several separated by commas.
        context: of the client.
        timeout_s: for all brokers together; each may take an equal share of what is left.
    """
    failure = FailedHandshake(OSError("there is no address"), servers)
    deadline_s = time.monotonic() + timeout_s
    untried = [server.strip() for server in servers.split(",")]
    while untried:
        share_s = max((deadline_s - time.monotonic()) / len(untried), _LEAST_S)
        server = untried.pop(0)
        host, _, port = server.rpartition(":")
        try:
            with (
                socket.create_connection((host.strip("[]"), int(port)), share_s) as plain,
                context.wrap_socket(plain, server_hostname=host.strip("[]")) as secured,
            ):
                # With TLS 1.3, a broker that wants a client certificate refuses only what follows the handshake.
                secured.sendall(_API_VERSIONS)
                if secured.recv(1):
                    return None
                closed = "closed after the handshake, perhaps for want of a client certificate"
                failure = FailedHandshake(ConnectionResetError(closed), server)
        except OSError as error:
            failure = FailedHandshake(error, server)
    return failure
