"""Wrapping of method handlers, shared by the interceptors of a server."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
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


def function_of(handler: Handler) -> Any:
    """The function of a method of any form."""
    return handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream


def replaced(handler: Handler, function: Any, *, from_headers: bool = False) -> Handler:
    """A handler that runs another function.

    Args:
        handler: the handler to replace.
        function: runs instead.
        from_headers: the function runs as soon as the headers have come, and reads the raw messages of the request
            itself, also when there is only one. It looks the same to callers.
    """
    make: Any = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[from_headers or handler.request_streaming, handler.response_streaming]
    deserializer = None if from_headers else handler.request_deserializer
    return cast("Handler", make(function, deserializer, handler.response_serializer))


def preceded(handler: Handler, before: Callable[[Context], Awaitable[None]]) -> Handler:
    """The handler, run after another function, which may end the call."""

    async def same(request: Any, context: Context) -> Any:
        await before(context)
        return request

    return prepared(handler, same)


def prepared(
    handler: Handler, prepare: Callable[[Any, Context], Awaitable[Any]], *, from_headers: bool = False
) -> Handler:
    """The handler, run on what another function makes of the request.

    Args:
        handler: the method's handler.
        prepare: makes the request that the method gets, and may end the call.
        from_headers: as for `replaced`.
    """
    function = function_of(handler)
    if handler.response_streaming:

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            async for reply in function(await prepare(request, context), context):
                yield reply

        async def writing(request: Any, context: Context) -> None:
            await function(await prepare(request, context), context)

        # A method yields its replies, or writes them itself in order to notice a slow reader.
        chosen: Any = stream if inspect.isasyncgenfunction(function) else writing
        return replaced(handler, chosen, from_headers=from_headers)

    async def unary(request: Any, context: Context) -> Any:
        return await function(await prepare(request, context), context)

    return replaced(handler, unary, from_headers=from_headers)


def guarded(handler: Handler, around: Callable[[Context], AbstractAsyncContextManager[None]]) -> Handler:
    """The handler, run within a context manager, which may end the call."""
    function = function_of(handler)
    if handler.response_streaming:

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            async with around(context):
                async for reply in function(request, context):
                    yield reply

        async def writing(request: Any, context: Context) -> None:
            async with around(context):
                await function(request, context)

        return replaced(handler, stream if inspect.isasyncgenfunction(function) else writing)

    async def unary(request: Any, context: Context) -> Any:
        async with around(context):
            return await function(request, context)

    return replaced(handler, unary)
