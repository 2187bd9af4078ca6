"""A view of compacted topics in memory: read from the beginning without a group, then kept up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import aiokafka
import structlog
from aiokafka.errors import KafkaError

from services.common.kafka.connection import (
    KafkaConnection,
    end_offsets,
    missing,
    new_consumer,
    unavailable,
)

_log = structlog.get_logger(__name__)

_RECORDS_PER_POLL = 5_000
_POLL_MS = 200
# These topics change rarely, so they are fetched less often than events: many fetches keep the embedded broker busy.
_FETCH_WAIT_LEAST_MS = 50
# A broker answers every fetch within the fetch wait, even if nothing is new. One that is silent for this much longer is
# considered unavailable.
_SILENCE_MS = 2_000


class TopicChangedError(RuntimeError):
    """A topic was recreated or lost records while it was read, so what was read of it is no longer what it holds."""


Apply = Callable[[str, Sequence[aiokafka.ConsumerRecord]], None]


class CompactedView:
    """Passes every record of some one-partition topics to a function, in order: all existing ones, then new ones.

    The function receives the topic and a batch of its records; a record with value None removes its key. Batches are
    never interleaved: the function runs on the event loop.
    """

    def __init__(
        self, connection: KafkaConnection, topics: Sequence[str], apply: Apply, *, may_shrink: bool = True
    ) -> None:
        """Prepare.

        Args:
            connection: the cluster.
            topics: the topics.
            apply: the function.
            may_shrink: whether to read a topic again from its beginning when it ends before what was read of it.
        """
        self._may_shrink = may_shrink
        self._connection = connection
        self._topics = tuple(topics)
        self._apply = apply
        self._fetch_wait_ms = max(connection.fetch_wait_ms, _FETCH_WAIT_LEAST_MS)
        self._next_offsets = dict.fromkeys(topics, 0)
        self._moved = asyncio.Condition()
        self._caught_up = asyncio.Event()
        self._fetched_at: int | None = None
        self._silent_polls = 0
        self._silent_polls_most = (2 * self._fetch_wait_ms + _SILENCE_MS) // _POLL_MS

    @property
    def next_offsets(self) -> Mapping[str, int]:
        """How far each topic has been applied: one past the last record."""
        return dict(self._next_offsets)

    @property
    def ready(self) -> bool:
        """Whether every record that was on the topics at the start has been applied."""
        return self._caught_up.is_set()

    @property
    def reachable(self) -> bool:
        """Whether the broker answers fetches; when not, the view may be behind."""
        return self._silent_polls <= self._silent_polls_most

    async def wait_ready(self) -> None:
        """Return once `ready`."""
        await self._caught_up.wait()

    async def wait_for(self, topic: str, offset: int) -> None:
        """Return once the record at `offset` of `topic` has been applied."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._next_offsets[topic] > offset)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return once `condition` holds; it is checked now, and after every batch of records."""
        async with self._moved:
            await self._moved.wait_for(condition)

    async def run(self) -> None:
        """Read until cancelled.

        Raises:
            TopicMissingError: when a topic does not exist.
            BrokerUnavailableError: when the broker cannot be reached at the start.
            TopicChangedError: when a topic shrank and may not.
        """
        # Uncommitted records may still be aborted.
        consumer = new_consumer(
            self._connection, isolation_level="read_committed", fetch_max_wait_ms=self._fetch_wait_ms
        )
        try:
            await consumer.start()
        except KafkaError as error:
            await consumer.stop()
            raise unavailable(self._connection, error) from error
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
                raise missing(self._connection, topic)
        partitions = [aiokafka.TopicPartition(topic, 0) for topic in self._topics]
        consumer.assign(partitions)
        return partitions

    async def _poll(self, consumer: aiokafka.AIOKafkaConsumer) -> None:
        batches = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_RECORDS_PER_POLL)
        for partition, records in batches.items():
            self._apply(partition.topic, records)
        # Compaction leaves gaps and transactions leave markers, so the consumer's position, not the last record, shows
        # how far a topic has been read.
        reached = {topic: await consumer.position(aiokafka.TopicPartition(topic, 0)) for topic in self._topics}
        shrunk = [topic for topic, offset in reached.items() if offset < self._next_offsets[topic]]
        if shrunk and not self._may_shrink:
            raise TopicChangedError(
                f"the topic {shrunk[0]} ends before offset {self._next_offsets[shrunk[0]]}, up to which it was read: "
                "it was recreated, or its last records are lost"
            )
        moved = reached != self._next_offsets
        self._next_offsets = reached
        self._count_silence(consumer, records_came=bool(batches))
        if moved:
            async with self._moved:
                self._moved.notify_all()

    def _count_silence(self, consumer: aiokafka.AIOKafkaConsumer, *, records_came: bool) -> None:
        """Note whether the broker answered a fetch since the last poll.

        aiokafka retries forever and reports no lost broker; the time of its last answered fetch is all it makes public.
        Polls are counted, not seconds: an event loop that was busy has read no answers meanwhile.
        """
        answers = [consumer.last_poll_timestamp(aiokafka.TopicPartition(topic, 0)) for topic in self._topics]
        fetched_at = max((answer for answer in answers if answer is not None), default=None)
        if records_came or fetched_at != self._fetched_at:
            self._silent_polls = 0
        else:
            self._silent_polls += 1
        self._fetched_at = fetched_at
