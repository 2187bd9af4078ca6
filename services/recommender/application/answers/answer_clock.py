"""The moment that answers are made for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime


class AnswerClock:
    """Gives the time cut to the hour: within an hour, the same request gets the same answer."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        """Args: `clock` gives the time, aware."""
        self._clock = clock

    def now(self) -> datetime:
        """The moment to answer for when a request names none."""
        return self._clock().replace(minute=0, second=0, microsecond=0)
