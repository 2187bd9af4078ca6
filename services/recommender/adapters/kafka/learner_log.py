"""The log of learner events, read for a few learners."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing

import aiokafka

from services.common.kafka.connection import KafkaConnection, read_span, topic_span
from services.common.kafka.envelope import LEARNER_EVENTS
from services.recommender.application.state.partition_batch import PartitionBatch

Decode = Callable[[Mapping[int, Sequence[aiokafka.ConsumerRecord]]], Awaitable[list[PartitionBatch]]]


class KafkaLearnerLog:
    """Implements LearnerLog."""

    def __init__(self, connection: KafkaConnection, decode: Decode, *, topic: str = LEARNER_EVENTS) -> None:
        """Args: the cluster, what decrypts and decodes records by partition, and the log."""
        self._connection = connection
        self._decode = decode
        self._topic = topic

    async def span(self, partition: int) -> tuple[int, int]:
        """See the port."""
        return (await topic_span(self._connection, self._topic))[partition]

    async def read(
        self, partition: int, begin: int, end: int, keys: Collection[bytes]
    ) -> AsyncIterator[PartitionBatch]:
        """See the port."""
        parts = read_span(self._connection, self._topic, {partition: (begin, end)})
        async with aclosing(parts):
            async for part in parts:
                mine = [record for record in part.records if record.key in keys]
                for batch in await self._decode({partition: mine}) if mine else ():
                    yield batch
