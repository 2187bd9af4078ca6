"""The log of learner events on Kafka, written by kafka-python's idempotent producer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import structlog
from kafka.errors import KafkaError

from services.common.daemon_threads import in_daemon_thread
from services.common.encryption.data_keys import DataKey
from services.common.kafka.connection import BrokerUnavailableError, KafkaConnection, TopicMissingError, log_identity
from services.common.kafka.envelope import LEARNER_EVENTS, LogIdentity, Position, record_key
from services.common.telemetry.traces import NO_TRACES, Traces
from services.ingest.adapters.kafka.learner_keys import KafkaLearnerKeys
from services.ingest.adapters.kafka.writer import (
    BOOTSTRAP_TIMEOUT_MS,
    BatchConfirmation,
    KafkaWriter,
    PendingAppend,
    new_producer,
)
from services.ingest.application.ports import Confirmation, LogOverloadedError, LogUnavailableError
from services.ingest.domain.submission import AcceptedEvent

_log = structlog.get_logger(__name__)


class LogRecreatedError(RuntimeError):
    """The topic was recreated or got partitions since this process started, so what it knows about it is wrong."""


@dataclass(frozen=True, slots=True)
class KafkaLogOptions:
    """Bounds of the log's writer.

    Attributes:
        topic: the topic of learner events.
        events_in_flight_max: events that may await confirmation; bounds the producer's memory.
        delivery_timeout_s: how long an event may wait for its confirmation.
        reconnect_s: pause between attempts to reach the broker.
        identity_check_s: how often to check that a reachable log is still the same one.
    """

    topic: str = LEARNER_EVENTS
    events_in_flight_max: int = 20_000
    delivery_timeout_s: float = 10.0
    reconnect_s: float = 0.5
    identity_check_s: float = 5.0


class KafkaEventLog:
    """Appends events through one producer at a time, which `run` creates, watches and replaces.

    After a failed delivery the producer's state is unknown: kafka-python either resets its producer id, or bumps its
    epoch, or stops permanently, and records sent meanwhile may be lost or refused as out of order. So any doubt (a
    failure, a missing confirmation, an offset that went backwards) ends the producer, fails everything in flight and
    creates another one. A caller that sends its events again writes duplicates at worst, which are folded once.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        options: KafkaLogOptions | None = None,
        traces: Traces = NO_TRACES,
        keys: KafkaLearnerKeys | None = None,
    ) -> None:
        """Args: the cluster, the bounds, traces, and the keys to encrypt values with (None: no value is encrypted)."""
        self._connection = connection
        self._keys = keys
        self._options = options or KafkaLogOptions()
        self._traces = traces
        self._writer: KafkaWriter | None = None
        self._identity: LogIdentity | None = None
        self._absence = "no connection has succeeded yet"
        self._in_flight = 0
        self._settled = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether events can be appended now."""
        return self._writer is not None

    @property
    def in_flight(self) -> int:
        """Events that await confirmation."""
        return self._in_flight

    @property
    def identity(self) -> LogIdentity:
        """See EventLog."""
        if self._identity is None:
            raise LogUnavailableError(self._absent())
        return self._identity

    async def append(self, events: Sequence[AcceptedEvent]) -> list[Position]:
        """See EventLog."""
        return await (await self.submit(events))

    async def submit(self, events: Sequence[AcceptedEvent], *, wait_for_room: bool = False) -> Confirmation:
        """See EventLog."""
        # Get the keys before checking for room: events that wait for a key take none.
        record_keys = [record_key(event.tenant, event.learner) for event in events]
        data_keys: Sequence[DataKey | None] = [None] * len(events)
        if self._keys is not None:
            data_keys = await self._keys.keys_of(events, record_keys)
        writer = self._require_writer()
        while not self._has_room(len(events)):
            if not wait_for_room or len(events) > self._options.events_in_flight_max:
                raise LogOverloadedError(
                    f"{self._in_flight} events await the log's confirmation, which leaves no room for {len(events)} "
                    f"more (at most {self._options.events_in_flight_max}); send them again later"
                )
            self._settled.clear()
            await self._settled.wait()
            writer = self._require_writer()
        batch = PendingAppend(len(events), asyncio.get_running_loop(), self._traces.current_traceparent())
        self._in_flight += len(events)
        batch.done.add_done_callback(lambda _: self._settle(len(events)))
        writer.submit(events, record_keys, data_keys, batch)
        check = partial(self._check_keys, record_keys, data_keys)
        return BatchConfirmation(writer, batch, self._options.delivery_timeout_s, check)

    async def _check_keys(self, record_keys: Sequence[bytes], data_keys: Sequence[DataKey | None]) -> None:
        """Raise LogUnavailableError when a key was destroyed or lost before its events were confirmed."""
        if self._keys is None or not any(data_keys):
            return
        await self._keys.confirm()
        if not self._keys.are_active(record_keys, data_keys):
            raise LogUnavailableError("a learner of these events was erased while they were written")

    async def run(self) -> None:
        """Keep a producer running until cancelled.

        Raises:
            TopicMissingError: when the topic does not exist at the start.
            LogRecreatedError: when it is no longer the same topic.
        """
        try:
            while True:
                writer = await self._connect()
                if writer is None:
                    await asyncio.sleep(self._options.reconnect_s)
                    continue
                self._writer = writer
                _log.info("log reached", identity=str(self._identity))
                try:
                    await self._watch(writer)
                finally:
                    self._writer = None
                    await asyncio.to_thread(writer.discard)
        finally:
            self._absence = "this process is stopping"

    async def _connect(self) -> KafkaWriter | None:
        try:
            identity = await self._confirm_identity()
            producer = await in_daemon_thread(new_producer, self._connection, self._options.delivery_timeout_s)
        except (BrokerUnavailableError, KafkaError) as error:
            self._report_absent(str(error))
            return None
        except TopicMissingError as error:
            # Later, a broker that has just started may not know its topics yet.
            if self._identity is None:
                raise
            self._report_absent(str(error))
            return None
        self._identity = identity
        return KafkaWriter(producer, self._options.topic, identity.partitions, asyncio.get_running_loop())

    async def _watch(self, writer: KafkaWriter) -> None:
        """Return once the producer is in doubt."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._options.identity_check_s):
                    self._report_absent(await asyncio.shield(writer.in_doubt))
                    return
            try:
                await self._confirm_identity()
            except (BrokerUnavailableError, TopicMissingError) as error:
                self._report_absent(str(error))
                return

    async def _confirm_identity(self) -> LogIdentity:
        identity = await log_identity(self._connection, self._options.topic, bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS)
        if self._identity is not None and identity != self._identity:
            raise LogRecreatedError(_other_log(self._options.topic, self._identity, identity))
        return identity

    def _has_room(self, events: int) -> bool:
        return self._in_flight + events <= self._options.events_in_flight_max

    def _settle(self, events: int) -> None:
        self._in_flight -= events
        self._settled.set()

    def _require_writer(self) -> KafkaWriter:
        if self._writer is None:
            raise LogUnavailableError(self._absent())
        return self._writer

    def _absent(self) -> str:
        return f"the log cannot be reached: {self._absence}"

    def _report_absent(self, reason: str) -> None:
        if self._absence != reason:
            _log.warning("log not reached", reason=reason)
        self._absence = reason


def _other_log(topic: str, before: LogIdentity, now: LogIdentity) -> str:
    """What happened to the log, and the remedy."""
    what = f"was recreated (it was {before}, it is {now}): "
    if before.topic_id == now.topic_id:
        what = (
            f"had {before.partitions} partitions and has {now.partitions}, so learners' records are on other "
            "partitions than before: stop the workers, and move them with cairn topics repartition; then "
        )
    return (
        f"the topic {topic} {what}fold it into a new epoch with cairn replay, switch to that with cairn epoch switch, "
        "then start this service again"
    )
