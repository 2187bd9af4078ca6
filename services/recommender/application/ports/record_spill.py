"""A place outside memory for the records of a log, sorted into groups that each fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol


class SpilledRecord(NamedTuple):
    """A record as the log has it: encrypted values stay encrypted."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class RecordSpill(Protocol):
    """Holds records until it is closed. May raise OSError, for example when the disk is full."""

    def add(self, record: SpilledRecord) -> None:
        """Add a record; those of a partition come in the order of their offsets."""
        ...

    def groups(self) -> Iterator[Mapping[int, Sequence[SpilledRecord]]]:
        """The records by partition, group by group; all records of a key are in one group, in their order."""
        ...
