"""Dead letters in Kafka: the original key and bytes, with the reason and the place of origin in headers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

import aiokafka
from aiokafka.errors import KafkaError

from services.common.kafka.connection import (
    BrokerUnavailableError,
    KafkaConnection,
    aiokafka_options,
    read_span,
    topic_end_offsets,
    topic_span,
)
from services.common.kafka.dead_letters import LARGEST_BYTES, Letter, LetterProducer
from services.common.kafka.envelope import LEARNER_EVENTS, LEARNER_EVENTS_DLT, Position
from services.common.kafka.partitioner import partition_of
from services.recommender.application.operations.dead_letter_counts import DeadLetterCounts
from services.recommender.application.operations.dead_letters import FiledLetter
from services.recommender.application.ports.log import DeadLetter
from services.recommender.wire.dead_letters import headers_of_letter, note_headers, read_letter


class KafkaDeadLetters:
    """Appends to the dead-letter topic; implements DeadLetters. It may hold a letter twice, of the same origin."""

    def __init__(
        self, connection: KafkaConnection, *, origin: str = LEARNER_EVENTS, topic: str = LEARNER_EVENTS_DLT
    ) -> None:
        self._origin = origin
        self._producer = LetterProducer(connection, topic)

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """See DeadLetters."""
        await self._producer.write(
            [Letter(letter.key, letter.value, headers_of_letter(letter, self._origin)) for letter in letters]
        )

    async def close(self) -> None:
        """Stop the producer."""
        await self._producer.aclose()


class KafkaLetterFile:
    """Reads the dead-letter topic and writes into the log again; implements LetterFile and DeadLetterCounter."""

    def __init__(
        self,
        connection: KafkaConnection,
        *,
        origin: str = LEARNER_EVENTS,
        topic: str = LEARNER_EVENTS_DLT,
        stalled_s: float = 30.0,
    ) -> None:
        """Prepare; every call connects.

        Args:
            connection: the cluster.
            origin: the log.
            topic: the topic of its dead letters.
            stalled_s: how long Kafka may send nothing before a read fails.
        """
        self._connection = connection
        self._origin = origin
        self._topic = topic
        self._stalled_s = stalled_s

    async def letters(self) -> list[FiledLetter]:
        """Every letter there is now, each origin once, ordered by origin.

        Raises:
            BrokerUnavailableError: when the cluster cannot be reached, or stops answering.
            TopicMissingError: when the topic does not exist.
        """
        letters: dict[tuple[Position, str], FiledLetter] = {}
        replayed: dict[tuple[Position, str], Position] = {}
        async with aclosing(self._records()) as records:
            async for record in records:
                filed = read_letter(record.key, record.value, record.headers)
                origin = (filed.origin, filed.topic)
                if filed.replayed_to is None:
                    letters.setdefault(origin, filed)
                else:
                    replayed[origin] = filed.replayed_to
        return [replace(letters[origin], replayed_to=replayed.get(origin)) for origin in sorted(letters)]

    async def count(self) -> DeadLetterCounts:
        """The letters there are now, counted.

        Raises:
            BrokerUnavailableError: when the cluster cannot be reached, or stops answering.
            TopicMissingError: when the topic does not exist.
        """
        counts = DeadLetterCounts()
        async with aclosing(self._records()) as records:
            async for record in records:
                filed = read_letter(record.key, None, record.headers)
                counts.add(Position(record.partition, record.offset), filed, record.timestamp / 1_000)
        return counts

    async def _records(self) -> AsyncGenerator[aiokafka.ConsumerRecord, None]:
        span = await topic_span(self._connection, self._topic)
        parts = read_span(self._connection, self._topic, span, stalled_s=self._stalled_s)
        async with aclosing(parts):
            async for part in parts:
                for record in part.records:
                    yield record

    async def append_to_log(self, letter: DeadLetter) -> Position:
        """Write the record into the log again, on the partition of its key, and return its position."""
        partitions = await topic_end_offsets(self._connection, self._origin)
        origin = ("cairn-replayed-from", b"%d/%d" % (letter.partition, letter.offset))
        return await self._append(
            self._origin,
            letter.key,
            letter.value,
            [*letter.headers, origin],
            partition_of(letter.key or b"", len(partitions)),
        )

    async def note_replayed(self, letter: DeadLetter, position: Position) -> None:
        """Note on the dead-letter topic where the record is in the log now."""
        await self._append(self._topic, letter.key, None, note_headers(letter, self._origin, position), None)

    async def _append(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
        partition: int | None,
    ) -> Position:
        producer = aiokafka.AIOKafkaProducer(
            acks="all", max_request_size=LARGEST_BYTES, **aiokafka_options(self._connection)
        )
        try:
            await producer.start()
            written = await producer.send_and_wait(topic, value, key, partition=partition, headers=list(headers))
        except KafkaError as error:
            raise BrokerUnavailableError(f"Kafka did not confirm a record for {topic}: {error!r}") from error
        finally:
            await producer.stop()
        return Position(written.partition, written.offset)
