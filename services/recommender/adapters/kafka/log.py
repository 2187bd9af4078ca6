"""The log of learner events: its identity, its bounds, and single records."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import aiokafka
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from services.common.kafka.connection import (
    KafkaConnection,
    log_identity,
    new_consumer,
    topic_end_offsets,
    topic_span,
    unavailable,
)
from services.common.kafka.envelope import LEARNER_EVENTS, record_fingerprint

_POLL_MS = 20
# A producer's batch is returned whole, however small this is.
_FETCH_BYTES = 1
_GIVE_UP_S = 10.0


class KafkaLog:
    """Asks Kafka; implements LogReader."""

    def __init__(self, connection: KafkaConnection, topic: str = LEARNER_EVENTS) -> None:
        self._connection = connection
        self._topic = topic

    async def identity(self) -> str:
        """The identity of the log, as LogIdentity text."""
        return str(await log_identity(self._connection, self._topic))

    async def end_offsets(self) -> Mapping[int, int]:
        """One past the last record, by partition."""
        return await topic_end_offsets(self._connection, self._topic)

    async def beginnings(self) -> Mapping[int, int]:
        """The first offset that the log still holds, by partition."""
        return {partition: begin for partition, (begin, _) in (await topic_span(self._connection, self._topic)).items()}

    async def fingerprints(self, offsets: Mapping[int, Sequence[int]]) -> Mapping[tuple[int, int], str]:
        """The fingerprint of each record asked for, by partition and offset, without those that the log does not hold.

        Raises:
            BrokerUnavailableError: when Kafka does not return them within 10 s.
        """
        asked = {aiokafka.TopicPartition(self._topic, number): list(some) for number, some in offsets.items() if some}
        found: dict[tuple[int, int], str] = {}
        if not asked:
            return found
        wait_ms = min(self._connection.fetch_wait_ms, 50)
        consumer = new_consumer(
            self._connection,
            auto_offset_reset="none",
            fetch_max_wait_ms=wait_ms,
            max_partition_fetch_bytes=_FETCH_BYTES,
        )
        try:
            async with asyncio.timeout(_GIVE_UP_S):
                await consumer.start()
                while asked:
                    _seek(consumer, asked)
                    await self._read_first(consumer, asked, found)
        except (KafkaError, TimeoutError) as error:
            raise unavailable(self._connection, error, f"did not return records of {self._topic}") from error
        finally:
            await consumer.stop()
        return found

    @staticmethod
    async def _read_first(
        consumer: aiokafka.AIOKafkaConsumer,
        asked: dict[aiokafka.TopicPartition, list[int]],
        found: dict[tuple[int, int], str],
    ) -> None:
        """Read the first offset asked for of each partition, and ask for it no more."""
        waiting = {partition: some.pop(0) for partition, some in asked.items()}
        for partition in [partition for partition, some in asked.items() if not some]:
            del asked[partition]
        while waiting:
            try:
                fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=1)
            except OffsetOutOfRangeError as error:
                (beyond,) = error.args
                for partition in beyond:
                    waiting.pop(partition, None)
                    consumer.pause(partition)
                continue
            for partition, (record,) in fetched.items():
                # Its other records would be returned before those of other partitions.
                consumer.pause(partition)
                offset = waiting.pop(partition, None)
                if offset is not None and record.offset == offset:
                    found[partition.partition, offset] = record_fingerprint(record.key, record.value, record.headers)
            for partition, offset in list(waiting.items()):
                if (end := consumer.highwater(partition)) is not None and end <= offset:
                    del waiting[partition]


def _seek(consumer: aiokafka.AIOKafkaConsumer, asked: Mapping[aiokafka.TopicPartition, Sequence[int]]) -> None:
    # Assigned once more, so that the end of each partition is not known before it was fetched.
    consumer.unsubscribe()
    consumer.assign(list(asked))
    for partition, offsets in asked.items():
        consumer.seek(partition, offsets[0])
