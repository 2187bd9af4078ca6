"""The parts of a Faust app that every app of Cairn shares: how it reaches Kafka, starts, stops and fails.

Only processes whose extra has Faust import it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import faust
import faust.app.base
from faust.auth import Credentials, OAuthCredentials, SASLCredentials, SSLCredentials
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from mode.supervisors import CrashingSupervisor
from mode.threads import WorkerThread

from services.common.kafka.connection import IDLE_CONNECTION_MS, JOIN_MARGIN_MS, REQUEST_TIMEOUT_MS, KafkaConnection
from services.common.kafka.security import AsyncTokens

_log = logging.getLogger(__name__)

_BUFFERED_RECORDS = 64
_STOP_TIMEOUT_S = 3.0
# For what nobody needs any more: a client retries for as long as its broker is away.
ABANDON_AFTER_S = 1.0


class _ReadOnly(faust.app.base.BootStrategy):
    """Starts a consumer and agents; no producer and no web server."""

    enable_kafka_producer = False
    enable_web = False


class ReadingApp(faust.App):
    """A Faust app that reads: agents, no tables, no producer and no web server. A failure of an agent ends it."""

    BootStrategy = _ReadOnly

    def __init__(
        self, group: str, connection: KafkaConnection, *, session_timeout_ms: int, commit_every_s: float
    ) -> None:
        """Create the app; starting it connects.

        Args:
            group: its consumer group.
            connection: the cluster.
            session_timeout_ms: how long the group waits for a silent member.
            commit_every_s: how often what was acknowledged is committed.
        """
        session_timeout_s = session_timeout_ms / 1_000
        super().__init__(
            group,
            broker=[f"kafka://{server}" for server in connection.bootstrap_servers.split(",")],
            broker_credentials=credentials(connection),
            broker_session_timeout=session_timeout_s,
            broker_heartbeat_interval=session_timeout_s / 3,
            broker_request_timeout=max(REQUEST_TIMEOUT_MS, session_timeout_ms + JOIN_MARGIN_MS) / 1_000,
            broker_commit_interval=commit_every_s,
            consumer_connections_max_idle_ms=IDLE_CONNECTION_MS,
            consumer_auto_offset_reset="earliest",
            stream_buffer_maxsize=_BUFFERED_RECORDS,
            stream_wait_empty=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
            store="memory://",
            # The default supervisor skips a record whose handling failed, which would go unnoticed.
            agent_supervisor=CrashingSupervisor,
        )

    async def on_first_start(self) -> None:
        """Create no folders. Faust would, for tables; there are none, and the disk may be read-only."""

    def _new_transport(self) -> Transport:
        return _DaemonTransport(self.conf.broker_consumer, self)


async def run_app(app: ReadingApp, *, stop_timeout_s: float = _STOP_TIMEOUT_S) -> None:
    """Run an app until cancelled.

    Args:
        app: what to run.
        stop_timeout_s: how long its end may take; while the broker is away, it takes this long.

    Raises:
        Exception: the error that crashed an agent or Faust.
    """
    starting = asyncio.ensure_future(app.start())
    try:
        await asyncio.shield(starting)
        await app.wait_until_stopped()
    finally:
        await asyncio.wait_for(app.stop(), stop_timeout_s)
        await asyncio.wait([starting], timeout=stop_timeout_s)
    if app.crash_reason is not None:
        raise app.crash_reason


async def finished(connecting: asyncio.Future[Any]) -> None:
    """Wait until it finishes. When cancelled, give it a second: an incomplete start would leave connections behind."""
    try:
        await asyncio.shield(connecting)
    finally:
        await asyncio.wait([connecting], timeout=ABANDON_AFTER_S)
        connecting.cancel()


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
        # Logged by `on_crash`, unless the app was abandoned: its tasks are cancelled then, and its loop is closed.
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - nobody is left who could handle it.
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
