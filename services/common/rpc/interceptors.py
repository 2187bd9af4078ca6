"""What happens around every call: an id, a span, an audit line."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from google.rpc import code_pb2

from services.common.rpc.call_context import current_credential, set_caller_traceparent, start_audit
from services.common.rpc.handlers import (
    guarded,
    is_open,
    metadata_values,
    method_name,
    preceded,
    replaced,
    status_code,
    unary_reply,
)
from services.common.rpc.policy import policy_of
from services.common.rpc.refusals import refuse
from services.common.rpc.statuses import ended
from services.common.telemetry.traces import TRACEPARENT, SpanKind, Traces

if TYPE_CHECKING:
    from services.common.rpc.call_context import Context
    from services.common.rpc.handlers import Handler

_log = structlog.get_logger(__name__)

REQUEST_ID = "x-request-id"
# The caller's id appears in logs and replies, so it must be short and plain.
_REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9._:/@+=-]{1,128}")


def new_request_id() -> str:
    """An id for a call that has none."""
    return uuid.uuid4().hex


def request_id_of(given: Iterable[str], new_id: Callable[[], str] = new_request_id) -> str:
    """The first of the ids given with a call that is usable, else a new one."""
    return next(filter(_REQUEST_ID_PATTERN.fullmatch, given), None) or new_id()


class RequestIds(grpc.aio.ServerInterceptor):
    """Gives every call an id: the caller's `x-request-id` if it is usable, else a new one.

    The id is on every log line of the call, and is returned in the trailing metadata.
    """

    def __init__(self, new_id: Callable[[], str] = new_request_id) -> None:
        """Args: `new_id`, makes an id for a call that has none."""
        self._new_id = new_id

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Bind the id to the call's own context."""
        request_id = request_id_of(metadata_values(handler_call_details, REQUEST_ID), self._new_id)
        structlog.contextvars.bind_contextvars(request_id=request_id)
        handler = await continuation(handler_call_details)
        if handler is None or is_open(handler_call_details):
            return handler

        async def echo(context: Context) -> None:
            context.set_trailing_metadata(((REQUEST_ID, request_id),))

        return preceded(handler, echo)


class Failures(grpc.aio.ServerInterceptor):
    """Ends a call in which something unexpected failed with INTERNAL: a plain text and the request id.

    The error is logged with its traceback, under the same id. Its own text may hold what a caller must not see.
    """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the method's handler."""
        handler = await continuation(handler_call_details)
        return None if handler is None else guarded(handler, partial(_failing_plainly, handler_call_details))


@asynccontextmanager
async def _failing_plainly(details: grpc.HandlerCallDetails, context: Context) -> AsyncIterator[None]:
    try:
        yield
    except grpc.aio.BaseError:
        # The call was ended on purpose, by the caller, or by the server's stop.
        raise
    except Exception:  # noqa: BLE001 - whatever it is, it is logged, and the caller learns only that.
        _log.exception("a call failed unexpectedly", method=method_name(details))
        request_id = structlog.contextvars.get_contextvars().get("request_id", "")
        message = (
            "the service failed unexpectedly, and the call may have taken effect; send it again, and if it fails again "
            f"give the operator this request id: {request_id}"
        )
        await refuse(context, "failed", ended(code_pb2.INTERNAL, message, reason="INTERNAL"))


class CallTraces(grpc.aio.ServerInterceptor):
    """Makes a span of each call with one reply, as a part of the caller's trace if there is one.

    A stream may last for hours, so the messages on it have their own spans, as parts of `caller_traceparent`. Health
    checks make none.
    """

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the method's handler."""
        traceparent = next(iter(metadata_values(handler_call_details, TRACEPARENT)), None)
        set_caller_traceparent(traceparent)
        handler = await continuation(handler_call_details)
        if handler is None or handler.response_streaming or is_open(handler_call_details):
            return handler
        function = unary_reply(handler)
        method = method_name(handler_call_details)

        async def traced(request: Any, context: Context) -> Any:
            with self._traces.span(method, traceparent, kind=SpanKind.SERVER) as span:
                try:
                    return await function(request, context)
                finally:
                    span.set_attribute("rpc.grpc.status_code", status_code(context))

        return replaced(handler, traced)


class Audit(grpc.aio.ServerInterceptor):
    """Logs every call of a method that its contract marks as audited: the method, the API key and the outcome.

    Each call is one log line marked `audit`, with the facts that the method adds with `note_for_audit`. The line names
    no learner and holds no payload. Refused calls are logged too.
    """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the method's handler."""
        handler = await continuation(handler_call_details)
        method = method_name(handler_call_details)
        if handler is None or not policy_of(method).audited:
            return handler
        function = unary_reply(handler)

        async def audited(request: Any, context: Context) -> Any:
            done, facts = False, start_audit()
            try:
                reply = await function(request, context)
                done = True
                return reply
            finally:
                credential, code = current_credential(), status_code(context)
                _log.info(
                    "audit",
                    audit=True,
                    method=method,
                    tenant="" if credential is None else credential.tenant.name,
                    api_key="" if credential is None else credential.api_key.key_id,
                    code=code if done or code else grpc.StatusCode.UNKNOWN.value[0],
                    **facts,
                )

        return replaced(handler, audited)
