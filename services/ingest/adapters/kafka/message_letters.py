"""Messages that were not taken, in Kafka: as they were, with the reason and the place of origin in headers."""

from __future__ import annotations

import aiokafka
from aiokafka.errors import KafkaError

from services.common.kafka.connection import BrokerUnavailableError, KafkaConnection, aiokafka_options
from services.ingest.application.ports import FieldReason
from services.ingest.application.take_message import Message

_PREFIX = "cairn-dlt-"
# A message that fits its topic fits here with a few headers more.
_LARGEST_BYTES = 2 * 1024 * 1024


class KafkaMessageLetters:
    """Appends to a topic of dead letters; implements MessageLetters. It may hold a letter twice, of the same origin."""

    def __init__(self, connection: KafkaConnection, topic: str) -> None:
        self._connection = connection
        self._topic = topic
        self._producer: aiokafka.AIOKafkaProducer | None = None

    async def write(self, message: Message, problem: FieldReason) -> None:
        """See MessageLetters."""
        headers = [
            *message.headers,
            (f"{_PREFIX}code", problem.field.encode(errors="replace")),
            (f"{_PREFIX}reason", f"{problem.field} {problem.reason}".strip().encode(errors="replace")),
            (f"{_PREFIX}topic", message.topic.encode()),
            (f"{_PREFIX}partition", b"%d" % message.partition),
            (f"{_PREFIX}offset", b"%d" % message.offset),
        ]
        try:
            producer = await self._started()
            await producer.send_and_wait(self._topic, message.value, message.key, headers=headers)
        except KafkaError as error:
            raise BrokerUnavailableError(
                f"a dead letter could not be written to {self._topic}: {error!r}; nothing was skipped; see whether "
                "the brokers are up and in sync, and the topic takes messages of this size"
            ) from error

    async def aclose(self) -> None:
        """Stop the producer."""
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None

    async def _started(self) -> aiokafka.AIOKafkaProducer:
        if self._producer is None:
            producer = aiokafka.AIOKafkaProducer(
                acks="all", max_request_size=_LARGEST_BYTES, **aiokafka_options(self._connection)
            )
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        return self._producer
