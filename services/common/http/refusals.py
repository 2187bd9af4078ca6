"""Requests that are refused: a google.rpc status, which gRPC would send, as an HTTP status and a JSON document."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec
from google.rpc import code_pb2, error_details_pb2, status_pb2
from starlette.responses import Response

from services.common.rpc.statuses import FieldViolation, invalid_argument

_JSON = "application/json"
# https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto names the HTTP status of each code.
_HTTP_STATUS = {
    code_pb2.INVALID_ARGUMENT: 400,
    code_pb2.FAILED_PRECONDITION: 400,
    code_pb2.OUT_OF_RANGE: 400,
    code_pb2.UNAUTHENTICATED: 401,
    code_pb2.PERMISSION_DENIED: 403,
    code_pb2.NOT_FOUND: 404,
    code_pb2.ABORTED: 409,
    code_pb2.ALREADY_EXISTS: 409,
    code_pb2.RESOURCE_EXHAUSTED: 429,
    code_pb2.CANCELLED: 499,
    code_pb2.UNIMPLEMENTED: 501,
    code_pb2.UNAVAILABLE: 503,
    code_pb2.DEADLINE_EXCEEDED: 504,
}


class RequestRefusedError(Exception):
    """A request is refused as a whole.

    Attributes:
        status: the status that gRPC would send.
        reason: why, in one word for metrics.
        http_status: the HTTP status; that of the status's code unless another one says it better.
        headers: further headers of the answer.
    """

    def __init__(
        self,
        status: status_pb2.Status,
        *,
        reason: str,
        http_status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status.message)
        self.status = status
        self.reason = reason
        self.http_status = http_status or _HTTP_STATUS.get(status.code, 500)
        self.headers = dict(headers or {})


def invalid_request(
    violations: Iterable[FieldViolation], *, reason: str = "invalid", http_status: int = 400
) -> RequestRefusedError:
    """A request that can only be right once it is changed: the fields at fault, each with the value and the remedy."""
    return RequestRefusedError(invalid_argument(violations), reason=reason, http_status=http_status)


def refusal_response(refusal: RequestRefusedError) -> Response:
    """The answer to a request that is refused."""
    status = refusal.status
    error: dict[str, object] = {"code": code_pb2.Code.Name(status.code), "message": status.message}
    headers = dict(refusal.headers)
    bad_request, info, retry = (
        error_details_pb2.BadRequest(),
        error_details_pb2.ErrorInfo(),
        error_details_pb2.RetryInfo(),
    )
    for detail in status.details:
        if detail.Unpack(bad_request):
            error["field_violations"] = [
                {"field": each.field, "description": each.description} for each in bad_request.field_violations
            ]
        elif detail.Unpack(info):
            error["reason"] = info.reason
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToMilliseconds() / 1000
            error["retry_after_s"] = retry_after_s
            # The header has whole seconds only.
            headers["Retry-After"] = str(math.ceil(retry_after_s))
    return json_response({"error": error}, status=refusal.http_status, headers=headers)


def json_response(content: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer with a JSON document."""
    return Response(msgspec.json.encode(content), status, headers=headers, media_type=_JSON)
