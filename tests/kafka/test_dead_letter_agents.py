"""Dead-letter agents on Apache Kafka share the topic, and their counts add up whoever comes, goes or restarts."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from prometheus_client import CollectorRegistry

from deploy.kafka.cluster import KafkaCluster
from services.common.kafka.topics import ensure_topics, load_declarations
from services.recommender.adapters.kafka.dead_letters import KafkaDeadLetters
from services.recommender.application.ports.log import DeadLetter
from services.recommender.entrypoints.dead_letter_agent import run_dead_letter_agent
from services.recommender.entrypoints.dead_letter_metrics import DeadLetterMetrics
from services.recommender.entrypoints.dead_letter_watch import DeadLetterWatch
from tests.conftest import KAFKA_LIBRARIES, TOPICS

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


class Agent:
    """A process's agent, with a registry of its own."""

    def __init__(self, cluster):
        self._registry = CollectorRegistry()
        metrics = DeadLetterMetrics(self._registry)
        watch = DeadLetterWatch(
            partial(run_dead_letter_agent, cluster.connection, metrics, session_timeout_ms=6_000), metrics
        )
        self._task = asyncio.create_task(watch.run())

    @property
    def held(self):
        samples = (sample for family in self._registry.collect() for sample in family.samples)
        return sum(sample.value for sample in samples if sample.name == "cairn_dead_letters_held")

    @property
    def failures(self):
        return self._registry.get_sample_value("cairn_dead_letter_agent_failures_total")

    async def stop(self):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def write(cluster, offsets):
    writer = KafkaDeadLetters(cluster.connection)
    await writer.write([DeadLetter(0, offset, b"north/%d" % offset, b"", (), "field", "why") for offset in offsets])
    await writer.close()


async def until(condition):
    async with asyncio.timeout(_DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - another thread makes it true.
            await asyncio.sleep(0.05)


@pytest.mark.timeout(240)
async def test_agents_share_the_topic_and_their_counts_add_up_whoever_comes_goes_or_restarts(cluster):
    await write(cluster, range(500))
    first = Agent(cluster)
    await until(lambda: first.held == 500)
    second = Agent(cluster)
    await until(lambda: second.held > 0 and first.held + second.held == 500)
    assert first.held > 0
    await write(cluster, range(500, 600))
    await until(lambda: first.held + second.held == 600)
    await second.stop()
    assert second.held == 0
    await until(lambda: first.held == 600)
    cluster.nodes[0].kill()
    cluster.start()
    await write(cluster, range(590, 605))
    await until(lambda: first.held == 605)
    assert first.failures == 0
    await first.stop()
