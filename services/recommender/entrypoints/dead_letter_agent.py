"""The dead-letter agent: a separate Faust app whose agent counts the dead-letter topic for Prometheus.

Its consumer group commits nothing: after every start and every rebalance it reads its partitions from the beginning, so
the counts of all workers add up to the whole topic. The app shares nothing with the fold: if it crashes, only its
counts are missing until it runs again; see `DeadLetterWatch`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Protocol

from faust.types import StreamT

from services.common.kafka.connection import KafkaConnection, topic_end_offsets
from services.common.kafka.envelope import LEARNER_EVENTS_DLT, Position
from services.common.kafka.faust_app import ABANDON_AFTER_S, ReadingApp, finished, run_app
from services.recommender.application.operations.dead_letters import FiledLetter
from services.recommender.wire.dead_letters import read_letter

_GROUP = "cairn-dead-letters"
# There is nothing to commit; Faust's commit timers would only wake the process.
_COMMIT_EVERY_S = 86_400.0


class LetterCounter(Protocol):
    """Counts the records of the dead-letter topic."""

    def assigned(self, partitions: Collection[int]) -> None:
        """Start counting the assigned partitions; other workers count the rest."""
        ...

    def add(self, place: Position, filed: FiledLetter, written_at_s: float) -> None:
        """Count one record."""
        ...


async def run_dead_letter_agent(
    connection: KafkaConnection,
    counter: LetterCounter,
    *,
    topic: str = LEARNER_EVENTS_DLT,
    session_timeout_ms: int = 6_000,
    before_count: Callable[[], None] | None = None,
) -> None:
    """Count dead letters until cancelled.

    Args:
        connection: the cluster.
        counter: counts the records.
        topic: the dead-letter topic.
        session_timeout_ms: how long the group waits for a silent member.
        before_count: called before each record is counted.

    Raises:
        BrokerUnavailableError: when the cluster cannot be reached.
        TopicMissingError: when the topic does not exist.
        Exception: the error that crashed the agent or Faust.
    """
    # Subscribing to a topic that does not exist would create it on some brokers.
    await finished(asyncio.ensure_future(topic_end_offsets(connection, topic)))
    app = DeadLetterApp(
        connection, counter, topic=topic, session_timeout_ms=session_timeout_ms, before_count=before_count
    )
    # It commits nothing, so nothing is lost when its end is cut short.
    await run_app(app, stop_timeout_s=ABANDON_AFTER_S)


class DeadLetterApp(ReadingApp):
    """The Faust app: one topic, one agent, no tables."""

    def __init__(
        self,
        connection: KafkaConnection,
        counter: LetterCounter,
        *,
        topic: str,
        session_timeout_ms: int,
        before_count: Callable[[], None] | None,
    ) -> None:
        """Create the app; starting it connects. See `run_dead_letter_agent` for the arguments."""
        super().__init__(_GROUP, connection, session_timeout_ms=session_timeout_ms, commit_every_s=_COMMIT_EVERY_S)
        self._counter = counter
        self._before_count = before_count
        # Without acknowledgements Faust commits nothing, so the group starts from the beginning every time.
        letters = self.topic(topic, key_serializer="raw", value_serializer="raw", acks=False)
        self.count = self.agent(letters, name="count-dead-letters")(self._count)

    async def _count(self, stream: StreamT[bytes]) -> None:
        async for event in stream.events():
            message = event.message
            if self._before_count is not None:
                self._before_count()
            filed = read_letter(message.key, None, message.headers)
            self._counter.add(Position(message.partition, message.offset), filed, message.timestamp)

    def on_rebalance_end(self) -> None:
        """Keep only the counts of the partitions that this process still holds."""
        super().on_rebalance_end()
        self._counter.assigned([partition.partition for partition in self.consumer.assignment()])
