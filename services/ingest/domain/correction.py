"""Taking back or regrading an assessment event."""

from __future__ import annotations

from dataclasses import dataclass

from services.ingest.domain.assessment import Score


@dataclass(frozen=True, slots=True)
class Void:
    """The event never happened."""


@dataclass(frozen=True, slots=True)
class Correction:
    """An assessment event of the same learner was wrong, as a platform knows it. Nothing about it has been checked.

    Attributes:
        target_event_id: the id of the event that was wrong.
        change: that it never happened, or what should have been observed; None when neither was sent.
        target_source: the source of the event that was wrong; empty: the correction's own.
    """

    target_event_id: str
    change: Void | bool | Score | None
    target_source: str = ""


@dataclass(frozen=True, slots=True)
class Erasure:
    """Everything known of the learner is to be forgotten."""
