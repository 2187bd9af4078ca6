"""The call being handled: its tenant and API key, its trace, and the facts for its audit line."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import grpc

from services.common.auth.tenant import Credential, Tenant

if TYPE_CHECKING:
    # Generic in the stubs only, not at runtime.
    Context = grpc.aio.ServicerContext[Any, Any]

_credential: ContextVar[Credential | None] = ContextVar("credential", default=None)
_caller_traceparent: ContextVar[str | None] = ContextVar("caller_traceparent", default=None)
# Facts for the audit line; None: the call is not audited.
_audit_facts: ContextVar[dict[str, object] | None] = ContextVar("audit_facts", default=None)


def current_tenant() -> Tenant:
    """The tenant of the call being handled, from its API key.

    Raises:
        LookupError: outside of calls.
    """
    credential = _credential.get()
    if credential is None:
        raise LookupError("there is no call, so there is no tenant")
    return credential.tenant


def current_api_key_id() -> str:
    """Id of the API key of the call being handled, for audits; empty outside of calls."""
    credential = _credential.get()
    return "" if credential is None else credential.api_key.key_id


def current_credential() -> Credential | None:
    """The credential of the call being handled; None when it was refused, or outside of calls."""
    return _credential.get()


def set_credential(credential: Credential) -> None:
    """Set the credential of the call being handled."""
    _credential.set(credential)


def caller_traceparent() -> str | None:
    """The trace that the stream being handled was opened in; None: there is none, or tracing is off."""
    return _caller_traceparent.get()


def set_caller_traceparent(traceparent: str | None) -> None:
    """Set the trace that the call being handled is a part of."""
    _caller_traceparent.set(traceparent)


def note_for_audit(**facts: object) -> None:
    """Add facts to the audit line of the call being handled: ids and counts, nothing about people."""
    line = _audit_facts.get()
    if line is not None:
        line.update(facts)


def start_audit() -> dict[str, object]:
    """Collect the facts of the call being handled in the returned dictionary."""
    facts: dict[str, object] = {}
    _audit_facts.set(facts)
    return facts
