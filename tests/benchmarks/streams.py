"""Events per second through StreamEvents into the log, from one client, with and without encryption."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil

from cairn.v1 import ingest_pb2, ingest_pb2_grpc
from deploy.local.stack import SERVICES, Component, Stack, StackOptions
from tests.benchmarks.synthetic import submission

_STREAMS = 4
_BATCH = 500
_BATCHES = 20
_EVENTS = _STREAMS * _BATCHES * _BATCH
_LEARNERS = 2_000
_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """The confirmed throughput of one client.

    Attributes:
        events_per_s: over all streams.
        first_events_per_s: the same while every learner's key was being created.
        ingest_cpu_us_per_event: CPU time of the ingest process, which limits one process regardless of other load.
    """

    events_per_s: float
    first_events_per_s: float
    ingest_cpu_us_per_event: float


def measure_streams(directory: Path, *, encryption: bool) -> StreamFigures:
    """Start only a broker, Redis and ingest, and stream events in.

    Args:
        directory: folder for the stack's files.
        encryption: whether to encrypt values.
    """
    ingest = [service for service in SERVICES if service.name == "ingest"]
    started: list[Component] = []
    with Stack(StackOptions(directory, services=ingest, encryption=encryption), started.append) as stack:
        (process,) = (psutil.Process(component.pid) for component in started if component.name == "ingest")
        return asyncio.run(_measure(stack, process))


async def _measure(stack: Stack, process: psutil.Process) -> StreamFigures:
    async with grpc.aio.insecure_channel(stack.environment["CAIRN_TARGET_INGEST"]) as channel:
        stub = ingest_pb2_grpc.IngestServiceStub(channel)
        metadata = (("authorization", f"Bearer {stack.api_key}"),)
        rates = []
        for part in range(2):
            sending = [_requests(part, number) for number in range(_STREAMS)]
            cpu_before_s, began = _cpu_s(process), time.perf_counter()
            await asyncio.gather(*(_send(stub, metadata, requests) for requests in sending))
            rates.append(_EVENTS / (time.perf_counter() - began))
            cpu_s = _cpu_s(process) - cpu_before_s
    return StreamFigures(rates[1], rates[0], cpu_s / _EVENTS * 1e6)


def _requests(part: int, stream: int) -> list[ingest_pb2.StreamEventsRequest]:
    first = (part * _STREAMS + stream) * _BATCHES * _BATCH
    return [
        ingest_pb2.StreamEventsRequest(
            batch=batch,
            events=[
                submission(number % _LEARNERS, number % 300, correct=number % 3 > 0, event_id=str(number))
                for number in range(first + batch * _BATCH, first + (batch + 1) * _BATCH)
            ],
        )
        for batch in range(_BATCHES)
    ]


async def _send(
    stub: ingest_pb2_grpc.IngestServiceAsyncStub,
    metadata: tuple[tuple[str, str], ...],
    requests: list[ingest_pb2.StreamEventsRequest],
) -> None:
    """Send everything on one stream and wait until every event is confirmed."""
    confirmed = 0
    async for reply in stub.StreamEvents(iter(requests), metadata=metadata, timeout=_TIMEOUT_S):
        confirmed += sum(result.HasField("position") for result in reply.results)
    if confirmed != _BATCHES * _BATCH:
        raise AssertionError(f"{_BATCHES * _BATCH - confirmed} events of a stream were not accepted")


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
