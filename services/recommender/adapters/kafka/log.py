"""The log of learner events: its identity and its end."""

from __future__ import annotations

from collections.abc import Mapping

from services.common.kafka.connection import KafkaConnection, log_identity, topic_end_offsets
from services.common.kafka.envelope import LEARNER_EVENTS


class KafkaLog:
    """Asks Kafka; implements LogReader."""

    def __init__(self, connection: KafkaConnection, topic: str = LEARNER_EVENTS) -> None:
        self._connection = connection
        self._topic = topic

    async def identity(self) -> str:
        """The identity of the log, as LogIdentity text."""
        return str(await log_identity(self._connection, self._topic))

    async def end_offsets(self) -> Mapping[int, int]:
        """One past the last record, by partition."""
        return await topic_end_offsets(self._connection, self._topic)
