"""The gateway outlives callers who fill it with bodies, or ask for what it never serves. No service is behind it."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from contextlib import ExitStack, suppress
from http.client import HTTPResponse

import psutil
import pytest

from deploy.local.gateway import GatewayServer, is_available
from deploy.processes import LOOPBACK, free_port

pytestmark = pytest.mark.skipif(not is_available(), reason="there is no Envoy for this machine")

HEAD = b"POST /v1/learners/ada:recommend HTTP/1.1\r\nHost: x\r\nContent-Length: 4194304\r\n\r\n"
STALLED = HEAD + b" " * 4_128_768


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    nobody = f"{LOOPBACK}:{free_port()}"
    gateway = GatewayServer(tmp_path_factory.mktemp("gateway"), dict.fromkeys(("ingest", "catalog", "server"), nobody))
    gateway.start()
    yield gateway
    gateway.stop()


def connected(gateway):
    host, _, port = gateway.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=20)


@pytest.mark.parametrize(
    ("request_line", "header", "status", "code"),
    [
        (b"GET /v1/skills/a HTTP/1.0", b"Host: x", 426, "INVALID_ARGUMENT"),
        (b"GET / HTTP/1.1", b"Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket", 403, "INVALID_ARGUMENT"),
        (b"POST /v1/events:publish HTTP/1.1", b"Host: x\r\nTransfer-Encoding: rot13", 501, "UNIMPLEMENTED"),
    ],
    ids=["HTTP/1.0", "an upgrade", "another transfer encoding"],
)
def test_what_will_never_be_served_is_not_called_unavailable(gateway, request_line, header, status, code):
    with connected(gateway) as connection:
        connection.sendall(request_line + b"\r\n" + header + b"\r\n\r\n")
        reply = HTTPResponse(connection)
        reply.begin()
        error = json.loads(reply.read())["error"]
    assert (reply.status, error["code"]) == (status, code)
    assert error["message"]


@pytest.mark.slow
def test_bodies_that_stall_do_not_fill_memory_and_others_are_answered(gateway):
    # They would fill 2.4 GB. How soon it is noticed depends on how busy the machine is.
    with ExitStack() as stalled:
        for _ in range(600):
            connection = stalled.enter_context(connected(gateway))
            with suppress(OSError):
                connection.sendall(STALLED)
            assert psutil.Process(gateway.child.pid).memory_info().rss < 1024**3
        deadline_s = time.monotonic() + 10
        while not answers(gateway):
            assert time.monotonic() < deadline_s


def answers(gateway):
    try:
        with urllib.request.urlopen(f"http://{gateway.address}/openapi.yaml", timeout=20):
            return True
    except OSError:
        return False
