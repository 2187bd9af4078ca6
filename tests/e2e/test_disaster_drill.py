"""The drill of docs/deploy.md: what was backed up is restored elsewhere, and everything else is made again from it."""

from __future__ import annotations

import asyncio
import shutil

import pytest
import redis

from cairn.v1 import recommender_pb2
from deploy.local.stack import Stack, StackOptions
from services.common.kafka.topics import ensure_topics, load_declarations
from tests.conftest import TOPICS
from tests.releases import record
from tests.releases.archive import write_topics
from tests.releases.running import Running


def quiet(_component):
    """Report nothing."""


@pytest.fixture
def lost(tmp_path):
    """What is left of an installation whose Kafka and Redis are gone: a copy of its topics, its files, what it said."""
    with Stack(StackOptions(tmp_path / "lost"), quiet) as stack:
        facts = record.run(stack)
        topics = asyncio.run(record.records_of(stack.kafka))
    return topics, tmp_path / "lost", facts


@pytest.fixture
def restored(lost, fresh_kafka_broker, redis_server, tmp_path):
    """The same on another Kafka, an empty Redis and copies of its files."""
    topics, files, facts = lost
    broker = fresh_kafka_broker.connection
    ensure_topics(broker, load_declarations(TOPICS))
    asyncio.run(write_topics(topics, broker))
    (tmp_path / "restored").mkdir()
    shutil.copy(files / "tenants.yaml", tmp_path / "restored")
    shutil.copytree(files / "bundles", tmp_path / "restored" / "bundles")
    options = StackOptions(
        tmp_path / "restored",
        kafka=broker.bootstrap_servers,
        kafka_fetch_wait_ms=broker.fetch_wait_ms,
        redis=redis_server,
    )
    return options, facts


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_topics_copied_to_another_kafka_give_the_same_states_keys_and_catalog_and_the_rest_is_made_again(
    restored, tmp_path
):
    options, facts = restored
    folded, snapshot = facts["digest"]["digest"], tmp_path / "epoch.cairn"

    with Stack(options, quiet) as stack:
        # Redis was empty. These are not the topics of which `served.json` tells, so a worker has folded with the
        # priors, and says which bundle to replay with.
        running = Running(stack, facts["api_key"])
        assert running.epochs() == [1]
        assert f"cairn replay --epoch 2 --parameters {facts['bundle']}" in running.log_of("worker")
        running.cairn("replay", "--epoch", "2", "--parameters", facts["bundle"])
        running.cairn("epoch", "switch", "2", "--wait", "60")
        assert running.digest(2)["digest"] == folded
        # Learners' keys: their values can be read. The catalog: what is recommended comes from it.
        assert {learner: running.responses(learner) for learner in facts["responses"]} == facts["responses"]
        reply = running.recommended("learner-1")
        assert reply.provenance.bundle == facts["bundle"]
        assert reply.recommendations
        running.cairn("epoch", "snapshot", "2", str(snapshot))

    with redis.Redis.from_url(options.redis) as client:
        client.flushall()
    with Stack(options, quiet) as stack:
        # Redis lost everything: workers fold the log again, now with the parameters that were served.
        running = Running(stack, facts["api_key"])
        assert running.epochs() == [1]
        assert running.digest(1)["digest"] == folded
        # In a large installation a snapshot is faster.
        running.cairn("epoch", "restore", str(snapshot), "--epoch", "7")
        running.cairn("epoch", "switch", "7", "--wait", "60")
        assert running.digest(7)["digest"] == folded

        # The bundles are lost: others are fitted to the log.
        shutil.rmtree(stack.environment["CAIRN_BUNDLES"])
        bundle = running.cairn("train").split()[-1]
        running.cairn("replay", "--epoch", "8", "--parameters", bundle)
        running.cairn("epoch", "switch", "8", "--wait", "60")
        running.wait_until(lambda: running.recommended("learner-1").provenance.bundle == bundle)
        assert {learner: running.responses(learner) for learner in facts["responses"]} == facts["responses"]

    # The bundles and Redis are lost together: workers begin with the priors, and everybody is known as before.
    shutil.rmtree(tmp_path / "restored" / "bundles")
    with redis.Redis.from_url(options.redis) as client:
        client.flushall()
    with Stack(options, quiet) as stack:
        running = Running(stack, facts["api_key"])
        assert {learner: running.responses(learner) for learner in facts["responses"]} == facts["responses"]
        assert running.recommended("learner-1").degraded == [recommender_pb2.DEGRADATION_NO_BUNDLE]
