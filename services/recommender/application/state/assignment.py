"""Where a worker begins to read a partition it was given."""

from __future__ import annotations


def starting_offset(*, position: int, committed: int | None, beginning: int, rewind_records: int) -> int:
    """The first offset to read of a partition.

    What the store holds decides, not what Kafka was told: after the store was set back, the offsets committed to Kafka
    are ahead of it, and beginning there would lose what lies between. Where they are behind, beginning there is
    harmless. The rewind gives back what the store may have forgotten of its last moments.

    Args:
        position: one past the last record dealt with, as stored with the learners.
        committed: the offset the consumer group committed to Kafka; None: none, or there is no group.
        beginning: the first offset that the log still holds; no later than `position`.
        rewind_records: how many records before that to read again.
    """
    start = position if committed is None else min(position, committed)
    return max(beginning, start - rewind_records)
