"""Which catalog an epoch took skills from, for people and for programs."""

from __future__ import annotations

from services.recommender.application.ports.epochs import EpochRestamp
from services.recommender.domain.learner.restamp import RestampedEvents


def restamp_as_text(restamp: EpochRestamp) -> str:
    """In one phrase."""
    which = "every event" if restamp.events is RestampedEvents.ALL else "events without skills"
    return f"{which} restamped by catalog {restamp.version}"


def restamp_as_json(restamp: EpochRestamp | None) -> dict[str, object] | None:
    """As an object; null for an epoch whose events are as they are stamped in the log."""
    if restamp is None:
        return None
    return {
        "events": restamp.events.value,
        "catalog_version": restamp.version,
        "skills_id": restamp.skills_id,
        "before": {str(partition): offset for partition, offset in sorted(restamp.before.items())},
    }
