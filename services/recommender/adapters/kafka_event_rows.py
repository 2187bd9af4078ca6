"""The log of learner events as rows for an export: assigned, without a group, from its beginning to the end seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiokafka
from aiokafka.errors import KafkaError

from services.common.envelope import LEARNER_EVENTS, KeyInvalidError, split_key
from services.common.kafka import (
    BrokerUnavailableError,
    KafkaConnection,
    new_consumer,
    topic_beginning_offsets,
    topic_end_offsets,
)
from services.common.learner_keys import ERASED, LearnerKeys, ValueUnreadableError
from services.recommender.application.export import LogRows, Row
from services.recommender.wire_export import EventUnreadableError, event_row

_RECORDS_PER_POLL = 5_000
_POLL_MS = 200


class KafkaEventRows:
    """Implements EventRows."""

    def __init__(
        self, connection: KafkaConnection, keys: LearnerKeys, *, topic: str = LEARNER_EVENTS, stalled_s: float = 30.0
    ) -> None:
        """Args: the cluster, what opens encrypted values, the topic, and how long it may send nothing."""
        self._connection = connection
        self._keys = keys
        self._topic = topic
        self._stalled_s = stalled_s
        self._span: dict[int, tuple[int, int]] = {}

    async def total(self) -> int:
        """As the port says."""
        begins = await topic_beginning_offsets(self._connection, self._topic)
        ends = await topic_end_offsets(self._connection, self._topic)
        self._span = {partition: (begins[partition], end) for partition, end in ends.items()}
        return sum(end - begin for begin, end in self._span.values())

    async def batches(self, tenant: str) -> AsyncIterator[LogRows]:
        """As the port says."""
        consumer = new_consumer(self._connection)
        try:
            await consumer.start()
        except KafkaError as error:
            await consumer.stop()
            raise BrokerUnavailableError(
                f"Kafka at {self._connection.bootstrap_servers} cannot be reached: {error}"
            ) from error
        counts = {"erased": 0, "unreadable": 0}
        try:
            goals = {
                aiokafka.TopicPartition(self._topic, partition): end
                for partition, (begin, end) in self._span.items()
                if begin < end
            }
            consumer.assign(list(goals))
            for partition in goals:
                consumer.seek(partition, self._span[partition.partition][0])
            while goals:
                async with asyncio.timeout(self._stalled_s):
                    rows = await self._poll(consumer, tenant, goals, counts)
                    done = await self._advance(consumer, goals)
                if rows or not goals:
                    yield LogRows(rows, done, **counts)
        except TimeoutError as error:
            raise BrokerUnavailableError(
                f"Kafka at {self._connection.bootstrap_servers} sent nothing for {self._stalled_s:g} s; see whether "
                "the broker is up, then export again"
            ) from error
        finally:
            await consumer.stop()
            await self._keys.close()

    async def _poll(
        self, consumer: Any, tenant: str, goals: dict[aiokafka.TopicPartition, int], counts: dict[str, int]
    ) -> list[Row]:
        polled = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_RECORDS_PER_POLL)
        own = [
            record
            for partition, records in polled.items()
            for record in records
            if record.offset < goals.get(partition, 0) and _is_of(tenant, record.key)
        ]
        await self._keys.determine(own)
        rows: list[Row] = []
        for record in own:
            try:
                value = self._keys.decrypt(record.key, record.value, record.headers)
                if value is ERASED:
                    counts["erased"] += 1
                    continue
                row = event_row(record.key, value, list(record.headers))
            except (EventUnreadableError, ValueUnreadableError):
                counts["unreadable"] += 1
                continue
            rows.append(row | {"partition": record.partition, "offset": record.offset})
        return rows

    async def _advance(self, consumer: Any, goals: dict[aiokafka.TopicPartition, int]) -> int:
        """Stop reading partitions at their end; how many offsets are behind."""
        done = 0
        for number, (begin, end) in self._span.items():
            partition = aiokafka.TopicPartition(self._topic, number)
            if partition not in goals:
                done += end - begin
                continue
            # Not the last record's offset: what was compacted away has no record.
            position = min(await consumer.position(partition), end)
            done += position - begin
            if position >= end:
                del goals[partition]
                consumer.pause(partition)
        return done


def _is_of(tenant: str, key: bytes | None) -> bool:
    try:
        return split_key(key)[0] == tenant
    except KeyInvalidError:
        return False
