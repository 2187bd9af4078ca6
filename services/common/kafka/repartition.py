"""Moves every record of a topic to the partition of its key, for another number of partitions.

Kafka can add partitions to a topic, but leaves the records where they are: a key's later records are on another
partition than its earlier ones. So the topic is copied, each record to the partition of its key, and then replaced:

1. copy: every record goes to a second topic. Of one key, records of one partition keep their order, and records of
   several partitions are ordered by time. Key, value, headers and timestamp stay as they are.
2. verify: the copy is read back and compared with what was sent. If no record moved, it is deleted, and that is all.
   Otherwise a journal is written to it.
3. replace: the topic is deleted and created again, and the copy is copied back partition by partition.
4. verify: the new topic is read back and compared with the copy, which stays until an operator deletes it.

Interrupted before the journal was written, it starts from the beginning; the topic is untouched. Interrupted later, it
continues. Nobody may write to the topic meanwhile: the ends of its partitions are compared before it is deleted.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

import aiokafka
import orjson
from kafka import KafkaProducer
from kafka.errors import KafkaError

from services.common.kafka.connection import (
    BrokerUnavailableError,
    KafkaConnection,
    TopicMissingError,
    kafka_python_options,
    log_identity,
    read_span,
    topic_span,
)
from services.common.kafka.envelope import LogIdentity
from services.common.kafka.partitioner import partition_of
from services.common.kafka.topic_admin import TopicShape, create_topic, delete_topic, topic_shape

_STILL_S = 2.0
_CONFIRM_S = 60.0
_CLOSE_S = 5.0
_IN_FLIGHT = 5_000
_REQUEST_BYTES = 8 * 1024 * 1024
_DIGEST_BYTES = 16
_FINISHED = b"finished"
_COPY_CONFIG = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}

# The step, the records that it has handled, and how many there are.
OnProgress = Callable[[str, int, int], None]


class RepartitionError(RuntimeError):
    """The topic cannot be repartitioned; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Journal:
    """What a complete copy says about itself, in the first record of its last partition.

    Attributes:
        topic_id: the id of the topic that was copied.
        ends: one past its last record, by partition.
        records: how many records each partition of the copy holds.
        digests: a hash of each partition of the copy, in hexadecimal.
        replicas: copies that the topic had of each partition.
        config: the settings that the topic had.
    """

    topic_id: str
    ends: list[int]
    records: list[int]
    digests: list[str]
    replicas: int
    config: dict[str, str]


@dataclass(frozen=True, slots=True)
class Repartitioned:
    """The result.

    Attributes:
        records: how many records each partition holds.
        moved: how many went to another partition than the one they were on.
        replaced: whether the topic was created again; not when every record was on its partition.
    """

    records: list[int]
    moved: int
    replaced: bool = True


def copy_of(topic: str) -> str:
    """The name of the copy."""
    return f"{topic}.repartitioned"


async def repartition(
    connection: KafkaConnection,
    topic: str,
    partitions: int | None,
    on_progress: OnProgress,
    *,
    still_s: float = _STILL_S,
) -> Repartitioned:
    """Repartition a topic to which nobody writes; leave it alone when every record is on its partition.

    Args:
        connection: the cluster.
        topic: the topic.
        partitions: how many it gets; None: as many as it has.
        on_progress: called after each part.
        still_s: how long its ends must stay the same before it is copied.

    Raises:
        RepartitionError: when somebody writes to the topic, or the copy is of something else.
        TopicMissingError: when the topic does not exist, and neither does a complete copy.
        BrokerUnavailableError: when the cluster cannot be reached, or stops answering.
    """
    journal, finished = await _journal_in(connection, copy_of(topic))
    if finished:
        raise RepartitionError(
            f"{topic} was repartitioned before, and {copy_of(topic)} is the copy that was kept. Delete it once it is "
            f"not needed (kafka-topics.sh --delete --topic {copy_of(topic)}); then the command can be run again"
        )
    moved = 0
    if journal is None:
        await delete_topic(connection, copy_of(topic))
        journal, moved = await _copy(connection, topic, partitions, on_progress, still_s)
        if not moved and len(journal.records) == len(journal.ends):
            # A topic that is created again has another id, which ends every process that uses it.
            await delete_topic(connection, copy_of(topic))
            return Repartitioned(journal.records, 0, replaced=False)
        async with _producer(connection) as producer:
            await producer.send_value(copy_of(topic), len(journal.records), orjson.dumps(asdict(journal)))
            await producer.flush()
    elif partitions is not None and partitions != len(journal.records):
        raise RepartitionError(
            f"{topic} is being repartitioned to {len(journal.records)} partitions, not {partitions}: finish that "
            f"first, with --partitions {len(journal.records)}"
        )
    await _replace(connection, topic, journal)
    await _copy_back(connection, topic, journal, on_progress)
    async with _producer(connection) as producer:
        await producer.send_value(copy_of(topic), len(journal.records), _FINISHED)
        await producer.flush()
    return Repartitioned(journal.records, moved)


