"""The ingest service over gRPC, as a loader uses it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_delay, wait_exponential, wait_random

from cairn.client import CHANNEL_OPTIONS
from cairn.v1 import ingest_pb2, ingest_pb2_grpc
from services.common.rpc.statuses import retry_after_s_of, violations_of
from services.ingest.application.ports import FieldReason, PublisherUnavailableError, SubmissionResult
from services.ingest.domain.repeats import Outcome
from services.ingest.domain.submission import Submission
from services.ingest.wire.replies import results_of
from services.ingest.wire.submissions import submission_message

_log = structlog.get_logger(__name__)

_CALL_TIMEOUT_S = 30.0
_MESSAGE_BYTES_MAX = 16 * 1024 * 1024
# The tag and the length of an event in a request.
_OVERHEAD_BYTES = 6
# Nothing was acknowledged in any of these cases, and duplicates are removed later, so it is safe to retry.
_TRANSIENT = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
}
_backoff = wait_exponential(multiplier=0.2, max=10.0) + wait_random(0, 0.2)


class GrpcPublisher:
    """Publishes through a channel, in requests that the service takes; retries transient failures for `patience_s`."""

    def __init__(self, channel: grpc.aio.Channel, api_key: str, *, patience_s: float) -> None:
        self._stub = ingest_pb2_grpc.IngestServiceStub(channel)
        self._metadata = (("authorization", f"Bearer {api_key}"),)
        self._patience_s = patience_s
        # Of a request; the service's default. Less once a service has refused that much.
        self._bytes_max = 4 * 1024 * 1024

    async def publish(self, submissions: Sequence[Submission]) -> Sequence[SubmissionResult]:
        """See Publisher."""
        results: list[SubmissionResult] = []
        waiting = [submission_message(submission) for submission in submissions]
        events_max = len(waiting)
        while waiting:
            request = ingest_pb2.PublishEventsRequest(events=waiting[: min(self._fitting(waiting), events_max)])
            try:
                results += results_of(await self._send(request))
            except _RequestRefusedError as error:
                if len(request.events) > 1:
                    if error.too_large:
                        self._bytes_max = request.ByteSize() // 2
                    else:
                        # One of the events is the reason: it is looked for.
                        events_max = len(request.events) // 2
                    continue
                results.append(_refused(request, error))
                events_max = len(waiting)
            waiting = waiting[len(request.events) :]
        return results

    def _fitting(self, messages: Sequence[ingest_pb2.EventSubmission]) -> int:
        """How many of the first messages fit into a request; at least one, whatever its size."""
        size = 0
        for count, message in enumerate(messages):
            size += message.ByteSize() + _OVERHEAD_BYTES
            if count and size > self._bytes_max:
                return count
        return len(messages)

    async def _send(self, request: ingest_pb2.PublishEventsRequest) -> ingest_pb2.PublishEventsResponse:
        retrying = AsyncRetrying(
            retry=retry_if_exception(_is_transient),
            stop=stop_after_delay(self._patience_s),
            wait=_wait_s,
            before_sleep=_log_retry,
            reraise=True,
        )
        try:
            response: ingest_pb2.PublishEventsResponse = await retrying(self._call, request)
        except grpc.aio.AioRpcError as error:
            too_large = _is_too_large(error)
            if too_large or _is_about_content(error):
                raise _RequestRefusedError(error.details() or "", too_large=too_large) from error
            raise PublisherUnavailableError(self._explain(error)) from error
        return response

    async def _call(self, request: ingest_pb2.PublishEventsRequest) -> ingest_pb2.PublishEventsResponse:
        response: ingest_pb2.PublishEventsResponse = await self._stub.PublishEvents(
            request, metadata=self._metadata, timeout=_CALL_TIMEOUT_S
        )
        return response

    def _explain(self, error: grpc.aio.AioRpcError) -> str:
        details = f"{error.code().name}: {error.details()}"
        if _is_transient(error):
            return f"ingest did not accept the events for {self._patience_s:g} s ({details})"
        return f"ingest refused the events ({details})"


@asynccontextmanager
async def grpc_publisher(
    target: str, api_key: str, *, tls: bool = False, patience_s: float = 60.0
) -> AsyncIterator[GrpcPublisher]:
    """A publisher with its own channel.

    Args:
        target: `host:port` of the ingest service.
        api_key: the tenant's.
        tls: use TLS with the system's certificate authorities.
        patience_s: how long to retry a request while the service is unavailable.
    """
    options = [
        *CHANNEL_OPTIONS,
        ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
        ("grpc.max_send_message_length", _MESSAGE_BYTES_MAX),
    ]
    channel: Any = (
        grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(), options=options)
        if tls
        else grpc.aio.insecure_channel(target, options=options)
    )
    async with channel:
        yield GrpcPublisher(channel, api_key, patience_s=patience_s)


class _RequestRefusedError(ValueError):
    """The service takes no request of this size, or none that holds what one of the events does."""

    def __init__(self, reason: str, *, too_large: bool) -> None:
        super().__init__(reason)
        self.too_large = too_large


def _is_transient(error: BaseException) -> bool:
    return isinstance(error, grpc.aio.AioRpcError) and error.code() in _TRANSIENT and not _is_too_large(error)


def _is_about_content(error: grpc.aio.AioRpcError) -> bool:
    """Whether a request was refused for what its bytes hold: a text or a list that no valid event has."""
    return error.code() is grpc.StatusCode.INVALID_ARGUMENT and any(
        violation.field == "request" for violation in violations_of(error)
    )


def _is_too_large(error: grpc.aio.AioRpcError) -> bool:
    if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
        # About the request as a whole, not about an event of it: each of those has a result of its own.
        return any(violation.field == "events" for violation in violations_of(error))
    # gRPC itself refuses what is larger still, in the sender or in the receiver.
    return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in (error.details() or "")


def _refused(request: ingest_pb2.PublishEventsRequest, error: _RequestRefusedError) -> SubmissionResult:
    reason = f"the service does not take it ({error})"
    if error.too_large:
        reason = f"the event takes {request.ByteSize():,} bytes, more than a request may ({error}): shorten its texts"
    return SubmissionResult(Outcome.REJECTED, (FieldReason("", reason),))


def _wait_s(state: RetryCallState) -> float:
    """Exponential backoff, but at least the delay that the server requested."""
    error = state.outcome.exception() if state.outcome else None
    requested_s = retry_after_s_of(error) if isinstance(error, grpc.aio.AioRpcError) else None
    return max(requested_s or 0.0, _backoff(state))


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, grpc.aio.AioRpcError):
        _log.info("sending again", attempt=state.attempt_number, code=error.code().name, reason=error.details())
