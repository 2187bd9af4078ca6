"""Searches the log for erasures of learners whose keys are not on the topic of keys."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import aclosing

import aiokafka
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from cairn.v1 import events_pb2
from services.common.encryption.erasure_evidence import ErasureEvidence, KeyUse
from services.common.encryption.headers import is_encrypted, key_id_or_none
from services.common.encryption.keyring import LearnerKeyring
from services.common.encryption.values import KeyedRecord, MissingKeys
from services.common.kafka.connection import KafkaConnection, read_span, topic_span
from services.common.kafka.envelope import JSON, LEARNER_EVENTS, content_type_of, record_key
from services.common.kafka.partitioner import partition_of

_TYPE_HEADER = "ce_type"
_ERASURE = b"cairn.v1.ErasureEvent"


class KafkaErasureProofs:
    """Implements ErasureProofs.

    It reads ahead of the records in question first, where an erasure usually is. The whole log is read only if that
    proves nothing. What was read once is not read again.
    """

    def __init__(self, connection: KafkaConnection, *, topic: str = LEARNER_EVENTS, stalled_s: float = 30.0) -> None:
        """Args: the cluster, the log, and how long it may send nothing before a read fails."""
        self._connection = connection
        self._topic = topic
        self._stalled_s = stalled_s
        self._keyring: LearnerKeyring | None = None
        self._forget(None)

    async def destroyed(self, missing: Mapping[KeyUse, KeyedRecord], keyring: LearnerKeyring) -> Collection[str]:
        """See ErasureProofs."""
        if keyring is not self._keyring:
            self._forget(keyring)
        log = await topic_span(self._connection, self._topic)
        froms: dict[int, int] = {}
        for use, record in missing.items():
            partition, offset = record.partition, record.offset
            right = partition_of(use[0], len(log))
            self._evidence.note_use(use, partition, offset, right_partition=right == partition, counted=False)
            start = offset if right == partition else log[right][0]
            froms[right] = min(start, froms.get(right, start))
        await self._read_on({p: (start, log[p][1]) for p, start in froms.items()}, len(log), keyring)
        proven = {use for use in missing if self._evidence.destroyed_before_an_erasure(use)}
        if proven != missing.keys():
            await self._read_on(log, len(log), keyring)
            proven = {
                use
                for use in missing
                if self._evidence.destroyed_before_an_erasure(use)
                # Its key was destroyed, and the event is not in the log yet. After an earlier event, the null record
                # may be that of an earlier key.
                or (keyring.has_null(use[0]) and self._evidence.never_erased(use[0]))
            }
        return {key_id for _, key_id in proven}

    def missing(self, keyring: LearnerKeyring) -> MissingKeys | None:
        """See ErasureProofs."""
        return self._evidence.missing(keyring.knows)

    def _forget(self, keyring: LearnerKeyring | None) -> None:
        """Forget what was read: another keyring knows other keys."""
        self._keyring = keyring
        self._evidence = ErasureEvidence()
        # The first offset that was read, and one past the last, by partition.
        self._read: dict[int, tuple[int, int]] = {}

    async def _read_on(self, wanted: Mapping[int, tuple[int, int]], partitions: int, keyring: LearnerKeyring) -> None:
        """Read those parts of the wanted spans that were not read before."""
        before, after = {}, {}
        for partition, (begin, end) in wanted.items():
            read_from, read_to = self._read.get(partition, (begin, begin))
            before[partition] = (min(begin, read_from), read_from)
            after[partition] = (read_to, max(read_to, end))
        for spans in (before, after):
            parts = read_span(self._connection, self._topic, spans, stalled_s=self._stalled_s)
            async with aclosing(parts):
                async for part in parts:
                    for record in part.records:
                        self._note(record, partitions, keyring)
            for partition, (begin, end) in spans.items():
                read_from, read_to = self._read.get(partition, (begin, end))
                self._read[partition] = (min(read_from, begin), max(read_to, end))

    def _note(self, record: aiokafka.ConsumerRecord, partitions: int, keyring: LearnerKeyring) -> None:
        if record.key is None:
            return
        if is_encrypted(record.headers):
            key_id = key_id_or_none(record.headers)
            if key_id is not None and not keyring.knows(record.key, key_id):
                right = partition_of(record.key, partitions) == record.partition
                use = (record.key, key_id)
                self._evidence.note_use(use, record.partition, record.offset, right_partition=right)
        elif _erases(record):
            self._evidence.note_erasure(record.key, record.offset)


def _erases(record: aiokafka.ConsumerRecord) -> bool:
    """Whether a record is an ErasureEvent of the learner in its key."""
    if next((value for name, value in record.headers if name == _TYPE_HEADER), _ERASURE) != _ERASURE:
        return False
    try:
        if content_type_of(record.headers) == JSON:
            event = json_format.Parse(record.value or b"", events_pb2.LearnerEvent())
        else:
            event = events_pb2.LearnerEvent.FromString(record.value or b"")
    except (DecodeError, json_format.ParseError, UnicodeDecodeError, RecursionError):
        # The fold sends it to the dead letters.
        return False
    return event.HasField("erasure") and record_key(event.tenant, event.learner) == record.key