async def _copy(
    connection: KafkaConnection, topic: str, partitions: int | None, on_progress: OnProgress, still_s: float
) -> tuple[Journal, int]:
    span = await topic_span(connection, topic)
    shape = await topic_shape(connection, topic)
    identity = await log_identity(connection, topic)
    await asyncio.sleep(still_s)
    if await topic_span(connection, topic) != span:
        raise RepartitionError(
            f"somebody writes to {topic}: stop ingest (and whatever else writes to it), then run the command again"
        )
    count = partitions or identity.partitions
    await create_topic(connection, copy_of(topic), TopicShape(count + 1, shape.replicas, _copy_config(shape.config)))
    digests, moved = _Digests(count), 0
    total, done = sum(end - begin for begin, end in span.values()), 0
    async with _producer(connection) as producer:
        async for record in _in_order(connection, topic, span):
            target = record.partition % count if record.key is None else partition_of(record.key, count)
            moved += target != record.partition
            await producer.send(copy_of(topic), target, record)
            digests.add(target, record)
            done += 1
            if done % _IN_FLIGHT == 0:
                on_progress("copy", done, total)
        await producer.flush()
    on_progress("copy", done, total)
    await _verify(connection, copy_of(topic), digests, on_progress)
    ends = [end for _, (_, end) in sorted(span.items())]
    return Journal(_topic_id(identity), ends, digests.records, digests.hex(), shape.replicas, dict(shape.config)), moved


async def _replace(connection: KafkaConnection, topic: str, journal: Journal) -> None:
    """Delete the topic that was copied, unless that was done before, and create the new one."""
    shape = TopicShape(len(journal.records), journal.replicas, journal.config)
    try:
        identity = await log_identity(connection, topic)
    except TopicMissingError:
        await create_topic(connection, topic, shape)
        return
    if _topic_id(identity) != journal.topic_id:
        span = await topic_span(connection, topic)
        if len(span) != shape.partitions and not any(end for _, end in span.values()):
            # A client that looked for the topic had the broker create it.
            await delete_topic(connection, topic)
            await create_topic(connection, topic, shape)
        return
    ends = [end for _, (_, end) in sorted((await topic_span(connection, topic)).items())]
    if ends != journal.ends:
        raise RepartitionError(
            f"somebody wrote to {topic} after it was copied: stop ingest (and whatever else writes to it), delete "
            f"{copy_of(topic)} and run the command again"
        )
    await delete_topic(connection, topic)
    await create_topic(connection, topic, shape)


async def _copy_back(connection: KafkaConnection, topic: str, journal: Journal, on_progress: OnProgress) -> None:
    """Write what the new topic still lacks of the copy."""
    count = len(journal.records)
    span = await topic_span(connection, topic)
    if len(span) != count or any(end > journal.records[number] for number, (_, end) in span.items()):
        raise RepartitionError(
            f"{topic} was created by somebody else, or written to, before every record of {copy_of(topic)} was copied "
            f"back: stop whatever writes to {topic}, save what it wrote, delete {topic} and run the command again"
        )
    copied = await topic_span(connection, copy_of(topic))
    left = {number: (copied[number][0] + end, copied[number][1]) for number, (_, end) in span.items()}
    total = sum(journal.records)
    done = total - sum(end - begin for begin, end in left.values())
    async with _producer(connection) as producer:
        parts = read_span(connection, copy_of(topic), left)
        async with aclosing(parts):
            async for part in parts:
                for record in part.records:
                    await producer.send(topic, record.partition, record)
                await producer.flush()
                done += len(part.records)
                on_progress("copy back", done, total)
    digests = _Digests(count, journal.records, journal.digests)
    await _verify(connection, topic, digests, on_progress)


async def _verify(connection: KafkaConnection, topic: str, wanted: _Digests, on_progress: OnProgress) -> None:
    """Read a topic and compare it with what it should hold.

    Raises:
        RepartitionError: when it holds something else.
    """
    found = _Digests(len(wanted.records))
    span = {
        number: one for number, one in (await topic_span(connection, topic)).items() if number < len(wanted.records)
    }
    total, done = sum(wanted.records), 0
    parts = read_span(connection, topic, span)
    async with aclosing(parts):
        async for part in parts:
            for record in part.records:
                found.add(record.partition, record)
            done += len(part.records)
            on_progress("verify", done, total)
    if (found.records, found.hex()) != (wanted.records, wanted.hex()):
        raise RepartitionError(
            f"{topic} holds {sum(found.records):,} records where {total:,} should be, or others than these: somebody "
            "writes to it. Stop that, delete it and run the command again; every record is in the topic or in its copy"
        )


