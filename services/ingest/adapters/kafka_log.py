"""The log of learner events on Kafka, written by kafka-python's idempotent producer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import structlog
from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError

from services.common.encryption.data_keys import DataKey
from services.common.kafka.connection import BrokerUnavailableError, KafkaConnection, TopicMissingError, log_identity
from services.common.kafka.envelope import LEARNER_EVENTS, LogIdentity, Position, cloud_event_headers, record_key
from services.common.kafka.partitioner import partition_of
from services.common.telemetry.traces import NO_TRACES, Traces
from services.ingest.adapters.kafka_learner_keys import KafkaLearnerKeys
from services.ingest.application.ports import Confirmation, LogOverloadedError, LogUnavailableError
from services.ingest.domain.submission import AcceptedEvent, Instant
from services.ingest.wire.records import event_type_of, learner_event_value

_log = structlog.get_logger(__name__)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BATCH_BYTES = 256 * 1024
_LINGER_MS = 3
# One attempt of many; short, because the process cannot end while it goes on.
_BOOTSTRAP_TIMEOUT_MS = 2_000
_DISCARD_S = 1.0


class LogRecreatedError(RuntimeError):
    """The topic is not the one this process started with, so nothing it knows of it holds."""


@dataclass(frozen=True, slots=True)
class KafkaLogOptions:
    """Bounds of the log's writer.

    Attributes:
        topic: the topic of learner events.
        events_in_flight_max: events that may await confirmation; bounds the producer's memory.
        delivery_timeout_s: how long an event may wait for its confirmation.
        reconnect_s: pause between attempts to reach the broker.
        identity_check_s: how often a reachable log is checked to be the one it was.
    """

    topic: str = LEARNER_EVENTS
    events_in_flight_max: int = 20_000
    delivery_timeout_s: float = 10.0
    reconnect_s: float = 0.5
    identity_check_s: float = 5.0


class KafkaEventLog:
    """Appends events through one producer at a time, which `run` makes, watches and replaces.

    What follows a failed delivery is not known: after one, kafka-python either resets its producer id, or bumps its
    epoch, or stops for good, and records sent meanwhile may be lost or be refused as out of order. So any doubt (a
    failure, a missing confirmation, an offset that went backwards) ends the producer, fails everything in flight and
    makes another. A caller that sends its events again writes duplicates at worst, which are folded once.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        options: KafkaLogOptions | None = None,
        traces: Traces = NO_TRACES,
        keys: KafkaLearnerKeys | None = None,
    ) -> None:
        """Args: the cluster, the bounds, traces, and the keys to encrypt values with (None: all values are plain)."""
        self._connection = connection
        self._keys = keys
        self._options = options or KafkaLogOptions()
        self._traces = traces
        self._writer: _Writer | None = None
        self._identity: LogIdentity | None = None
        self._absence = "it was not reached yet"
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
        """As the port says."""
        if self._identity is None:
            raise LogUnavailableError(self._absent())
        return self._identity

    async def append(self, events: Sequence[AcceptedEvent]) -> list[Position]:
        """As the port says."""
        return await (await self.submit(events))

    async def submit(self, events: Sequence[AcceptedEvent], *, wait_for_room: bool = False) -> Confirmation:
        """As the port says."""
        # Before there is room: what waits for a key takes none.
        record_keys = [record_key(event.tenant, event.learner) for event in events]
        keys: Sequence[DataKey | None] = [None] * len(events)
        if self._keys is not None:
            keys = await self._keys.keys_of(events, record_keys)
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
        batch = _Batch(len(events), asyncio.get_running_loop(), self._traces.current_traceparent())
        self._in_flight += len(events)
        batch.done.add_done_callback(lambda _: self._settle(len(events)))
        writer.submit(events, record_keys, keys, batch)
        return _Confirmation(
            writer, batch, self._options.delivery_timeout_s, partial(self._check_keys, record_keys, keys)
        )

    def _check_keys(self, record_keys: Sequence[bytes], keys: Sequence[DataKey | None]) -> None:
        """Raise LogUnavailableError when a key was destroyed before its events were confirmed: nobody can read them."""
        if self._keys is not None and not self._keys.count(record_keys, keys):
            raise LogUnavailableError("a learner of these events was erased while they were written")

    async def run(self) -> None:
        """Keep a producer until cancelled.

        Raises:
            TopicMissingError: when the topic does not exist at the start.
            LogRecreatedError: when it is no longer the one it was.
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

    async def _connect(self) -> _Writer | None:
        try:
            identity = await self._confirm_identity()
            producer = await asyncio.to_thread(_new_producer, self._connection, self._options)
        except (BrokerUnavailableError, KafkaError) as error:
            self._say_absent(str(error))
            return None
        except TopicMissingError as error:
            # Later, a broker that has just started may not know its topics yet.
            if self._identity is None:
                raise
            self._say_absent(str(error))
            return None
        self._identity = identity
        return _Writer(producer, self._options.topic, identity.partitions, asyncio.get_running_loop())

    async def _watch(self, writer: _Writer) -> None:
        """Return once the producer is in doubt."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._options.identity_check_s):
                    self._say_absent(await asyncio.shield(writer.in_doubt))
                    return
            try:
                await self._confirm_identity()
            except (BrokerUnavailableError, TopicMissingError) as error:
                self._say_absent(str(error))
                return

    async def _confirm_identity(self) -> LogIdentity:
        identity = await log_identity(self._connection, self._options.topic, bootstrap_timeout_ms=_BOOTSTRAP_TIMEOUT_MS)
        if self._identity is not None and identity != self._identity:
            raise LogRecreatedError(
                f"the topic {self._options.topic} was recreated (it was {self._identity}, it is {identity}): start "
                "this service again so that it reads the catalog anew, and replay derived state into a new epoch"
            )
        return identity

    def _has_room(self, events: int) -> bool:
        return self._in_flight + events <= self._options.events_in_flight_max

    def _settle(self, events: int) -> None:
        self._in_flight -= events
        self._settled.set()

    def _require_writer(self) -> _Writer:
        if self._writer is None:
            raise LogUnavailableError(self._absent())
        return self._writer

    def _absent(self) -> str:
        return f"the log cannot be reached: {self._absence}"

    def _say_absent(self, reason: str) -> None:
        if self._absence != reason:
            _log.warning("log not reached", reason=reason)
        self._absence = reason


