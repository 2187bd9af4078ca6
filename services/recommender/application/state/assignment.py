"""Where a worker starts to read a partition that it was assigned."""

from __future__ import annotations


def starting_offset(*, position: int, committed: int | None, beginning: int, rewind_records: int) -> int:
    """The first offset to read of a partition.

    What the store holds decides, not what was committed to Kafka: after the store was set back, Kafka's offsets are
    ahead of it, and starting there would lose the records in between. Where they are behind, that is harmless. The
    rewind restores what the store may have lost of its last moments.

    Args:
        position: one past the last record dealt with, as stored with the learners.
        committed: the offset the consumer group committed to Kafka; None: none, or there is no group.
        beginning: the first offset that the log still holds; no later than `position`.
        rewind_records: how many records before that to read again.
    """
    start = position if committed is None else min(position, committed)
    return max(beginning, start - rewind_records)
