"""Events written to the log at a given rate, as ingest writes them, at a fraction of its cost.

On a machine that also runs the broker and the workers, ingest and its callers need most of the time themselves.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC
from functools import partial
from itertools import count
from typing import Any, NamedTuple, Self

import aiokafka

from cairn.v1 import events_pb2
from services.common.kafka.connection import KafkaConnection, aiokafka_options
from services.common.kafka.envelope import LEARNER_EVENTS, Position, cloud_event_headers, record_key
from services.common.kafka.partitioner import partition_of
from tests.benchmarks.synthetic import log_events

_LEARNERS = 200
# Events differ in their ids; what they say repeats.
_TEMPLATES = 5_000
_TICK_S = 0.1
_BATCH_BYTES = 900_000
_DIGITS = 12
_START_TIMEOUT_S = 30.0


class _Template(NamedTuple):
    """A record without the last digits of its event's id."""

    key: bytes
    value: tuple[bytes, bytes]
    headers: list[tuple[str, bytes]]
    id_begins: str


class LogLoad:
    """While the block runs, writes events to the log; each learner's stay in their order.

    Attributes:
        acknowledged: position of each event by its id, once Kafka has confirmed it.
        sent: ids of all events that were sent.
        answers: nothing, because nobody is called.
        ends: one past the last confirmed event, by partition.
    """

    def __init__(self, connection: KafkaConnection, partitions: int, *, per_s: float, seed: int) -> None:
        """Args: the log and the number of its partitions; events per second; a seed for what the events say."""
        self._connection = connection
        self._per_s = per_s
        self._templates = [
            [template for template in _templates(seed) if partition_of(template.key, partitions) == partition]
            for partition in range(partitions)
        ]
        self._numbers = count()
        self._batches: list[tuple[asyncio.Future[Any], Sequence[str]]] = []
        self._confirmed = 0
        self._stopping = threading.Event()
        self._begun = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._write()), daemon=True)
        self.acknowledged: dict[str, Position] = {}
        self.sent: set[str] = set()
        self.answers: Counter[str] = Counter()
        self.ends: dict[int, int] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._begun.wait(_START_TIMEOUT_S), "no connection to Kafka"
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    @property
    def confirmed(self) -> int:
        """How many events Kafka has confirmed so far."""
        return self._confirmed

    async def _write(self) -> None:
        producer = aiokafka.AIOKafkaProducer(
            **aiokafka_options(self._connection), acks="all", max_batch_size=_BATCH_BYTES
        )
        await producer.start()
        try:
            begun_s, sent = time.monotonic(), 0
            self._begun.set()
            while not self._stopping.is_set():
                due = int((time.monotonic() - begun_s) * self._per_s) - sent
                partitions = len(self._templates)
                shares = [due * (number + 1) // partitions - due * number // partitions for number in range(partitions)]
                await asyncio.gather(*(self._send(producer, *share) for share in enumerate(shares)))
                sent += due
                await asyncio.sleep(_TICK_S)
            await producer.flush()
        finally:
            await producer.stop()
        for future, ids in self._batches:
            place = future.result()
            for number, event_id in enumerate(ids):
                self.acknowledged[event_id] = Position(place.partition, place.offset + number)

    async def _send(self, producer: Any, partition: int, events: int) -> None:
        """Send events in batches as large as they may be."""
        templates = self._templates[partition]
        while events > 0:
            batch, ids = producer.create_batch(), []
            for number in self._numbers:
                template = templates[number % len(templates)]
                digits = str(number).zfill(_DIGITS)
                event_id = template.id_begins + digits
                before, after = template.value
                headers = [*template.headers, ("ce_id", event_id.encode())]
                value = b"".join((before, digits.encode(), after))
                if batch.append(key=template.key, value=value, timestamp=None, headers=headers) is None:
                    break
                ids.append(event_id)
                events -= 1
                if not events:
                    break
            self.sent.update(ids)
            future = await producer.send_batch(batch, LEARNER_EVENTS, partition=partition)
            future.add_done_callback(partial(self._confirm, partition, len(ids)))
            self._batches.append((future, ids))

    def _confirm(self, partition: int, events: int, sent: asyncio.Future[Any]) -> None:
        self._confirmed += events
        self.ends[partition] = sent.result().offset + events


def _templates(seed: int) -> list[_Template]:
    return [_template(event) for event in log_events(_TEMPLATES, _LEARNERS, skills=17, items=300, seed=seed)]


def _template(event: events_pb2.LearnerEvent) -> _Template:
    headers = cloud_event_headers(
        event_id=event.event_id,
        source=event.source,
        event_type="cairn.v1.AssessmentEvent",
        time=event.received_at.ToDatetime(UTC),
    )
    before, _, after = event.SerializeToString(deterministic=True).partition(event.event_id[-_DIGITS:].encode())
    return _Template(
        record_key(event.tenant, event.learner),
        (before, after),
        [header for header in headers if header[0] != "ce_id"],
        event.event_id[:-_DIGITS],
    )
