"""Forgetting a learner. Only DeleteLearner writes it, so there is no submission of this kind."""

from __future__ import annotations

from dataclasses import dataclass

from services.ingest.domain.submission import LoggedBody


@dataclass(frozen=True, slots=True)
class Erasure(LoggedBody):
    """Everything known of the learner must be forgotten."""
