"""Corrections read ahead of a fold: what the log says further on of events that come first."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import aiokafka
from aiokafka.errors import KafkaError

from services.common.envelope import LEARNER_EVENTS
from services.common.kafka import BrokerUnavailableError, KafkaConnection, new_consumer
from services.common.learner_keys import ERASED, ValueUnreadableError
from services.recommender.application.ports import ValueOpener
from services.recommender.domain.corrections import KnownCorrections
from services.recommender.domain.events import CorrectionEvent, ErasureEvent
from services.recommender.wire import RecordInvalidError, decode_event

_POLL_MS = 200
_RECORDS_PER_POLL = 10_000
_TYPE_HEADER = "ce_type"
_TYPES = frozenset((b"cairn.v1.CorrectionEvent", b"cairn.v1.ErasureEvent"))


class KafkaReadAhead:
    """Finds the corrections and erasures in a stretch of the log; implements ReadAhead.

    Of each record its headers are looked at; what they do not tell the type of is decoded too.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        opener: ValueOpener,
        partitions: int,
        *,
        topic: str = LEARNER_EVENTS,
        stalled_s: float = 30.0,
    ) -> None:
        """Prepare.

        Args:
            connection: the cluster.
            opener: opens encrypted values.
            partitions: how many the log has.
            topic: the log.
            stalled_s: after how long without a record to give up.
        """
        self._connection = connection
        self._opener = opener
        self._partitions = partitions
        self._topic = topic
        self._stalled_s = stalled_s

    async def read(self, spans: Mapping[int, tuple[int, int]]) -> KnownCorrections:
        """Every correction and erasure from the first offset of each partition up to the second.

        Raises:
            BrokerUnavailableError: when the cluster cannot be reached, or stops answering.
        """
        known = KnownCorrections()
        left = {
            aiokafka.TopicPartition(self._topic, partition): span
            for partition, span in spans.items()
            if span[0] < span[1]
        }
        if not left:
            return known
        consumer = new_consumer(self._connection)
        try:
            await consumer.start()
            consumer.assign(list(left))
            for partition, (begin, _) in left.items():
                consumer.seek(partition, begin)
            while left:
                async with asyncio.timeout(self._stalled_s):
                    await self._read_some(consumer, known, left)
        except (KafkaError, TimeoutError) as error:
            raise BrokerUnavailableError(
                f"Kafka at {self._connection.bootstrap_servers} did not give the corrections in the log: {error!r}"
            ) from error
        finally:
            await consumer.stop()
        return known

    async def _read_some(
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        known: KnownCorrections,
        left: dict[aiokafka.TopicPartition, tuple[int, int]],
    ) -> None:
        """Read until something came, or a partition is at its end."""
        while left:
            polled = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_RECORDS_PER_POLL)
            concerned = [
                record
                for partition, records in polled.items()
                if partition in left
                for record in records
                if record.offset < left[partition][1] and _may_concern(record)
            ]
            await self._opener.determine(concerned)
            for record in concerned:
                self._note(known, record)
            reached = [partition for partition, (_, end) in left.items() if await consumer.position(partition) >= end]
            for partition in reached:
                del left[partition]
            if reached and left:
                consumer.pause(*reached)
            if polled:
                return

    def _note(self, known: KnownCorrections, record: aiokafka.ConsumerRecord) -> None:
        try:
            value = self._opener.decrypt(record.key, record.value, record.headers)
            if value is ERASED:
                return
            _, event = decode_event(record.key, value, record.headers, record.partition, self._partitions)
        except (RecordInvalidError, ValueUnreadableError):
            # The fold meets it again, and sends it to the dead letters.
            return
        if isinstance(event, CorrectionEvent | ErasureEvent):
            known.note(record.key, record.offset, event)


def _may_concern(record: aiokafka.ConsumerRecord) -> bool:
    return next((value in _TYPES for name, value in record.headers if name == _TYPE_HEADER), True)
