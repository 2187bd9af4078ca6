"""A subscription to a server as an operator runs it: notifications over a real Redis, and a stop of the server."""

from __future__ import annotations

import signal
import time

import grpc
import pytest

from services.common.kafka.connection import log_identity
from services.common.kafka.envelope import LEARNER_EVENTS
from services.recommender.adapters.redis.connection import RedisConnection
from services.recommender.adapters.redis.states import RedisFoldStore
from services.recommender.domain.ranking.catalog import CatalogSkill
from tests.integration.test_recommender_catalog_kafka import Writer
from tests.integration.test_recommender_server_process import RESOURCES, TENANT, begin_epoch, running, until
from tests.suites.learner_states import commit

# Less than the time between two comparisons of offsets, so that only notifications can cause updates within it.
BY_WORD_S = 4.0


@pytest.fixture
def catalog(kafka_broker):
    writer = Writer(kafka_broker)
    writer.replace(TENANT, RESOURCES, [CatalogSkill("s1", "Skill one")])
    yield
    writer.close()


async def test_stored_changes_are_sent_at_once_and_a_stop_ends_streams(kafka_broker, redis_server, catalog, tmp_path):
    log = await log_identity(kafka_broker, LEARNER_EVENTS)
    await begin_epoch(redis_server, log)
    connection = RedisConnection(redis_server)
    store = RedisFoldStore(connection, 1, cache_bytes=0)
    with running(kafka_broker, redis_server, tmp_path, log) as server:
        until(server.serving, server.popen)
        named = server.subscribe(learner_ids=["ada", "alan"])
        assert {next(named).update.learner_id for _ in range(2)} == {"ada", "alan"}
        assert next(named).snapshot_complete.learners == 2
        everybody = server.subscribe(whole_tenant=True)
        assert next(everybody).snapshot_complete.learners == 0

        began_s = time.monotonic()
        await store.commit([commit(server.key("ada"), range(30))])
        update = next(named).update
        assert (update.learner_id, update.provenance.applied.offset) == ("ada", 29)
        newcomer = next(everybody).update
        assert (newcomer.learner_id, newcomer.provenance.applied.offset) == (server.key("ada").learner, 29)
        assert time.monotonic() - began_s < BY_WORD_S

        server.popen.send_signal(signal.SIGTERM)
        for stream in (named, everybody):
            with pytest.raises(grpc.RpcError) as ended:
                next(stream)
            assert ended.value.code() == grpc.StatusCode.ABORTED
            assert "the server stops; subscribe again" in ended.value.details()
        assert server.popen.wait(10) == 0
    await connection.close()
