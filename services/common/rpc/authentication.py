"""Admits or refuses calls by API key, scope, deadline and rate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc

from services.common.auth.registry import TenantRegistry
from services.common.auth.tenant import Credential
from services.common.rpc.call_context import current_tenant, set_credential
from services.common.rpc.handlers import is_open, metadata_values, method_name, preceded
from services.common.rpc.policy import policy_of
from services.common.rpc.rate_limits import RateLimit, TokenBuckets
from services.common.rpc.statuses import abort, permission_denied, resource_exhausted, unauthenticated

if TYPE_CHECKING:
    from services.common.rpc.call_context import Context
    from services.common.rpc.handlers import Handler


class Authentication(grpc.aio.ServerInterceptor):
    """Finds the tenant of `authorization: Bearer <API key>`.

    Refuses a call without a key, with a key that lacks the method's scope, without a deadline, or over the tenant's
    rate limit. Streams of replies need no deadline. Each message of a stream of requests counts as a call: while the
    tenant is over its limit, the server reads no further messages.
    """

    def __init__(self, tenants: TenantRegistry, rate_limit: RateLimit | None = None) -> None:
        self._tenants = tenants
        self._buckets = None if rate_limit is None else TokenBuckets(rate_limit)

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
                await abort(context, unauthenticated(f"{problem}; send the metadata authorization: Bearer <API key>"))
            await _check_scope(context, credential, method)
            if context.time_remaining() is None and not handler.response_streaming:
                message = "the call has no deadline; set one, for example timeout=5 in Python or -max-time 5 in grpcurl"
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)
            await self._check_rate(context, credential.tenant.name)
            set_credential(credential)

        return preceded(handler, admit, self._paced if handler.request_streaming else None)

    async def _check_rate(self, context: Context, tenant: str) -> None:
        wait_s = 0.0 if self._buckets is None else self._buckets.take(tenant)
        if wait_s:
            message = f"tenant {tenant!r} exceeds its rate limit; send the call again in {wait_s:.3f} s"
            await abort(context, resource_exhausted(message, reason="RATE_LIMITED", retry_after_s=wait_s))

    async def _paced(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """The messages of a stream, slowed down to the tenant's rate limit."""
        async for request in requests:
            while self._buckets is not None and (wait_s := self._buckets.take(current_tenant().name)):  # noqa: ASYNC110 - it waits for time to pass.
                await asyncio.sleep(wait_s)
            yield request


async def _check_scope(context: Context, credential: Credential, method: str) -> None:
    needed, key = policy_of(method).scope, credential.api_key
    if needed in key.scopes:
        return
    message = (
        f"the API key {key.name!r} ({key.key_id}) may be used for {', '.join(sorted(key.scopes))}, and {method} "
        f"needs the scope {needed}; use a key that has it, or create one: "
        f"cairn keys create --tenant {key.tenant} --scope {needed}"
    )
    await abort(context, permission_denied(message, reason="SCOPE_MISSING"))


def _api_key_of(details: grpc.HandlerCallDetails) -> str | None:
    for value in metadata_values(details, "authorization"):
        scheme, _, api_key = value.partition(" ")
        if scheme.lower() == "bearer" and api_key:
            return api_key.strip()
    return None
