"""The bodies of requests with statements: JSON, or parts of which the first is JSON and the others are attachments.

Attachments are checked as the specification says, and dropped.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import re
from collections.abc import Iterator, Sequence
from email import policy
from email.message import Message
from email.parser import BytesHeaderParser
from typing import Any

import orjson

from services.common.http.bodies import json_of
from services.common.http.refusals import RequestRefusedError, invalid_request
from services.common.http.routes import Admitted
from services.common.rpc.statuses import FieldViolation

_JSON = "application/json"
_MIXED = "multipart/mixed"
_HASH = "X-Experience-API-Hash"
_ENCODING = "Content-Transfer-Encoding"
_SIGNATURE = "http://adlnet.gov/expapi/attachments/signature"
_JWS = re.compile(rb"\s*([\w-]+)\.([\w-]+)\.[\w-]+\s*", re.ASCII)
_ALGORITHMS = ("RS256", "RS384", "RS512")
_BLANK = re.compile(rb"\r?\n\r?\n")
_PARTS_MAX = 5_000
# Python reads parameters in a time that grows with the square of their length.
_HEADERS_BYTES_MAX = 4_096
# Reading the headers of thousands of parts would hold up others.
_HEADERS_MAX = 20

Part = tuple[Message, bytes]
"""A part of a body: its headers and its content."""


def document_of(admitted: Admitted) -> tuple[object, list[Part]]:
    """The JSON document of a request, and its attachments.

    Raises:
        RequestRefusedError: when there is none.
    """
    if admitted.media_type == _JSON:
        return json_of(admitted.body), []
    if admitted.media_type != _MIXED:
        raise _refused("Content-Type", f"is {admitted.media_type[:80]!r}: send {_JSON}, or {_MIXED} with attachments")
    (headers, content), *attachments = _parts_of(admitted)
    if headers.get_content_type() != _JSON or "Content-Type" not in headers:
        raise _refused(
            "body",
            f"begins with a part of type {headers.get_content_type()[:80]}: send the statements first, as {_JSON}",
        )
    return json_of(content, "body"), attachments


def _parts_of(admitted: Admitted) -> list[Part]:
    """The parts of a body: RFC 2046, 5.1.1. Parts within parts are not looked for."""
    holder = Message()
    holder["Content-Type"] = admitted.request.headers["content-type"][:_HEADERS_BYTES_MAX]
    boundary = (holder.get_boundary() or "").encode("latin-1", "replace")
    delimiter = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary) + rb"(--)?[ \t]*(?=[\r\n]|\Z)")
    found = list(itertools.islice(delimiter.finditer(admitted.body), _PARTS_MAX + 1)) if boundary else []
    if len(found) > _PARTS_MAX:
        raise _refused("body", f"has more than {_PARTS_MAX} parts: send them in several requests")
    last = next((index for index, match in enumerate(found) if match[1]), 0)
    if not last:
        raise _refused(
            "body", f"has no parts as {_MIXED}: put the boundary of the Content-Type before each part, and at the end"
        )
    parts = []
    for begin, end in itertools.pairwise(found[: last + 1]):
        head, content = (*_BLANK.split(admitted.body[begin.end() : end.start()], maxsplit=1), b"")[:2]
        if len(head) > _HEADERS_BYTES_MAX or head.count(b"\n") > _HEADERS_MAX:
            limits = f"{_HEADERS_MAX} headers or {_HEADERS_BYTES_MAX} bytes of them"
            raise _refused("body", f"has a part with more than {limits}: send less")
        parts.append((BytesHeaderParser(policy=policy.compat32).parsebytes(head.strip()), content))
    return parts


def check_attachments(statements: Sequence[dict[str, Any]], parts: Sequence[Part]) -> None:
    """Check that every attachment of valid statements is there or has an address, and that there are no others.

    Raises:
        RequestRefusedError: when that is not so, or a signature is none.
    """
    sent = dict(_hashes_of(parts))
    wanted: set[str] = set()
    for path, attachment in _attachments_of(statements):
        sha2 = attachment["sha2"].lower()
        wanted.add(sha2)
        if sha2 not in sent and "fileUrl" not in attachment:
            raise _refused(path, f"has no fileUrl, and no part has its sha2 as {_HASH}: send the part as {_MIXED}")
        if attachment["usageType"] == _SIGNATURE:
            _check_signature(path, attachment, sent.get(sha2))
    for sha2 in sent.keys() - wanted:
        raise _refused(_HASH, f"is {sha2[:80]!r}, the sha2 of no attachment: leave the part out")


def _hashes_of(parts: Sequence[Part]) -> Iterator[tuple[str, bytes]]:
    for part, content in parts:
        if str(part.get(_ENCODING, "")).lower() != "binary":
            raise _refused(_ENCODING, f"is {str(part.get(_ENCODING))[:80]!r} of an attachment: send it as binary")
        if _HASH not in part:
            raise _refused(_HASH, "is missing in the headers of an attachment: send its sha2")
        yield str(part[_HASH]).strip().lower(), content


def _attachments_of(statements: Sequence[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, statement in enumerate(statements):
        prefix = f"[{number}]." if len(statements) > 1 else ""
        inner = statement["object"] if statement["object"].get("objectType") == "SubStatement" else {}
        for at, holder in ((prefix, statement), (f"{prefix}object.", inner)):
            for index, attachment in enumerate(holder.get("attachments", ())):
                yield f"{at}attachments[{index}]", attachment


def _check_signature(path: str, attachment: dict[str, Any], content: bytes | None) -> None:
    if attachment["contentType"] != "application/octet-stream":
        reason = f"is {attachment['contentType'][:80]!r} of a signature: send application/octet-stream"
        raise _refused(f"{path}.contentType", reason)
    match = _JWS.fullmatch(content or b"")
    header, payload = (_decoded(match[1]), _decoded(match[2])) if match else (None, None)
    if not isinstance(header, dict) or not isinstance(payload, dict):
        raise _refused(path, "is no JSON web signature of a statement: send one in its compact form")
    if header.get("alg") not in _ALGORITHMS:
        raise _refused(
            path, f"is signed with {str(header.get('alg'))[:20]!r}: sign with one of {', '.join(_ALGORITHMS)}"
        )


def _decoded(part: bytes) -> object:
    try:
        document: object = orjson.loads(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)))
    except (binascii.Error, ValueError):
        return None
    return document


def _refused(field: str, reason: str) -> RequestRefusedError:
    return invalid_request([FieldViolation(field, reason)], reason="attachments")
