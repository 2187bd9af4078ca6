"""Handshakes with brokers that do not answer."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time

import pytest

from deploy.processes import LOOPBACK
from services.common.kafka.handshake import failed_handshake


@pytest.fixture
def silent_brokers():
    """Addresses of three brokers that accept connections and say nothing."""
    with contextlib.ExitStack() as sockets:
        brokers = [sockets.enter_context(socket.create_server((LOOPBACK, 0))) for _ in range(3)]
        yield ",".join(f"{LOOPBACK}:{broker.getsockname()[1]}" for broker in brokers)


def test_several_silent_brokers_take_no_longer_than_one(silent_brokers):
    begun_s = time.monotonic()
    failed = failed_handshake(silent_brokers, ssl.create_default_context(), timeout_s=0.6)
    assert time.monotonic() - begun_s < 1.2
    assert failed is not None
    assert isinstance(failed.error, TimeoutError)
    assert failed.server == silent_brokers.rpartition(",")[2]
