"""gRPC statuses with google.rpc details: the field at fault, the reason, and when to try again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

ERROR_DOMAIN = "cairn"
_NAMED_IN_MESSAGE = 3
_DETAIL_BYTES_MAX = 4_000


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A problem with a field: the field's path, and the value, the problem and the remedy as a sentence."""

    field: str
    reason: str


def invalid_argument(violations: Iterable[FieldViolation]) -> status_pb2.Status:
    """INVALID_ARGUMENT naming the fields at fault in BadRequest details.

    A status travels in HTTP/2 trailers, which peers limit to 8 KiB. It lists as many violations as fit, and the message
    gives their number.
    """
    listed = list(violations)
    message = "; ".join(f"{violation.field}: {violation.reason}" for violation in listed[:_NAMED_IN_MESSAGE])[:1_000]
    details = error_details_pb2.BadRequest()
    for violation in listed:
        details.field_violations.add(field=violation.field, description=violation.reason)
        if details.ByteSize() > _DETAIL_BYTES_MAX:
            del details.field_violations[-1]
            break
    if len(listed) > _NAMED_IN_MESSAGE:
        message += f"; and {len(listed) - _NAMED_IN_MESSAGE} more ({len(details.field_violations)} in the details)"
    return _status(code_pb2.INVALID_ARGUMENT, message, details)


def unavailable(message: str, *, reason: str, retry_after_s: float) -> status_pb2.Status:
    """UNAVAILABLE with ErrorInfo and RetryInfo: nothing was acknowledged, the same call may be sent again."""
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(round(retry_after_s * 1000))
    return _status(
        code_pb2.UNAVAILABLE, message, error_details_pb2.ErrorInfo(reason=reason, domain=ERROR_DOMAIN), retry
    )


def resource_exhausted(message: str, *, reason: str, retry_after_s: float) -> status_pb2.Status:
    """RESOURCE_EXHAUSTED with ErrorInfo and RetryInfo: nothing was done, the same call may be sent again later."""
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(round(retry_after_s * 1000))
    info = error_details_pb2.ErrorInfo(reason=reason, domain=ERROR_DOMAIN)
    return _status(code_pb2.RESOURCE_EXHAUSTED, message, info, retry)


def not_found(message: str) -> status_pb2.Status:
    """NOT_FOUND; the same for an id of another tenant."""
    return _status(code_pb2.NOT_FOUND, message, error_details_pb2.ErrorInfo(reason="NOT_FOUND", domain=ERROR_DOMAIN))


def unauthenticated(message: str) -> status_pb2.Status:
    """UNAUTHENTICATED."""
    info = error_details_pb2.ErrorInfo(reason="API_KEY_INVALID", domain=ERROR_DOMAIN)
    return _status(code_pb2.UNAUTHENTICATED, message, info)


def permission_denied(message: str, *, reason: str) -> status_pb2.Status:
    """PERMISSION_DENIED: the credential is valid, but does not permit the call."""
    info = error_details_pb2.ErrorInfo(reason=reason, domain=ERROR_DOMAIN)
    return _status(code_pb2.PERMISSION_DENIED, message, info)


def data_loss(message: str, *, reason: str) -> status_pb2.Status:
    """DATA_LOSS: what is stored about the thing asked for is damaged; an operator must repair it."""
    info = error_details_pb2.ErrorInfo(reason=reason, domain=ERROR_DOMAIN)
    return _status(code_pb2.DATA_LOSS, message, info)


def failed_precondition(message: str, *, reason: str) -> status_pb2.Status:
    """FAILED_PRECONDITION: the call cannot succeed until the caller or operator changes something."""
    info = error_details_pb2.ErrorInfo(reason=reason, domain=ERROR_DOMAIN)
    return _status(code_pb2.FAILED_PRECONDITION, message, info)


def aborted(message: str, *, reason: str, facts: Mapping[str, str] | None = None) -> status_pb2.Status:
    """ABORTED: the call ended early, and the caller should resume it.

    Args:
        message: what happened and what to do.
        reason: the reason as one word, for programs.
        facts: what a program needs to resume, as metadata of the ErrorInfo.
    """
    info = error_details_pb2.ErrorInfo(reason=reason, domain=ERROR_DOMAIN, metadata=facts or {})
    return _status(code_pb2.ABORTED, message, info)


def ended(code: int, message: str, *, reason: str) -> status_pb2.Status:
    """A status of any code, from google.rpc.code_pb2, with the reason as one word for programs."""
    return _status(code, message, error_details_pb2.ErrorInfo(reason=reason, domain=ERROR_DOMAIN))


def already_exists(message: str, *, facts: Mapping[str, str] | None = None) -> status_pb2.Status:
    """ALREADY_EXISTS; `facts` as in `aborted`."""
    info = error_details_pb2.ErrorInfo(reason="ALREADY_EXISTS", domain=ERROR_DOMAIN, metadata=facts or {})
    return _status(code_pb2.ALREADY_EXISTS, message, info)


async def abort(context: grpc.aio.ServicerContext[Any, Any], status: status_pb2.Status) -> NoReturn:
    """End a call with a status and its details, in addition to the call's trailing metadata."""
    ended = rpc_status.to_status(status)
    trailing = (*(context.trailing_metadata() or ()), *ended.trailing_metadata)
    await context.abort(ended.code, ended.details, trailing)
    raise AssertionError("abort returned")


def retry_after_s_of(error: grpc.aio.AioRpcError) -> float | None:
    """The seconds that a server asked to wait before sending the call again; None when it asked for none."""
    retry = error_details_pb2.RetryInfo()
    for detail in _details_of(error):
        if detail.Unpack(retry):
            return float(retry.retry_delay.ToMilliseconds()) / 1000
    return None


def violations_of(error: grpc.aio.AioRpcError) -> list[FieldViolation]:
    """The field violations that a server sent with an error."""
    violations = []
    for detail in _details_of(error):
        bad_request = error_details_pb2.BadRequest()
        if detail.Unpack(bad_request):
            violations += [FieldViolation(entry.field, entry.description) for entry in bad_request.field_violations]
    return violations


def _details_of(error: grpc.aio.AioRpcError) -> list[any_pb2.Any]:
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    return list(status_pb2.Status.FromString(details).details) if isinstance(details, bytes) else []


def _status(code: int, message: str, *details: object) -> status_pb2.Status:
    packed = []
    for detail in details:
        wrapped = any_pb2.Any()
        wrapped.Pack(detail)  # type: ignore[arg-type]  # google.rpc ships no types; every detail here is one of its messages.
        packed.append(wrapped)
    return status_pb2.Status(code=code, message=message, details=packed)
