"""What a learner does with a resource of the catalog."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class InteractionKind(IntEnum):
    """What a learner did with a resource."""

    UNSPECIFIED = 0
    OPENED = 1
    COMPLETED = 2
    DISMISSED = 3


@dataclass(frozen=True, slots=True)
class Interaction:
    """Something a learner did with a resource, as a platform knows it. Nothing about it has been checked.

    Attributes:
        resource: the resource, by its id in the catalog.
        kind: what was done: an `InteractionKind`, or a number that names none.
        recommendation_id: what led to it; empty when nothing did, or when not known.
        duration_ms: time spent; None when not measured.
    """

    resource: str
    kind: int
    recommendation_id: str = ""
    duration_ms: int | None = None
