"""Checking a file without a service: a publisher that checks what the service would, and writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from services.ingest.application.ports import FieldReason, SubmissionResult
from services.ingest.application.publish import instant_of
from services.ingest.domain.submission import Submission
from services.ingest.domain.validation import problems_of


class CheckingPublisher:
    """Implements Publisher: says of each event what is wrong with it, and sends none."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        """Args: `clock`, aware; what is ahead of it is from the future."""
        self._clock = clock

    async def publish(self, submissions: Sequence[Submission]) -> Sequence[SubmissionResult]:
        """As the port says; nothing is appended."""
        now = instant_of(self._clock())
        return [
            SubmissionResult(problems=tuple(FieldReason(p.field, p.reason) for p in problems_of(submission, now)))
            for submission in submissions
        ]
