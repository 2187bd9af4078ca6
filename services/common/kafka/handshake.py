"""TLS handshakes with brokers, for the reason why they fail: the libraries hide it, or wait for ever."""

from __future__ import annotations

import socket
import ssl
import struct
from typing import NamedTuple

# A request for the versions of requests, which a broker answers before a login: its size, key, version, number, and no
# name of the client.
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 0, -1)


class FailedHandshake(NamedTuple):
    """What went wrong at which broker, host:port."""

    error: OSError
    server: str


def failed_handshake(servers: str, context: ssl.SSLContext, timeout_s: float) -> FailedHandshake | None:
    """Why no broker can be reached over TLS, by the last one that was tried; None: one answers. It blocks meanwhile.

    Args:
        servers: `host:port`, several separated by commas.
        context: of the client.
        timeout_s: for each step with each broker.
    """
    failure = FailedHandshake(OSError("there is no address"), servers)
    for server in map(str.strip, servers.split(",")):
        host, _, port = server.rpartition(":")
        try:
            with (
                socket.create_connection((host.strip("[]"), int(port)), timeout_s) as plain,
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
