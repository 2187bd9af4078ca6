"""Recently folded learners."""

from __future__ import annotations

from collections import OrderedDict

from services.recommender.domain.learner.record import LearnerRecord

# Approximate size of the Python objects around a learner's bytes.
_CACHED_OVERHEAD_BYTES = 1_000


class LearnerCache:
    """Recently folded learners by record key; the least recently used are dropped first."""

    def __init__(self, limit_bytes: int) -> None:
        """Args: `limit_bytes`, about how much memory they may take."""
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._learners: OrderedDict[bytes, tuple[int, LearnerRecord]] = OrderedDict()

    def get(self, key: bytes) -> LearnerRecord | None:
        """The learner as last stored; None when not kept."""
        entry = self._learners.get(key)
        if entry is None:
            return None
        self._learners.move_to_end(key)
        return entry[1]

    def put(self, key: bytes, learner: LearnerRecord) -> None:
        """Keep a learner as stored."""
        weight = _weight(learner)
        before = self._learners.pop(key, None)
        self._bytes += weight - (before[0] if before else 0)
        self._learners[key] = (weight, learner)
        while self._bytes > self._limit_bytes:
            _, (freed, _) = self._learners.popitem(last=False)
            self._bytes -= freed

    def clear(self) -> None:
        """Keep nothing."""
        self._learners.clear()
        self._bytes = 0


def _weight(learner: LearnerRecord) -> int:
    parts = (*(learner.state or ()), *learner.journal, learner.checkpoint, learner.seen, learner.contents)
    return _CACHED_OVERHEAD_BYTES + sum(map(len, parts))
