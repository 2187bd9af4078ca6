"""Messages that were not taken, in Kafka: as they were, with the reason and the place of origin in headers."""

from __future__ import annotations

from services.common.kafka.connection import KafkaConnection
from services.common.kafka.dead_letters import Letter, LetterProducer, Origin, letter_headers
from services.ingest.application.ports import FieldReason
from services.ingest.application.take_message import Message


class KafkaMessageLetters:
    """Appends to a topic of dead letters; implements MessageLetters. It may hold a letter twice, of the same origin."""

    def __init__(self, connection: KafkaConnection, topic: str) -> None:
        self._producer = LetterProducer(connection, topic)

    async def write(self, message: Message, problem: FieldReason) -> None:
        """See MessageLetters."""
        reason = f"{problem.field} {problem.reason}".strip()
        origin = Origin(message.topic, message.partition, message.offset)
        headers = letter_headers(message.headers, problem.field, reason, origin)
        await self._producer.write([Letter(message.key, message.value, headers)])

    async def aclose(self) -> None:
        """Stop the producer."""
        await self._producer.aclose()
