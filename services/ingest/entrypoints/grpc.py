"""IngestService over gRPC."""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, NoReturn

from google.rpc import status_pb2
from prometheus_client import Gauge

from cairn.v1 import ingest_pb2, ingest_pb2_grpc
from services.common.rpc.call_context import caller_traceparent, current_tenant, note_for_audit
from services.common.rpc.statuses import FieldViolation, abort, invalid_argument, resource_exhausted, unavailable
from services.common.telemetry.traces import NO_TRACES, Traces
from services.ingest.application.erase import EraseLearner, LearnerInvalidError
from services.ingest.application.ports import (
    LogOverloadedError,
    LogUnavailableError,
    RecentEventsUnavailableError,
)
from services.ingest.application.publish import (
    EVENTS_MAX,
    EventOutcome,
    PublishEvents,
    check_batch_size,
)
from services.ingest.entrypoints.refusals import REFUSALS, REFUSED, SEND_AGAIN, count, refusal_of
from services.ingest.entrypoints.stream import EventStream, StreamLimits
from services.ingest.wire.replies import delete_response_of, response_of, stream_response_of
from services.ingest.wire.submissions import submission_of

if TYPE_CHECKING:
    from services.common.rpc.call_context import Context

SERVICE_NAME = "cairn.v1.IngestService"

_STREAM_RETRY_AFTER_S = 5.0

STREAMS = Gauge("cairn_ingest_streams", "Open streams of events.")


class IngestServicer(ingest_pb2_grpc.IngestServiceServicer):
    """Accepts batches of events."""

    def __init__(
        self,
        publish: PublishEvents,
        erase: EraseLearner,
        *,
        request_bytes_max: int,
        limits: StreamLimits | None = None,
        traces: Traces = NO_TRACES,
    ) -> None:
        """Args: the use cases, the largest request, the limits of streams, and traces."""
        self._traces = traces
        self._publish = publish
        self._erase = erase
        self._request_bytes_max = request_bytes_max
        self._limits = limits or StreamLimits()
        self._ending = asyncio.Event()
        # Open streams, by tenant.
        self._open: Tally[str] = Tally()

    def end_streams(self) -> None:
        """End open streams once the batches they have read are answered. Call it when the process stops."""
        self._ending.set()

    async def PublishEvents(  # noqa: N802 - the name of the RPC.
        self, request: ingest_pb2.PublishEventsRequest, context: Context
    ) -> ingest_pb2.PublishEventsResponse:
        """Append up to 500 events, with a result for each."""
        try:
            self._check_size(request)
            outcomes = await self._publish(current_tenant(), [submission_of(message) for message in request.events])
        except _RequestTooLargeError as error:
            await _refuse(context, "too_large", invalid_argument([FieldViolation("events", str(error))]))
        except REFUSALS as error:
            reason, status = refusal_of(error, SEND_AGAIN)
            await _refuse(context, reason, status)
        count(outcomes)
        return response_of(outcomes)

    # It writes its replies itself, so that a failure comes after them; the stubs expect a generator.
    async def StreamEvents(  # type: ignore[override]  # noqa: N802 - as above; the name of the RPC.
        self, request_iterator: AsyncIterator[ingest_pb2.StreamEventsRequest], context: Context
    ) -> None:
        """Append batch after batch, and answer each once the log has confirmed it."""

        async def answer(batch: int, outcomes: list[EventOutcome]) -> None:
            count(outcomes)
            await context.write(stream_response_of(batch, outcomes))

        again = "batches without results may be sent again on another stream"
        tenant = current_tenant()
        await self._check_streams(tenant.name, context)
        stream = EventStream(self._publish, tenant, self._limits, self._traces, caller_traceparent())
        self._open[tenant.name] += 1
        STREAMS.inc()
        finished, refusal = False, None
        try:
            finished = await stream.run(request_iterator, self._check_size, answer, self._ending)
        except _RequestTooLargeError as error:
            refusal = "too_large", invalid_argument([FieldViolation("events", str(error))])
        except REFUSALS as error:
            refusal = refusal_of(error, again)
        finally:
            self._open -= Tally([tenant.name])
            STREAMS.dec()
        if refusal is not None:
            # After the stream was closed: a sender may open another one as soon as it has the answer.
            await _refuse(context, *refusal)
        if not finished:
            message = f"the server ended this stream because of its age or because it is stopping; {again}"
            await abort(context, unavailable(message, reason="STREAM_ENDED", retry_after_s=0.0))

    async def DeleteLearner(  # noqa: N802 - the name of the RPC.
        self, request: ingest_pb2.DeleteLearnerRequest, context: Context
    ) -> ingest_pb2.DeleteLearnerResponse:
        """Forget a learner."""
        try:
            erased = await self._erase(current_tenant(), request.learner_id)
        except LearnerInvalidError as error:
            violations = [FieldViolation(problem.field, problem.reason) for problem in error.problems]
            await _refuse(context, "learner_invalid", invalid_argument(violations))
        except (LogUnavailableError, LogOverloadedError, RecentEventsUnavailableError) as error:
            reason, status = refusal_of(error, "the learner may not have been forgotten yet: send the request again")
            await _refuse(context, reason, status)
        # The position, not the learner.
        position = erased.position
        note_for_audit(partition=position.partition, offset=position.offset, key_destroyed=erased.key_destroyed)
        return delete_response_of(erased)

    async def _check_streams(self, tenant: str, context: Context) -> None:
        limits = self._limits
        for cap, whose, held, most in (
            ("STREAMS_PER_TENANT", f"of tenant {tenant!r} ", self._open[tenant], limits.streams_per_tenant_max),
            ("STREAMS", "", self._open.total(), limits.streams_max),
        ):
            if held >= most:
                message = (
                    f"{held} streams {whose}are open, and this server allows at most {most} (CAIRN_INGEST_{cap}): send "
                    "on an open one, use PublishEvents or another server, or ask for a higher limit"
                )
                status = resource_exhausted(message, reason=f"INGEST_{cap}", retry_after_s=_STREAM_RETRY_AFTER_S)
                await _refuse(context, "too_many_streams", status)

    def _check_size(self, request: ingest_pb2.PublishEventsRequest | ingest_pb2.StreamEventsRequest) -> None:
        # Before any of them is converted: there may be thousands of empty ones.
        if len(request.events) > EVENTS_MAX:
            check_batch_size(len(request.events))
        size = request.ByteSize()
        if size > self._request_bytes_max:
            raise _RequestTooLargeError(
                f"take {size} bytes, a request at most {self._request_bytes_max}: send fewer events per request"
            )


class _RequestTooLargeError(ValueError):
    """A request has too many bytes."""


async def _refuse(context: Context, reason: str, status: status_pb2.Status) -> NoReturn:
    REFUSED.labels(reason).inc()
    await abort(context, status)
