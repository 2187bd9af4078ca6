"""Dead letters in Kafka: the original key and bytes, with the reason and the place of origin in headers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import aiokafka
from aiokafka.errors import KafkaError

from services.common.envelope import LEARNER_EVENTS, LEARNER_EVENTS_DLT
from services.common.kafka import (
    BrokerUnavailableError,
    KafkaConnection,
    new_consumer,
    topic_beginning_offsets,
    topic_end_offsets,
)
from services.recommender.application.ports import DeadLetter

_PREFIX = "cairn-dlt-"
_LARGEST_BYTES = 2 * 1024 * 1024
_READ_TIMEOUT_MS = 1_000


class KafkaDeadLetters:
    """Appends to the dead-letter topic; implements DeadLetters.

    Not an idempotent producer: a letter may stand there twice, under the same topic, partition and offset of origin.
    """

    def __init__(
        self, connection: KafkaConnection, *, origin: str = LEARNER_EVENTS, topic: str = LEARNER_EVENTS_DLT
    ) -> None:
        self._connection = connection
        self._origin = origin
        self._topic = topic
        self._producer: aiokafka.AIOKafkaProducer | None = None

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """Return once every letter is confirmed by all in-sync replicas.

        Raises:
            BrokerUnavailableError: when one is not.
        """
        try:
            producer = await self._started()
            confirmations = [
                await producer.send(self._topic, letter.value, letter.key, headers=self._headers(letter))
                for letter in letters
            ]
            await asyncio.gather(*confirmations)
        except KafkaError as error:
            raise BrokerUnavailableError(
                f"{len(letters)} dead letters could not be written to {self._topic}: {error!r}; nothing was skipped, "
                "the worker must run again"
            ) from error

    async def close(self) -> None:
        """Let the producer go."""
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None

    async def _started(self) -> aiokafka.AIOKafkaProducer:
        if self._producer is None:
            producer = aiokafka.AIOKafkaProducer(
                bootstrap_servers=self._connection.bootstrap_servers, acks="all", max_request_size=_LARGEST_BYTES
            )
            await producer.start()
            self._producer = producer
        return self._producer

    def _headers(self, letter: DeadLetter) -> list[tuple[str, bytes]]:
        return [
            *letter.headers,
            (f"{_PREFIX}code", letter.code.encode()),
            (f"{_PREFIX}reason", letter.reason.encode(errors="replace")),
            (f"{_PREFIX}topic", self._origin.encode()),
            (f"{_PREFIX}partition", b"%d" % letter.partition),
            (f"{_PREFIX}offset", b"%d" % letter.offset),
        ]


@dataclass(frozen=True, slots=True)
class ListedLetter:
    """A dead letter as listed: where it stood, why it is dead, how large it is."""

    partition: int
    offset: int
    code: str
    reason: str
    value_bytes: int


async def read_dead_letters(connection: KafkaConnection, topic: str = LEARNER_EVENTS_DLT) -> list[ListedLetter]:
    """Every dead letter there is now, each origin once, by place of origin.

    Raises:
        BrokerUnavailableError: when the cluster cannot be reached.
        TopicMissingError: when the topic does not exist.
    """
    ends = await topic_end_offsets(connection, topic)
    beginnings = await topic_beginning_offsets(connection, topic)
    left = {partition: end for partition, end in ends.items() if end > beginnings[partition]}
    found: dict[tuple[int, int], ListedLetter] = {}
    if not left:
        return []
    consumer = new_consumer(connection)
    await consumer.start()
    try:
        assigned = [aiokafka.TopicPartition(topic, partition) for partition in left]
        consumer.assign(assigned)
        await consumer.seek_to_beginning(*assigned)
        while left:
            batches = await consumer.getmany(timeout_ms=_READ_TIMEOUT_MS)
            for topic_partition, records in batches.items():
                for record in records:
                    letter = _listed(record)
                    found.setdefault((letter.partition, letter.offset), letter)
                if records and records[-1].offset + 1 >= left.get(topic_partition.partition, 0):
                    left.pop(topic_partition.partition, None)
    finally:
        await consumer.stop()
    return [letter for _, letter in sorted(found.items())]


def _listed(record: aiokafka.ConsumerRecord) -> ListedLetter:
    # Ours stand last, behind whatever the record had.
    headers = {name.removeprefix(_PREFIX): value for name, value in record.headers if name.startswith(_PREFIX)}
    return ListedLetter(
        int(headers.get("partition", b"-1")),
        int(headers.get("offset", b"-1")),
        headers.get("code", b"").decode(errors="replace"),
        headers.get("reason", b"").decode(errors="replace"),
        len(record.value or b""),
    )
