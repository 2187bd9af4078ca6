"""What is remembered of learners' last events, in memory."""

from __future__ import annotations

from collections.abc import Sequence

from services.common.kafka.envelope import LogIdentity
from services.ingest.application.ports import Addition, RecentEventsUnavailableError
from services.ingest.domain.repeats import ENTRY_BYTES, LearnerKey, RecentLearner


class MemoryRecentEvents:
    """Remembers events as long as the process.

    Attributes:
        available: set to False to have every call fail as it does without Redis.
        learners: what is remembered, by log and learner.
    """

    def __init__(self, *, events_kept: int = 512) -> None:
        self.available = True
        self.learners: dict[tuple[str, LearnerKey], RecentLearner] = {}
        self._erased: dict[tuple[str, LearnerKey], int] = {}
        self._events_kept = events_kept

    async def of(self, log: LogIdentity, learners: Sequence[LearnerKey]) -> list[RecentLearner]:
        """As the port says."""
        self._require()
        return [self.learners.get((str(log), learner), RecentLearner()) for learner in learners]

    async def add(self, log: LogIdentity, additions: Sequence[Addition]) -> None:
        """As the port says."""
        self._require()
        for each in additions:
            key = (str(log), each.learner)
            if each.offset <= self._erased.get(key, -1):
                continue
            known = self.learners.get(key, RecentLearner())
            latest = [at_s for at_s in (known.latest_at_s, each.latest_at_s) if at_s is not None]
            entries = (known.entries + each.entries)[-self._events_kept * ENTRY_BYTES :]
            self.learners[key] = RecentLearner(entries, max(latest, default=None))

    async def forget(self, log: LogIdentity, learner: LearnerKey, offset: int) -> None:
        """As the port says."""
        self._require()
        self._erased[str(log), learner] = offset
        self.learners.pop((str(log), learner), None)

    def _require(self) -> None:
        if not self.available:
            raise RecentEventsUnavailableError("the memory is switched off")
