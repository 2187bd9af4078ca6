"""Clients of Kafka, Redis and gRPC notice a connection that swallows everything."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from cairn.client import CHANNEL_OPTIONS
from services.common.kafka.connection import (
    REQUEST_TIMEOUT_MS,
    KafkaConnection,
    aiokafka_options,
    kafka_python_options,
    new_consumer,
)
from services.recommender.adapters.redis.connection import connection_options

ROOT = Path(__file__).parents[2]
LONGEST_S = 10.0
# What makes a client, and what its arguments must name.
OPTIONS = {
    "AIOKafkaConsumer": "settings",
    "AIOKafkaProducer": "aiokafka_options",
    "AIOKafkaAdminClient": "aiokafka_options",
    "KafkaAdminClient": "kafka_python_options",
    "KafkaProducer": "options",
    "DiscardableProducer": "options",
    "from_url": "options",
    "connection_pool": "connection_options",
    "insecure_channel": "options",
    "secure_channel": "options",
}
# Calls that have a deadline of their own, and a connection each or one that is closed when a call takes longer.
SHORT_LIVED = {
    ("services/recommender/adapters/grpc_health.py", "insecure_channel"),
    ("services/ingest/adapters/redis_recent_events.py", "connection_pool"),
    ("services/ingest/adapters/redis_statements.py", "connection_pool"),
}


def makers() -> Iterator[tuple[str, int, str, str]]:
    """The file, line and name of each call that makes a client, and the text of its arguments."""
    for path in sorted((ROOT / "services").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in OPTIONS:
                said = " ".join(ast.unparse(part) for part in (*node.args, *(each.value for each in node.keywords)))
                yield path.relative_to(ROOT).as_posix(), node.lineno, name, said


def test_every_client_is_made_with_the_options_of_its_library():
    found = list(makers())
    assert {name for _, _, name, _ in found} == OPTIONS.keys()
    without = [
        f"{file}:{line} {name}"
        for file, line, name, said in found
        if OPTIONS[name] not in said.lower() and (file, name) not in SHORT_LIVED
    ]
    assert not without


def test_a_request_to_kafka_waits_ten_seconds_at_most():
    connection = KafkaConnection("127.0.0.1:1")
    for options in (aiokafka_options(connection), kafka_python_options(connection)):
        assert options["request_timeout_ms"] <= LONGEST_S * 1_000


def test_a_connection_is_dropped_when_idle_before_a_request_on_another_one_can_time_out():
    assert aiokafka_options(KafkaConnection("127.0.0.1:1"))["connections_max_idle_ms"] < REQUEST_TIMEOUT_MS


async def test_a_consumer_waits_longer_than_its_session_for_the_answer_to_a_join():
    consumers = [
        new_consumer(KafkaConnection("127.0.0.1:1"), group_id="g", session_timeout_ms=ms) for ms in (3_000, 20_000)
    ]
    waits = [consumer._request_timeout_ms for consumer in consumers]
    for consumer in consumers:
        await consumer.stop()
    assert waits == [REQUEST_TIMEOUT_MS, 23_000]


@pytest.mark.parametrize(("asked_s", "waits_s"), [(None, 8.0), (1.0, 1.0), (60.0, 8.0)])
def test_a_connection_to_redis_is_given_up_after_a_silence_of_eight_seconds(asked_s, waits_s):
    options = connection_options("redis://127.0.0.1:6379/0", asked_s)
    assert options["socket_timeout"] == options["socket_connect_timeout"] == waits_s
    assert options["socket_keepalive"]


def test_a_channel_notices_a_server_that_vanished_within_ten_seconds():
    options = dict(CHANNEL_OPTIONS)
    assert options["grpc.keepalive_time_ms"] + options["grpc.keepalive_timeout_ms"] <= LONGEST_S * 1_000
