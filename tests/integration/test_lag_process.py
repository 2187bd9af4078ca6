"""The lag exporter as a process, on a real broker and a real Redis."""

from __future__ import annotations

import re
import sys
import time
import urllib.error
import urllib.request

import aiokafka
import pytest

from deploy.processes import LOOPBACK, Child, Command, free_port
from services.common.kafka.connection import aiokafka_options, log_identity
from services.common.kafka.envelope import LEARNER_EVENTS
from services.recommender.adapters.redis.state_store import RedisStateStore
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}{path}", timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except urllib.error.URLError:
        return 0, ""


def until(condition, child, deadline_s=30.0):
    give_up_s = time.monotonic() + deadline_s
    while not condition():
        child.check_running()
        assert time.monotonic() < give_up_s
        time.sleep(0.05)


@pytest.fixture
def exporter(kafka_broker, fresh_redis_server, tmp_path):
    environment = {
        "CAIRN_KAFKA": kafka_broker.bootstrap_servers,
        "CAIRN_KAFKA_FETCH_WAIT_MS": str(kafka_broker.fetch_wait_ms),
        "CAIRN_REDIS": fresh_redis_server.url,
        "CAIRN_METRICS_PORT": str(free_port()),
        "CAIRN_LAG_EVERY_S": "0.1",
        "CAIRN_REDIS_TIMEOUT_S": "1",
    }
    command = [sys.executable, "-m", "services.recommender", "lag"]
    child = Child(Command("lag", command, tmp_path / "lag.log", environment))
    yield child, int(environment["CAIRN_METRICS_PORT"])
    child.stop()


async def test_the_lag_of_an_epoch_is_served_and_redis_away_is_not_ready_but_alive(
    exporter, kafka_broker, fresh_redis_server
):
    child, port = exporter
    of_redis = ("memory_bytes [1-9]", "memory_max_bytes 0.0", "evicted_keys_total 0.0")
    log = await log_identity(kafka_broker, LEARNER_EVENTS)
    until(lambda: get(port, "/readyz")[0] == 200, child)
    assert "cairn_lag_records{" not in get(port, "/metrics")[1]
    until(lambda: all(re.search(f"(?m)^cairn_redis_{of}", get(port, "/metrics")[1]) for of in of_redis), child)
    store = RedisStateStore(fresh_redis_server.url)
    await store.epochs.create(EpochMeta(1, EpochStatus.LIVE, "priors-1", "", str(log), {}))
    assert "cairn_commits_refused_total 0.0" in get(port, "/metrics")[1]
    await store.count_refused_commit()
    until(lambda: "cairn_commits_refused_total 1.0" in get(port, "/metrics")[1], child)
    await store.aclose()
    producer = aiokafka.AIOKafkaProducer(**aiokafka_options(kafka_broker))
    await producer.start()
    at = await producer.send_and_wait(LEARNER_EVENTS, b"value", partition=1)
    await producer.stop()
    until(
        lambda: f'cairn_lag_records{{epoch="1",partition="1"}} {at.offset + 1:.1f}' in get(port, "/metrics")[1], child
    )
    fresh_redis_server.stop()
    until(lambda: get(port, "/readyz")[0] == 503, child)
    assert get(port, "/livez") == (200, "ok\n")
    assert "cairn_lag_records{" not in get(port, "/metrics")[1]
    until(lambda: not re.search("(?m)^cairn_redis_", get(port, "/metrics")[1]), child)
    assert 'cairn_serving{process="lag"} 0.0' in get(port, "/metrics")[1]
