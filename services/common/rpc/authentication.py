"""Admits or refuses calls by API key, scope, deadline, free slots and rate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

import grpc

from services.common.auth.registry import TenantRegistry
from services.common.auth.tenant import Credential
from services.common.rpc.call_context import set_credential
from services.common.rpc.handlers import is_open, metadata_values, method_name, preceded
from services.common.rpc.policy import policy_of
from services.common.rpc.rate_limits import TokenBuckets
from services.common.rpc.refusals import REFUSED, refuse
from services.common.rpc.slots import Slots
from services.common.rpc.statuses import permission_denied, resource_exhausted, unauthenticated

if TYPE_CHECKING:
    from services.common.rpc.call_context import Context
    from services.common.rpc.handlers import Handler

_SLOT_RETRY_AFTER_S = 1.0


class Authentication(grpc.aio.ServerInterceptor):
    """Finds the tenant of `authorization: Bearer <API key>`, and takes a slot for the call.

    It runs on the headers of a call, before any of its body is read. Refuses a call without a key, with a key that
    lacks the method's scope, without a deadline, without a free slot, or over the tenant's rate limit. Streams of
    replies need no deadline.
    """

    def __init__(self, tenants: TenantRegistry, slots: Slots, buckets: TokenBuckets | None = None) -> None:
        """Args: the tenants; the `slots` of calls; and the `buckets` of the rate limit, None: there is no limit."""
        self._tenants = tenants
        self._slots = slots
        self._buckets = buckets

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
        credential = self._tenants.credential(api_key) if api_key else None
        method = method_name(handler_call_details)

        async def admit(context: Context) -> None:
            if credential is None:
                problem = "the API key is not known, was revoked or has expired" if api_key else "there is no API key"
                status = unauthenticated(f"{problem}; send the metadata authorization: Bearer <API key>")
                await refuse(context, "api_key", status)
            await _check_scope(context, credential, method)
            if context.time_remaining() is None and not handler.response_streaming:
                message = "the call has no deadline; set one, for example timeout=5 in Python or -max-time 5 in grpcurl"
                REFUSED.labels("no_deadline").inc()
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)
            await self._take_slot(context, credential.tenant.name)
            await self._check_rate(context, credential.tenant.name)
            set_credential(credential)

        return preceded(handler, admit)

    async def _take_slot(self, context: Context, tenant: str) -> None:
        connection = context.peer()
        if refusal := self._slots.take(tenant, connection):
            reason = refusal.reason.upper()
            status = resource_exhausted(refusal.message, reason=reason, retry_after_s=_SLOT_RETRY_AFTER_S)
            await refuse(context, refusal.reason, status)
        # Not at the end of the method: a call that is cancelled has none.
        context.add_done_callback(partial(self._release, tenant, connection))  # type: ignore[arg-type]  # the stub wants a named argument.

    def _release(self, tenant: str, connection: str, _context: Context) -> None:
        self._slots.release(tenant, connection)

    async def _check_rate(self, context: Context, tenant: str) -> None:
        wait_s = 0.0 if self._buckets is None else self._buckets.take(tenant)
        if wait_s:
            message = (
                f"tenant {tenant!r} exceeds its rate limit (CAIRN_TENANT_CALLS_PER_S, CAIRN_TENANT_CALLS_BURST); send "
                f"the call again in {wait_s:.3f} s"
            )
            status = resource_exhausted(message, reason="RATE_LIMITED", retry_after_s=wait_s)
            await refuse(context, "rate_limit", status)


async def _check_scope(context: Context, credential: Credential, method: str) -> None:
    needed, key = policy_of(method).scope, credential.api_key
    if needed in key.scopes:
        return
    message = (
        f"the API key {key.name!r} ({key.key_id}) may be used for {', '.join(sorted(key.scopes))}, and {method} "
        f"needs the scope {needed}; use a key that has it, or create one: "
        f"cairn keys create --tenant {key.tenant} --scope {needed}"
    )
    await refuse(context, "scope", permission_denied(message, reason="SCOPE_MISSING"))


def _api_key_of(details: grpc.HandlerCallDetails) -> str | None:
    for value in metadata_values(details, "authorization"):
        scheme, _, api_key = value.partition(" ")
        if scheme.lower() == "bearer" and api_key:
            return api_key.strip()
    return None
