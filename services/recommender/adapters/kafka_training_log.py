"""The log of learner events read for training: assigned, without a group, from its beginning to the end seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiokafka
from aiokafka.errors import KafkaError

from services.common.envelope import LEARNER_EVENTS
from services.common.kafka import (
    BrokerUnavailableError,
    KafkaConnection,
    log_identity,
    new_consumer,
    topic_beginning_offsets,
    topic_end_offsets,
)
from services.common.learner_keys import ERASED, LearnerKeys, ValueUnreadableError
from services.recommender.application.train import LogBatch, LoggedEvent, LogSpan
from services.recommender.wire import RecordInvalidError, decode_event

_RECORDS_PER_POLL = 5_000
_POLL_MS = 200
_ERASED = "erased"
_ENCRYPTION = "encryption"


class KafkaTrainingLog:
    """Implements `TrainingLog` over the topic of learner events."""

    def __init__(
        self,
        connection: KafkaConnection,
        keys: LearnerKeys | None = None,
        *,
        topic: str = LEARNER_EVENTS,
        stalled_s: float = 30.0,
    ) -> None:
        """Prepare.

        Args:
            connection: the cluster.
            keys: open encrypted values; None: nothing is encrypted.
            topic: the topic of learner events.
            stalled_s: after how long without a record to give up.
        """
        self._connection = connection
        self._keys = keys
        self._topic = topic
        self._stalled_s = stalled_s

    async def span(self) -> LogSpan:
        """Everything that stands in the topic now.

        Raises:
            BrokerUnavailableError: when the cluster cannot be reached.
            TopicMissingError: when the topic does not exist.
        """
        # First what fails at once when the broker is away.
        begins = await topic_beginning_offsets(self._connection, self._topic)
        identity = await log_identity(self._connection, self._topic)
        ends = await topic_end_offsets(self._connection, self._topic)
        return LogSpan(str(identity), begins, ends)

    async def batches(self, span: LogSpan) -> AsyncIterator[LogBatch]:
        """The records of a span, each once.

        Raises:
            BrokerUnavailableError: when the cluster cannot be reached, or stops answering.
        """
        if not span.offsets:
            return
        consumer = new_consumer(self._connection)
        try:
            await consumer.start()
        except KafkaError as error:
            await consumer.stop()
            raise BrokerUnavailableError(
                f"Kafka at {self._connection.bootstrap_servers} cannot be reached: {error}"
            ) from error
        try:
            reading = _Reading(consumer, self._topic, span, self._keys)
            while not reading.finished:
                async with asyncio.timeout(self._stalled_s):
                    batch = await reading.next()
                yield batch
        except TimeoutError as error:
            raise BrokerUnavailableError(
                f"Kafka at {self._connection.bootstrap_servers} sent nothing for {self._stalled_s:g} s, "
                f"{span.offsets - reading.done} records before the end; see whether the broker is up, then train again"
            ) from error
        finally:
            await consumer.stop()
            if self._keys is not None:
                await self._keys.close()


class _Reading:
    """A consumer on its way through a span."""

    def __init__(
        self, consumer: aiokafka.AIOKafkaConsumer, topic: str, span: LogSpan, keys: LearnerKeys | None
    ) -> None:
        self._consumer = consumer
        self._keys = keys
        self._span = span
        self._partitions = len(span.end_offsets)
        self._positions = dict(span.begin_offsets)
        self._open = {
            aiokafka.TopicPartition(topic, partition): end
            for partition, end in span.end_offsets.items()
            if span.begin_offsets[partition] < end
        }
        self._assign()

    @property
    def finished(self) -> bool:
        return not self._open

    @property
    def done(self) -> int:
        """How many offsets of the span are behind."""
        return sum(position - self._span.begin_offsets[partition] for partition, position in self._positions.items())

    async def next(self) -> LogBatch:
        """Records as they come; waits until some do."""
        events: list[LoggedEvent] = []
        skipped: list[str] = []
        while True:
            polled = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=_RECORDS_PER_POLL)
            if self._keys is not None:
                await self._keys.determine(record for records in polled.values() for record in records)
            for partition, records in polled.items():
                for record in records:
                    if record.offset < self._open[partition]:
                        self._decode(record, events, skipped)
            if await self._advance():
                return LogBatch(events, skipped, self.done)

    def _decode(self, record: aiokafka.ConsumerRecord, events: list[LoggedEvent], skipped: list[str]) -> None:
        value = record.value
        try:
            if self._keys is not None:
                value = self._keys.decrypt(record.key, value, record.headers)
            if value is ERASED:
                skipped.append(_ERASED)
                return
            tenant, event = decode_event(record.key, value, record.headers, record.partition, self._partitions)
        except ValueUnreadableError:
            skipped.append(_ENCRYPTION)
            return
        except RecordInvalidError as error:
            skipped.append(error.code)
            return
        events.append(LoggedEvent(tenant, record.key.decode().partition("/")[2], event))

    async def _advance(self) -> bool:
        """Note how far the partitions are, stop reading those at their end; whether anything moved."""
        before = self.done
        reached = []
        for partition, end in self._open.items():
            # Not the last record's offset: what compaction or a transaction took away has no record.
            position = await self._consumer.position(partition)
            self._positions[partition.partition] = min(position, end)
            if position >= end:
                reached.append(partition)
        for partition in reached:
            del self._open[partition]
        if reached and self._open:
            self._consumer.pause(*reached)
        return self.done > before

    def _assign(self) -> None:
        self._consumer.assign(list(self._open))
        for partition in self._open:
            self._consumer.seek(partition, self._span.begin_offsets[partition.partition])
