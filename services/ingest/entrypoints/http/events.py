"""POST /v1/events:batch: events as JSON or JSON lines, in the form that `cairn ingest load` reads."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from google.protobuf import json_format
from google.protobuf.message import Message
from starlette.responses import Response

from services.common.http.bodies import check_values, no_json, without_mark
from services.common.http.refusals import RequestRefusedError, invalid_request, json_response
from services.common.http.routes import Admitted, Route
from services.common.rpc.statuses import FieldViolation
from services.common.turns import Pauses
from services.ingest.application.ports import FileRow
from services.ingest.entrypoints.http.publishing import POLICY, HttpPublisher, check_rows
from services.ingest.formats.ndjson import row_of
from services.ingest.wire.replies import response_of

PATH = "/v1/events:batch"

_JSON = "application/json"
_JSON_LINES = "application/x-ndjson"
_LINES = {_JSON_LINES, "application/ndjson", "application/jsonl", "application/x-jsonlines"}
# What stands around the list: anything else there would be lost.
_BEFORE = re.compile(rb'\s*\{\s*"events"\s*:\s*')
_AFTER = re.compile(rb"\s*\}\s*")


def event_routes(publish: HttpPublisher) -> list[Route]:
    """The route of events in Cairn's own form."""

    async def handle(admitted: Admitted) -> Response:
        events = _events_of(admitted)
        check_rows(len(events))
        pauses, rows = Pauses(), list[FileRow]()
        for number, event in enumerate(events, start=1):
            rows.append(row_of(event, number))
            await pauses.when_due()
        outcomes = [outcome for outcome in await publish(admitted.tenant, rows) if outcome is not None]
        response, results = response_of(outcomes), list[dict[str, Any]]()
        for result in response.results:
            results.append(_json_of(result))
            await pauses.when_due()
        del response.results[:]
        return json_response(_json_of(response) | {"results": results})

    return [Route(PATH, ("POST",), handle, POLICY)]


def _json_of(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def _events_of(admitted: Admitted) -> list[bytes]:
    """The JSON of each event."""
    body, media_type = without_mark(admitted.body), admitted.media_type
    if media_type not in {"", _JSON, *_LINES}:
        problem = f"is {media_type[:80]!r}: send {_JSON}, or {_JSON_LINES} for one event on each line"
        raise invalid_request([FieldViolation("Content-Type", problem)], reason="media_type", http_status=415)
    check_values(body)
    if media_type in _LINES:
        return _lines_of(body)
    try:
        if body.lstrip()[:1] == b"[":
            return _raw_of(body)
        found = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        if b"\n" in body.strip() and _is_object(body.strip().partition(b"\n")[0]):
            return _lines_of(body)
        raise no_json(error) from error
    return _listed(body, bytes(found["events"])) if "events" in found else [body]


def _listed(body: bytes, listed: bytes) -> list[bytes]:
    """The events of a document {"events": [...]}, of which `listed` is the list."""
    before, found, after = body.partition(listed)
    if not found or not _BEFORE.fullmatch(before) or not _AFTER.fullmatch(after):
        raise _other_fields()
    try:
        return _raw_of(listed)
    except msgspec.MsgspecError as error:
        raise invalid_request([FieldViolation("events", "is no list: send a list of events")]) from error


def _other_fields() -> RequestRefusedError:
    problem = 'has more than the list: send {"events": [...]} with nothing next to it, or the list alone'
    return invalid_request([FieldViolation("events", problem)])


def _raw_of(listed: bytes) -> list[bytes]:
    return [bytes(event) for event in msgspec.json.decode(listed, type=list[msgspec.Raw])]


def _lines_of(body: bytes) -> list[bytes]:
    return [line for line in body.splitlines() if line.strip()]


def _is_object(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True
