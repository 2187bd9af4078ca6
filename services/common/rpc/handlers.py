"""Wrapping of method handlers, shared by the interceptors of a server."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

import grpc

if TYPE_CHECKING:
    from services.common.rpc.call_context import Context

    # Generic in the stubs only, not at runtime.
    Handler = grpc.RpcMethodHandler[Any, Any]

# Health checks and reflection need no API key and leave no traces.
_OPEN_SERVICES = ("/grpc.health.v1.Health/", "/grpc.reflection.v1alpha.ServerReflection/")


def is_open(details: grpc.HandlerCallDetails) -> bool:
    """Whether a call needs no API key: a health check or reflection."""
    return details.method.startswith(_OPEN_SERVICES)


def method_name(details: grpc.HandlerCallDetails) -> str:
    """The method that is called, as `package.Service/Method`."""
    return details.method.removeprefix("/")


def metadata_values(details: grpc.HandlerCallDetails, name: str) -> list[str]:
    """The text values that a call's metadata has under a name."""
    return [value for key, value in details.invocation_metadata or () if key == name and isinstance(value, str)]


def status_code(context: Context) -> int:
    """The status code that a call has so far; 0 when none was set."""
    code = context.code()
    return int(code.value[0] if isinstance(code, grpc.StatusCode) else code or 0)


def unary_reply(handler: Handler) -> Any:
    """The function of a method with one reply."""
    return handler.stream_unary if handler.request_streaming else handler.unary_unary


def replaced(handler: Handler, function: Any) -> Handler:
    """A handler of the same form that runs another function."""
    make: Any = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, handler.response_streaming]
    return cast("Handler", make(function, handler.request_deserializer, handler.response_serializer))


def preceded(
    handler: Handler,
    before: Callable[[Context], Awaitable[None]],
    paced: Callable[[AsyncIterator[Any]], AsyncIterator[Any]] | None = None,
) -> Handler:
    """The handler, run after another function.

    Args:
        handler: the method's handler.
        before: runs first, and may end the call.
        paced: a stream of requests is read through it; None: it is read directly.
    """
    function: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    if handler.response_streaming:

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            await before(context)
            async for reply in function(paced(request) if paced else request, context):
                yield reply

        async def writing(request: Any, context: Context) -> None:
            await before(context)
            await function(paced(request) if paced else request, context)

        # A method yields its replies, or writes them itself in order to notice a slow reader.
        return replaced(handler, stream if inspect.isasyncgenfunction(function) else writing)

    async def unary(request: Any, context: Context) -> Any:
        await before(context)
        return await function(paced(request) if paced else request, context)

    return replaced(handler, unary)
