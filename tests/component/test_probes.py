"""Probes over plain HTTP: liveness asks the event loop alone, readiness what the process does."""

from __future__ import annotations

import asyncio
import http.client
import time

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Gauge

from services.common.telemetry import http as probes


class Process:
    ready = False


@pytest.fixture
async def process():
    process, registry = Process(), CollectorRegistry()
    Gauge("cairn_test", "A metric.", registry=registry).set(7)
    server = probes.serve_http("test", 0, "127.0.0.1", lambda: process.ready, registry)
    process.port = server.server_port
    yield process
    await asyncio.to_thread(server.shutdown)
    server.server_close()


def get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        return reply.status, reply.read().decode()
    finally:
        connection.close()


async def test_readiness_follows_the_process_and_liveness_does_not(process):
    for ready, status in ((False, 503), (True, 200), (False, 503)):
        process.ready = ready
        assert (await asyncio.to_thread(get, process.port, "/readyz"))[0] == status
        assert await asyncio.to_thread(get, process.port, "/livez") == (200, "ok\n")
        assert REGISTRY.get_sample_value("cairn_serving", {"process": "test"}) == ready


async def test_a_loop_that_is_blocked_is_not_alive_and_metrics_are_still_served(process, monkeypatch):
    monkeypatch.setattr(probes, "_LOOP_ANSWERS_WITHIN_S", 0.1)
    asked = [asyncio.create_task(asyncio.to_thread(get, process.port, path)) for path in ("/livez", "/metrics")]
    # Both requests are sent before the loop is blocked.
    await asyncio.sleep(0)
    time.sleep(1.0)  # noqa: ASYNC251 - this is what blocks the loop.
    (alive, reason), (served, metrics) = await asyncio.gather(*asked)
    assert (alive, reason) == (503, "the event loop does not run\n")
    assert served == 200
    assert "cairn_test 7.0" in metrics


async def test_another_path_says_which_there_are(process):
    assert await asyncio.to_thread(get, process.port, "/healthz") == (404, "there are /metrics, /livez and /readyz\n")


def test_a_loop_that_ended_is_not_alive():
    async def start():
        return probes.serve_http("test", 0, "127.0.0.1", lambda: True)

    server = asyncio.run(start())
    try:
        assert get(server.server_port, "/livez")[0] == 503
    finally:
        server.shutdown()
        server.server_close()
