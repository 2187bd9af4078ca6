"""One StreamEvents call: batches come in, results go out in the same order, with a bounded number in progress."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from cairn.v1 import ingest_pb2
from services.common.auth.tenant import Tenant
from services.common.telemetry.traces import NO_TRACES, Span, SpanKind, Traces, within
from services.ingest.application.publish import EventOutcome, PendingBatch, PublishEvents
from services.ingest.wire.submissions import submission_of

_SPAN = "cairn.v1.IngestService/StreamEvents batch"

Answer = Callable[[int, list[EventOutcome]], Awaitable[None]]
"""Sends the outcomes of the batch with a number."""

Check = Callable[[ingest_pb2.StreamEventsRequest], None]
"""Raises when a batch is not allowed."""


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Limits on the number of streams, and on the work in progress of each before the server stops reading.

    Attributes:
        batches_max: batches that await the log, or whose results the sender has not received yet.
        bytes_max: their bytes; a single batch may exceed it.
        age_s: how long a stream may be open; None: forever.
        streams_max: streams open at once; they count towards the calls that a process handles.
        streams_per_tenant_max: streams of one tenant, so that no tenant blocks the others.
    """

    # More batches would not be confirmed sooner, and long waits may exceed the log's own timeout.
    batches_max: int = 4
    bytes_max: int = 8 * 1024 * 1024
    age_s: float | None = None
    streams_max: int = 100
    streams_per_tenant_max: int = 25


@dataclass(frozen=True, slots=True)
class _Taken:
    number: int
    bytes: int
    batch: PendingBatch
    span: Span


class EventStream:
    """Reads batches while earlier ones are being written."""

    def __init__(
        self,
        publish: PublishEvents,
        tenant: Tenant,
        limits: StreamLimits,
        traces: Traces = NO_TRACES,
        traceparent: str | None = None,
    ) -> None:
        """Args: the use case, the tenant, the limits, traces, and the trace of the call."""
        self._publish = publish
        self._traces = traces
        self._traceparent = traceparent
        self._tenant = tenant
        self._limits = limits
        self._taken: asyncio.Queue[_Taken | None] = asyncio.Queue()
        self._batches = 0
        self._bytes = 0
        self._left = asyncio.Event()

    async def run(
        self,
        requests: AsyncIterator[ingest_pb2.StreamEventsRequest],
        check: Check,
        answer: Answer,
        ending: asyncio.Event,
    ) -> bool:
        """Read batches until the sender has no more, and answer each.

        A failure is raised only after the earlier batches were answered.

        Args:
            requests: the batches.
            check: raises when a batch is not allowed.
            answer: sends results.
            ending: once set, no more batches are read.

        Returns:
            Whether the sender had no more; else the server ended the stream, and batches without results must be sent
            again.

        Raises:
            Exception: as raised by PublishEvents or `check`.
        """
        reading = asyncio.create_task(self._read(requests, check))
        stopping = asyncio.create_task(self._stop(reading, ending))
        try:
            while (taken := await self._taken.get()) is not None:
                try:
                    await answer(taken.number, await taken.batch.outcomes())
                finally:
                    taken.span.end()
                self._leave(taken.bytes)
            return await reading
        finally:
            for task in (stopping, reading):
                task.cancel()
            await asyncio.gather(stopping, reading, return_exceptions=True)
            while not self._taken.empty():
                if (left := self._taken.get_nowait()) is not None:
                    left.span.end()

    async def _read(self, requests: AsyncIterator[ingest_pb2.StreamEventsRequest], check: Check) -> bool:
        try:
            async for request in requests:
                check(request)
                size = request.ByteSize()
                await self._enter(size)
                self._taken.put_nowait(await self._begin(request, size))
        except asyncio.CancelledError:
            # Only this stream cancels the reading task, so return normally to the task that awaits it.
            return False
        finally:
            self._taken.put_nowait(None)
        return True

    async def _begin(self, request: ingest_pb2.StreamEventsRequest, size: int) -> _Taken:
        attributes = {"cairn.batch": request.batch, "cairn.events": len(request.events)}
        span = self._traces.begin(_SPAN, self._traceparent, kind=SpanKind.SERVER, attributes=attributes)
        try:
            with within(span):
                submissions = [submission_of(message) for message in request.events]
                batch = await self._publish.begin(self._tenant, submissions, wait_for_room=True)
        except BaseException:
            span.end()
            raise
        return _Taken(request.batch, size, batch, span)

    async def _stop(self, reading: asyncio.Task[bool], ending: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(self._limits.age_s):
                await ending.wait()
        except TimeoutError:
            pass
        reading.cancel()

    async def _enter(self, size: int) -> None:
        while self._batches >= self._limits.batches_max or (
            self._batches and self._bytes + size > self._limits.bytes_max
        ):
            self._left.clear()
            await self._left.wait()
        self._batches += 1
        self._bytes += size

    def _leave(self, size: int) -> None:
        self._batches -= 1
        self._bytes -= size
        self._left.set()
