"""Misbehaving callers: malformed bytes, oversized requests, abandoned calls."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
from typing import Any, Self

import grpc

from cairn.v1 import ingest_pb2, ingest_pb2_grpc, recommender_pb2, recommender_pb2_grpc
from deploy.processes import LOOPBACK, free_port
from tests.faults.proxy import TcpProxy

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_TIMEOUT_S = 1.0
_METHOD = b"/cairn.v1.IngestService/PublishEvents"


def _frame(kind: int, flags: int, stream: int, payload: bytes, length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _literal(name: bytes, value: bytes) -> bytes:
    """A literal header field without indexing and Huffman coding (RFC 7541, 6.2.2)."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


_SETTINGS = _frame(4, 0, 0, b"")
_HEADERS = _frame(
    1,
    4,
    1,
    b"".join(
        _literal(name, value)
        for name, value in (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", _METHOD),
            (b":authority", b"localhost"),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
        )
    ),
)

# Each violates HTTP itself, framing, header compression, gRPC's length prefix, or the state of a stream.
MALFORMED = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\x00" * 4096,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x42" * 500,
    _PREFACE,
    _PREFACE + _frame(0, 1, 0, b"data on stream 0"),
    _PREFACE + _SETTINGS + _frame(4, 0, 0, b"abc"),
    _PREFACE + _SETTINGS + _frame(99, 255, 7, b"unknown kind"),
    _PREFACE + _SETTINGS + _frame(1, 4, 1, b"\xff\xff\xff\xff\xff"),
    _PREFACE + _SETTINGS + _frame(1, 4, 2, b"\x82"),
    _PREFACE + _SETTINGS + _frame(0, 0, 1, b"x", length=0xFFFFFF),
    _PREFACE + _SETTINGS + _HEADERS + _frame(0, 1, 1, b"\x00\xff\xff\xff\xffshort"),
    _PREFACE + _SETTINGS + _HEADERS + _frame(0, 1, 1, b"\x01\x00\x00\x00\x04gzip"),
    _PREFACE + _SETTINGS + _HEADERS + _frame(0, 1, 1, b"\x00\x00\x00\x00\x05\xff\xff\xff\xff\xff"),
    _PREFACE + _SETTINGS + _HEADERS + _frame(0, 1, 1, b"\x00\x00"),
    _PREFACE + _SETTINGS + _HEADERS + _HEADERS,
    _PREFACE + _SETTINGS + _frame(8, 0, 0, b"\x00\x00\x00\x00"),
    _PREFACE + _SETTINGS + b"".join(_frame(3, 0, stream, b"\x00\x00\x00\x08") for stream in range(1, 400, 2)),
    _PREFACE + _SETTINGS + _frame(6, 0, 0, b"12345678") * 500,
)


def send_raw(address: str, data: bytes) -> None:
    """Send bytes, read the answer for a moment, and disconnect."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), _TIMEOUT_S) as connection:
        connection.settimeout(_TIMEOUT_S / 4)
        # Closing the connection is a correct answer to all of these.
        with contextlib.suppress(OSError):
            connection.sendall(data)
            while connection.recv(4096):
                pass


def payloads_around(address: str, api_key: str, limit: int) -> dict[int, str]:
    """The status of PublishEvents by how many bytes a request is over the limit."""
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(address, options=options) as channel:
        stub: Any = ingest_pb2_grpc.IngestServiceStub(channel)
        answers = {}
        for over in (-1, 0, 1, limit + 1):
            call = stub.PublishEvents.with_call
            answers[over] = _status(call, _request_of(limit + over), api_key)
        return answers


def reads_around(address: str, api_key: str, limit: int) -> dict[int, str]:
    """The status of Recommend for a request that is one byte over the limit."""
    with grpc.insecure_channel(address, options=[("grpc.max_send_message_length", -1)]) as channel:
        stub: Any = recommender_pb2_grpc.RecommendationServiceStub(channel)
        request = recommender_pb2.RecommendRequest()
        request.learner_id = "x" * (limit + 1 - 4)
        request.learner_id = "x" * (limit + 1 - (request.ByteSize() - len(request.learner_id)))
        return {request.ByteSize() - limit: _status(stub.Recommend.with_call, request, api_key)}


def _request_of(size: int) -> ingest_pb2.PublishEventsRequest:
    """A request of a given size: the padding is a source that is too long, which only rejects the event."""
    request = ingest_pb2.PublishEventsRequest(events=[ingest_pb2.EventSubmission(event_id="limit", source="x")])
    entry = request.events[0]
    for _ in range(4):
        entry.source = "x" * (len(entry.source) + size - request.ByteSize())
    assert request.ByteSize() == size, (request.ByteSize(), size)
    return request


def _status(call: Any, request: Any, api_key: str) -> str:
    try:
        call(request, timeout=10.0, metadata=(("authorization", f"Bearer {api_key}"),))
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


class Abandoning:
    """While the block runs, callers cancel at once, lose their connection, or connect and stay silent.

    Attributes:
        subscribed: number of subscriptions that were opened and abandoned.
    """

    def __init__(self, address: str, api_key: str) -> None:
        self._address = address
        self._metadata = (("authorization", f"Bearer {api_key}"),)
        self._stopping = threading.Event()
        self.subscribed = 0
        jobs = (self._cancel, self._vanish, self._say_nothing, self._subscribe_and_vanish)
        self._threads = [threading.Thread(target=job, daemon=True) for job in jobs]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _cancel(self) -> None:
        with grpc.insecure_channel(self._address) as channel:
            stub: Any = recommender_pb2_grpc.RecommendationServiceStub(channel)
            for number in itertools.count():
                request = recommender_pb2.RecommendRequest(learner_id=f"learner-{number % 200}", limit=20)
                call = stub.Recommend.future(request, timeout=5.0, metadata=self._metadata)
                if self._stopping.wait(0.01):
                    return
                call.cancel()

    def _subscribe_and_vanish(self) -> None:
        """Streams whose network goes silent for a while, so that nothing is read, and then breaks."""
        port = free_port()
        request = recommender_pb2.SubscribeRequest(whole_tenant=True)
        with TcpProxy(port, int(self._address.rpartition(":")[2])) as network:
            while not self._stopping.is_set():
                with grpc.insecure_channel(f"{LOOPBACK}:{port}") as channel:
                    stub: Any = recommender_pb2_grpc.RecommendationServiceStub(channel)
                    streams = [stub.Subscribe(request, timeout=30.0, metadata=self._metadata) for _ in range(10)]
                    with contextlib.suppress(grpc.RpcError):
                        self.subscribed += sum(1 for stream in streams if next(iter(stream), None) is not None)
                    network.stall()
                    self._stopping.wait(1.5)
                    network.refuse()
                network.forward()

    def _vanish(self) -> None:
        while not self._stopping.wait(0.02):
            send_raw(self._address, _PREFACE + _SETTINGS + _HEADERS[:-10])

    def _say_nothing(self) -> None:
        host, _, port = self._address.rpartition(":")
        with contextlib.ExitStack() as silent:
            for _ in range(200):
                connection = silent.enter_context(socket.create_connection((host, int(port)), _TIMEOUT_S))
                connection.sendall(_PREFACE + _SETTINGS)
                if self._stopping.wait(0.05):
                    return
            self._stopping.wait()
