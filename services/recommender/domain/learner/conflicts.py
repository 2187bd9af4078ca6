"""Why an event cannot be applied, in sentences. They name fields, never values, which may be encrypted in the log."""

from __future__ import annotations

from services.recommender.domain.learner.events import (
    AssessmentEvent,
    ContentKind,
    InteractionEvent,
    LearnerEvent,
    kind_of,
)
from services.recommender.domain.learner.journal import Journal, JournalEntry, activity_hash, entries_of

_NAMES = {
    ContentKind.UNKNOWN: "an event",
    ContentKind.ASSESSMENT: "an assessment",
    ContentKind.INTERACTION: "an interaction",
    ContentKind.PREFERENCE: "a preference",
    ContentKind.CORRECTION: "a correction",
    ContentKind.ERASURE: "an erasure",
}


def target_reason(kind: ContentKind) -> str:
    """Why an event of this kind cannot be the target of a correction."""
    reason = f"its target is {_NAMES[kind]}; only responses can be corrected"
    if kind is ContentKind.CORRECTION:
        reason += ": to change a correction, send another one of the same response"
    return reason


def conflict_reason(event: LearnerEvent, before: bytes, fingerprint: bytes, journal: Journal) -> str:
    """What differs between an event and the earlier one of the same source and id, and what to do.

    Args:
        event: the event.
        before: what the earlier one said.
        fingerprint: the earlier one's.
        journal: the learner's, which may still hold the earlier one.
    """
    kind, kind_before = kind_of(event.content), kind_of(before)
    if kind is not kind_before:
        return (
            f"an earlier event of its source and id is {_NAMES[kind_before]}, this one is {_NAMES[kind]}; send it "
            "with another event_id"
        )
    earlier = next((entry for entry in reversed(entries_of(journal)) if entry.fingerprint == fingerprint), None)
    fields = [] if earlier is None else _differing(event, earlier)
    differs = f"in {', '.join(fields)}" if fields else "in what it says"
    remedy = "send it with another event_id"
    if kind is ContentKind.ASSESSMENT:
        remedy += ", or with revises: true if it replaces the earlier one"
    return f"it differs {differs} from an earlier event of its source and id; {remedy}"


def _differing(event: LearnerEvent, earlier: JournalEntry) -> list[str]:
    match event:
        case AssessmentEvent():
            return [
                field
                for field, differs in (
                    ("item", event.item != earlier.item),
                    ("activity", activity_hash(event.activity) != earlier.activity_hash),
                    ("skills", len(event.skills) != len(earlier.slots)),
                    ("outcome", event.response != earlier.response and not earlier.voided),
                    ("grain", event.grain is not earlier.grain),
                    ("occurred_at", event.at_s != earlier.at_s),
                )
                if differs
            ]
        case InteractionEvent():
            return [
                field
                for field, differs in (
                    ("resource", event.resource != earlier.resource),
                    ("kind", event.kind is not earlier.interaction),
                    ("occurred_at", event.at_s != earlier.at_s),
                )
                if differs
            ]
    return []
