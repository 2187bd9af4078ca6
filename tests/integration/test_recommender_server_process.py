"""The recommender server as an operator runs it, over a real broker and a real Redis."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import grpc
import pytest
import redis.asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cairn.v1 import recommender_pb2, recommender_pb2_grpc
from services.common.auth.api_keys import create_api_key
from services.common.auth.tenant import ALL_SCOPES
from services.common.auth.tenants_file import load_tenants
from services.common.kafka.connection import log_identity
from services.common.kafka.envelope import LEARNER_EVENTS, Position
from services.common.kafka.partitioner import partition_of
from services.common.rpc import freshness
from services.recommender.adapters.redis.connection import RedisConnection
from services.recommender.adapters.redis.epochs import RedisEpochs
from services.recommender.adapters.redis.states import RedisFoldStore
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus
from services.recommender.application.ports.learners import LearnerKey, PartitionProgress
from services.recommender.domain.learner.parameters import PRIOR_PARAMETERS_ID
from services.recommender.domain.ranking.catalog import CatalogResource, CatalogSkill
from tests.integration.test_recommender_catalog_kafka import Writer
from tests.suites.learner_states import commit, record_key_of

READY_WITHIN_S = 30
TENANT = "serverdistrict"
RESOURCES = [
    CatalogResource(f"{skill}-{number}", title=f"Exercise {number}", assesses=((skill, 1.0),))
    for skill in ("s1", "s2", "s3")
    for number in range(4)
]


class Running:
    """A running server, and the store it reads."""

    def __init__(self, popen, address, api_key, tenant, log):
        self.popen, self.address, self.tenant, self.log = popen, address, tenant, log
        self._metadata = (("authorization", f"Bearer {api_key}"),)
        self._channel = grpc.insecure_channel(address)
        self._stub = recommender_pb2_grpc.RecommendationServiceStub(self._channel)

    def recommend(self, learner_id, **fields):
        request = recommender_pb2.RecommendRequest(learner_id=learner_id, **fields)
        return self._stub.Recommend(request, metadata=self._metadata, timeout=5)

    def get_learner(self, learner_id, **fields):
        request = recommender_pb2.GetLearnerRequest(learner_id=learner_id, **fields)
        return self._stub.GetLearner(request, metadata=self._metadata, timeout=5)

    def subscribe(self, **fields):
        return self._stub.Subscribe(recommender_pb2.SubscribeRequest(**fields), metadata=self._metadata)

    def serving(self):
        check = health_pb2.HealthCheckRequest(service="cairn.v1.RecommendationService")
        status = health_pb2_grpc.HealthStub(self._channel).Check(check, timeout=5).status
        return status == health_pb2.HealthCheckResponse.SERVING

    def key(self, learner_id):
        return LearnerKey(TENANT, self.tenant.pseudonym(learner_id))

    def token(self, learner_id, offset):
        partition = partition_of(record_key_of(self.key(learner_id)), self.log.partitions)
        wanted = freshness.Freshness(self.log.topic_id, Position(partition, offset))
        return freshness.encode(wanted, self.tenant.secret)

    def close(self):
        self._channel.close()


def until(condition, popen=None):
    give_up_at = time.monotonic() + READY_WITHIN_S
    while not condition():
        assert popen is None or popen.poll() is None, "the process ended"
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


@contextmanager
def running(connection, redis_url, folder, log, **settings):
    tenants, address_file = folder / "tenants.yaml", folder / "address"
    api_key = create_api_key(tenants, TENANT, "test", ALL_SCOPES)
    environment = os.environ | {
        "CAIRN_KAFKA": connection.bootstrap_servers,
        "CAIRN_KAFKA_FETCH_WAIT_MS": str(connection.fetch_wait_ms),
        "CAIRN_REDIS": redis_url,
        "CAIRN_TENANTS": str(tenants),
        "CAIRN_BUNDLES": str(folder / "bundles"),
        "CAIRN_ADDRESS_FILE": str(address_file),
        "CAIRN_DRAIN_S": "2",
        **settings,
    }
    with (folder / "server.log").open("wb") as output:
        popen = subprocess.Popen(
            [sys.executable, "-m", "services.recommender", "server"], env=environment, stderr=output
        )
    try:
        until(address_file.exists, popen)
        server = Running(popen, address_file.read_text(), api_key, load_tenants(tenants).get(TENANT), log)
        try:
            yield server
        finally:
            server.close()
    finally:
        popen.kill()
        popen.wait()


async def begin_epoch(redis_url, log, *, epoch=1):
    """An epoch whose every partition has a position, marked as current."""
    client, connection = redis.asyncio.Redis.from_url(redis_url, protocol=2), RedisConnection(redis_url)
    epochs, store = RedisEpochs(client), RedisFoldStore(connection, epoch, cache_bytes=0)
    await epochs.create(EpochMeta(epoch, EpochStatus.BUILT, PRIOR_PARAMETERS_ID, "", str(log), {}))
    await store.advance({partition: (None, PartitionProgress(0, 0, 0, 0)) for partition in range(log.partitions)})
    await epochs.make_current(epoch)
    await client.aclose()
    await connection.close()


async def answer(redis_url, key, offsets):
    """Stores what the worker would store for a new learner's responses."""
    connection = RedisConnection(redis_url)
    await RedisFoldStore(connection, 1, cache_bytes=0).commit([commit(key, offsets)])
    await connection.close()


