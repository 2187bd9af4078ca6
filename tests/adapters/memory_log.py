"""The log of learner events in memory, as workers and commands look at it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

from services.common.kafka.envelope import record_fingerprint
from tests.learner_events import Record

FIRST = "00000000-0000-0000-0000-000000000001/4"


class MemoryLog:
    """Records by partition; implements LogReader.

    Attributes:
        records: everything that was written, by partition; also what retention has deleted.
        begins: the first offset that is still there, by partition.
    """

    def __init__(self, partitions: int = 4, identity: str = "") -> None:
        self.records: dict[int, list[Record]] = {partition: [] for partition in range(partitions)}
        self.begins = dict.fromkeys(range(partitions), 0)
        self._identity = identity or f"{uuid.uuid4()}/{partitions}"

    async def identity(self) -> str:
        """As the port says."""
        return self._identity

    async def end_offsets(self) -> Mapping[int, int]:
        """As the port says."""
        return {partition: len(records) for partition, records in self.records.items()}

    async def beginnings(self) -> Mapping[int, int]:
        """As the port says."""
        return dict(self.begins)

    async def fingerprints(self, offsets: Mapping[int, Sequence[int]]) -> Mapping[tuple[int, int], str]:
        """As the port says."""
        return {
            (partition, offset): record_fingerprint(one.key, one.value, one.headers)
            for partition, some in offsets.items()
            for offset in some
            if self.begins[partition] <= offset < len(self.records[partition])
            for one in [self.records[partition][offset]]
        }
