"""Dead letters in Kafka: the original key and bytes, with the reason and the place of origin in headers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import aiokafka
from aiokafka.errors import KafkaError

from services.common.kafka.connection import (
    BrokerUnavailableError,
    KafkaConnection,
    read_span,
    topic_end_offsets,
    topic_span,
)
from services.common.kafka.envelope import LEARNER_EVENTS, LEARNER_EVENTS_DLT, Position
from services.common.kafka.partitioner import partition_of
from services.recommender.application.operations.dead_letters import FiledLetter
from services.recommender.application.ports.log import DeadLetter

_PREFIX = "cairn-dlt-"
_REPLAYED_TO = f"{_PREFIX}replayed-to"
_LARGEST_BYTES = 2 * 1024 * 1024


class KafkaDeadLetters:
    """Appends to the dead-letter topic; implements DeadLetters.

    Not an idempotent producer: a letter may be there twice, with the same topic, partition and offset of origin.
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
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
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


class KafkaLetterFile:
    """Reads the dead-letter topic and writes records into the log again; implements LetterFile.

    That a letter was replayed is a record of its own: no value, the letter's place of origin, and where it went.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        *,
        origin: str = LEARNER_EVENTS,
        topic: str = LEARNER_EVENTS_DLT,
        stalled_s: float = 30.0,
    ) -> None:
        """Args: the cluster, the log, the topic of its dead letters, and how long Kafka may send nothing of it."""
        self._connection = connection
        self._origin = origin
        self._topic = topic
        self._stalled_s = stalled_s

    async def letters(self) -> list[FiledLetter]:
        """Every letter there is now, each place of origin once, in the order of the places.

        Raises:
            BrokerUnavailableError: when the cluster cannot be reached, or stops answering.
            TopicMissingError: when the topic does not exist.
        """
        letters: dict[Position, DeadLetter] = {}
        replayed: dict[Position, Position] = {}
        span = await topic_span(self._connection, self._topic)
        parts = read_span(self._connection, self._topic, span, stalled_s=self._stalled_s)
        async with aclosing(parts):
            async for part in parts:
                for letter, position in map(_read, part.records):
                    place = Position(letter.partition, letter.offset)
                    if position is None:
                        letters.setdefault(place, letter)
                    else:
                        replayed[place] = position
        return [FiledLetter(letter, replayed.get(place)) for place, letter in sorted(letters.items())]

    async def append_to_log(self, letter: DeadLetter) -> Position:
        """Write the record to the log again, on the partition of its key, and return where it is."""
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
        """Note where it was written to the log again."""
        headers = [
            (f"{_PREFIX}topic", self._origin.encode()),
            (f"{_PREFIX}partition", b"%d" % letter.partition),
            (f"{_PREFIX}offset", b"%d" % letter.offset),
            (_REPLAYED_TO, b"%d/%d" % (position.partition, position.offset)),
        ]
        await self._append(self._topic, letter.key, None, headers, None)

    async def _append(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
        partition: int | None,
    ) -> Position:
        producer = aiokafka.AIOKafkaProducer(
            bootstrap_servers=self._connection.bootstrap_servers, acks="all", max_request_size=_LARGEST_BYTES
        )
        try:
            await producer.start()
            written = await producer.send_and_wait(topic, value, key, partition=partition, headers=list(headers))
        except KafkaError as error:
            raise BrokerUnavailableError(f"Kafka did not confirm a record for {topic}: {error!r}") from error
        finally:
            await producer.stop()
        return Position(written.partition, written.offset)


def _read(record: aiokafka.ConsumerRecord) -> tuple[DeadLetter, Position | None]:
    """The letter, and where it went if the record is the note that it was replayed."""
    # Ours come last, after the record's own.
    ours = {name.removeprefix(_PREFIX): value for name, value in record.headers if name.startswith(_PREFIX)}
    letter = DeadLetter(
        partition=int(ours.get("partition", b"-1")),
        offset=int(ours.get("offset", b"-1")),
        key=record.key,
        value=record.value,
        headers=tuple((name, value) for name, value in record.headers if not name.startswith(_PREFIX)),
        code=ours.get("code", b"").decode(errors="replace"),
        reason=ours.get("reason", b"").decode(errors="replace"),
    )
    replayed_to = ours.get(_REPLAYED_TO.removeprefix(_PREFIX))
    if replayed_to is None:
        return letter, None
    partition, _, offset = replayed_to.decode().partition("/")
    return letter, Position(int(partition), int(offset))
