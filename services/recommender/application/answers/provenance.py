"""What an answer was computed from, and what was missing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from services.common.kafka.envelope import Position
from services.recommender.domain.ranking.catalog import CatalogVersion


class Degradation(IntEnum):
    """What was missing for an answer; numbered as in the contract."""

    NEW_LEARNER = 1
    NO_BUNDLE = 2
    NO_COLLABORATIVE_FILTERING = 3
    EMPTY_CATALOG = 4
    STALE_STATE = 5
    STALE_CATALOG = 6
    GAP_WITHOUT_RESOURCE = 7


@dataclass(frozen=True, slots=True)
class Provenance:
    """Everything that an answer depends on, except the request.

    Attributes:
        as_of: the moment of the answer.
        epoch: the epoch of derived state.
        applied: the last record that changed the learner; None for a learner without state.
        catalog: the version of the catalog.
        bundle: id of the bundle; empty: none.
    """

    as_of: datetime
    epoch: int
    applied: Position | None
    catalog: CatalogVersion
    bundle: str
