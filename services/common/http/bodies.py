"""The bodies of requests: read within a time and a size, decompressed within a size, and decoded."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from dataclasses import dataclass

import msgspec
from google.rpc import code_pb2
from starlette.requests import ClientDisconnect, Request

from services.common.http.refusals import RequestRefusedError, invalid_request
from services.common.repeated_keys import repeated_key
from services.common.rpc.statuses import FieldViolation, ended

# Of a request that is refused: many clients look for the answer only when they have sent all, and a connection that is
# closed before that answers them with a reset.
_DISCARDED_BYTES_MAX = 16 * 1024 * 1024
_DISCARDED_WITHIN_S = 1.0
_LENGTH_DIGITS_MAX = 20
_GZIP = 16 + zlib.MAX_WBITS
# Files of gzip may be joined. What follows each is copied, so the work grows with the square of their number.
_MEMBERS_MAX = 100
# As many as a gRPC request may have fields. Decoding them takes about a tenth of a second, in which nothing else runs.
_VALUES_MAX = 400_000
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Limits on a request's body.

    Attributes:
        bytes_max: as it is sent, and once it is decompressed.
        timeout_s: how long it may take to come once the headers have.
    """

    bytes_max: int
    timeout_s: float


async def read_body(request: Request, limits: BodyLimits) -> bytes:
    """The body of a request, decompressed.

    Raises:
        RequestRefusedError: when it is too large or too slow, or in an encoding other than gzip.
        ClientDisconnect: when the client is gone.
    """
    coding = request.headers.get("content-encoding", "identity").strip().lower() or "identity"
    if coding not in {"identity", "gzip", "x-gzip"}:
        problem = f"is {coding[:40]!r}: send gzip, or no encoding"
        raise invalid_request([FieldViolation("Content-Encoding", problem)], reason="encoding", http_status=415)
    announced = request.headers.get("content-length", "0")
    # Python converts no text of thousands of digits.
    if announced.isdecimal() and (len(announced) > _LENGTH_DIGITS_MAX or int(announced) > limits.bytes_max):
        raise _too_large(f"is {announced[:_LENGTH_DIGITS_MAX]}", limits.bytes_max, field="Content-Length")
    body = bytearray()
    try:
        async with asyncio.timeout(limits.timeout_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limits.bytes_max:
                    raise _too_large("has more", limits.bytes_max)
    except TimeoutError as error:
        message = (
            f"the request's body did not come within {limits.timeout_s:g} s (CAIRN_BODY_TIMEOUT_S); "
            "send the headers and the body together"
        )
        status = ended(code_pb2.DEADLINE_EXCEEDED, message, reason="BODY_TIMEOUT")
        raise RequestRefusedError(status, reason="body_timeout", http_status=408) from error
    return bytes(body) if coding == "identity" else _decompressed(bytes(body), limits.bytes_max)


async def discard_body(request: Request) -> bool:
    """Read the rest that comes at once of a body that nobody wants; whether it ended."""
    # A client that asks first has sent none, and reading would ask for it.
    if "100-continue" in request.headers.get("expect", "").lower():
        return False
    discarded = 0
    # It raises RuntimeError when all of it was read before.
    with contextlib.suppress(RuntimeError):
        try:
            async with asyncio.timeout(_DISCARDED_WITHIN_S):
                async for chunk in request.stream():
                    discarded += len(chunk)
                    if discarded > _DISCARDED_BYTES_MAX:
                        return False
        except (TimeoutError, ClientDisconnect):
            return False
    return True


def json_of(body: bytes, field: str = "body") -> object:
    """The JSON document in a body, of plain types.

    Args:
        body: the bytes.
        field: what to call it in a refusal.

    Raises:
        RequestRefusedError: when it is not one JSON document in UTF-8, has too many values, or names a key twice.
    """
    body = without_mark(body)
    check_values(body, field)
    try:
        document: object = msgspec.json.decode(body)
        key = repeated_key(body, document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise no_json(error, field) from error
    if key is not None:
        raise invalid_request([FieldViolation(key, "is given twice: keep the right one")], reason="repeated_key")
    return document


def without_mark(body: bytes) -> bytes:
    """A text in UTF-8 without the byte order mark before it, which RFC 8259 lets a reader ignore."""
    return body.removeprefix(_BYTE_ORDER_MARK)


def check_values(body: bytes, field: str = "body") -> None:
    """Raise RequestRefusedError when a JSON document may have too many values to decode; `field` as in json_of."""
    # Each value is followed by one of these, or by the end of its object or list.
    if (values := body.count(b",") + body.count(b":")) > _VALUES_MAX:
        problem = f"has up to {values} values, and a request may have {_VALUES_MAX}: send it in several requests"
        raise invalid_request([FieldViolation(field, problem)], reason="too_many_values", http_status=413)


def no_json(error: Exception, field: str = "body") -> RequestRefusedError:
    """The refusal of a body that is no JSON document, for the reason in the error; `field` as in json_of."""
    problem = f"is no JSON document ({error}): send one in UTF-8"
    return invalid_request([FieldViolation(field, problem)], reason="no_json")


def _decompressed(body: bytes, bytes_max: int) -> bytes:
    content, members = bytearray(), 0
    while body:
        if (members := members + 1) > _MEMBERS_MAX:
            problem = f"is gzip of more than {_MEMBERS_MAX} members: compress the body as one"
            raise invalid_request([FieldViolation("Content-Encoding", problem)], reason="no_gzip")
        member = zlib.decompressobj(_GZIP)
        try:
            content += member.decompress(body, bytes_max + 1 - len(content))
        except zlib.error as error:
            problem = f"is gzip, but the body is not ({error}): compress it, or leave the header out"
            raise invalid_request([FieldViolation("Content-Encoding", problem)], reason="no_gzip") from error
        if len(content) > bytes_max:
            raise _too_large("has more once it is decompressed", bytes_max)
        if not member.eof:
            problem = "is gzip, but the body ends in the middle: send all of it"
            raise invalid_request([FieldViolation("Content-Encoding", problem)], reason="no_gzip")
        body = member.unused_data
    return bytes(content)


def _too_large(has: str, bytes_max: int, field: str = "body") -> RequestRefusedError:
    problem = f"{has}, and a request may have {bytes_max} bytes (CAIRN_MAX_MESSAGE_BYTES): send it in several requests"
    return invalid_request([FieldViolation(field, problem)], reason="too_large", http_status=413)
