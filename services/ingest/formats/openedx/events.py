"""Tracking events, as they are logged and as Open edX passes them on: what every event has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from services.ingest.domain.submission import Instant
from services.ingest.formats.ndjson import instant_of
from services.ingest.formats.openedx.fields import FieldError, shown
from services.ingest.formats.openedx.problems import LeftOutError

ANONYMOUS = "of a visitor who is not signed in"

_BLOCK_TYPE = re.compile(r"type@([^+]+)\+block@|^i4x://[^/]+/[^/]+/([^/]+)/")


@dataclass(frozen=True, slots=True)
class TrackingEvent:
    """A tracking event, of either form: as logged, or as Open edX passes it on.

    Attributes:
        name: what happened.
        payload: its own fields; None where they are no object, as in events of browsers.
        path: of the payload in the document.
        context: what is known of the request.
        at_path: the path of its time.
        at: its time, as it is.
        event_source: `server`, `browser`, `mobile` or `task`; None where it does not say.
    """

    name: str
    payload: Mapping[str, Any] | None
    path: str
    context: Mapping[str, Any]
    at_path: str
    at: object
    event_source: object


def event_of(document: object) -> TrackingEvent:
    """The event that a document, of any JSON, is. Raises FieldError."""
    if not isinstance(document, Mapping):
        raise FieldError("", f"is {shown(document)}: send a tracking event, which is a JSON object")
    name = document.get("name") or document.get("event_type")
    if not isinstance(name, str):
        raise FieldError("name", f"is {shown(name)}: send the name of the event" if name else "is missing: add it")
    path = "event" if "event" in document else "data"
    context = _object_in(document.get("context")) or {}
    at_path = "time" if "time" in document else "timestamp"
    event_source = document.get("event_source") or context.get("event_source")
    return TrackingEvent(
        name, _object_in(document.get(path)), path, context, at_path, document.get(at_path), event_source
    )


def _object_in(value: object) -> Mapping[str, Any] | None:
    """An object, also one written as a text, as browsers and the event bus do."""
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except ValueError:
            return None
    return value if isinstance(value, Mapping) else None


def payload_of(event: TrackingEvent) -> Mapping[str, Any]:
    """Its own fields. Raises FieldError."""
    if event.payload is None:
        raise FieldError(event.path, f"is not the object that {event.name} of the server has: send it as it was logged")
    return event.payload


def learner_of(event: TrackingEvent, payload: Mapping[str, Any]) -> str:
    """Whose state changed, who need not be the user of the request. Raises FieldError and LeftOutError."""
    if payload.get("user_id") in (None, ""):
        return learner_id_in(event.context, "context.user_id")
    return learner_id_in(payload, f"{event.path}.user_id")


def learner_id_in(fields: Mapping[str, Any], path: str) -> str:
    """The number of the user in some fields. Raises FieldError and LeftOutError."""
    user_id = fields.get("user_id")
    if user_id is None or user_id == "":
        raise LeftOutError(ANONYMOUS)
    if isinstance(user_id, bool) or not isinstance(user_id, int | str):
        raise FieldError(path, f"is {shown(user_id)}: send the number of the user")
    return str(user_id)


def moment_of(event: TrackingEvent) -> Instant | None:
    """When it happened; None: it does not say. Raises FieldError."""
    if event.at is None or event.at == "":
        return None
    try:
        moment = datetime.fromisoformat(event.at)  # type: ignore[arg-type]  # a TypeError is what else it may be.
        # Open edX logs in UTC.
        return instant_of(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (TypeError, ValueError, OverflowError) as error:
        reason = f"is {shown(event.at)}: send a time as in 2026-03-04T09:15:00.123456+00:00"
        raise FieldError(event.at_path, reason) from error


def block_type_of(usage_key: str) -> str:
    """The type of a block, by its usage key; empty: that does not say it."""
    found = _BLOCK_TYPE.search(usage_key)
    return (found[1] or found[2]) if found else ""
