"""Dead letters: records as they were, with headers that say why and where from, and the producer that writes them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import aiokafka
from aiokafka.errors import KafkaError

from services.common.kafka.connection import BrokerUnavailableError, KafkaConnection, aiokafka_options

PREFIX = "cairn-dlt-"
# A record that fits its own topic fits here with a few headers more.
LARGEST_BYTES = 2 * 1024 * 1024

Headers = Sequence[tuple[str, bytes]]


class Origin(NamedTuple):
    """Where a record was."""

    topic: str
    partition: int
    offset: int


class Letter(NamedTuple):
    """A dead letter as it is written."""

    key: bytes | None
    value: bytes | None
    headers: Headers


def letter_headers(headers: Headers, code: str, reason: str, origin: Origin) -> list[tuple[str, bytes]]:
    """The headers of a dead letter: those that the record had, then why it is one, and where it was."""
    return [
        *headers,
        (f"{PREFIX}code", code.encode(errors="replace")),
        (f"{PREFIX}reason", reason.encode(errors="replace")),
        *origin_headers(origin),
    ]


def origin_headers(origin: Origin) -> list[tuple[str, bytes]]:
    """The headers that say where a record was."""
    return [
        (f"{PREFIX}topic", origin.topic.encode()),
        (f"{PREFIX}partition", b"%d" % origin.partition),
        (f"{PREFIX}offset", b"%d" % origin.offset),
    ]


class LetterProducer:
    """Appends to a topic of dead letters. It connects on the first write.

    It is not idempotent: the topic may hold a letter twice, with the same origin.
    """

    def __init__(self, connection: KafkaConnection, topic: str) -> None:
        self._connection = connection
        self._topic = topic
        self._producer: aiokafka.AIOKafkaProducer | None = None

    async def write(self, letters: Sequence[Letter]) -> None:
        """Return once every letter is confirmed by all in-sync replicas.

        Raises:
            BrokerUnavailableError: when one is not.
        """
        try:
            producer = await self._started()
            confirmations = [
                await producer.send(self._topic, letter.value, letter.key, headers=list(letter.headers))
                for letter in letters
            ]
            await asyncio.gather(*confirmations)
        except KafkaError as error:
            raise BrokerUnavailableError(
                f"{len(letters)} dead letters could not be written to {self._topic}: {error!r}; nothing was skipped; "
                "see whether the brokers are up and in sync, and the topic takes records of this size"
            ) from error

    async def aclose(self) -> None:
        """Stop the producer."""
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None

    async def _started(self) -> aiokafka.AIOKafkaProducer:
        if self._producer is None:
            producer = aiokafka.AIOKafkaProducer(
                acks="all", max_request_size=LARGEST_BYTES, **aiokafka_options(self._connection)
            )
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        return self._producer
