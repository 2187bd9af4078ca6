"""Where a worker starts to read an assigned partition."""

from __future__ import annotations


def starting_offset(*, position: int, committed: int | None, beginning: int, rewind_records: int) -> int:
    """The first offset to read of a partition.

    The stored position decides, not Kafka's committed offset: after the store lost recent data, Kafka's offsets are
    ahead of it, and starting there would lose the records in between. Kafka's offsets being behind is harmless. The
    rewind restores what the store may have lost of its last moments.

    Args:
        position: one past the last record dealt with, as stored with the learners.
        committed: the offset the consumer group committed to Kafka; None: none, or there is no group.
        beginning: the first offset that the log still holds; no later than `position`.
        rewind_records: how many records before that to read again.
    """
    start = position if committed is None else min(position, committed)
    return max(beginning, start - rewind_records)
