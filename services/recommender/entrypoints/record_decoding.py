"""Turns records of the log into batches to fold, and records that cannot be applied into dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

import aiokafka
import structlog

from services.common.encryption.headers import is_encrypted
from services.common.encryption.values import ERASED, LOST, KeyGone, KeysMissingError, ValueUnreadableError
from services.common.kafka.envelope import record_fingerprint
from services.common.telemetry.traces import TRACEPARENT, is_sampled
from services.recommender.application.ports.log import DeadLetter, RecordMark, ValueDecryptor
from services.recommender.application.state.partition_batch import PartitionBatch
from services.recommender.domain.learner.events import AssessmentEvent, CorrectionEvent
from services.recommender.domain.learner.restamp import Restamp
from services.recommender.wire.events import decode_event
from services.recommender.wire.fields import WRONG_PARTITION, RecordInvalidError

_log = structlog.get_logger(__name__)

_NOTHING: Mapping[int, int] = {}
COST_UNLIMITED = 1 << 62

# The cost of a record: 1 for an ordinary one, which has up to 255 bytes and up to 3 skills. Every 256 bytes more, every
# 4 skills more cost as much again. A correction may fold the learner's journal again.
_BYTES_SHIFT = 8
_SKILLS_SHIFT = 2
_CORRECTION_COST = 8

# Reasons with these codes concern the key and headers of a record.
_NOT_ABOUT_THE_VALUE = frozenset(("key", WRONG_PARTITION, "content-type"))


class RecordDecoder:
    """Decrypts and decodes fetched records.

    Attributes:
        waiting: partitions with records whose keys were not found when they were last decoded.
    """

    def __init__(
        self,
        partitions: int,
        decryptor: ValueDecryptor | None = None,
        *,
        traced: bool = False,
        lost_before: Mapping[int, int] = _NOTHING,
        looks: int = 1,
        look_again_s: float = 1.0,
        on_missing: Callable[[int], None] | None = None,
        restamp: Restamp | None = None,
    ) -> None:
        """Prepare.

        Args:
            partitions: the number of the log's partitions.
            decryptor: decrypts values; None if nothing is encrypted.
            traced: whether to collect traces.
            lost_before: records before these offsets, by partition, count as lost when their keys are not found.
            looks: how often to look for missing keys before giving up.
            look_again_s: how long to wait before looking for them again.
            on_missing: receives the number of records whose keys are missing, whenever it may have changed.
            restamp: stamps events again; None: they stay as they are.
        """
        self.waiting: frozenset[int] = frozenset()
        self._partitions = partitions
        self._decryptor = decryptor
        self._traced = traced
        self._lost_before = lost_before
        self._looks = looks
        self._look_again_s = look_again_s
        self._on_missing = on_missing
        self._restamp = restamp

    async def decode(
        self, fetched: Mapping[int, Sequence[aiokafka.ConsumerRecord]], cost_max: int = COST_UNLIMITED
    ) -> list[PartitionBatch]:
        """Return the batches of records that together cost at most `cost_max`; wait while keys cannot be loaded.

        The partitions are decoded in the order given. The last batch may be cut short, and partitions after it have
        none. There is always one record at least.

        Raises:
            KeysMissingError: when the keys of records are neither found nor destroyed, and may not count as lost.
        """
        decryptor = None
        if self._decryptor is not None:
            sealed = [record for records in fetched.values() for record in records if is_encrypted(record.headers)]
            if sealed:
                decryptor = self._decryptor
                await self._load_keys(decryptor, sealed)
        batches = []
        for partition, records in fetched.items():
            batch = decode_batch(partition, records, self._partitions, decryptor, cost_max, self._restamp)
            if self._traced:
                batch.traceparents = _traceparents(records[: batch.records])
            batches.append(batch)
            cost_max -= batch.cost
            if cost_max <= 0:
                break
        self.release(fetched)
        return batches

    def release(self, partitions: Iterable[int]) -> None:
        """Wait no longer for keys of these partitions: they were decoded, or others read them."""
        if not self.waiting.isdisjoint(partitions):
            self.waiting -= frozenset(partitions)
            if not self.waiting and self._on_missing is not None:
                self._on_missing(0)

    async def _load_keys(self, decryptor: ValueDecryptor, sealed: Sequence[aiokafka.ConsumerRecord]) -> None:
        for look in range(self._looks):
            if look:
                await asyncio.sleep(self._look_again_s)
            await decryptor.load_keys(sealed)
            missing = {record.partition for record in sealed if self._is_missing(decryptor, record)}
            if not missing:
                return
            error = decryptor.missing_keys()
            self._wait_for(frozenset(missing), error)
        raise error

    def _is_missing(self, decryptor: ValueDecryptor, record: aiokafka.ConsumerRecord) -> bool:
        """Whether a record's key was not found, and the record may not count as lost."""
        return record.offset >= self._lost_before.get(record.partition, 0) and decryptor.is_lost(record)

    def _wait_for(self, partitions: frozenset[int], error: KeysMissingError) -> None:
        if not partitions <= self.waiting:
            _log.error("paused: keys of learners are missing", partitions=sorted(partitions), reason=str(error))
        self.waiting |= partitions
        if self._on_missing is not None:
            self._on_missing(error.missing.records)


