"""Events per second over HTTP into the log, in three ways, against the same over gRPC, in requests of the same size."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import grpc
import orjson
import psutil
import redis
from google.protobuf.json_format import MessageToDict

from cairn.client import CHANNEL_OPTIONS
from cairn.v1 import ingest_pb2, ingest_pb2_grpc
from deploy.envoy.config import SERVICES as BEHIND_THE_GATEWAY
from deploy.local.gateway import GatewayServer
from deploy.local.stack import SERVICES, Component, Stack, StackOptions
from tests.benchmarks.loading import Response

EVENTS_PER_S_MIN = 5_000
RATIO_MIN = 0.6
_BATCH = 100
_CONNECTIONS = 8
_LEARNERS, _ITEMS = 2_000, 2_000
# The two take turns, so that other work on the machine slows down both.
_TURNS, _TURN_S = 10, 1.5
# Requests that are built before a turn: more than it can send.
_BUILT = 200
# Requests with one event each, one after the other.
_SINGLES = 500
_TIMEOUT_S = 30.0
# What each event of a request holds once, in every form.
_EVENT = b'"score":'

Send = Callable[[bytes], Awaitable[int]]
"""Sends a request that was built before; returns how many of its events were new."""


@dataclass(frozen=True, slots=True)
class HttpFigures:
    """All ways, in turns and through the same ingest.

    Attributes:
        http_events_per_s: of POST /v1/events:batch.
        xapi_events_per_s: of POST /xAPI/statements.
        gateway_events_per_s: of POST /v1/events:publish through the gateway.
        grpc_events_per_s: of PublishEvents.
        ratio_to_grpc: of the first to the last.
        xapi_ratio_to_grpc: of the second to the last.
        gateway_ratio_to_grpc: of the third to the last.
        http_cpu_us_per_event: CPU time of ingest, which other work on the machine changes little.
        xapi_cpu_us_per_event: the same of statements.
        grpc_cpu_us_per_event: the same over gRPC.
        gateway_cpu_us_per_event: CPU time of the gateway itself.
        gateway_cpu_ms_per_call: the same of a request with one event.
        xapi_cpu_ms_per_call: CPU time of ingest for a request with one statement.
        gateway_rss_mb: memory of the gateway at the end.
        redis_statement_bytes: of a kept statement in Redis, with its places in the indexes.
    """

    http_events_per_s: float
    xapi_events_per_s: float
    gateway_events_per_s: float
    grpc_events_per_s: float
    ratio_to_grpc: float
    xapi_ratio_to_grpc: float
    gateway_ratio_to_grpc: float
    http_cpu_us_per_event: float
    xapi_cpu_us_per_event: float
    grpc_cpu_us_per_event: float
    gateway_cpu_us_per_event: float
    gateway_cpu_ms_per_call: float
    xapi_cpu_ms_per_call: float
    gateway_rss_mb: float
    redis_statement_bytes: float

    @property
    def reached(self) -> bool:
        """Whether both forms over HTTP are fast enough."""
        slower_per_s = min(self.http_events_per_s, self.xapi_events_per_s)
        return slower_per_s >= EVENTS_PER_S_MIN and min(self.ratio_to_grpc, self.xapi_ratio_to_grpc) >= RATIO_MIN

    def verdict(self) -> str:
        """What was to be reached, in one line."""
        return (
            f"http: {'pass' if self.reached else 'FAIL'}: in requests of {_BATCH}, {self.http_events_per_s:,.0f} "
            f"events/s as JSON and {self.xapi_events_per_s:,.0f} xAPI statements/s (at least {EVENTS_PER_S_MIN:,}), "
            f"{self.ratio_to_grpc:.3f} and {self.xapi_ratio_to_grpc:.3f} of the rate of gRPC (at least {RATIO_MIN:g}); "
            f"through the gateway: {self.gateway_events_per_s:,.0f}/s, {self.gateway_ratio_to_grpc:.3f} of gRPC"
        )


def measure_http(directory: Path) -> HttpFigures:
    """Start only a broker, Redis, ingest and a gateway, and bring events in on every way."""
    services = [service for service in SERVICES if service.name == "ingest"]
    started: list[Component] = []
    with Stack(StackOptions(directory, services=services), started.append) as stack:
        (pid,) = (component.pid for component in started if component.name == "ingest")
        upstreams = dict.fromkeys(BEHIND_THE_GATEWAY, stack.environment["CAIRN_TARGET_INGEST"])
        gateway = GatewayServer(directory, upstreams)
        gateway.start()
        try:
            return asyncio.run(_measure(stack, gateway.address, psutil.Process(pid), psutil.Process(gateway.child.pid)))
        finally:
            gateway.stop()


async def _measure(stack: Stack, gateway: str, ingest: psutil.Process, envoy: psutil.Process) -> HttpFigures:
    ways = ("http", "xapi", "gateway", "grpc")
    events = dict.fromkeys(ways, 0)
    seconds, cpu_s, envoy_cpu_s = (dict.fromkeys(ways, 0.0) for _ in range(3))
    sources = {way: _responses(way) for way in ways}
    builders: dict[str, Callable[[list[Response]], bytes]] = {
        "http": _http_request(stack),
        "xapi": _xapi_request(stack),
        "gateway": _gateway_request(stack),
        "grpc": _grpc_request,
    }
    target = stack.environment["CAIRN_TARGET_INGEST_HTTP"]
    async with grpc.aio.insecure_channel(stack.environment["CAIRN_TARGET_INGEST"], options=CHANNEL_OPTIONS) as channel:
        senders = {
            "http": [await _http_sender(target, _accepted) for _ in range(_CONNECTIONS)],
            "xapi": [await _http_sender(target, _ids) for _ in range(_CONNECTIONS)],
            "gateway": [await _http_sender(gateway, _accepted) for _ in range(_CONNECTIONS)],
            "grpc": [_grpc_sender(channel, stack.api_key)] * _CONNECTIONS,
        }
        for turn in range(_TURNS + 1):
            for way, builder in builders.items():
                built = iter([builder(list(islice(sources[way], _BATCH))) for _ in range(_BUILT)])
                before_s, envoy_before_s = _cpu_s(ingest), _cpu_s(envoy)
                new, took_s = await _turn(senders[way], built)
                # The first turn warms up.
                if turn:
                    events[way] += new
                    seconds[way] += took_s
                    cpu_s[way] += _cpu_s(ingest) - before_s
                    envoy_cpu_s[way] += _cpu_s(envoy) - envoy_before_s
        singles = {
            way: await _single_cpu_s(process, senders[way][0], builders[way], sources[way])
            for way, process in (("xapi", ingest), ("gateway", envoy))
        }
    rates = {way: events[way] / seconds[way] for way in ways}
    cpu_us = {way: cpu_s[way] / events[way] * 1e6 for way in ways}
    return HttpFigures(
        http_events_per_s=rates["http"],
        xapi_events_per_s=rates["xapi"],
        gateway_events_per_s=rates["gateway"],
        grpc_events_per_s=rates["grpc"],
        ratio_to_grpc=rates["http"] / rates["grpc"],
        xapi_ratio_to_grpc=rates["xapi"] / rates["grpc"],
        gateway_ratio_to_grpc=rates["gateway"] / rates["grpc"],
        http_cpu_us_per_event=cpu_us["http"],
        xapi_cpu_us_per_event=cpu_us["xapi"],
        grpc_cpu_us_per_event=cpu_us["grpc"],
        gateway_cpu_us_per_event=envoy_cpu_s["gateway"] / events["gateway"] * 1e6,
        gateway_cpu_ms_per_call=singles["gateway"] * 1e3,
        xapi_cpu_ms_per_call=singles["xapi"] * 1e3,
        gateway_rss_mb=envoy.memory_info().rss / 1e6,
        redis_statement_bytes=_statement_bytes(stack),
    )


async def _single_cpu_s(
    process: psutil.Process, send: Send, builder: Callable[[list[Response]], bytes], source: Iterator[Response]
) -> float:
    """CPU time for a request with one event."""
    built = [builder([next(source)]) for _ in range(_SINGLES)]
    before_s = _cpu_s(process)
    for request in built:
        await send(request)
    return (_cpu_s(process) - before_s) / _SINGLES


def _statement_bytes(stack: Stack) -> float:
    """The mean over the statements that are kept; the indexes are shared among them."""
    prefix = f"cairn:ingest:statements:{stack.tenant}"
    with redis.Redis.from_url(stack.redis) as client:
        names = [prefix.encode(), *client.scan_iter(f"{prefix}/*", count=1_000)]
        in_all = sum(int(client.memory_usage(name, samples=0) or 0) for name in names)
        return in_all / int(client.zcard(prefix))


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _responses(way: str) -> Iterator[Response]:
    """Responses of learners who take turns, so that those of the first turn, which is not counted, are all of them."""
    return (Response(f"{way}-{number % _LEARNERS}", number, 7 * number % _ITEMS, number % 5) for number in count())


async def _turn(senders: list[Send], built: Iterator[bytes]) -> tuple[int, float]:
    """Send for a while; the number of new events, and the seconds until the last answer."""
    began = time.perf_counter()

    async def run(send: Send) -> int:
        new = 0
        while time.perf_counter() - began < _TURN_S and (request := next(built, None)) is not None:
            new += await send(request)
        return new

    new = sum(await asyncio.gather(*map(run, senders)))
    return new, time.perf_counter() - began


def _http_request(stack: Stack) -> Callable[[list[Response]], bytes]:
    def build(batch: list[Response]) -> bytes:
        return _post(stack, "/v1/events:batch", {"events": [response.json() for response in batch]})

    return build


def _xapi_request(stack: Stack) -> Callable[[list[Response]], bytes]:
    def build(batch: list[Response]) -> bytes:
        return _post(stack, "/xAPI/statements", [_statement(response.json()) for response in batch])

    return build


def _statement(response: dict[str, Any]) -> dict[str, Any]:
    """A statement that says the same, as platforms write it."""
    score, item = response["score"], f"https://school.example/questions/{response['item']}"
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"xapi/{response['event_id']}")),
        "actor": {
            "objectType": "Agent",
            "account": {"homePage": "https://school.example", "name": response["learner_id"]},
        },
        "verb": {"id": "http://adlnet.gov/expapi/verbs/answered", "display": {"en": "answered"}},
        "object": {
            "objectType": "Activity",
            "id": item,
            "definition": {"type": "http://adlnet.gov/expapi/activities/cmi.interaction", "name": {"en": "Question"}},
        },
        "result": {"score": {"raw": score["raw"], "min": 0, "max": score["max"]}},
        "timestamp": response["occurred_at"],
    }


def _gateway_request(stack: Stack) -> Callable[[list[Response]], bytes]:
    def build(batch: list[Response]) -> bytes:
        request = ingest_pb2.PublishEventsRequest(events=[response.event() for response in batch])
        return _post(stack, "/v1/events:publish", MessageToDict(request, preserving_proto_field_name=True))

    return build


def _post(stack: Stack, path: str, content: object) -> bytes:
    body = orjson.dumps(content)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: ingest\r\nAuthorization: Bearer {stack.api_key}\r\n"
        "X-Experience-API-Version: 1.0.3\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _http_sender(address: str, new_in: Callable[[bytes], int]) -> Send:
    """Args: `address` as host:port, and what counts the new events in an answer."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))

    async def send(request: bytes) -> int:
        async with asyncio.timeout(_TIMEOUT_S):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
        return _all_new(new_in(body), request.count(_EVENT), body)

    return send


def _accepted(body: bytes) -> int:
    return body.count(b'"EVENT_STATUS_ACCEPTED"')


def _ids(body: bytes) -> int:
    """Statements that were taken: their ids are new, and a refusal has none."""
    ids = orjson.loads(body)
    return len(ids) if isinstance(ids, list) else 0


def _grpc_request(batch: list[Response]) -> bytes:
    return ingest_pb2.PublishEventsRequest(events=[response.event() for response in batch]).SerializeToString()


def _grpc_sender(channel: grpc.aio.Channel, api_key: str) -> Send:
    stub = ingest_pb2_grpc.IngestServiceStub(channel)
    metadata = (("authorization", f"Bearer {api_key}"),)

    async def send(request: bytes) -> int:
        message = ingest_pb2.PublishEventsRequest.FromString(request)
        reply = await stub.PublishEvents(message, metadata=metadata, timeout=_TIMEOUT_S)
        new = sum(result.status == ingest_pb2.EVENT_STATUS_ACCEPTED for result in reply.results)
        return _all_new(new, len(message.events), reply)

    return send


def _all_new(new: int, sent: int, answer: object) -> int:
    if new != sent:
        raise AssertionError(f"not every event was accepted as new: {str(answer)[:1_000]}")
    return new
