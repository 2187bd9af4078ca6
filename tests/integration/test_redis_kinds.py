"""The kinds of Redis that operators have: with ACL users, behind Sentinels, and a cluster, which is refused."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from contextlib import aclosing

import pytest
import redis

from deploy.local.redis import answers, binary
from deploy.processes import LOOPBACK, Child, Command, ComponentFailedError, free_port
from services.ingest.adapters.redis_recent_events import RedisRecentEvents
from services.recommender.adapters.redis.connection import RedisConnection
from services.recommender.adapters.redis.state_store import RedisStateStore
from services.recommender.application.ports.learners import StateRefusedError, StateUnavailableError
from tests.redis_rights import documented_rights

READY_S = 20.0
FAILOVER_S = 30.0


@pytest.fixture
def start_cluster(start):
    """Starts a cluster of one. It also takes the port 10,000 above, which any connection may have."""

    def start_cluster():
        for port in (free_port() for _ in range(20)):
            with socket.socket() as probe:
                if probe.connect_ex((LOOPBACK, port + 10_000)) == 0:
                    continue
            with contextlib.suppress(ComponentFailedError):
                start("--cluster-enabled", "yes", port=port)
                return port
        raise AssertionError("no port for a cluster")

    return start_cluster


@pytest.fixture
def start(tmp_path):
    """Starts a Redis with options of its own and returns its process and port; stops them all at the end."""
    children = []

    def start(*options, first=(), port=0):
        port = port or free_port()
        (folder := tmp_path / str(port)).mkdir()
        arguments = [binary(), *first, "--port", str(port), "--dir", str(folder), "--save", "", *options]
        child = Child(Command("redis", arguments, folder / "redis.log"))
        children.append(child)
        child.wait_ready(lambda: answers(f"redis://{LOOPBACK}:{port}"), READY_S)
        return child, port

    yield start
    for child in children:
        child.stop()


async def until(condition, deadline_s=FAILOVER_S):
    give_up_s = time.monotonic() + deadline_s
    while not await condition():
        assert time.monotonic() < give_up_s, "in time"
        await asyncio.sleep(0.1)


async def test_a_user_with_a_password_and_only_the_rights_it_needs_stores_and_reads(start):
    _, port = start("--user", "cairn", "on", ">s@cret", *documented_rights(), "--user", "default", "off")
    async with aclosing(RedisStateStore(f"redis://cairn:s%40cret@{LOOPBACK}:{port}/0")) as store:
        await store.check_is_one_server()
        await store.check_nothing_is_evicted()
        assert await store.epochs.current_epoch() is None
    async with aclosing(RedisStateStore(f"redis://cairn:wrong@{LOOPBACK}:{port}/0")) as store:
        with pytest.raises(StateUnavailableError, match=r"WRONGPASS|username-password"):
            await store.epochs.current_epoch()


async def test_a_cluster_is_refused_with_a_sentence(start_cluster):
    port = start_cluster()
    with redis.Redis(port=port) as client:
        client.execute_command("CLUSTER", "ADDSLOTS", *range(16_384))
    async with aclosing(RedisStateStore(f"redis://{LOOPBACK}:{port}/0")) as store:
        with pytest.raises(StateRefusedError, match=r"CAIRN_REDIS is a Redis Cluster.*redis\+sentinel://"):
            await store.check_is_one_server()


async def test_what_a_cluster_answers_is_reported_as_such(start_cluster):
    port = start_cluster()
    with redis.Redis(port=port) as client:
        client.execute_command("CLUSTER", "ADDSLOTS", *range(16_384))
        await_ok(client)
    connection = RedisConnection(f"redis://{LOOPBACK}:{port}/0")
    try:
        with pytest.raises(StateRefusedError, match="is a Redis Cluster"):
            await connection.execute([(b"MGET", b"cairn:{a}", b"cairn:{b}")])
    finally:
        await connection.close()


def await_ok(client):
    give_up_s = time.monotonic() + READY_S
    while "cluster_state:ok" not in str(client.execute_command("CLUSTER", "INFO")):
        assert time.monotonic() < give_up_s
        time.sleep(0.05)


async def test_after_a_failover_the_new_primary_is_used(start, tmp_path):
    primary, primary_port = start()
    _, replica_port = start("--replicaof", LOOPBACK, str(primary_port))
    configuration = tmp_path / "sentinel.conf"
    configuration.write_text(
        f"sentinel monitor main {LOOPBACK} {primary_port} 1\n"
        "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 5000\n"
    )
    _, sentinel_port = start(first=(str(configuration), "--sentinel"))
    url = f"redis+sentinel://{LOOPBACK}:{sentinel_port}/main/0"
    connection, recent = RedisConnection(url, timeout_s=2.0), RedisRecentEvents(url)

    async def replicated():
        with redis.Redis(port=sentinel_port) as sentinel, redis.Redis(port=replica_port) as replica:
            known = sentinel.sentinel_slaves("main")
            return bool(known) and replica.info("replication")["master_link_status"] == "up"

    async def written():
        try:
            await connection.execute([(b"SET", b"after", b"failover")])
        except StateUnavailableError:
            return False
        return True

    try:
        await until(replicated)
        assert await connection.execute([(b"SET", b"before", b"failover"), (b"WAIT", 1, 5_000)]) == [b"OK", 1]
        await recent.check()
        assert recent.available
        primary.kill()
        await until(written)
        assert await connection.execute([(b"GET", b"before"), (b"GET", b"after")]) == [b"failover", b"failover"]
        with redis.Redis(port=replica_port) as client:
            assert client.get("after") == b"failover"
    finally:
        await connection.close()
        await recent.close()