def decode_batch(
    partition: int,
    records: Sequence[aiokafka.ConsumerRecord],
    partitions: int,
    decryptor: ValueDecryptor | None = None,
    cost_max: int = COST_UNLIMITED,
    restamp: Restamp | None = None,
) -> PartitionBatch:
    """Group the first records of one partition by learner, in order; keep records that cannot be applied separate.

    Args:
        partition: the partition.
        records: its records; `decryptor` has loaded their keys.
        partitions: how many partitions the topic has.
        decryptor: decrypts encrypted values; None if nothing is encrypted.
        cost_max: no record is added once those before it cost this much.
        restamp: stamps events again; None: they stay as they are.
    """
    restamped_before = 0 if restamp is None else restamp.before.get(partition, 0)

    def letter_at(offset: int) -> DeadLetter:
        record = next(record for record in records if record.offset == offset)
        return DeadLetter(partition, offset, record.key, record.value, record.headers, "", "")

    batch = PartitionBatch(partition, 0, letter_at=letter_at)
    learners, dead = batch.learners, batch.dead
    cost = 0
    for number, record in enumerate(records):
        if cost >= cost_max and number:
            records = records[:number]
            break
        key, value = record.key, record.value
        cost += 1 if value is None else 1 + (len(value) >> _BYTES_SHIFT)
        try:
            if decryptor is not None:
                value = _decrypted(decryptor, record)
                if value is ERASED or value is LOST:
                    (batch.erased if value is ERASED else batch.lost).append(record.offset)
                    continue
            again = restamp if record.offset < restamped_before else None
            tenant, event = decode_event(key, value, record.headers, partition, partitions, again)
        except RecordInvalidError as error:
            reason = str(error) if value is record.value else _readable_reason(error, record)
            dead.append(DeadLetter(partition, record.offset, key, record.value, record.headers, error.code, reason))
            continue
        mine = learners.get(key)
        if mine is None:
            mine = learners[key] = (tenant, [])
        mine[1].append((record.offset, event))
        if type(event) is AssessmentEvent:
            cost += len(event.skills) >> _SKILLS_SHIFT
        elif type(event) is CorrectionEvent:
            cost += _CORRECTION_COST
    last = records[-1]
    batch.next_offset = last.offset + 1
    batch.last = RecordMark(last.offset, record_fingerprint(last.key, last.value, last.headers))
    batch.records, batch.cost = len(records), cost
    return batch


def _readable_reason(error: RecordInvalidError, record: aiokafka.ConsumerRecord) -> str:
    """Why an encrypted record cannot be applied, without its content: reasons outlive the learner's key."""
    if error.code in _NOT_ABOUT_THE_VALUE:
        return str(error)
    return (
        "its encrypted value cannot be applied; to see why, run "
        f"cairn dlt replay {record.partition} {record.offset} --dry-run"
    )


def _decrypted(decryptor: ValueDecryptor, record: aiokafka.ConsumerRecord) -> bytes | KeyGone | None:
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
