"""Health checks and reflection, which need no API key: they take no slots, and they are bounded."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from google.rpc import code_pb2

from services.common.rpc.handlers import guarded, is_open
from services.common.rpc.refusals import refuse
from services.common.rpc.statuses import ended, resource_exhausted

if TYPE_CHECKING:
    from services.common.rpc.call_context import Context
    from services.common.rpc.handlers import Handler

_RETRY_AFTER_S = 5.0


@dataclass(frozen=True, slots=True)
class OpenCallLimits:
    """Limits on calls without an API key.

    Attributes:
        streams: open streams, such as Health/Watch.
        streams_on_connection: those of one connection.
        unfinished: calls with one reply, such as Health/Check, that have not been answered. Another one takes the place
            of the oldest, so that a probe that sends its request is answered however many do not.
        timeout_s: how long such a call may take, its body included.
    """

    streams: int = 100
    streams_on_connection: int = 10
    unfinished: int = 500
    timeout_s: float = 5.0


class OpenCalls(grpc.aio.ServerInterceptor):
    """Bounds the calls that need no API key."""

    def __init__(self, limits: OpenCallLimits) -> None:
        self._limits = limits
        self._streams: Counter[str] = Counter()
        # In the order of their beginning.
        self._unfinished: dict[asyncio.Timeout, None] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the handlers of health checks and reflection."""
        handler = await continuation(handler_call_details)
        if handler is None or not is_open(handler_call_details):
            return handler
        return guarded(handler, self._one_stream if handler.response_streaming else self._one_call)

    @asynccontextmanager
    async def _one_stream(self, context: Context) -> AsyncIterator[None]:
        connection = context.peer()
        for held, most, where in (
            (self._streams.total(), self._limits.streams, ""),
            (self._streams[connection], self._limits.streams_on_connection, " on this connection"),
        ):
            if held >= most:
                message = (
                    f"{held} streams without an API key are open{where}, and this server allows at most {most}; "
                    "use Health/Check, which is always answered"
                )
                status = resource_exhausted(message, reason="OPEN_STREAMS", retry_after_s=_RETRY_AFTER_S)
                await refuse(context, "open_streams", status)
        self._streams[connection] += 1
        try:
            yield
        finally:
            self._streams -= Counter([connection])

    @asynccontextmanager
    async def _one_call(self, context: Context) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._limits.timeout_s) as limit:
                self._unfinished[limit] = None
                try:
                    if len(self._unfinished) > self._limits.unfinished:
                        oldest = next(iter(self._unfinished))
                        del self._unfinished[oldest]
                        oldest.reschedule(asyncio.get_running_loop().time())
                    yield
                finally:
                    self._unfinished.pop(limit, None)
        except TimeoutError:
            message = (
                f"the request did not come within {self._limits.timeout_s:g} s, or others came meanwhile; "
                "send the headers and the body together"
            )
            await refuse(context, "body_timeout", ended(code_pb2.DEADLINE_EXCEEDED, message, reason="BODY_TIMEOUT"))
