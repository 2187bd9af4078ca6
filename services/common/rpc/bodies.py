"""Reads the bodies of calls: only after the call was admitted, within a time, and counted before they are decoded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from google.protobuf.message import DecodeError
from google.rpc import code_pb2

from services.common.rpc.call_context import current_credential, current_tenant
from services.common.rpc.handlers import method_name, prepared
from services.common.rpc.message_scan import (
    UNSCANNED_BYTES_MAX,
    ManyFieldsError,
    MessageRefusedError,
    check_size_of,
)
from services.common.rpc.policy import policy_of, request_of
from services.common.rpc.rate_limits import TokenBuckets
from services.common.rpc.refusals import refuse
from services.common.rpc.statuses import FieldViolation, ended, invalid_argument

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

    from services.common.rpc.call_context import Context
    from services.common.rpc.handlers import Handler


@dataclass(frozen=True, slots=True)
class _Method:
    """What is needed to read the messages of a method."""

    deserialize: Callable[[bytes], Any] | None
    request: Descriptor | None
    items_per_call: int
    # Its own repeated fields, whose values are a request's items.
    repeated: tuple[str, ...]


class Bodies(grpc.aio.ServerInterceptor):
    """Runs every method from the headers on, so that the interceptors before this one can refuse a call without a body.

    gRPC would otherwise wait for the body without limit, decompress and decode it, and only then run the handler.
    This interceptor is the last one: the others see handlers that read their requests themselves.
    """

    def __init__(self, timeout_s: float, buckets: TokenBuckets | None = None) -> None:
        """Args: `timeout_s` for a request's body, and the `buckets` that requests with many items are charged to."""
        self._timeout_s = timeout_s
        self._buckets = buckets
        self._methods: dict[str, _Method] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the method's handler."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = self._method(method_name(handler_call_details), handler)

        async def one(_requests: object, context: Context) -> Any:
            request = await self._read(method, context, self._timeout_s)
            if request is None:
                await _undecodable(context, "the call ended without a request; send one")
            self._charge(method, request, paid=1.0)
            return request

        async def stream(_requests: object, context: Context) -> AsyncIterator[Any]:
            # A sender of a stream that gets replies may be silent for hours; one that gets none is not done.
            timeout_s = None if handler.response_streaming else self._timeout_s
            return self._messages(method, context, timeout_s)

        return prepared(handler, stream if handler.request_streaming else one, from_headers=True)

    def _method(self, name: str, handler: Handler) -> _Method:
        if (known := self._methods.get(name)) is None:
            request = request_of(name)
            repeated = () if request is None else tuple(field.name for field in request.fields if field.is_repeated)
            known = _Method(handler.request_deserializer, request, policy_of(name).items_per_call, repeated)
            self._methods[name] = known
        return known

    async def _messages(self, method: _Method, context: Context, timeout_s: float | None) -> AsyncIterator[Any]:
        """The messages of a stream, slowed down to the tenant's rate limit."""
        while (request := await self._read(method, context, timeout_s)) is not None:
            calls = self._calls(method, request)
            if self._buckets is not None and current_credential() is not None:
                while wait_s := self._buckets.take(current_tenant().name, calls):  # noqa: ASYNC110 - it waits for time to pass.
                    await asyncio.sleep(wait_s)
            yield request

    async def _read(self, method: _Method, context: Context, timeout_s: float | None) -> Any:
        """The next message; None: there are no more."""
        try:
            async with asyncio.timeout(timeout_s):
                raw = await context.read()
        except TimeoutError:
            message = (
                f"the request's body did not come within {timeout_s:g} s (CAIRN_BODY_TIMEOUT_S); "
                "send the headers and the body together"
            )
            await refuse(context, "body_timeout", ended(code_pb2.DEADLINE_EXCEEDED, message, reason="BODY_TIMEOUT"))
        if raw is grpc.aio.EOF:
            return None
        try:
            if method.request is not None and len(raw) > UNSCANNED_BYTES_MAX:
                try:
                    check_size_of(raw, method.request, at_once=True)
                except ManyFieldsError:
                    await asyncio.to_thread(check_size_of, raw, method.request)
            return raw if method.deserialize is None else method.deserialize(raw)
        except MessageRefusedError as error:
            await refuse(context, "too_many_values", invalid_argument([FieldViolation("request", str(error))]))
        except DecodeError:
            await _undecodable(
                context,
                f"its {len(raw)} bytes are no {method.request.full_name if method.request else 'request'}; "
                "encode the message of the method's contract, with texts in UTF-8",
            )

    def _calls(self, method: _Method, request: Any) -> float:
        """How many calls a request counts as."""
        items = sum(len(getattr(request, name)) for name in method.repeated)
        return max(1.0, items / method.items_per_call)

    def _charge(self, method: _Method, request: Any, *, paid: float) -> None:
        # Health checks and reflection have no tenant.
        if self._buckets is None or not method.repeated or current_credential() is None:
            return
        self._buckets.charge(current_tenant().name, self._calls(method, request) - paid)


async def _undecodable(context: Context, reason: str) -> NoReturn:
    await refuse(context, "undecodable", invalid_argument([FieldViolation("request", reason)]))
