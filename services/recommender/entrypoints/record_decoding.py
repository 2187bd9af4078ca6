"""Turns records of the log into batches to fold, and records that cannot be applied into dead letters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import aiokafka

from services.common.encryption.headers import is_encrypted
from services.common.encryption.values import ERASED, Erasure, ValueUnreadableError
from services.common.telemetry.traces import TRACEPARENT, is_sampled
from services.recommender.application.ports.log import DeadLetter, ValueDecryptor
from services.recommender.application.state.fold_events import PartitionBatch
from services.recommender.domain.learner.events import CorrectionEvent
from services.recommender.wire.events import decode_event
from services.recommender.wire.fields import RecordInvalidError

# Reasons with these codes concern the key and headers of a record.
_NOT_ABOUT_THE_VALUE = frozenset(("key", "partition", "content-type"))


class RecordDecoder:
    """Decrypts and decodes fetched records."""

    def __init__(self, partitions: int, decryptor: ValueDecryptor | None = None, *, traced: bool = False) -> None:
        """Args: `partitions` of the log; `decryptor`, None if nothing is encrypted; `traced`: record traces."""
        self._partitions = partitions
        self._decryptor = decryptor
        self._traced = traced

    async def decode(self, fetched: Mapping[int, Sequence[aiokafka.ConsumerRecord]]) -> list[PartitionBatch]:
        """Return a batch for each partition with records; wait while keys cannot be loaded."""
        decryptor = None
        if self._decryptor is not None:
            sealed = [record for records in fetched.values() for record in records if is_encrypted(record.headers)]
            if sealed:
                decryptor = self._decryptor
                await decryptor.load_keys(sealed)
        batches = []
        for partition, records in fetched.items():
            batch = decode_batch(partition, records, self._partitions, decryptor)
            if self._traced:
                batch.traceparents = _traceparents(records)
            batches.append(batch)
        return batches


def decode_batch(
    partition: int, records: Sequence[aiokafka.ConsumerRecord], partitions: int, decryptor: ValueDecryptor | None = None
) -> PartitionBatch:
    """Group the records of one partition by learner, in order; keep records that cannot be applied separate.

    Args:
        partition: the partition.
        records: its records; `decryptor` has loaded their keys.
        partitions: how many partitions the topic has.
        decryptor: decrypts encrypted values; None if nothing is encrypted.
    """
    batch = PartitionBatch(partition, records[-1].offset + 1)
    learners, dead = batch.learners, batch.dead
    for record in records:
        key, value = record.key, record.value
        try:
            if decryptor is not None:
                value = _decrypted(decryptor, record)
                if value is ERASED:
                    batch.erased.append(record.offset)
                    continue
            tenant, event = decode_event(key, value, record.headers, partition, partitions)
        except RecordInvalidError as error:
            reason = str(error)
            if value is not record.value and error.code not in _NOT_ABOUT_THE_VALUE:
                # The message may quote encrypted data, and reasons stay readable after the learner's key is destroyed.
                reason = (
                    "its encrypted value cannot be applied; to see why, run "
                    f"cairn dlt replay {partition} {record.offset} --dry-run"
                )
            dead.append(DeadLetter(partition, record.offset, key, record.value, record.headers, error.code, reason))
            continue
        mine = learners.get(key)
        if mine is None:
            mine = learners[key] = (tenant, [])
        mine[1].append((record.offset, event))
        if type(event) is CorrectionEvent:
            batch.corrections[record.offset] = DeadLetter(
                partition, record.offset, key, record.value, record.headers, "", ""
            )
    return batch


def _decrypted(decryptor: ValueDecryptor, record: aiokafka.ConsumerRecord) -> bytes | Erasure | None:
    try:
        return decryptor.decrypt(record.key, record.value, record.headers)
    except ValueUnreadableError as error:
        raise RecordInvalidError("encryption", str(error)) from error


def _traceparents(records: Iterable[aiokafka.ConsumerRecord]) -> dict[bytes, str]:
    """Return the trace of each learner's last traced record, by record key."""
    found = {}
    for record in records:
        for name, value in record.headers:
            if name == TRACEPARENT and is_sampled(traceparent := value.decode("ascii", "replace")):
                found[record.key] = traceparent
    return found
