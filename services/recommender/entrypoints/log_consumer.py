"""The consumer of the log of learner events, either in a group or of all partitions without a group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import aiokafka
from aiokafka.errors import KafkaTimeoutError

from services.common.kafka.connection import BrokerUnavailableError, KafkaConnection, new_consumer
from services.common.kafka.envelope import LEARNER_EVENTS

# A member learns from the answer to a heartbeat that another one joins or leaves, and no partition is read before all
# have learned it.
_HEARTBEAT_MOST_MS = 500
_POLL_MS = 200
_FETCH_BYTES_PER_PARTITION = 4 * 1024 * 1024


class PartitionListener(Protocol):
    """Callbacks for when partitions are assigned and revoked."""

    async def on_assigned(self, assigned: Sequence[int]) -> None:
        """Take over partitions and seek in them."""
        ...

    async def on_revoked(self, revoked: Sequence[int]) -> None:
        """Release partitions."""
        ...

    def fail(self, error: Exception) -> None:
        """Handle an exception that one of the other callbacks raised in a rebalance."""
        ...


class LogConsumer:
    """Wraps aiokafka's consumer for one topic; partitions are numbers."""

    def __init__(
        self,
        connection: KafkaConnection,
        *,
        partitions: int,
        group: str | None,
        topic: str = LEARNER_EVENTS,
        session_timeout_ms: int = 6_000,
        make_consumer: Callable[..., aiokafka.AIOKafkaConsumer] = new_consumer,
    ) -> None:
        """Create the consumer; `start` connects.

        Args:
            connection: the cluster.
            partitions: how many partitions the topic has.
            group: consumer group; None to read every partition without a group.
            topic: the topic.
            session_timeout_ms: how long the group waits for a silent member. The embedded broker delays every join by
                half of it.
            make_consumer: connects to Kafka, given the connection and the consumer's options.
        """
        self.group = group
        self._connection = connection
        self._partitions = partitions
        self._topic = topic
        self._session_timeout_ms = session_timeout_ms
        self._make_consumer = make_consumer
        self._consumer: aiokafka.AIOKafkaConsumer | None = None
        # Partitions with more records than fitted into a batch take turns, after all others.
        self._turns: list[int] = []
        self._held: dict[int, Sequence[aiokafka.ConsumerRecord]] = {}
        self._sent_at_s: dict[int, float] = {}

    async def start(self, listener: PartitionListener) -> None:
        """Connect, and join the group or take every partition."""
        options: dict[str, object] = {"max_partition_fetch_bytes": _FETCH_BYTES_PER_PARTITION}
        if self.group is not None:
            options |= {
                "group_id": self.group,
                "session_timeout_ms": self._session_timeout_ms,
                "heartbeat_interval_ms": min(self._session_timeout_ms // 3, _HEARTBEAT_MOST_MS),
            }
        consumer = self._consumer = self._make_consumer(self._connection, **options)
        await consumer.start()
        if self.group is not None:
            consumer.subscribe([self._topic], listener=_Rebalance(listener))
        else:
            consumer.assign([self._topic_partition(number) for number in range(self._partitions)])
            await listener.on_assigned(range(self._partitions))

    @property
    def started(self) -> bool:
        """Whether `start` was called."""
        return self._consumer is not None

    async def stop(self) -> None:
        """Leave the group and disconnect."""
        if self._consumer is not None:
            await self._consumer.stop()

    @property
    def assignment(self) -> list[int]:
        """The assigned partitions, sorted."""
        return sorted(each.partition for each in self._require().assignment())

    async def fetch(self, records_max: int) -> dict[int, Sequence[aiokafka.ConsumerRecord]]:
        """Return the next records by partition, to be folded in this order; empty if none arrive within 0.2 s."""
        assigned = self.assignment if self._turns else ()
        turns = [partition for partition in self._turns if partition in assigned]
        others = [partition for partition in assigned if partition not in turns]
        fetched: dict[int, Sequence[aiokafka.ConsumerRecord]] = {}
        left = records_max
        for asked in [others, *([partition] for partition in turns)]:
            if asked and left > 0:
                some = self._take_held(asked[0], left) or await self._get(asked, left, timeout_ms=0)
                fetched |= some
                left -= sum(map(len, some.values()))
        if not fetched:
            fetched = await self._get((), records_max, timeout_ms=_POLL_MS)
            left = records_max - sum(map(len, fetched.values()))
        self._turns = [partition for partition in turns if partition not in fetched or partition in self._held]
        if left <= 0:
            self._comes_last(next(reversed(fetched)))
        return fetched

    def hold(self, partition: int, records: Sequence[aiokafka.ConsumerRecord]) -> None:
        """Take back records that were fetched last and did not fit into a batch; they are fetched again."""
        self._held[partition] = [*records, *self._held.get(partition, ())]
        self._comes_last(partition)

    def sent_at_s(self, partition: int) -> float:
        """When the broker sent the records of a partition that `fetch` returned last, in Unix seconds."""
        return self._sent_at_s.get(partition, 0.0)

    def seek(self, partition: int, offset: int) -> None:
        """Continue reading at an offset."""
        self._held.pop(partition, None)
        self._require().seek(self._topic_partition(partition), offset)

    async def committed(self, partition: int) -> int | None:
        """Return the offset that the group committed to Kafka; None if there is none, or no group."""
        if self.group is None:
            return None
        offset: int | None = await self._require().committed(self._topic_partition(partition))
        return offset

    async def commit(self, positions: Mapping[int, int]) -> bool:
        """Commit the positions of assigned partitions to Kafka; return whether there were any.

        Raises:
            CommitFailedError: when a rebalance has begun.
        """
        consumer = self._require()
        held = consumer.assignment()
        offsets = {self._topic_partition(partition): position for partition, position in positions.items()}
        offsets = {partition: position for partition, position in offsets.items() if partition in held}
        if offsets:
            await consumer.commit(offsets)
        return bool(offsets)

    async def beginnings(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return the first offset that the log still holds, by partition.

        Raises:
            BrokerUnavailableError: when Kafka does not respond.
        """
        asked = [self._topic_partition(partition) for partition in partitions]
        if not asked:
            return {}
        try:
            offsets = await self._require().beginning_offsets(asked)
        except KafkaTimeoutError as error:
            raise BrokerUnavailableError(f"Kafka did not return the beginning of the log: {error}") from error
        return {each.partition: offset for each, offset in offsets.items()}

    def lag(self, positions: Mapping[int, int]) -> dict[int, int]:
        """Number of records from the position to the end of the log as of the last fetch, by assigned partition."""
        if self._consumer is None:
            return {}
        lag, held = {}, self._consumer.assignment()
        for partition, position in positions.items():
            topic_partition = self._topic_partition(partition)
            # Asking for the high watermark of a partition that was just revoked is an error.
            if topic_partition in held:
                end = self._consumer.highwater(topic_partition)
                lag[partition] = max(0, (end or 0) - position)
        return lag

    async def _get(
        self, partitions: Sequence[int], records_max: int, *, timeout_ms: int
    ) -> dict[int, Sequence[aiokafka.ConsumerRecord]]:
        """The next records of some partitions; of all if none is named."""
        asked = [self._topic_partition(partition) for partition in partitions]
        consumer = self._require()
        fetched = await consumer.getmany(*asked, timeout_ms=timeout_ms, max_records=records_max)
        assigned = consumer.assignment()
        for each in fetched:
            # Asking about a partition that was just revoked is an error.
            sent_at_ms = consumer.last_poll_timestamp(each) if each in assigned else None
            self._sent_at_s[each.partition] = (sent_at_ms or 0) / 1_000
        return {each.partition: records for each, records in fetched.items()}

    def _take_held(self, partition: int, records_max: int) -> dict[int, Sequence[aiokafka.ConsumerRecord]]:
        records = self._held.pop(partition, ())
        if len(records) > records_max:
            self._held[partition] = records[records_max:]
        return {partition: records[:records_max]} if records else {}

    def _comes_last(self, partition: int) -> None:
        self._turns = [*(one for one in self._turns if one != partition), partition]

    def _topic_partition(self, partition: int) -> aiokafka.TopicPartition:
        return aiokafka.TopicPartition(self._topic, partition)

    def _require(self) -> aiokafka.AIOKafkaConsumer:
        if self._consumer is None:
            raise AssertionError("the consumer was not started")
        return self._consumer


class _Rebalance(aiokafka.ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types.
    """Forwards rebalances, and the exceptions of the listener, which aiokafka would swallow."""

    def __init__(self, listener: PartitionListener) -> None:
        self._listener = listener

    async def on_partitions_revoked(self, revoked: Iterable[aiokafka.TopicPartition]) -> None:
        try:
            await self._listener.on_revoked(sorted(each.partition for each in revoked))
        except Exception as error:  # noqa: BLE001 - the listener crashes with it.
            self._listener.fail(error)

    async def on_partitions_assigned(self, assigned: Iterable[aiokafka.TopicPartition]) -> None:
        try:
            await self._listener.on_assigned(sorted(each.partition for each in assigned))
        except Exception as error:  # noqa: BLE001 - the listener crashes with it.
            self._listener.fail(error)
