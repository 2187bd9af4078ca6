"""Admits or refuses calls by API key, scope, deadline, free slots and rate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import grpc

from services.common.rpc.admission import Admission, RefusedError
from services.common.rpc.call_context import set_credential
from services.common.rpc.handlers import is_open, metadata_values, method_name, preceded
from services.common.rpc.refusals import REFUSED, refuse

if TYPE_CHECKING:
    from services.common.rpc.call_context import Context
    from services.common.rpc.handlers import Handler

_HOW = "the metadata authorization: Bearer <API key>"


class Authentication(grpc.aio.ServerInterceptor):
    """Finds the tenant of `authorization: Bearer <API key>`, and takes a slot for the call.

    It runs on the headers of a call, before any of its body is read. Refuses a call without a key, with a key that
    lacks the method's scope, without a deadline, without a free slot, or over the tenant's rate limit. Streams of
    replies need no deadline.
    """

    def __init__(self, admission: Admission) -> None:
        """Args: `admission` of this process."""
        self._admission = admission

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the method's handler; health checks and reflection need no API key."""
        handler = await continuation(handler_call_details)
        if handler is None or is_open(handler_call_details):
            return handler
        api_key = _api_key_of(handler_call_details)
        method = method_name(handler_call_details)

        async def admit(context: Context) -> None:
            try:
                credential = self._admission.credential(api_key, method, how=_HOW)
                if context.time_remaining() is None and not handler.response_streaming:
                    message = (
                        "the call has no deadline; set one, for example timeout=5 in Python or -max-time 5 in grpcurl"
                    )
                    REFUSED.labels("no_deadline").inc()
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)
                self._take_slot(context, credential.tenant.name)
                self._admission.check_rate(credential.tenant.name)
            except RefusedError as error:
                await refuse(context, error.reason, error.status)
            set_credential(credential)

        return preceded(handler, admit)

    def _take_slot(self, context: Context, tenant: str) -> None:
        connection = context.peer()
        self._admission.take_slot(tenant, connection)

        def release(_context: Context) -> None:
            self._admission.release_slot(tenant, connection)

        # Not at the end of the method: a call that is cancelled has none.
        context.add_done_callback(release)  # type: ignore[arg-type]  # the stub wants a named argument.


def _api_key_of(details: grpc.HandlerCallDetails) -> str | None:
    for value in metadata_values(details, "authorization"):
        scheme, _, api_key = value.partition(" ")
        if scheme.lower() == "bearer" and api_key:
            return api_key.strip()
    return None
