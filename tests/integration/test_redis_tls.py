"""A Redis that is reached over TLS: the bundled one behind a proxy, and Redis and Valkey where they are installed."""

from __future__ import annotations

import shutil
from contextlib import ExitStack, aclosing
from pathlib import Path

import pytest

from deploy.kafka.certificates import Authority
from deploy.local.redis import answers, binary
from deploy.processes import LOOPBACK, Child, Command, free_port
from services.ingest.adapters.redis_recent_events import RedisRecentEvents
from services.recommender.adapters.redis.connection import RedisConnection
from services.recommender.adapters.redis.state_store import RedisStateStore
from services.recommender.application.ports.learners import StateUnavailableError
from tests.faults.redis_server import has_tls, tls_options, tls_proxy
from tests.redis_rights import documented_rights

READY_S = 20.0
PROXY = "the bundled Redis behind a proxy with TLS"


class TlsServers:
    """Starts servers that are reached over TLS, and stops them at the end.

    Attributes:
        authority: signed their certificate.
    """

    def __init__(self, kind: str, directory: Path) -> None:
        self._executable = binary() if kind == PROXY else shutil.which(kind)
        self._behind_a_proxy = kind == PROXY
        self._directory = directory
        self._running = ExitStack()
        self.authority = Authority(directory / "authority")
        self._signed = self.authority.sign("server")

    def start(self, *options: str, first: tuple[str, ...] = (), client_certificates: bool = False) -> int:
        """Start one, and return its port for TLS."""
        port, secured = free_port(), free_port()
        if self._behind_a_proxy:
            self._start(port, *first, *options)
            client_authority = self.authority.certificate if client_certificates else None
            self._running.enter_context(tls_proxy(secured, port, self._signed, client_authority))
        else:
            tls = tls_options(
                secured, self._signed, self.authority.certificate, client_certificates=client_certificates
            )
            self._start(port, *first, *tls, *options)
        return secured

    def close(self) -> None:
        self._running.close()

    def _start(self, port: int, *options: str) -> None:
        (folder := self._directory / str(port)).mkdir()
        arguments = [str(self._executable), *options, "--port", str(port), "--dir", str(folder), "--bind", LOOPBACK]
        child = Child(Command("redis", arguments, folder / "redis.log"))
        self._running.callback(child.stop)
        child.wait_ready(lambda: answers(f"redis://{LOOPBACK}:{port}"), READY_S)


@pytest.fixture(params=[PROXY, "redis-server", "valkey-server"])
def servers(request, tmp_path):
    path = shutil.which(request.param)
    if request.param != PROXY and (path is None or not has_tls(path)):
        pytest.skip(f"no {request.param} that was built with TLS is on PATH (on Debian: apt install {request.param})")
    servers = TlsServers(request.param, tmp_path)
    yield servers
    servers.close()


async def pong(url):
    connection = RedisConnection(url, timeout_s=20.0)
    try:
        return await connection.execute([(b"PING",)])
    finally:
        await connection.close()


async def test_a_user_logs_in_over_tls_stores_and_reads(servers):
    user = ("--user", "cairn", "on", ">s@cret", *documented_rights(), "--user", "default", "off")
    address = f"cairn:s%40cret@{LOOPBACK}:{servers.start(*user)}"
    url = f"rediss://{address}/0?ssl_ca_certs={servers.authority.certificate}"
    async with aclosing(RedisStateStore(url)) as store:
        await store.check_is_one_server()
        await store.check_nothing_is_evicted()
        assert await store.epochs.current_epoch() is None
    connection, recent = RedisConnection(url), RedisRecentEvents(url)
    try:
        # More than a record of TLS holds, and than is read at once.
        value = bytes(300_000)
        assert await connection.execute([(b"SET", b"cairn:x", value), (b"GET", b"cairn:x")]) == [b"OK", value]
        await recent.check()
        assert recent.available
    finally:
        await connection.close()
        await recent.close()


async def test_a_client_certificate_is_presented_where_redis_wants_one(servers):
    client = servers.authority.sign("client")
    port = servers.start(client_certificates=True)
    url = f"rediss://{LOOPBACK}:{port}/0?ssl_ca_certs={servers.authority.certificate}"
    with pytest.raises(StateUnavailableError, match="a client certificate"):
        await pong(url)
    assert await pong(f"{url}&ssl_certfile={client.certificate}&ssl_keyfile={client.key}") == [b"PONG"]


async def test_the_primary_is_found_and_reached_over_tls_through_sentinels(servers, tmp_path):
    primary = servers.start()
    configuration = tmp_path / "sentinel.conf"
    # Behind the proxy the Sentinel cannot see the primary, so that it must not give it up.
    configuration.write_text(
        f"sentinel monitor main {LOOPBACK} {primary} 1\nsentinel down-after-milliseconds main 600000\n"
    )
    sentinel = servers.start(first=(str(configuration), "--sentinel"))
    url = f"rediss+sentinel://{LOOPBACK}:{sentinel}/main/0"
    assert await pong(f"{url}?ssl_ca_certs={servers.authority.certificate}") == [b"PONG"]
    said = r"no Sentinel of CAIRN_REDIS names.*with TLS that they are trusted by ssl_ca_certs of"
    with pytest.raises(StateUnavailableError, match=said):
        await pong(url)


async def test_a_redis_that_is_not_trusted_is_named_with_the_remedy(servers, tmp_path):
    port = servers.start()
    stranger = Authority(tmp_path / "stranger").certificate
    said = (
        rf"the certificate of {LOOPBACK}:{port} is not trusted, because no authority in ssl_ca_certs of CAIRN_REDIS .* "
        "signed it: give the certificate of the authority that did"
    )
    for url in (f"rediss://{LOOPBACK}:{port}/0?ssl_ca_certs={stranger}", f"rediss://{LOOPBACK}:{port}/0"):
        with pytest.raises(StateUnavailableError, match=said):
            await pong(url)
