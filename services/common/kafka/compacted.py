"""A view of compacted topics in memory: read from the beginning without a group, then kept up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import aiokafka
import structlog
from aiokafka.errors import KafkaError

from services.common.kafka.connection import (
    BrokerUnavailableError,
    KafkaConnection,
    TopicMissingError,
    end_offsets,
    new_consumer,
)

_log = structlog.get_logger(__name__)

_RECORDS_PER_POLL = 5_000
# What changes seldom need not be asked for so often as events: on the embedded broker that keeps a processor busy.
_FETCH_WAIT_LEAST_MS = 50

Apply = Callable[[str, Sequence[aiokafka.ConsumerRecord]], None]


class CompactedView:
    """Feeds every record of some one-partition topics, in order, to a function, from the beginning and then for ever.

    The function receives the topic and a batch of its records; a record with value None removes its key. What it makes
    of them is the owner's business. Batches are never interleaved: the function runs on the event loop.
    """

    def __init__(self, connection: KafkaConnection, topics: Sequence[str], apply: Apply) -> None:
        self._connection = connection
        self._topics = tuple(topics)
        self._apply = apply
        self._next_offsets = dict.fromkeys(topics, 0)
        self._moved = asyncio.Condition()
        self._caught_up = asyncio.Event()
        self._reachable = True

    @property
    def next_offsets(self) -> Mapping[str, int]:
        """How far each topic has been applied: one past the last record."""
        return dict(self._next_offsets)

    @property
    def ready(self) -> bool:
        """Whether everything that stood in the topics at the start has been applied."""
        return self._caught_up.is_set()

    @property
    def reachable(self) -> bool:
        """Whether the last attempt to read reached the broker; when not, the view may be behind."""
        return self._reachable

    async def wait_ready(self) -> None:
        """Return once `ready`."""
        await self._caught_up.wait()

    async def wait_for(self, topic: str, offset: int) -> None:
        """Return once the record at `offset` of `topic` has been applied."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._next_offsets[topic] > offset)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return once `condition` holds; it is asked now, and after every batch of records was applied."""
        async with self._moved:
            await self._moved.wait_for(condition)

    async def run(self) -> None:
        """Read until cancelled.

        Raises:
            TopicMissingError: when a topic does not exist.
            BrokerUnavailableError: when the broker cannot be reached at the start.
        """
        # What a writer has not committed is not there yet, and may never be.
        wait_ms = max(self._connection.fetch_wait_ms, _FETCH_WAIT_LEAST_MS)
        consumer = new_consumer(self._connection, isolation_level="read_committed", fetch_max_wait_ms=wait_ms)
        try:
            await consumer.start()
        except KafkaError as error:
            await consumer.stop()
            raise BrokerUnavailableError(
                f"Kafka at {self._connection.bootstrap_servers} cannot be reached: {error}"
            ) from error
        try:
            partitions = await self._assign(consumer)
            goals = await end_offsets(self._connection, consumer, partitions)
            while True:
                await self._poll(consumer)
                if not self._caught_up.is_set() and all(
                    self._next_offsets[partition.topic] >= goal for partition, goal in goals.items()
                ):
                    self._caught_up.set()
                    _log.info("view ready", next_offsets=dict(self._next_offsets))
        finally:
            await consumer.stop()

    async def _assign(self, consumer: aiokafka.AIOKafkaConsumer) -> list[aiokafka.TopicPartition]:
        existing = await consumer.topics()
        for topic in self._topics:
            if topic not in existing:
                raise TopicMissingError(
                    f"the topic {topic} does not exist; create the topics with: cairn topics create"
                )
        partitions = [aiokafka.TopicPartition(topic, 0) for topic in self._topics]
        consumer.assign(partitions)
        return partitions

    async def _poll(self, consumer: aiokafka.AIOKafkaConsumer) -> None:
        batches = await consumer.getmany(timeout_ms=200, max_records=_RECORDS_PER_POLL)
        for partition, records in batches.items():
            self._apply(partition.topic, records)
        # Compaction leaves gaps and transactions leave marks, so the consumer's position says how far a topic is, not
        # the last record seen.
        reached = {topic: await consumer.position(aiokafka.TopicPartition(topic, 0)) for topic in self._topics}
        moved = reached != self._next_offsets
        self._next_offsets = reached
        # aiokafka retries for ever by itself; only its cluster connections tell that the broker is away.
        self._reachable = _connected(consumer)
        if moved:
            async with self._moved:
                self._moved.notify_all()


def _connected(consumer: aiokafka.AIOKafkaConsumer) -> bool:
    connections = consumer._client._conns  # noqa: SLF001 - aiokafka offers no public sign of a lost broker.
    return any(connection.connected() for connection in connections.values())
