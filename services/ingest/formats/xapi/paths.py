"""Where a statement has what became a field of its event, for messages about that field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from services.ingest.formats.long_ids import kept_id
from services.ingest.formats.xapi.statements import IDENTIFIERS

_PATHS = {
    "event_id": "id",
    "assessment.item": "object.id",
    "assessment.outcome": "result",
    "assessment.duration_ms": "result.duration",
    "interaction.duration_ms": "result.duration",
    "correction.target_event_id": "object.id",
}


def path_of(statement: dict[str, Any], whole: str, field: str) -> str:
    """The path of what became a field; the field itself where a statement has none.

    Args:
        statement: a valid one.
        whole: the activity or resource of its event; empty: it has none.
        field: of its event.
    """
    match field:
        case "learner_id":
            return f"actor.{_identifier(statement['actor'])}"
        case "occurred_at":
            return "timestamp" if "timestamp" in statement else "stored"
        case "assessment.activity" | "interaction.resource":
            return next((path for path, activity in _activities(statement) if kept_id(activity) == whole), "object.id")
    return _PATHS.get(field) or field.replace("assessment.score.", "result.score.")


def _identifier(actor: dict[str, Any]) -> str:
    return "account.name" if "account" in actor else next(name for name in actor if name in IDENTIFIERS)


def _activities(statement: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The paths and ids of the object, and of its parents."""
    yield "object.id", statement["object"]["id"]
    parents = statement.get("context", {}).get("contextActivities", {}).get("parent", [])
    path = "context.contextActivities.parent"
    if isinstance(parents, dict):
        yield f"{path}.id", parents["id"]
        return
    for index, parent in enumerate(parents):
        yield f"{path}[{index}].id", parent["id"]
