"""Whether a dead letter can now be applied."""

from __future__ import annotations

from services.common.encryption.values import ERASED, LOST, ValueUnreadableError
from services.common.kafka.partitioner import partition_of
from services.recommender.application.ports.log import DeadLetter, ValueDecryptor
from services.recommender.wire.events import decode_event
from services.recommender.wire.fields import RecordInvalidError


async def problem_of(letter: DeadLetter, partitions: int, decryptor: ValueDecryptor) -> str:
    """The reason why it cannot be applied on the partition of its key; empty when it can.

    Args:
        letter: the letter.
        partitions: the number of the log's partitions.
        decryptor: decrypts encrypted values.
    """
    right = partition_of(letter.key or b"", partitions)
    await decryptor.load_keys([letter])
    try:
        value = decryptor.decrypt(letter.key, letter.value, letter.headers)
        if value is ERASED:
            return "erased: its learner was erased, and the value can no longer be read"
        if value is LOST:
            return f"key: {decryptor.missing_keys()}"
        decode_event(letter.key, value, letter.headers, right, partitions)
    except ValueUnreadableError as error:
        return f"encryption: {error}"
    except RecordInvalidError as error:
        return f"{error.code}: {error}"
    return ""
