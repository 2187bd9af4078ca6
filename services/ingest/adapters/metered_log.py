"""Metrics of a log of events."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from typing import Any

from prometheus_client import Counter, Histogram

from services.common.kafka.envelope import LogIdentity, Position
from services.ingest.application.ports import Confirmation, EventLog
from services.ingest.domain.submission import AcceptedEvent

APPEND_SECONDS = Histogram(
    "cairn_ingest_append_seconds",
    "From handing a batch to the log to its confirmation.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20),
)
APPENDED_EVENTS = Counter("cairn_ingest_appended_events", "Events the log confirmed.")


class MeteredEventLog:
    """Delegates to another log, and measures."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    @property
    def identity(self) -> LogIdentity:
        """See EventLog."""
        return self._log.identity

    async def append(self, events: Sequence[AcceptedEvent]) -> list[Position]:
        """See EventLog."""
        return await (await self.submit(events))

    async def submit(self, events: Sequence[AcceptedEvent], *, wait_for_room: bool = False) -> Confirmation:
        """See EventLog."""
        began = time.perf_counter()
        return _Metered(await self._log.submit(events, wait_for_room=wait_for_room), began)


class _Metered:
    """Measures a confirmation when it arrives."""

    def __init__(self, confirmation: Confirmation, began: float) -> None:
        self._confirmation = confirmation
        self._began = began

    def __await__(self) -> Generator[Any, None, list[Position]]:
        positions = yield from self._confirmation.__await__()
        APPEND_SECONDS.observe(time.perf_counter() - self._began)
        APPENDED_EVENTS.inc(len(positions))
        return positions