async def _in_order(
    connection: KafkaConnection, topic: str, span: Mapping[int, tuple[int, int]]
) -> AsyncGenerator[aiokafka.ConsumerRecord, None]:
    """Every record of a span: each partition in its order, and several by the time of their next records.

    Of equal times, the record that is not on the partition of its key comes first: it was written before partitions
    were added.
    """
    readers = {number: _records(connection, topic, number, bounds) for number, bounds in span.items()}
    waiting: list[tuple[int, bool, int, aiokafka.ConsumerRecord]] = []

    async def wait_for_next(number: int) -> None:
        record = await anext(readers[number], None)
        if record is not None:
            right = record.key is not None and partition_of(record.key, len(span)) == number
            heapq.heappush(waiting, (record.timestamp, right, number, record))

    try:
        for number in readers:
            await wait_for_next(number)
        while waiting:
            *_, number, record = heapq.heappop(waiting)
            yield record
            await wait_for_next(number)
    finally:
        for reader in readers.values():
            await reader.aclose()


async def _records(
    connection: KafkaConnection, topic: str, number: int, bounds: tuple[int, int]
) -> AsyncGenerator[aiokafka.ConsumerRecord, None]:
    parts = read_span(connection, topic, {number: bounds})
    async with aclosing(parts):
        async for part in parts:
            for record in part.records:
                yield record


async def _journal_in(connection: KafkaConnection, copy: str) -> tuple[Journal | None, bool]:
    """The journal of a copy, None when there is no complete one; and whether it was copied back."""
    try:
        span = await topic_span(connection, copy)
    except TopicMissingError:
        return None, False
    last = max(span)
    records = [record async for record in _records(connection, copy, last, span[last])]
    return Journal(**orjson.loads(records[0].value)) if records else None, len(records) > 1


class _Digests:
    """How many records each partition holds, and a hash of them in order."""

    def __init__(self, partitions: int, records: Sequence[int] = (), digests: Sequence[str] = ()) -> None:
        self.records = list(records) or [0] * partitions
        self._chains = [bytes.fromhex(one) for one in digests] or [bytes(_DIGEST_BYTES)] * partitions

    def add(self, partition: int, record: aiokafka.ConsumerRecord) -> None:
        digest = hashlib.blake2b(self._chains[partition], digest_size=_DIGEST_BYTES)
        named = [part for name, content in record.headers for part in (name.encode(), content)]
        for part in (str(record.timestamp).encode(), record.key, record.value, *named):
            digest.update(b"-" if part is None else b"%d:%b" % (len(part), part))
        self._chains[partition] = digest.digest()
        self.records[partition] += 1

    def hex(self) -> list[str]:
        return [chain.hex() for chain in self._chains]


class _Producer:
    """Writes records as they are, in order, to partitions that the caller names.

    kafka-python's producer, because the embedded broker does not let that of aiokafka be idempotent.
    """

    def __init__(self, producer: KafkaProducer) -> None:
        self._producer = producer
        self._sent: list[Any] = []

    async def send(self, topic: str, partition: int, record: aiokafka.ConsumerRecord) -> None:
        self._sent.append(
            self._producer.send(
                topic,
                key=record.key,
                value=record.value,
                partition=partition,
                timestamp_ms=record.timestamp,
                headers=list(record.headers),
            )
        )
        if len(self._sent) >= _IN_FLIGHT:
            await self.flush()

    async def send_value(self, topic: str, partition: int, value: bytes) -> None:
        self._sent.append(self._producer.send(topic, value=value, partition=partition))

    async def flush(self) -> None:
        """Return once everything is confirmed."""
        sent, self._sent = self._sent, []
        await asyncio.to_thread(self._producer.flush, _CONFIRM_S)
        for one in sent:
            # No further waiting: a record that is not confirmed by now raises.
            one.get(timeout=0)


@asynccontextmanager
async def _producer(connection: KafkaConnection) -> AsyncIterator[_Producer]:
    producer = None
    try:
        producer = await asyncio.to_thread(
            KafkaProducer,
            **kafka_python_options(connection),
            acks="all",
            enable_idempotence=True,
            allow_auto_create_topics=False,
            linger_ms=5,
            max_request_size=_REQUEST_BYTES,
            metrics_enabled=False,
        )
        yield _Producer(producer)
    except KafkaError as error:
        raise BrokerUnavailableError(
            f"Kafka at {connection.bootstrap_servers} did not confirm records: {error!r}; run the command again"
        ) from error
    finally:
        if producer is not None:
            await asyncio.to_thread(producer.close, timeout=_CLOSE_S)


def _topic_id(identity: LogIdentity) -> str:
    return str(identity).partition("/")[0]


def _copy_config(config: Mapping[str, str]) -> dict[str, str]:
    """The settings of the copy: it keeps everything, and the timestamps as they are."""
    return {**config, **_COPY_CONFIG, "message.timestamp.type": "CreateTime"}
