"""How far the epochs that workers fold into are behind the log, in records and in seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.recommender.application.ports.epochs import EpochProgressReader, EpochStatus
from services.recommender.application.ports.log import LogReader

# Workers fold into these; a replay folds into the others, or nobody does.
_FOLDED_BY_WORKERS = {EpochStatus.LIVE, EpochStatus.CATCHING_UP}


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """The lag of an epoch in one partition.

    Attributes:
        epoch: its number.
        partition: the partition.
        records: records of the log that the epoch does not hold yet.
        seconds: how long the first of them has been in the log, as far as it was seen arriving.
    """

    epoch: int
    partition: int
    records: int
    seconds: float


class ReadLag:
    """Reads the lag again and again. It comes from the log's ends and the stored positions.

    A consumer group's committed offsets would not do: the group is another one in each epoch, and lasts after it.
    """

    def __init__(self, log: LogReader, epochs: EpochProgressReader, timer: Callable[[], float]) -> None:
        """Args: the log, the epochs, and `timer`, monotonic seconds."""
        self._log = log
        self._epochs = epochs
        self._timer = timer
        self._identity = ""
        self._ends: dict[int, _Ends] = {}

    async def __call__(self) -> Sequence[PartitionLag]:
        """The lag now, by epoch and partition.

        Raises:
            ConnectionError: when the log cannot be read.
            LookupError: when there is no log.
            StateUnavailableError: when the positions cannot be read.
        """
        # Positions first: what arrives in between is lag that may already be gone, and never less than there is.
        metas = [meta for meta in await self._epochs.epochs() if meta.status in _FOLDED_BY_WORKERS]
        progress = {meta.epoch: await self._epochs.progress(meta.epoch) for meta in metas}
        identity = await self._log.identity()
        if identity != self._identity:
            self._identity, self._ends = identity, {}
        now_s = self._timer()
        found = []
        for partition, end in (await self._log.end_offsets()).items():
            ends = self._ends.setdefault(partition, _Ends())
            ends.seen(end, now_s)
            positions = {
                meta.epoch: of_epoch[partition].position if partition in (of_epoch := progress[meta.epoch]) else 0
                for meta in metas
            }
            found += [
                PartitionLag(epoch, partition, max(0, end - position), ends.waited_s(position, now_s))
                for epoch, position in positions.items()
            ]
            ends.forget_before(min(positions.values(), default=end))
        return found


class _Ends:
    """Where a partition ended at which time."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, float]] = deque()

    def seen(self, end: int, at_s: float) -> None:
        if not self._seen or self._seen[-1][0] < end:
            self._seen.append((end, at_s))

    def waited_s(self, position: int, now_s: float) -> float:
        """How long the record at a position has been there; 0 when there is none."""
        return next((now_s - at_s for end, at_s in self._seen if end > position), 0.0)

    def forget_before(self, position: int) -> None:
        while self._seen and self._seen[0][0] <= position:
            self._seen.popleft()
