"""The bodies of requests with statements: JSON, or parts of which the first is JSON and the others are attachments.

Attachments are checked as the specification says, and dropped.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from email import policy
from email.message import Message
from email.parser import BytesParser
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
# Lines that may begin a part, or a part of a part. Each part is parsed in Python, while nothing else runs.
_BOUNDARY = re.compile(rb"[\r\n]--")
_BOUNDARIES_MAX = 5_000


def document_of(admitted: Admitted) -> tuple[object, list[Message]]:
    """The JSON document of a request, and its attachments.

    Raises:
        RequestRefusedError: when there is none.
    """
    if admitted.media_type == _JSON:
        return json_of(admitted.body), []
    if admitted.media_type != _MIXED:
        raise _refused("Content-Type", f"is {admitted.media_type[:80]!r}: send {_JSON}, or {_MIXED} with attachments")
    content_type = admitted.request.headers["content-type"].encode("latin-1", "replace")
    if len(_BOUNDARY.findall(admitted.body)) > _BOUNDARIES_MAX:
        raise _refused("body", f"has more than {_BOUNDARIES_MAX} lines that may begin a part: send several requests")
    try:
        message = BytesParser(policy=policy.HTTP).parsebytes(
            b"Content-Type: " + content_type.replace(b"\n", b"") + b"\r\n\r\n" + admitted.body
        )
    except RecursionError as error:
        raise _refused("body", "has parts within parts: send the attachments after the statements") from error
    parts = message.get_payload() if message.is_multipart() else []
    if not isinstance(parts, list) or not parts or message.defects:
        raise _refused("body", f"has no parts as {_MIXED}: put the boundary of the Content-Type before each part")
    first, *attachments = [part for part in parts if isinstance(part, Message)]
    if first.get_content_type() != _JSON or "Content-Type" not in first:
        raise _refused(
            "body", f"begins with a part of type {first.get_content_type()}: send the statements first, as {_JSON}"
        )
    return json_of(_content_of(first), "body"), attachments


def check_attachments(statements: Sequence[dict[str, Any]], parts: Sequence[Message]) -> None:
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


def _hashes_of(parts: Sequence[Message]) -> Iterator[tuple[str, bytes]]:
    for part in parts:
        if str(part.get(_ENCODING, "")).lower() != "binary":
            raise _refused(_ENCODING, f"is {str(part.get(_ENCODING))[:80]!r} of an attachment: send it as binary")
        if _HASH not in part:
            raise _refused(_HASH, "is missing in the headers of an attachment: send its sha2")
        yield str(part[_HASH]).strip().lower(), _content_of(part)


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


def _content_of(part: Message) -> bytes:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _refused(field: str, reason: str) -> RequestRefusedError:
    return invalid_request([FieldViolation(field, reason)], reason="attachments")
