"""Whether a dead letter can be applied by now."""

from __future__ import annotations

from services.common.envelope import partition_of
from services.recommender.application.ports import DeadLetter
from services.recommender.wire import RecordInvalidError, decode_event


def problem_of(letter: DeadLetter, partitions: int) -> str:
    """Why it cannot be applied on the partition of its key; empty when it can."""
    right = partition_of(letter.key or b"", partitions)
    try:
        decode_event(letter.key, letter.value, letter.headers, right, partitions)
    except RecordInvalidError as error:
        return f"{error.code}: {error}"
    return ""
