"""The bodies of requests: read within a time and a size, decompressed within a size, and decoded."""

from __future__ import annotations

import msgspec

from services.common.http.refusals import invalid_request
from services.common.repeated_keys import repeated_key
from services.common.rpc.statuses import FieldViolation

_DEPTH_MAX = 200


def json_of(body: bytes, field: str = "body") -> object:
    """The JSON document in a body, of plain types.

    Args:
        body: the bytes.
        field: what to call it in a refusal.

    Raises:
        RequestRefusedError: when it is not one JSON document in UTF-8, or an object has a key twice.
    """
    try:
        document: object = msgspec.json.decode(body)
        key = repeated_key(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = f"is no JSON document ({error}): send one in UTF-8"
        raise invalid_request([FieldViolation(field, problem)], reason="no_json") from error
    if key is not None:
        raise invalid_request([FieldViolation(key, "is given twice: keep the right one")], reason="repeated_key")
    return document
