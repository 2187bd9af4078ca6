"""Brokers and Redis servers for tests: real ones, on loopback, stopped when pytest ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

import tests.golden  # It chooses the routines of linear algebra, before anything loads numpy.
import tests.true_reasons
from deploy.kafka.cluster import KafkaCluster
from deploy.local.broker import Broker
from deploy.local.redis import RedisServer, description
from deploy.processes import Child, StackError
from services.common.kafka.connection import KafkaConnection
from services.common.kafka.topics import ensure_topics, load_declarations

# An example may take as long as it takes: the machine may be busy.
hypothesis.settings.register_profile("cairn", deadline=None)
hypothesis.settings.load_profile("cairn")

TOPICS = Path(__file__).parents[1] / "deploy" / "topics.yaml"
# Kept between runs, so that Maven downloads the broker's jars only once.
KAFKA_LIBRARIES = Path(__file__).parents[1] / ".local" / "kafka"


def pytest_report_header() -> str:
    """Which Redis the tests use; it depends on what is installed."""
    try:
        return f"state store: {description()}"
    except StackError as error:
        return f"state store: none; {error}"


def on_kafka() -> bool:
    """Whether tests run on Apache Kafka instead of the embedded broker (`make test-kafka`)."""
    return os.environ.get("CAIRN_TEST_BROKER") == "kafka"


@pytest.fixture(autouse=True)
def _true_reasons() -> Iterator[None]:
    """Fail a test in whose process a list was made with a reason that is not true."""
    tests.true_reasons.watch()
    tests.true_reasons.found.clear()
    yield
    assert not tests.true_reasons.found, "\n".join(tests.true_reasons.found[:20])


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaConnection]:
    """A broker for the whole session, with the declared topics: embedded, or Apache Kafka (`make test-kafka`).

    Its log is never emptied. A test that needs its own topic creates one with a unique name; a test that needs an empty
    log or stops the broker uses `fresh_kafka_broker`.
    """
    directory = tmp_path_factory.mktemp("broker")
    broker: Broker | KafkaCluster
    if on_kafka():
        broker = KafkaCluster(directory / "kafka", nodes=1, cache=KAFKA_LIBRARIES)
    else:
        broker = Broker(directory / "broker.log")
    try:
        broker.start()
        ensure_topics(broker.connection, load_declarations(TOPICS))
        yield broker.connection
    finally:
        broker.stop()


@pytest.fixture
def fresh_kafka_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker for one test, empty except for the declared topics; `.connection` reaches it.

    `.stop()` stops it, `.start()` restarts it on the same port without topics or records.
    """
    broker = EmptyKafka(tmp_path / "kafka") if on_kafka() else Broker(tmp_path / "broker.log")
    broker.start()
    try:
        ensure_topics(broker.connection, load_declarations(TOPICS))
        yield broker
    finally:
        broker.stop()


class EmptyKafka(Broker):
    """Apache Kafka that restarts empty on the same port, like the embedded broker."""

    def __init__(self, directory: Path) -> None:
        self._cluster = KafkaCluster(directory, nodes=1, cache=KAFKA_LIBRARIES)
        self._used = False

    @property
    def connection(self) -> KafkaConnection:
        return self._cluster.connection

    @property
    def child(self) -> Child:
        return self._cluster.nodes[0].child

    def start(self) -> None:
        if self._used:
            self._cluster.wipe()
        self._used = True
        self._cluster.start()

    def stop(self) -> None:
        for node in self._cluster.nodes:
            if node.running:
                node.kill()


@pytest.fixture(scope="session")
def redis_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis for the whole session; tests use `redis_server`."""
    server = RedisServer(tmp_path_factory.mktemp("redis") / "redis.log")
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def redis_server(redis_process: RedisServer) -> str:
    """URL of a Redis that is empty when the test starts."""
    redis_process.flush()
    return redis_process.url


@pytest.fixture
def fresh_redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """An empty Redis for one test; `.url` reaches it, `.stop()` stops it, `.start()` restarts it empty."""
    server = RedisServer(tmp_path / "redis.log")
    server.start()
    try:
        yield server
    finally:
        server.stop()
