"""Corrections in the log, read again to be named."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import aclosing

import aiokafka

from services.common.auth.identity import event_fingerprint
from services.common.encryption.values import ValueUnreadableError
from services.common.kafka.connection import KafkaConnection, read_span, topic_span
from services.common.kafka.envelope import LEARNER_EVENTS, Position
from services.common.kafka.partitioner import partition_of
from services.recommender.application.operations.corrections import LoggedCorrection
from services.recommender.application.ports.log import ValueDecryptor
from services.recommender.wire.events import parse_event
from services.recommender.wire.fields import RecordInvalidError

_TYPE = ("ce_type", b"cairn.v1.CorrectionEvent")


class KafkaLoggedCorrections:
    """Implements LoggedCorrections over the log."""

    def __init__(
        self,
        connection: KafkaConnection,
        decryptor: ValueDecryptor,
        progress: Callable[[int, int], None],
        *,
        topic: str = LEARNER_EVENTS,
        stalled_s: float = 30.0,
    ) -> None:
        """Prepare.

        Args:
            connection: the cluster.
            decryptor: decrypts encrypted values.
            progress: called with the records read and to read.
            topic: the log.
            stalled_s: how long Kafka may send nothing before a read fails.
        """
        self._connection = connection
        self._decryptor = decryptor
        self._progress = progress
        self._topic = topic
        self._stalled_s = stalled_s

    async def waiting(self, targets: Mapping[bytes, Collection[bytes]]) -> AsyncIterator[LoggedCorrection]:
        """See the port."""
        span = await topic_span(self._connection, self._topic)
        partitions = {partition_of(key, len(span)) for key in targets}
        spans = {partition: span[partition] for partition in partitions}
        total = sum(end - begin for begin, end in spans.values())
        last: dict[tuple[bytes, bytes], LoggedCorrection] = {}
        parts = read_span(self._connection, self._topic, spans, stalled_s=self._stalled_s)
        async with aclosing(parts):
            async for part in parts:
                records = [record for record in part.records if record.key in targets and _TYPE in record.headers]
                await self._decryptor.load_keys(records)
                for record in records:
                    found = self._correction(record)
                    if found is None:
                        continue
                    target = event_fingerprint(found.target_source, found.target_event_id)
                    if target in targets[record.key]:
                        last[record.key, target] = found
                self._progress(part.done, total)
        for found in last.values():
            yield found

    def _correction(self, record: aiokafka.ConsumerRecord) -> LoggedCorrection | None:
        """What a record says; None if it cannot be read, and so was not applied."""
        try:
            value = self._decryptor.decrypt(record.key, record.value, record.headers)
            if not isinstance(value, bytes):
                return None
            message = parse_event(value, record.headers)
        except (RecordInvalidError, ValueUnreadableError):
            return None
        return LoggedCorrection(
            position=Position(record.partition, record.offset),
            tenant=message.tenant,
            source=message.source,
            event_id=message.event_id,
            target_source=message.correction.target_source,
            target_event_id=message.correction.target_event_id,
            written_at_s=record.timestamp / 1_000,
        )