class _Batch:
    """Collects the confirmations of one append, which arrive on the producer's threads."""

    def __init__(self, events: int, loop: asyncio.AbstractEventLoop, traceparent: str | None = None) -> None:
        self.traceparent = traceparent
        self.done: asyncio.Future[list[Position]] = loop.create_future()
        # Its failure may come after the caller has left; it was logged where it happened.
        self.done.add_done_callback(lambda future: future.exception())
        self._loop = loop
        self._positions: list[Position | None] = [None] * events
        self._missing = events
        self._lock = threading.Lock()

    def confirm(self, index: int, position: Position) -> None:
        """Event `index` stands at `position`."""
        with self._lock:
            self._positions[index] = position
            self._missing -= 1
            complete = not self._missing
        if complete:
            self._call(self._succeed)

    def fail(self, reason: str) -> None:
        """An event may not have been written."""
        self._call(self._fail, reason)

    def _call(self, function: Any, *arguments: object) -> None:
        # The loop is closed only when the process ends, and then nobody waits.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    def _succeed(self) -> None:
        if not self.done.done():
            self.done.set_result([position for position in self._positions if position is not None])

    def _fail(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(LogUnavailableError(f"the log did not confirm every event: {reason}"))


class _Confirmation:
    """Where the events of a batch stand, once awaited. One that nobody awaits leaves its events in flight till then."""

    def __init__(self, writer: _Writer, batch: _Batch, timeout_s: float, check: Callable[[], None]) -> None:
        self._check = check
        self._writer = writer
        self._batch = batch
        self._timeout_s = timeout_s

    def __await__(self) -> Generator[Any, None, list[Position]]:
        return self._wait().__await__()

    async def _wait(self) -> list[Position]:
        try:
            # Beyond the producer's own timeout, which does not run while it has no connection to ask for its id.
            async with asyncio.timeout(self._timeout_s + 1.0):
                # Shielded: a caller that goes away does not make its events any less in flight.
                positions = await asyncio.shield(self._batch.done)
        except TimeoutError as error:
            self._writer.give_up("no confirmation in time")
            raise LogUnavailableError("the log did not confirm the events in time") from error
        self._check()
        return positions


class _Writer:
    """One producer and the one thread that may block on it."""

    def __init__(self, producer: KafkaProducer, topic: str, partitions: int, loop: asyncio.AbstractEventLoop) -> None:
        self.in_doubt: asyncio.Future[str] = loop.create_future()
        self._producer = producer
        self._topic = topic
        self._partitions = partitions
        self._loop = loop
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="append")
        # Confirmations of a partition arrive in the order of its offsets, on the producer's thread.
        self._last_offsets = [-1] * partitions
        self._unsettled: set[_Batch] = set()
        self._doubted = ""

    def submit(
        self,
        events: Sequence[AcceptedEvent],
        record_keys: Sequence[bytes],
        keys: Sequence[DataKey | None],
        batch: _Batch,
    ) -> None:
        """Have the events sent, after all those submitted before."""
        self._unsettled.add(batch)
        batch.done.add_done_callback(lambda _: self._unsettled.discard(batch))
        self._thread.submit(self._send, events, record_keys, keys, batch)

    def give_up(self, reason: str) -> None:
        """Say, on the event loop, that the producer is in doubt."""
        if not self.in_doubt.done():
            self.in_doubt.set_result(reason)

    def discard(self) -> None:
        """End the producer without waiting for what it holds; everything in flight fails."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        for batch in list(self._unsettled):
            batch.fail("the producer was given up")
        # close() alone would give up in its flush and leave the sender running with what it holds.
        sender = self._producer._sender  # noqa: SLF001 - kafka-python offers no public way to drop what is in flight.
        sender.force_close()
        sender.join(_DISCARD_S)
        with suppress(KafkaTimeoutError):
            self._producer.close(timeout=0)

    def _send(
        self,
        events: Sequence[AcceptedEvent],
        record_keys: Sequence[bytes],
        keys: Sequence[DataKey | None],
        batch: _Batch,
    ) -> None:
        producer, topic, partitions = self._producer, self._topic, self._partitions
        try:
            for index, (event, key, data_key) in enumerate(zip(events, record_keys, keys, strict=True)):
                value, headers = learner_event_value(event), _headers(event, batch.traceparent)
                if data_key is not None:
                    value = data_key.encrypt(key, value)
                    headers += data_key.headers
                sent = producer.send(
                    topic,
                    value=value,
                    key=key,
                    headers=headers,
                    partition=partition_of(key, partitions),
                )
                sent.add_callback(self._confirmed, batch, index)
                sent.add_errback(self._failed, batch)
        except (KafkaError, ValueError) as error:
            # ValueError: the topic no longer has the partition.
            self._failed(batch, error)

    def _confirmed(self, batch: _Batch, index: int, metadata: Any) -> None:
        partition, offset = metadata.partition, metadata.offset
        if self._doubted:
            # What made the producer doubtful is as true of what it confirms afterwards.
            batch.fail(self._doubted)
            return
        if offset <= self._last_offsets[partition]:
            # -1 when the broker knows the records already but not where; smaller when the topic is another one.
            reason = f"offset {offset} of partition {partition} after {self._last_offsets[partition]}"
            self._failed(batch, KafkaError(reason))
            return
        self._last_offsets[partition] = offset
        batch.confirm(index, Position(partition, offset))

    def _failed(self, batch: _Batch, error: BaseException) -> None:
        reason = str(error) or type(error).__name__
        self._doubted = self._doubted or reason
        batch.fail(reason)
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.give_up, reason)


def _new_producer(connection: KafkaConnection, options: KafkaLogOptions) -> KafkaProducer:
    timeout_ms = round(options.delivery_timeout_s * 1000)
    return KafkaProducer(
        bootstrap_servers=connection.bootstrap_servers.split(","),
        client_id="cairn-ingest",
        acks="all",
        enable_idempotence=True,
        allow_auto_create_topics=False,
        batch_size=_BATCH_BYTES,
        linger_ms=_LINGER_MS,
        delivery_timeout_ms=timeout_ms,
        request_timeout_ms=max(1, timeout_ms // 2),
        max_block_ms=timeout_ms,
        bootstrap_timeout_ms=_BOOTSTRAP_TIMEOUT_MS,
        metrics_enabled=False,
    )


def _headers(event: AcceptedEvent, traceparent: str | None) -> list[tuple[str, bytes]]:
    return cloud_event_headers(
        event_id=event.event_id,
        source=event.source,
        event_type=event_type_of(event),
        time=_datetime(event.occurred_at or event.received_at),
        traceparent=traceparent,
    )


def _datetime(instant: Instant) -> datetime:
    return _EPOCH + timedelta(seconds=instant.seconds, microseconds=instant.nanoseconds // 1000)