def unavailable(server):
    with pytest.raises(grpc.RpcError) as refused:
        server.recommend("ada")
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    return refused.value.details()


@pytest.fixture
async def log(kafka_broker):
    return await log_identity(kafka_broker, LEARNER_EVENTS)


@pytest.fixture
def catalog_writer(kafka_broker):
    writer = Writer(kafka_broker)
    writer.replace(TENANT, RESOURCES, [CatalogSkill("s1", "Skill one")])
    yield writer
    writer.close()


async def test_a_server_uses_the_workers_state_and_follows_catalog_and_epoch(
    kafka_broker, fresh_redis_server, tmp_path, log, catalog_writer
):
    url = fresh_redis_server.url
    with running(kafka_broker, url, tmp_path, log) as server:
        # There is no epoch yet.
        assert not server.serving()
        # A server that has just started does not know that yet, and says so.
        until(lambda: "start a worker" in unavailable(server), server.popen)
        await begin_epoch(url, log)
        until(server.serving, server.popen)

        new = server.recommend("ada", limit=5)
        assert recommender_pb2.DEGRADATION_NEW_LEARNER in new.degraded
        assert len(new.recommendations) == 5

        await answer(url, server.key("ada"), range(20))
        known = server.recommend("ada", limit=5, freshness_token=server.token("ada", 19))
        assert known.provenance.applied.offset == 19
        assert list(known.degraded) == [recommender_pb2.DEGRADATION_NO_BUNDLE]
        assert server.recommend("ada", limit=5) == known
        shown = server.get_learner("ada")
        assert shown.responses == 20
        assert {skill.skill for skill in shown.skills} == {"s0", "s1", "s2", "s3", "s4"}

        added = [*RESOURCES, CatalogResource("new", title="New", assesses=(("s9", 1.0),))]
        catalog_writer.replace(TENANT, added, [])
        only_new = recommender_pb2.ResourceFilter(skills=["s9"])
        until(lambda: [each.title for each in server.recommend("ada", filter=only_new).recommendations] == ["New"])

        await begin_epoch(url, log, epoch=2)
        until(lambda: server.recommend("ada").provenance.epoch == 2)

        # Learners missing from an empty store are not new learners.
        fresh_redis_server.flush()
        assert "the state store lost it" in unavailable(server)
        until(lambda: not server.serving())

        fresh_redis_server.stop()
        until(lambda: "CAIRN_REDIS" in unavailable(server))

        server.popen.send_signal(signal.SIGTERM)
        assert server.popen.wait(timeout=10) == 0


def test_a_server_without_a_broker_exits_with_an_error(tmp_path, redis_server):
    tenants = tmp_path / "tenants.yaml"
    create_api_key(tenants, TENANT, "test", ALL_SCOPES)
    environment = os.environ | {
        "CAIRN_KAFKA": "127.0.0.1:9",
        "CAIRN_REDIS": redis_server,
        "CAIRN_TENANTS": str(tenants),
        "CAIRN_BUNDLES": str(tmp_path / "bundles"),
    }
    ended = subprocess.run(
        [sys.executable, "-m", "services.recommender", "server"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith(
        "recommender server stopped: Kafka at 127.0.0.1:9 cannot be reached"
    )


@pytest.mark.parametrize("process", ["server", "worker", "lag"])
def test_a_wrong_url_of_redis_is_bad_input(process, tmp_path):
    tenants = tmp_path / "tenants.yaml"
    create_api_key(tenants, TENANT, "test", ALL_SCOPES)
    ended = subprocess.run(
        [sys.executable, "-m", "services.recommender", process],
        env=os.environ | {"CAIRN_REDIS": "redis://user:secret@host/abc", "CAIRN_TENANTS": str(tenants)},
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    said = f"recommender {process} cannot start: CAIRN_REDIS='redis://host/abc' is not the URL of a state store"
    assert ended.stderr.splitlines()[-1].startswith(said)
    assert ended.returncode == 2
    assert "secret" not in ended.stderr


@pytest.mark.parametrize("arguments", [[], ["nonsense"]])
def test_an_unknown_process_is_an_error_that_lists_the_known_ones(arguments):
    ended = subprocess.run(
        [sys.executable, "-m", "services.recommender", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr == "usage: python -m services.recommender server|worker|lag\n"
