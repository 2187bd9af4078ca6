"""One kafka-python producer that appends events, and the confirmations of what it sent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from kafka.errors import KafkaError

from services.common.encryption.data_keys import DataKey
from services.common.kafka.connection import REQUEST_TIMEOUT_MS, KafkaConnection, kafka_python_options
from services.common.kafka.envelope import Position, cloud_event_headers
from services.common.kafka.partitioner import partition_of
from services.common.kafka.producer import DiscardableProducer
from services.ingest.application.ports import LogUnavailableError
from services.ingest.domain.submission import AcceptedEvent, Instant
from services.ingest.wire.records import event_type_of, learner_event_value

# One attempt of many; short, because the process cannot end during an attempt.
BOOTSTRAP_TIMEOUT_MS = 2_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BATCH_BYTES = 256 * 1024
_LINGER_MS = 3


class PendingAppend:
    """Collects the confirmations of one append, which arrive on the producer's threads.

    Attributes:
        done: the position of each event, in order; or LogUnavailableError.
        traceparent: the trace the events are part of.
    """

    def __init__(self, events: int, loop: asyncio.AbstractEventLoop, traceparent: str | None = None) -> None:
        self.traceparent = traceparent
        self.done: asyncio.Future[list[Position]] = loop.create_future()
        # The caller may be gone when it fails. The failure was logged where it happened, so mark it as retrieved.
        self.done.add_done_callback(lambda future: future.exception())
        self._loop = loop
        self._positions: list[Position | None] = [None] * events
        self._missing = events
        self._lock = threading.Lock()

    def confirm(self, index: int, position: Position) -> None:
        """Event `index` is at `position`."""
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
        # The loop is closed only when the process ends, and no caller waits then.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    def _succeed(self) -> None:
        if not self.done.done():
            self.done.set_result([position for position in self._positions if position is not None])

    def _fail(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(LogUnavailableError(f"the log did not confirm every event: {reason}"))


class BatchConfirmation:
    """Awaits the positions of a batch. Until then its events stay in flight."""

    def __init__(
        self, writer: KafkaWriter, batch: PendingAppend, timeout_s: float, check: Callable[[], Awaitable[None]]
    ) -> None:
        """Args: the writer, the batch, how long to wait, and a check to run once all events are confirmed."""
        self._writer = writer
        self._batch = batch
        self._timeout_s = timeout_s
        self._check = check

    def __await__(self) -> Generator[Any, None, list[Position]]:
        return self._wait().__await__()

    async def _wait(self) -> list[Position]:
        try:
            # Longer than the producer's own timeout, which does not run while it has no connection to get its id from.
            async with asyncio.timeout(self._timeout_s + 1.0):
                # Shielded: events stay in flight when their caller goes away.
                positions = await asyncio.shield(self._batch.done)
        except TimeoutError as error:
            self._writer.give_up("no confirmation in time")
            raise LogUnavailableError("the log did not confirm the events in time") from error
        await self._check()
        return positions


class KafkaWriter:
    """One producer, and the only thread that may block on it.

    Attributes:
        in_doubt: set to the reason once the producer can no longer be trusted.
    """

    def __init__(
        self, producer: DiscardableProducer, topic: str, partitions: int, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.in_doubt: asyncio.Future[str] = loop.create_future()
        self._producer = producer
        self._topic = topic
        self._partitions = partitions
        self._loop = loop
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="append")
        # Confirmations of a partition arrive in the order of its offsets, on the producer's thread.
        self._last_offsets = [-1] * partitions
        self._unsettled: set[PendingAppend] = set()
        self._doubt = ""

    def submit(
        self,
        events: Sequence[AcceptedEvent],
        record_keys: Sequence[bytes],
        data_keys: Sequence[DataKey | None],
        batch: PendingAppend,
    ) -> None:
        """Send events, after all those submitted before.

        Args:
            events: the events.
            record_keys: the key of each one's record.
            data_keys: the key to encrypt each one's value with; None: it is not encrypted.
            batch: collects the confirmations.
        """
        self._unsettled.add(batch)
        batch.done.add_done_callback(lambda _: self._unsettled.discard(batch))
        self._thread.submit(self._send, events, record_keys, data_keys, batch)

    def give_up(self, reason: str) -> None:
        """Mark the producer as in doubt. Call it on the event loop."""
        if not self.in_doubt.done():
            self.in_doubt.set_result(reason)

    def discard(self) -> None:
        """Close the producer without waiting for pending events; everything in flight fails."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        for batch in list(self._unsettled):
            batch.fail("the producer was closed after an error")
        self._producer.discard()

    def _send(
        self,
        events: Sequence[AcceptedEvent],
        record_keys: Sequence[bytes],
        data_keys: Sequence[DataKey | None],
        batch: PendingAppend,
    ) -> None:
        producer, topic, partitions = self._producer, self._topic, self._partitions
        try:
            for index, (event, key, data_key) in enumerate(zip(events, record_keys, data_keys, strict=True)):
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

    def _confirmed(self, batch: PendingAppend, index: int, metadata: Any) -> None:
        partition, offset = metadata.partition, metadata.offset
        if self._doubt:
            # The doubt applies to later confirmations as well.
            batch.fail(self._doubt)
            return
        if offset <= self._last_offsets[partition]:
            # -1 when the broker has the records already but does not know where; smaller when the topic was recreated.
            reason = f"offset {offset} of partition {partition} after {self._last_offsets[partition]}"
            self._failed(batch, KafkaError(reason))
            return
        self._last_offsets[partition] = offset
        batch.confirm(index, Position(partition, offset))

    def _failed(self, batch: PendingAppend, error: BaseException) -> None:
        reason = str(error) or type(error).__name__
        self._doubt = self._doubt or reason
        batch.fail(reason)
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.give_up, reason)


def new_producer(connection: KafkaConnection, delivery_timeout_s: float) -> DiscardableProducer:
    """An idempotent producer; connects at once. Raises KafkaError when the cluster cannot be reached."""
    timeout_ms = round(delivery_timeout_s * 1000)
    options = {
        "bootstrap_timeout_ms": BOOTSTRAP_TIMEOUT_MS,
        "request_timeout_ms": min(max(1, timeout_ms // 2), REQUEST_TIMEOUT_MS),
    }
    return DiscardableProducer(
        **(kafka_python_options(connection) | options),
        client_id="cairn-ingest",
        acks="all",
        enable_idempotence=True,
        allow_auto_create_topics=False,
        batch_size=_BATCH_BYTES,
        linger_ms=_LINGER_MS,
        delivery_timeout_ms=timeout_ms,
        max_block_ms=timeout_ms,
        metrics_enabled=False,
    )


def _headers(event: AcceptedEvent, traceparent: str | None) -> list[tuple[str, bytes]]:
    return cloud_event_headers(
        event_id=event.event_id,
        source=event.source,
        event_type=event_type_of(event),
        time=_datetime(event.occurred_at or event.received_at),
        traceparent=traceparent,
        revises=event.revises,
    )


def _datetime(instant: Instant) -> datetime:
    return _EPOCH + timedelta(seconds=instant.seconds, microseconds=instant.nanoseconds // 1000)
