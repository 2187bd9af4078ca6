"""The message agent: a Faust app whose agent takes one message of foreign topics after the other.

A message is acknowledged once its events, or its dead letter, are confirmed. Faust commits what was acknowledged, so a
message may be taken twice, and none is skipped: a failure ends the app, and the next start begins at that message.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

import structlog
from faust.streams import Stream
from faust.types import StreamT
from prometheus_client import Counter

from services.common.kafka.connection import KafkaConnection, TopicMissingError, topic_end_offsets
from services.common.kafka.faust_app import ReadingApp
from services.ingest.application.take_message import Message, MessageOutcome

_log = structlog.get_logger(__name__)

_COMMIT_EVERY_S = 1.0

_MESSAGES = Counter(
    "cairn_openedx_messages", "Messages of Open edX's event bus: taken, left_out or dead_letter.", ["outcome"]
)
_EVENTS = Counter("cairn_openedx_events", "Events of these messages that ingest took.")


async def check_topics(connection: KafkaConnection, topics: Sequence[str]) -> None:
    """Check that topics exist: reading one that does not would create it on some brokers.

    Raises:
        BrokerUnavailableError: when the cluster cannot be reached.
        TopicMissingError: when a topic does not exist.
    """
    for topic in topics:
        try:
            await topic_end_offsets(connection, topic)
        except TopicMissingError as error:
            raise TopicMissingError(
                f"the topic {topic} does not exist at {connection.bootstrap_servers}, or may not be seen: create it "
                "there, or name another in CAIRN_OPENEDX_TOPICS or CAIRN_OPENEDX_DEAD_LETTERS"
            ) from error


class MessageApp(ReadingApp):
    """The Faust app: topics, one agent, no tables."""

    def __init__(
        self,
        connection: KafkaConnection,
        take: Callable[[Message], Awaitable[MessageOutcome]],
        *,
        topics: Sequence[str],
        group: str,
        assigned: Callable[[], None],
        session_timeout_ms: int = 10_000,
    ) -> None:
        """Create the app; starting it connects.

        Args:
            connection: the cluster.
            take: takes a message.
            topics: to read.
            group: the consumer group, which keeps how far they were read.
            assigned: called once it has joined the group.
            session_timeout_ms: how long the group waits for a silent member.
        """
        super().__init__(group, connection, session_timeout_ms=session_timeout_ms, commit_every_s=_COMMIT_EVERY_S)
        self._take = take
        self._assigned = assigned
        messages = self.topic(*topics, key_serializer="raw", value_serializer="raw")
        self.messages = self.agent(messages, name="take-messages")(self._read)

    def on_rebalance_end(self) -> None:
        """Tell that messages are read from now on."""
        super().on_rebalance_end()
        self._assigned()

    async def _read(self, stream: StreamT[bytes]) -> None:
        # Faust acknowledges by itself also what failed.
        async for event in cast("Stream[bytes]", stream).noack().events():
            message = event.message
            _observe(
                await self._take(
                    Message(
                        message.topic,
                        message.partition,
                        message.offset,
                        message.key,
                        message.value,
                        tuple(_pairs(message.headers)),
                    )
                ),
                message,
            )
            event.ack()


def _pairs(headers: Any) -> Sequence[tuple[str, bytes]]:
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    return [(name, content or b"") for name, content in pairs]


def _observe(outcome: MessageOutcome, message: Any) -> None:
    kept = "dead_letter" if outcome.problems else "taken" if outcome.events else "left_out"
    _MESSAGES.labels(kept).inc()
    _EVENTS.inc(outcome.events)
    if outcome.problems:
        first = outcome.problems[0]
        _log.warning(
            "a message is among the dead letters",
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            field=first.field,
        )
