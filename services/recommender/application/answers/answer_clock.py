"""The moment that answers are computed for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime


class AnswerClock:
    """The time, truncated to the hour: within an hour, the same request gets the same answer."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        """Args: `clock` returns the time, timezone-aware."""
        self._clock = clock

    def now(self) -> datetime:
        """The moment to answer for when the request gives none."""
        return self._clock().replace(minute=0, second=0, microsecond=0)
