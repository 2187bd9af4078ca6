"""Who may call what, and how often: the same for every protocol that a process serves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from google.rpc import status_pb2

from services.common.auth.registry import TenantRegistry
from services.common.auth.tenant import Credential
from services.common.rpc.policy import policy_of
from services.common.rpc.rate_limits import TokenBuckets
from services.common.rpc.slots import Slots
from services.common.rpc.statuses import permission_denied, resource_exhausted, unauthenticated

_SLOT_RETRY_AFTER_S = 1.0


class RefusedError(Exception):
    """A call is refused as a whole.

    Attributes:
        status: what the caller is told.
        reason: why, in one word for metrics.
    """

    def __init__(self, status: status_pb2.Status, *, reason: str) -> None:
        super().__init__(status.message)
        self.status = status
        self.reason = reason


class Admission:
    """The API keys, the slots and the tenants' rate limit of a process."""

    def __init__(self, tenants: TenantRegistry, slots: Slots, buckets: TokenBuckets | None = None) -> None:
        """Args: the tenants; the `slots` of calls; and the `buckets` of the rate limit, None: there is no limit."""
        self.tenants = tenants
        self.buckets = buckets
        self._slots = slots

    def credential(self, api_key: str | None, method: str, *, how: str) -> Credential:
        """The credential of an API key that may be used for a method.

        Args:
            api_key: the key; None or empty when the caller sent none.
            method: `package.Service/Method`.
            how: how the caller sends a key.

        Raises:
            RefusedError: when the key is not valid, or lacks the method's scope.
        """
        credential = self.tenants.credential(api_key) if api_key else None
        if credential is None:
            problem = "the API key is not known, was revoked or has expired" if api_key else "there is no API key"
            raise RefusedError(unauthenticated(f"{problem}; send {how}"), reason="api_key")
        needed, key = policy_of(method).scope, credential.api_key
        if needed not in key.scopes:
            message = (
                f"the API key {key.name!r} ({key.key_id}) may be used for {', '.join(sorted(key.scopes))}, and "
                f"{method} needs the scope {needed}; use a key that has it, or create one: "
                f"cairn keys create --tenant {key.tenant} --scope {needed}"
            )
            raise RefusedError(permission_denied(message, reason="SCOPE_MISSING"), reason="scope")
        return credential

    def take_slot(self, tenant: str, connection: str) -> None:
        """Take a slot, which the caller gives back with `release_slot`.

        Raises:
            RefusedError: when there is none.
        """
        if refusal := self._slots.take(tenant, connection):
            reason = refusal.reason.upper()
            status = resource_exhausted(refusal.message, reason=reason, retry_after_s=_SLOT_RETRY_AFTER_S)
            raise RefusedError(status, reason=refusal.reason)

    def release_slot(self, tenant: str, connection: str) -> None:
        """Give a slot back."""
        self._slots.release(tenant, connection)

    @contextmanager
    def slot(self, tenant: str, connection: str) -> Iterator[None]:
        """Hold a slot. Raises RefusedError when there is none."""
        self.take_slot(tenant, connection)
        try:
            yield
        finally:
            self.release_slot(tenant, connection)

    def check_rate(self, tenant: str) -> None:
        """Count a call of a tenant.

        Raises:
            RefusedError: when the tenant made too many.
        """
        wait_s = 0.0 if self.buckets is None else self.buckets.take(tenant)
        if wait_s:
            message = (
                f"tenant {tenant!r} exceeds its rate limit (CAIRN_TENANT_CALLS_PER_S, CAIRN_TENANT_CALLS_BURST); send "
                f"the call again in {wait_s:.3f} s"
            )
            status = resource_exhausted(message, reason="RATE_LIMITED", retry_after_s=wait_s)
            raise RefusedError(status, reason="rate_limit")

    def charge(self, tenant: str, method: str, items: int) -> None:
        """Count the items of a call that was admitted: many count as several calls, as the method's contract says."""
        further = items / policy_of(method).items_per_call - 1.0
        if self.buckets is not None and further > 0:
            self.buckets.charge(tenant, further)
