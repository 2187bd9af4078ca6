"""Processes end when they are asked to, also where they started without Kafka or Redis."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable

import pytest

from deploy.processes import LOOPBACK, Child, Command, free_port
from services.common.auth.api_keys import create_api_key
from services.common.auth.tenant import ALL_SCOPES

PROCESSES = {
    "ingest": ["services.ingest"],
    "catalog": ["services.catalog"],
    "worker": ["services.recommender", "worker"],
    "server": ["services.recommender", "server"],
    "lag": ["services.recommender", "lag"],
}
STARTED_WITHIN_S = 60.0
# An idle process takes one or two; on a busy machine more. Every wait of a library for an answer is longer.
ENDED_WITHIN_S = 8.0


@pytest.fixture(params=["refuses", "is silent"])
def nobody(request):
    """An address where nobody listens, or where nobody ever answers."""
    if request.param == "refuses":
        yield f"{LOOPBACK}:{free_port()}"
        return
    with socket.create_server((LOOPBACK, 0), backlog=100) as server:
        yield f"{LOOPBACK}:{server.getsockname()[1]}"


@pytest.mark.slow
@pytest.mark.parametrize("away", [("CAIRN_KAFKA",), ("CAIRN_REDIS",), ("CAIRN_KAFKA", "CAIRN_REDIS")])
@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_that_started_without_what_it_needs_ends_at_once_when_asked_to(
    process, away, nobody, kafka_broker, redis_server, tmp_path
):
    tenants, address = tmp_path / "tenants.yaml", tmp_path / "address"
    create_api_key(tenants, "riverbend", "test", ALL_SCOPES)
    environment = {
        "CAIRN_KAFKA": nobody if "CAIRN_KAFKA" in away else kafka_broker.bootstrap_servers,
        "CAIRN_REDIS": f"redis://{nobody}" if "CAIRN_REDIS" in away else redis_server,
        "CAIRN_TENANTS": str(tenants),
        "CAIRN_BUNDLES": str(tmp_path / "bundles"),
        "CAIRN_ADDRESS_FILE": str(address),
    }
    if process == "lag":
        environment["CAIRN_METRICS_PORT"] = str(free_port())
    child = Child(Command(process, [sys.executable, "-m", *PROCESSES[process]], tmp_path / "log", environment))
    try:
        # Some end by themselves when they cannot reach what they need.
        until(lambda: address.exists() or not child.running, STARTED_WITHIN_S)
        child.signal_stop()
        until(lambda: not child.running, ENDED_WITHIN_S)
    finally:
        child.kill()


def until(condition: Callable[[], bool], within_s: float) -> None:
    give_up_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < give_up_s
        time.sleep(0.02)
