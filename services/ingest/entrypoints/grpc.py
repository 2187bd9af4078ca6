"""IngestService over gRPC."""

from __future__ import annotations

from collections import Counter as Tally
from typing import TYPE_CHECKING, NoReturn

from google.rpc import status_pb2
from prometheus_client import Counter

from cairn.v1 import ingest_pb2, ingest_pb2_grpc
from services.common.grpc_server import current_tenant
from services.common.statuses import FieldViolation, abort, invalid_argument, resource_exhausted, unavailable
from services.ingest.application.ports import LogOverloadedError, LogUnavailableError
from services.ingest.application.publish import BatchSizeError, CatalogNotReadyError, EventOutcome, PublishEvents
from services.ingest.wire import response_of, submission_of

if TYPE_CHECKING:
    from services.common.grpc_server import Context

SERVICE_NAME = "cairn.v1.IngestService"

_RETRY_AFTER_S = 1.0

EVENTS = Counter("cairn_ingest_events", "Events answered, by what became of them.", ["outcome"])
PROBLEMS = Counter("cairn_ingest_problems", "What was wrong with rejected events, by sort.", ["kind"])
REFUSED = Counter("cairn_ingest_refused_requests", "Requests that were not answered event by event.", ["reason"])


class IngestServicer(ingest_pb2_grpc.IngestServiceServicer):
    """Takes batches of events."""

    def __init__(self, publish: PublishEvents, *, request_bytes_max: int) -> None:
        self._publish = publish
        self._request_bytes_max = request_bytes_max

    async def PublishEvents(  # noqa: N802 - the name of the RPC.
        self, request: ingest_pb2.PublishEventsRequest, context: Context
    ) -> ingest_pb2.PublishEventsResponse:
        """Append up to 500 events and answer for each."""
        size = request.ByteSize()
        if size > self._request_bytes_max:
            reason = f"take {size} bytes, a request at most {self._request_bytes_max}: send fewer events per request"
            await _refuse(context, "too_large", invalid_argument([FieldViolation("events", reason)]))
        try:
            outcomes = await self._publish(current_tenant(), [submission_of(message) for message in request.events])
        except BatchSizeError as error:
            await _refuse(context, "batch_size", invalid_argument([FieldViolation("events", str(error))]))
        except CatalogNotReadyError as error:
            status = unavailable(str(error), reason="CATALOG_NOT_READY", retry_after_s=_RETRY_AFTER_S)
            await _refuse(context, "catalog_not_ready", status)
        except LogUnavailableError as error:
            message = f"{error}; no event of this request was acknowledged: send the whole request again"
            status = unavailable(message, reason="LOG_UNAVAILABLE", retry_after_s=_RETRY_AFTER_S)
            await _refuse(context, "log_unavailable", status)
        except LogOverloadedError as error:
            status = resource_exhausted(str(error), reason="LOG_OVERLOADED", retry_after_s=_RETRY_AFTER_S)
            await _refuse(context, "log_overloaded", status)
        _count(outcomes)
        return response_of(outcomes)


async def _refuse(context: Context, reason: str, status: status_pb2.Status) -> NoReturn:
    REFUSED.labels(reason).inc()
    await abort(context, status)


def _count(outcomes: list[EventOutcome]) -> None:
    for outcome, count in Tally(entry.outcome for entry in outcomes).items():
        EVENTS.labels(outcome.value).inc(count)
    for kind, count in Tally(problem.kind for entry in outcomes for problem in entry.problems).items():
        PROBLEMS.labels(kind.value).inc(count)
