"""Cairn on Apache Kafka: a killed broker keeps its log, and the worker folds it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys

import pytest
import redis

from deploy.kafka.cluster import KafkaCluster
from deploy.processes import Child, Command
from services.common.kafka.connection import log_identity, topic_end_offsets
from services.common.kafka.envelope import LEARNER_EVENTS
from services.common.kafka.topics import ensure_topics, load_declarations
from tests.benchmarks.synthetic import log_events, preload
from tests.conftest import KAFKA_LIBRARIES, TOPICS

EVENTS, LEARNERS = 3_000, 100
_DEADLINE_S = 60.0


@pytest.fixture
def cluster(tmp_path):
    cluster = KafkaCluster(tmp_path / "kafka", nodes=1, cache=KAFKA_LIBRARIES)
    try:
        cluster.start()
        ensure_topics(cluster.connection, load_declarations(TOPICS))
        yield cluster
    finally:
        cluster.stop()


def load(cluster):
    partitions = load_declarations(TOPICS)[LEARNER_EVENTS].partitions
    events = log_events(EVENTS, LEARNERS, skills=20, items=200, seed=3)
    return asyncio.run(preload(cluster.connection, events, partitions))


def environment(cluster, redis_url):
    return os.environ | {
        "CAIRN_KAFKA": cluster.connection.bootstrap_servers,
        "CAIRN_REDIS": redis_url,
        "CAIRN_LISTEN": "127.0.0.1:0",
    }


def applied(client, epoch):
    fields = [client.hget(f"cairn:{epoch}:position:{partition}", "applied") for partition in range(4)]
    return sum(int(field or 0) for field in fields)


def test_a_killed_broker_comes_back_with_its_log_and_its_identity(cluster):
    load(cluster)
    ends = asyncio.run(topic_end_offsets(cluster.connection, LEARNER_EVENTS))
    identity = asyncio.run(log_identity(cluster.connection, LEARNER_EVENTS))
    assert sum(ends.values()) == EVENTS
    cluster.nodes[0].kill()
    cluster.start()
    assert asyncio.run(topic_end_offsets(cluster.connection, LEARNER_EVENTS)) == ends
    assert asyncio.run(log_identity(cluster.connection, LEARNER_EVENTS)) == identity


@pytest.mark.timeout(180)
def test_a_worker_killed_half_way_and_restarted_equals_a_replay(cluster, redis_server, tmp_path):
    load(cluster)
    surroundings = environment(cluster, redis_server)
    # Small batches, so that the kill happens between two of them.
    worker = Command(
        "worker",
        [sys.executable, "-m", "services.recommender", "worker"],
        tmp_path / "worker.log",
        surroundings | {"CAIRN_BATCH_RECORDS": "200", "CAIRN_BUNDLES": str(tmp_path / "bundles")},
    )
    with redis.Redis.from_url(redis_server) as client:
        first = Child(worker)
        try:
            first.wait_ready(lambda: applied(client, 1) > 0, _DEADLINE_S)
        finally:
            first.kill()
        second = Child(worker)
        try:
            second.wait_ready(lambda: applied(client, 1) == EVENTS, _DEADLINE_S)
            second.wait_ready(lambda: client.get("cairn:current-epoch") == b"1", _DEADLINE_S)
            run(surroundings, "replay", "--epoch", "2", "--parameters", "same")
        finally:
            second.stop()
    live, replayed = (json.loads(run(surroundings, "epoch", "digest", str(epoch), "--json")) for epoch in (1, 2))
    assert live["applied"] == EVENTS
    assert live["digest"] == replayed["digest"]


def run(surroundings, *arguments):
    command = [sys.executable, "-m", "services.cli", *arguments]
    ended = subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=_DEADLINE_S, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
