"""An ingest service in memory, as a loader uses it."""

from __future__ import annotations

from services.ingest.application.ports import FieldReason, PublisherUnavailableError, SubmissionResult
from services.ingest.domain.repeats import Outcome


class MemoryPublisher:
    """Remembers what came, refuses an item called `bad`, and becomes unavailable after a number of requests."""

    def __init__(self):
        self.came = []
        self.requests_left = 10**9

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    async def publish(self, submissions):
        self.requests_left -= 1
        if self.requests_left < 0:
            raise PublisherUnavailableError("ingest did not accept the events")
        self.came += submissions
        refused = (FieldReason("assessment.item", "is wrong: fix it"),)
        return [
            SubmissionResult(Outcome.REJECTED, refused)
            if getattr(one.body, "item", "") == "bad"
            else SubmissionResult()
            for one in submissions
        ]

    @property
    def learners(self):
        """The learner of each event, in the order in which they came."""
        return [submission.learner_id for submission in self.came]
