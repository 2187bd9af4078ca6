"""The HTTP server on real sockets: slow and rude clients, TLS, and stopping."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import ssl
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from starlette.responses import Response
from structlog.testing import capture_logs

from deploy.kafka.certificates import Authority
from deploy.local.demo_tenant import create_demo_tenant
from services.common.auth.api_keys import create_api_key
from services.common.auth.tenant import ALL_SCOPES
from services.common.auth.tenants_file import load_tenants
from services.common.certificates import CertificateFileError
from services.common.http.connections import ConnectionLimits
from services.common.http.routes import OpenRoute, Route
from services.common.http.server import HttpOptions, HttpServer
from services.common.rpc.addresses import ListenAddressError
from services.common.rpc.admission import Admission
from services.common.rpc.server import ServerOptions
from services.common.rpc.slots import SlotLimits, Slots
from services.common.rpc.tls import TlsFiles

POLICY = "cairn.v1.IngestService/PublishEvents"


class Scene:
    """A server whose `/echo` answers the length of a body, and whose `/wait` answers once `go` is set."""

    def __init__(self, tmp_path, *, tls=None, connections=None, listen="127.0.0.1:0", drain_s=5.0, body_timeout_s=5.0):
        self.api_key = create_api_key(tmp_path / "tenants.yaml", "riverbend", "test", ALL_SCOPES)
        self.slots = Slots(SlotLimits())
        self.admission = Admission(load_tenants(tmp_path / "tenants.yaml"), self.slots)
        self.waiting, self.go = asyncio.Event(), asyncio.Event()

        async def echo(admitted):
            return Response(f"{admitted.tenant.name} {len(admitted.body)}")

        async def wait(_admitted):
            self.waiting.set()
            await self.go.wait()
            return Response("done")

        options = ServerOptions(
            "127.0.0.1:0", tls=tls, drain_s=drain_s, body_timeout_s=body_timeout_s, max_message_bytes=1_000_000
        )
        self.server = HttpServer(
            HttpOptions(listen, "CAIRN_INGEST_HTTP_LISTEN", options, connections or ConnectionLimits()),
            self.admission,
            [
                Route("/echo", ("POST",), echo, POLICY),
                Route("/wait", ("GET",), wait, POLICY),
                OpenRoute("/about", lambda _request: Response("about")),
            ],
        )

    async def start(self):
        address = await self.server.start()
        self.host, _, port = address.rpartition(":")
        self.port = int(port)

    async def connect(self, **tls):
        return await asyncio.open_connection(self.host, self.port, **tls)

    def head(self, method, path, *headers):
        lines = [f"{method} {path} HTTP/1.1", "Host: here", f"Authorization: Bearer {self.api_key}", *headers]
        return "\r\n".join([*lines, "", ""]).encode()

    async def echo(self, connection, body=b"123"):
        reader, writer = connection
        writer.write(self.head("POST", "/echo", f"Content-Length: {len(body)}") + body)
        return await answer_of(reader)


async def answer_of(reader):
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    status = int(head.split()[1])
    headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
    return status, headers, await reader.readexactly(int(headers["content-length"]))


async def closed(reader):
    """Read what is left until the server closes the connection."""
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionResetError:
        return b""


@asynccontextmanager
async def scene(tmp_path, **options):
    at = Scene(tmp_path, **options)
    await at.start()
    try:
        yield at
    finally:
        at.go.set()
        await at.server.stop()


async def test_a_connection_serves_one_request_after_the_other(tmp_path):
    async with scene(tmp_path) as at:
        connection = await at.connect()
        for body in (b"", b"1" * 999_999):
            status, _, text = await at.echo(connection, body)
            assert (status, text) == (200, f"riverbend {len(body)}".encode())


async def test_a_short_answer_is_sent_at_once_although_its_head_is_not_confirmed_yet(tmp_path):
    async with scene(tmp_path) as at:
        connection = await at.connect()
        await at.echo(connection)
        server, _ = at.server._running
        (served,) = server.server_state.connections
        accepted = served.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        connection[1].close()


async def test_a_body_in_chunks_is_read_and_bounded(tmp_path):
    async with scene(tmp_path) as at:
        reader, writer = await at.connect()
        chunked = at.head("POST", "/echo", "Transfer-Encoding: chunked")
        writer.write(chunked + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        assert (await answer_of(reader))[2] == b"riverbend 5"
        writer.write(chunked + 16 * (b"%x\r\n" % 65_536 + b"x" * 65_536 + b"\r\n"))
        status, headers, body = await answer_of(reader)
        assert (status, headers["connection"]) == (413, "close")
        assert "1000000 bytes" in json.loads(body)["error"]["message"]


@pytest.mark.parametrize("framing", ["Content-Length: 5000000", "Transfer-Encoding: chunked"])
async def test_a_client_that_sends_too_much_before_it_reads_gets_the_answer(tmp_path, framing):
    body = b"x" * 5_000_000
    if "chunked" in framing:
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    async with scene(tmp_path) as at:
        reader, writer = await at.connect()
        writer.transport.set_write_buffer_limits(0)
        writer.write(at.head("POST", "/echo", framing) + body)
        await writer.drain()
        status, headers, _ = await answer_of(reader)
        assert (status, headers.get("connection")) == (413, None)
        assert (await at.echo((reader, writer)))[0] == 200


async def test_a_refused_request_leaves_the_connection_usable_when_its_body_has_come(tmp_path):
    async with scene(tmp_path) as at:
        reader, writer = await at.connect()
        writer.write(b"POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n\r\n123")
        status, headers, _ = await answer_of(reader)
        assert (status, headers.get("connection")) == (401, None)
        assert (await at.echo((reader, writer)))[0] == 200


async def test_a_client_that_asks_before_it_sends_is_refused_without_its_body(tmp_path):
    async with scene(tmp_path) as at:
        reader, writer = await at.connect()
        writer.write(b"POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert (await answer_of(reader))[0] == 401
        assert await closed(reader) == b""


async def test_a_body_that_does_not_come_is_refused_and_gives_its_slot_back(tmp_path):
    async with scene(tmp_path, body_timeout_s=0.2) as at:
        reader, writer = await at.connect()
        writer.write(at.head("POST", "/echo", "Content-Length: 10") + b"123")
        status, _, body = await answer_of(reader)
        assert (status, json.loads(body)["error"]["reason"]) == (408, "BODY_TIMEOUT")
        assert "CAIRN_BODY_TIMEOUT_S" in json.loads(body)["error"]["message"]
        assert at.slots.held == 0


@pytest.mark.parametrize("sent", [b"", b"POST /echo HTTP/1.1\r\nHost: he"])
async def test_a_connection_without_a_whole_request_is_closed(tmp_path, sent):
    async with scene(tmp_path, connections=ConnectionLimits(headers_s=0.2)) as at:
        reader, writer = await at.connect()
        writer.write(sent)
        assert await closed(reader) == b""


async def test_a_dripping_request_is_closed_on_a_connection_that_was_used_before(tmp_path):
    async with scene(tmp_path, connections=ConnectionLimits(headers_s=0.3)) as at:
        reader, writer = await at.connect()
        assert (await at.echo((reader, writer)))[0] == 200
        waiting = asyncio.create_task(closed(reader))
        while not waiting.done():
            writer.write(b"G")
            await asyncio.wait([waiting], timeout=0.05)
        assert waiting.result() == b""


async def test_another_silent_connection_takes_the_place_of_the_oldest(tmp_path):
    async with scene(tmp_path, connections=ConnectionLimits(silent=2)) as at:
        oldest, middle, newest = [await at.connect() for _ in range(3)]
        assert await closed(oldest[0]) == b""
        assert (await at.echo(middle))[0] == 200
        assert (await at.echo(newest))[0] == 200


async def test_a_running_request_is_not_silent(tmp_path):
    async with scene(tmp_path, connections=ConnectionLimits(silent=1, headers_s=0.1)) as at:
        reader, writer = await at.connect()
        writer.write(at.head("GET", "/wait"))
        await at.waiting.wait()
        assert (await at.echo(await at.connect()))[0] == 200
        await closed((await at.connect())[0])
        at.go.set()
        assert (await answer_of(reader))[2] == b"done"


async def test_an_old_connection_ends_with_its_next_answer_which_says_so(tmp_path):
    async with scene(tmp_path, connections=ConnectionLimits(age_s=0.0)) as at:
        reader, writer = await at.connect()
        status, headers, _ = await at.echo((reader, writer))
        assert (status, headers["connection"]) == (200, "close")
        assert await closed(reader) == b""


@pytest.mark.parametrize("sent", [b"nonsense\r\n\r\n", b"GET /about HTTP/1.1\r\nHost: here\r\nX: " + b"x" * 70_000])
async def test_what_is_no_request_or_has_endless_headers_is_refused(tmp_path, sent):
    async with scene(tmp_path) as at:
        reader, writer = await at.connect()
        writer.write(sent)
        assert (await closed(reader)).startswith(b"HTTP/1.1 400 ")


async def test_stopping_lets_a_running_request_finish_and_takes_no_other(tmp_path):
    async with scene(tmp_path) as at:
        idle = await at.connect()
        reader, writer = await at.connect()
        writer.write(at.head("GET", "/wait"))
        await at.waiting.wait()
        stopping = asyncio.create_task(at.server.stop())
        assert await closed(idle[0]) == b""
        with pytest.raises(OSError, match="onnect"):
            await at.connect()
        assert not stopping.done()
        at.go.set()
        assert (await answer_of(reader))[2] == b"done"
        await stopping


async def test_stopping_does_not_wait_longer_than_the_drain_time(tmp_path):
    async with scene(tmp_path, drain_s=0.1) as at:
        reader, writer = await at.connect()
        writer.write(at.head("GET", "/wait"))
        await at.waiting.wait()
        async with asyncio.timeout(5):
            await at.server.stop()
        assert not (await closed(reader)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"])
async def test_an_address_that_other_machines_reach_needs_tls(tmp_path, listen):
    with pytest.raises(ListenAddressError, match=r"CAIRN_INGEST_HTTP_LISTEN=.*no TLS"):
        Scene(tmp_path, listen=listen)


async def test_an_address_in_use_is_named_with_its_setting(tmp_path):
    async with scene(tmp_path) as at:
        other = Scene(tmp_path, listen=f"127.0.0.1:{at.port}")
        with pytest.raises(ListenAddressError, match=r"cannot listen on 127.*set CAIRN_INGEST_HTTP_LISTEN"):
            await other.server.start()


async def test_the_public_tenant_is_refused_where_other_machines_can_call(tmp_path):
    create_demo_tenant(tmp_path / "tenants.yaml")
    admission = Admission(load_tenants(tmp_path / "tenants.yaml"), Slots(SlotLimits()))
    with pytest.raises(ListenAddressError, match="tenant 'demo'"):
        HttpServer(HttpOptions("0.0.0.0:0", "X", ServerOptions("127.0.0.1:0", insecure=True)), admission, [])


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls") / "stranger")


@pytest.fixture
def files(authority, tmp_path):
    (tmp_path / "served").mkdir()
    return TlsFiles(*(shutil.copy(path, tmp_path / "served" / path.name) for path in authority.sign("server")))


def trusting(authority, client=None):
    context = ssl.create_default_context(cafile=authority.certificate)
    if client is not None:
        context.load_cert_chain(*client)
    return context


async def test_tls_serves_clients_that_trust_it_and_nobody_in_plain_text(files, tmp_path, authority, stranger):
    async with scene(tmp_path, tls=files) as at:
        for name in ("127.0.0.1", ""):
            context = trusting(authority)
            context.check_hostname = bool(name)
            connection = await at.connect(ssl=context, server_hostname=name)
            assert (await at.echo(connection))[2] == b"riverbend 3"
        with pytest.raises(ssl.SSLCertVerificationError):
            await at.connect(ssl=trusting(stranger))
        reader, writer = await at.connect()
        writer.write(at.head("GET", "/about"))
        assert not (await closed(reader)).startswith(b"HTTP")


async def test_mutual_tls_admits_only_clients_with_a_certificate(files, tmp_path, authority, stranger):
    async with scene(tmp_path, tls=replace(files, client_ca=authority.certificate)) as at:
        connection = await at.connect(ssl=trusting(authority, authority.sign("platform")))
        assert (await at.echo(connection))[0] == 200
        for client in (None, stranger.sign("platform")):
            # TLS 1.3 tells a client only when it reads.
            with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
                await at.echo(await at.connect(ssl=trusting(authority, client)))


async def test_a_renewed_certificate_is_served_to_the_next_connection(files, tmp_path, authority, stranger):
    certificate, key = stranger.sign("server")
    async with scene(tmp_path, tls=files) as at:
        shutil.copy(certificate, files.certificate)
        with capture_logs() as logs:
            assert (await at.echo(await at.connect(ssl=trusting(authority))))[0] == 200
        assert [entry["log_level"] for entry in logs] == ["error"]
        shutil.copy(key, files.key)
        assert (await at.echo(await at.connect(ssl=trusting(stranger))))[0] == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            await at.connect(ssl=trusting(authority))


async def test_unusable_tls_files_are_named_at_the_start(files, tmp_path):
    missing = replace(files, key=tmp_path / "none.key")
    with pytest.raises(CertificateFileError, match=r"CAIRN_TLS_KEY=.*none\.key"):
        await Scene(tmp_path, tls=missing).server.start()
