"""How Envoy's own refusals look: in the shape of every error of Cairn."""

from __future__ import annotations

from typing import Any

from deploy.envoy.limits import HEADERS_KIB_MAX, HEADERS_MAX, REQUEST_BYTES_MAX, REQUEST_TIMEOUT_S, TIMEOUT_S

# The Lua code sends it with errors of its own, which stay as they are.
_REFUSED = "x-cairn-refused"
# What Envoy itself refuses, by HTTP status; any other one is UNAVAILABLE.
_CODES = {
    400: "INVALID_ARGUMENT",
    403: "INTERNAL",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    413: "INVALID_ARGUMENT",
    426: "INVALID_ARGUMENT",
    431: "INVALID_ARGUMENT",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    504: "DEADLINE_EXCEEDED",
}
_MESSAGES: dict[int | None, str] = {
    403: "the gateway could not check the request, so no service got it: tell the operator, who finds why in its log",
    408: f"the request did not come within {REQUEST_TIMEOUT_S} s: send the headers and the body together",
    413: f"body: has more than {REQUEST_BYTES_MAX} bytes: send it in several requests",
    426: "HTTP/1.0 is not served: send HTTP/1.1 or HTTP/2",
    431: f"path and headers have more than {HEADERS_KIB_MAX} KiB, or headers are more than {HEADERS_MAX}: send less",
    501: "this Transfer-Encoding is not served: send chunked, or a Content-Length",
    504: f"the answer took more than {TIMEOUT_S} s: send the request again, or ask for less",
}
_NO_UPGRADE = "a connection is not upgraded here: send requests without the header Upgrade"
# As ingest's own HTTP server says it.
_REASONS: dict[int | None, str] = {404: "PATH_UNKNOWN", 405: "METHOD_UNKNOWN"}


def local_replies() -> list[dict[str, Any]]:
    """What becomes of each of Envoy's answers; the first that fits counts."""
    return [
        _upgrade_refused(),
        *(_local_reply(status, code) for status, code in _CODES.items()),
        _local_reply(None, "UNAVAILABLE"),
    ]


def _upgrade_refused() -> dict[str, Any]:
    """What becomes of the other answer that Envoy calls forbidden, before a filter sees the request."""
    reply = _local_reply(403, "INVALID_ARGUMENT")
    reply["filter"]["and_filter"]["filters"].append(
        {"header_filter": {"header": {"name": "upgrade", "present_match": True}}}
    )
    reply["body_format_override"]["json_format"]["error"]["message"] = _NO_UPGRADE
    del reply["status_code"]
    return reply


def _local_reply(status: int | None, code: str) -> dict[str, Any]:
    """What becomes of an answer of Envoy's own, unless the Lua code made it."""
    operation, bound = ("EQ", status) if status else ("GE", 400)
    of_status = {"comparison": {"op": operation, "value": {"default_value": bound, "runtime_key": "none"}}}
    not_lua = {"name": _REFUSED, "present_match": True, "invert_match": True}
    return {
        "filter": {
            "and_filter": {"filters": [{"status_code_filter": of_status}, {"header_filter": {"header": not_lua}}]}
        },
        # Envoy calls it forbidden when nobody marked a request as checked.
        **({"status_code": 500} if status == 403 else {}),
        "body_format_override": {
            "json_format": {
                "error": {"code": code, "message": _MESSAGES.get(status, "%LOCAL_REPLY_BODY%")}
                | ({"reason": _REASONS[status]} if status in _REASONS else {})
            },
            "content_type": "application/json",
        },
    }
