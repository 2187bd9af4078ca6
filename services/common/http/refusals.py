"""Requests that are refused: a google.rpc status, which gRPC would send, as an HTTP status and a JSON document."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec
from google.rpc import code_pb2, error_details_pb2, status_pb2
from prometheus_client import Counter
from starlette.responses import Response

from services.common.rpc.admission import RefusedError
from services.common.rpc.statuses import FieldViolation, invalid_argument

_JSON = "application/json"
# https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto names the HTTP status of each code.
_HTTP_STATUS = {
    code_pb2.INVALID_ARGUMENT: 400,
    code_pb2.FAILED_PRECONDITION: 400,
    code_pb2.UNAUTHENTICATED: 401,
    code_pb2.PERMISSION_DENIED: 403,
    code_pb2.NOT_FOUND: 404,
    code_pb2.ABORTED: 409,
    code_pb2.ALREADY_EXISTS: 409,
    code_pb2.RESOURCE_EXHAUSTED: 429,
    code_pb2.UNIMPLEMENTED: 501,
    code_pb2.UNAVAILABLE: 503,
}
# A 401 without it is no valid answer.
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="cairn", Basic realm="cairn"'}

REFUSED = Counter(
    "cairn_http_refused_requests",
    "Requests over HTTP that were refused as a whole, or that failed, by reason.",
    ["reason"],
)
# As for calls over gRPC: a counter that begins above 0 raises no alarm.
REFUSED.labels("failed")


class RequestRefusedError(RefusedError):
    """A request is refused as a whole.

    Attributes:
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
        super().__init__(status, reason=reason)
        self.http_status = http_status or _HTTP_STATUS.get(status.code, 500)
        self.headers = dict(headers or {})


def invalid_request(
    violations: Iterable[FieldViolation], *, reason: str = "invalid", http_status: int = 400
) -> RequestRefusedError:
    """A request that can only be right once it is changed: the fields at fault, each with the value and the remedy."""
    return RequestRefusedError(invalid_argument(violations), reason=reason, http_status=http_status)


def refusal_response(refusal: RefusedError) -> Response:
    """The answer to a request that is refused."""
    status = refusal.status
    http_status = _HTTP_STATUS.get(status.code, 500)
    error: dict[str, object] = {"code": code_pb2.Code.Name(status.code), "message": status.message}
    headers: dict[str, str] = {}
    if isinstance(refusal, RequestRefusedError):
        http_status, headers = refusal.http_status, dict(refusal.headers)
    for detail in status.details:
        if detail.Unpack(bad_request := error_details_pb2.BadRequest()):
            error["field_violations"] = [
                {"field": each.field, "description": each.description} for each in bad_request.field_violations
            ]
        elif detail.Unpack(info := error_details_pb2.ErrorInfo()):
            error["reason"] = info.reason
        elif detail.Unpack(retry := error_details_pb2.RetryInfo()):
            retry_after_s = retry.retry_delay.ToMilliseconds() / 1000
            error["retry_after_s"] = retry_after_s
            # The header has whole seconds only.
            headers["Retry-After"] = str(math.ceil(retry_after_s))
    if status.code == code_pb2.UNAUTHENTICATED:
        headers |= _CHALLENGE
    return json_response({"error": error}, status=http_status, headers=headers)


def json_response(content: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer with a JSON document."""
    return Response(msgspec.json.encode(content), status, headers=headers, media_type=_JSON)
