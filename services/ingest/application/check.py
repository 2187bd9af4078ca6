"""Checking a file without the service: a publisher that runs the service's checks and writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from services.ingest.application.ports import FieldReason, SubmissionResult
from services.ingest.application.publish import instant_of
from services.ingest.domain.repeats import Outcome
from services.ingest.domain.submission import Submission
from services.ingest.domain.validation import problems_of


class CheckingPublisher:
    """Implements Publisher: reports the problems of each event, and sends nothing."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        """Args: `clock`, aware; events must not be ahead of it."""
        self._clock = clock

    async def publish(self, submissions: Sequence[Submission]) -> Sequence[SubmissionResult]:
        """See Publisher. Nothing is appended."""
        now = instant_of(self._clock())
        return [
            SubmissionResult(
                Outcome.REJECTED if problems else Outcome.ACCEPTED,
                tuple(FieldReason(p.field, p.reason) for p in problems),
            )
            for problems in (problems_of(submission.normalised(), now) for submission in submissions)
        ]
