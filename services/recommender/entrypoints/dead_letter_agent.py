"""The dead-letter agent: a separate Faust app whose agent counts the dead-letter topic for Prometheus.

Its consumer group commits nothing: after every start and every rebalance it reads its partitions from the beginning, so
the counts of all workers add up to the whole topic. The app shares nothing with the fold: if it crashes, only its
counts are missing until it runs again; see `DeadLetterWatch`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Any, Protocol

import faust
import faust.app.base
from faust.auth import Credentials, OAuthCredentials, SASLCredentials, SSLCredentials
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import StreamT
from mode.supervisors import CrashingSupervisor
from mode.threads import WorkerThread

from services.common.kafka.connection import (
    IDLE_CONNECTION_MS,
    JOIN_MARGIN_MS,
    REQUEST_TIMEOUT_MS,
    KafkaConnection,
    topic_end_offsets,
)
from services.common.kafka.envelope import LEARNER_EVENTS_DLT, Position
from services.common.kafka.security import AsyncTokens
from services.recommender.application.operations.dead_letters import FiledLetter
from services.recommender.wire.dead_letters import read_letter

_log = logging.getLogger(__name__)

_GROUP = "cairn-dead-letters"
# Letters are up to 2 MB each, and their latency does not matter.
_BUFFERED_LETTERS = 64
# There is nothing to commit; Faust's commit timers would only wake the process.
_COMMIT_EVERY_S = 86_400.0
_STOP_TIMEOUT_S = 3.0


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
    await _finished(asyncio.ensure_future(topic_end_offsets(connection, topic)))
    app = DeadLetterApp(
        connection, counter, topic=topic, session_timeout_ms=session_timeout_ms, before_count=before_count
    )
    starting = asyncio.ensure_future(app.start())
    try:
        await asyncio.shield(starting)
        await app.wait_until_stopped()
    finally:
        await asyncio.wait_for(app.stop(), _STOP_TIMEOUT_S)
        await asyncio.wait([starting], timeout=_STOP_TIMEOUT_S)
    if app.crash_reason is not None:
        raise app.crash_reason


async def _finished(connecting: asyncio.Future[Any]) -> None:
    """Wait until it finishes, even when cancelled: an incomplete start would leave connections and threads behind."""
    try:
        await asyncio.shield(connecting)
    finally:
        await asyncio.wait([connecting], timeout=_STOP_TIMEOUT_S)


class _ReadOnly(faust.app.base.BootStrategy):
    """Starts a consumer and agents; no producer and no web server."""

    enable_kafka_producer = False
    enable_web = False


class DeadLetterApp(faust.App):
    """The Faust app: one topic, one agent, no tables."""

    BootStrategy = _ReadOnly

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
        session_timeout_s = session_timeout_ms / 1_000
        super().__init__(
            _GROUP,
            broker=[f"kafka://{server}" for server in connection.bootstrap_servers.split(",")],
            broker_credentials=credentials(connection),
            broker_session_timeout=session_timeout_s,
            broker_heartbeat_interval=session_timeout_s / 3,
            broker_request_timeout=max(REQUEST_TIMEOUT_MS, session_timeout_ms + JOIN_MARGIN_MS) / 1_000,
            broker_commit_interval=_COMMIT_EVERY_S,
            consumer_connections_max_idle_ms=IDLE_CONNECTION_MS,
            consumer_auto_offset_reset="earliest",
            stream_buffer_maxsize=_BUFFERED_LETTERS,
            stream_wait_empty=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
            store="memory://",
            # The default supervisor skips a record whose handling failed, which would go unnoticed.
            agent_supervisor=CrashingSupervisor,
        )
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

    async def on_first_start(self) -> None:
        """Create no folders. Faust would, for tables; there are none, and the disk may be read-only."""

    def _new_transport(self) -> Transport:
        return _DaemonTransport(self.conf.broker_consumer, self)


def credentials(connection: KafkaConnection) -> Credentials | None:
    """The options of the other clients, as Faust takes them; None: plain text, and nobody logs in."""
    options = connection.security.options(AsyncTokens)
    context = options.get("ssl_context")
    if provider := options.get("sasl_oauth_token_provider"):
        return OAuthCredentials(oauth_cb=provider, ssl_context=context)
    if mechanism := options.get("sasl_mechanism"):
        username, password = options["sasl_plain_username"], options["sasl_plain_password"]
        return SASLCredentials(username=username, password=password, mechanism=mechanism, ssl_context=context)
    return None if context is None else SSLCredentials(context)


class _DaemonThread(WorkerThread):
    """Faust's consumer thread. A worker does not wait for it on exit."""

    def __init__(self, service: Any, **options: Any) -> None:
        super().__init__(service, **options)
        self.daemon = True

    def run(self) -> None:
        """Serve until stopped."""
        try:
            super().run()
        except Exception:  # noqa: BLE001 - logged by `on_crash`, unless the app was abandoned and its loop closed.
            _log.debug("the consumer thread failed", exc_info=True)


class _DaemonConsumerThread(AIOKafkaConsumerThread):
    Worker = _DaemonThread

    def on_crash(self, msg: str, *fmt: Any, **_: Any) -> None:
        """Log the failure. Faust would print it in between the lines of JSON."""
        _log.error(msg.format(*fmt), exc_info=True)


class _DaemonConsumer(Consumer):
    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _DaemonConsumerThread(self, loop=self.loop, beacon=self.beacon)


class _DaemonTransport(Transport):
    Consumer = _DaemonConsumer
