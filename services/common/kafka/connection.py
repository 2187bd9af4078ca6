"""Reaching and reading Kafka: clients, end offsets that are right on every broker, and the identity of a log."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiokafka
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError as AdminKafkaError

from services.common.daemon_threads import in_daemon_thread
from services.common.kafka.envelope import LogIdentity as LogIdentity  # noqa: PLC0414 - re-exported: it is the result of `log_identity`.
from services.common.kafka.handshake import failed_handshake
from services.common.kafka.security import NO_SECURITY, AsyncTokens, BlockingTokens, KafkaSecurity

# How long an administrative command tries to reach a cluster.
BOOTSTRAP_TIMEOUT_MS = 10_000

# A request that is not answered for this long ends its connection. A broker's machine or a NAT entry that is gone
# closes nothing: the connection swallows what is sent. The libraries wait 30 to 40 s by default.
REQUEST_TIMEOUT_MS = 9_000
# A member that joins a group is answered once the silent members' sessions have expired.
JOIN_MARGIN_MS = 3_000
# A connection that carried nothing for this long is closed, and opened again when it is needed. Otherwise a client
# whose connections were all cut silently meets them one after the other, each for a whole request timeout.
IDLE_CONNECTION_MS = 4_000
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    # The names of the other options differ between systems.
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 2))
        if hasattr(socket, name)
    ),
)

# What aiokafka says when it reached none.
_NO_BROKER = "Unable to bootstrap"
_DIAGNOSIS_TIMEOUT_S = 1.0

_RECORDS_PER_POLL = 5_000
_POLL_MS = 200


class BrokerUnavailableError(ConnectionError):
    """The Kafka cluster cannot be reached."""


class TopicMissingError(LookupError):
    """A topic the process needs does not exist."""


# Both libraries name them so.
_NOT_ALLOWED = "AuthorizationFailedError"


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """How to reach a cluster.

    Attributes:
        bootstrap_servers: `host:port`, several separated by commas.
        fetch_wait_ms: how long the broker may delay an empty fetch. The embedded broker does not wake a waiting
            fetch when records arrive, so it needs about 10; on Apache Kafka 500 costs no latency.
        security: how connections are secured.
    """

    bootstrap_servers: str
    fetch_wait_ms: int = 500
    security: KafkaSecurity = NO_SECURITY


def unavailable(
    connection: KafkaConnection, error: Exception, failed: str = "cannot be reached"
) -> BrokerUnavailableError:
    """The error to raise when a client fails: what failed, why, and what to check.

    Args:
        connection: the cluster.
        error: of the client's library.
        failed: what the cluster did not do.
    """
    security = connection.security
    # aiokafka does not say why it reached no broker.
    if _NO_BROKER in str(error) and (found := _handshake_error(connection, _DIAGNOSIS_TIMEOUT_S)):
        return found
    if type(error).__name__.endswith(_NOT_ALLOWED):
        remedy = f"allow it to {security.user}; deploy/acls.yaml lists what each part of Cairn must be allowed"
    else:
        remedy = f"check that it runs there, and {security.to_check}"
    return BrokerUnavailableError(f"Kafka at {connection.bootstrap_servers} {failed}: {error!r}; {remedy}")


def missing(connection: KafkaConnection, topic: str) -> TopicMissingError:
    """The error to raise when a cluster does not list a topic; it does not list what a user may not describe."""
    login = connection.security.login
    hidden = f", or {connection.security.user} may not see it: deploy/acls.yaml" if login else ""
    return TopicMissingError(f"the topic {topic} does not exist{hidden}; create the topics with: cairn topics create")


def aiokafka_options(connection: KafkaConnection) -> dict[str, Any]:
    """The options of every aiokafka client.

    Raises:
        CertificateFileError, SecretError: when a file cannot be used.
    """
    return {
        "bootstrap_servers": connection.bootstrap_servers,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        "connections_max_idle_ms": IDLE_CONNECTION_MS,
        **connection.security.options(AsyncTokens),
    }


def kafka_python_options(connection: KafkaConnection) -> dict[str, Any]:
    """The options of every kafka-python client.

    Raises:
        CertificateFileError, SecretError: when a file cannot be used.
    """
    return {
        "bootstrap_servers": connection.bootstrap_servers.split(","),
        "bootstrap_timeout_ms": BOOTSTRAP_TIMEOUT_MS,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        "socket_options": [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), *_KEEPALIVE],
        **connection.security.options(BlockingTokens),
    }


def new_consumer(connection: KafkaConnection, **options: Any) -> aiokafka.AIOKafkaConsumer:
    """A consumer that reads from the beginning and never commits by itself."""
    settings: dict[str, Any] = aiokafka_options(connection) | {
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "fetch_max_wait_ms": connection.fetch_wait_ms,
    }
    if session_timeout_ms := options.get("session_timeout_ms"):
        settings["request_timeout_ms"] = max(REQUEST_TIMEOUT_MS, session_timeout_ms + JOIN_MARGIN_MS)
    return aiokafka.AIOKafkaConsumer(**(settings | options))


async def end_offsets(
    connection: KafkaConnection, consumer: aiokafka.AIOKafkaConsumer, partitions: Sequence[aiokafka.TopicPartition]
) -> dict[aiokafka.TopicPartition, int]:
    """One past the last record of each partition.

    ListOffsets on the embedded broker can answer with an offset inside the last batch. The high watermark of a fetch is
    right on every broker, so a separate consumer fetches once from the listed end.

    Args:
        connection: the cluster.
        consumer: a started consumer, used to list the ends; its assignment and positions do not change.
        partitions: which partitions; each must exist.

    Raises:
        BrokerUnavailableError: when the cluster cannot be reached.
    """
    try:
        listed = await consumer.end_offsets(partitions)
        return await _fetch_watermarks(connection, listed)
    except KafkaError as error:
        raise unavailable(connection, error, "did not return its end offsets") from error


async def topic_end_offsets(connection: KafkaConnection, topic: str) -> dict[int, int]:
    """One past the last record of each partition of a topic.

    Raises:
        BrokerUnavailableError: when the cluster cannot be reached.
        TopicMissingError: when the topic does not exist.
    """
    async with _partitions_of(connection, topic) as (partitions, consumer):
        ends = await end_offsets(connection, consumer, partitions)
    return {partition.partition: offset for partition, offset in ends.items()}


async def topic_span(connection: KafkaConnection, topic: str) -> dict[int, tuple[int, int]]:
    """The first offset that each partition of a topic still holds, and one past its last record.

    Raises:
        BrokerUnavailableError: when the cluster cannot be reached.
        TopicMissingError: when the topic does not exist.
    """
    async with _partitions_of(connection, topic) as (partitions, consumer):
        begins = await consumer.beginning_offsets(partitions)
        ends = await end_offsets(connection, consumer, partitions)
    return {partition.partition: (begins[partition], end) for partition, end in ends.items()}


@dataclass(frozen=True, slots=True)
class SpanPart:
    """Records of a span, in order within each partition, and the number of the span's offsets read so far."""

    records: list[aiokafka.ConsumerRecord]
    done: int


async def read_span(
    connection: KafkaConnection, topic: str, span: Mapping[int, tuple[int, int]], *, stalled_s: float = 30.0
) -> AsyncGenerator[SpanPart, None]:
    """A bounded part of a topic, each record once, in the order of arrival.

    Args:
        connection: the cluster.
        topic: the topic.
        span: the first offset to read and one past the last, by partition.
        stalled_s: gives up after this long without progress; the caller's own time does not count.

    Raises:
        BrokerUnavailableError: when the cluster cannot be reached, or stops answering.
    """
    left = {aiokafka.TopicPartition(topic, number): end for number, (begin, end) in span.items() if begin < end}
    if not left:
        return
    positions = {number: begin for number, (begin, end) in span.items() if begin < end}
    total, done = sum(end - positions[partition.partition] for partition, end in left.items()), 0
    consumer = new_consumer(connection)
    try:
        await consumer.start()
        consumer.assign(list(left))
        for partition in left:
            consumer.seek(partition, positions[partition.partition])
        while left:
            part = SpanPart([], done)
            # An empty answer is not progress: while the broker is unavailable, aiokafka keeps returning them.
            async with asyncio.timeout(stalled_s):
                while part.done == done:
                    part = await _read_part(consumer, span, left, positions)
            done = part.done
            yield part
    except TimeoutError as error:
        raise BrokerUnavailableError(
            f"Kafka at {connection.bootstrap_servers} sent nothing for {stalled_s:g} s, {total - done} records before "
            f"the end of {topic}; check that the broker is running, then try again"
        ) from error
    except KafkaError as error:
        raise unavailable(connection, error, f"did not return the records of {topic}") from error
    finally:
        await consumer.stop()


async def _read_part(
    consumer: aiokafka.AIOKafkaConsumer,
    span: Mapping[int, tuple[int, int]],
    left: dict[aiokafka.TopicPartition, int],
    positions: dict[int, int],
) -> SpanPart:
    """The next records, if any; partitions at their end are no longer read."""
    polled = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_RECORDS_PER_POLL)
    records = [
        record for partition, some in polled.items() for record in some if record.offset < left.get(partition, 0)
    ]
    for partition, end in list(left.items()):
        # Not the last record's offset: compaction and transactions leave offsets without a record.
        position = await consumer.position(partition)
        positions[partition.partition] = min(position, end)
        if position >= end:
            del left[partition]
            consumer.pause(partition)
    return SpanPart(records, sum(position - span[number][0] for number, position in positions.items()))


async def log_identity(
    connection: KafkaConnection, topic: str, *, bootstrap_timeout_ms: int = BOOTSTRAP_TIMEOUT_MS
) -> LogIdentity:
    """The identity of a topic as it exists now.

    Args:
        connection: the cluster.
        topic: which topic.
        bootstrap_timeout_ms: how long to try to reach the cluster; the process cannot end meanwhile.

    Raises:
        BrokerUnavailableError: when the cluster cannot be reached.
        TopicMissingError: when the topic does not exist.
    """
    return await in_daemon_thread(_log_identity, connection, topic, bootstrap_timeout_ms)


class IdentityProbe:
    """Asks for the identity of a topic again and again, over one connection."""

    def __init__(self, connection: KafkaConnection, topic: str) -> None:
        self._connection = connection
        self._topic = topic
        self._admin: KafkaAdminClient | None = None

    async def identity(self) -> LogIdentity:
        """The identity of the topic now; one caller at a time. Raises as `log_identity`."""
        try:
            if self._admin is None:
                self._admin = await in_daemon_thread(admin_client, self._connection)
            return await in_daemon_thread(_described, self._connection, self._admin, self._topic)
        except BrokerUnavailableError:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the connection."""
        admin, self._admin = self._admin, None
        if admin is not None:
            await in_daemon_thread(admin.close)


@asynccontextmanager
async def _partitions_of(
    connection: KafkaConnection, topic: str
) -> AsyncIterator[tuple[list[aiokafka.TopicPartition], aiokafka.AIOKafkaConsumer]]:
    """A topic's partitions, and a started consumer."""
    admin = AIOKafkaAdminClient(**aiokafka_options(connection))
    consumer = new_consumer(connection)
    try:
        try:
            await admin.start()
            await consumer.start()
            # Describing a topic by name may create it on some brokers, so look it up in the list of topics first.
            exists = topic in await consumer.topics()
            descriptions = await admin.describe_topics([topic]) if exists else []
        finally:
            await admin.close()
        if not descriptions or descriptions[0]["error_code"]:
            raise missing(connection, topic)
        numbers = sorted(partition["partition"] for partition in descriptions[0]["partitions"])
        yield [aiokafka.TopicPartition(topic, number) for number in numbers], consumer
    except KafkaError as error:
        raise unavailable(connection, error) from error
    finally:
        await consumer.stop()


async def _fetch_watermarks(
    connection: KafkaConnection, listed: Mapping[aiokafka.TopicPartition, int]
) -> dict[aiokafka.TopicPartition, int]:
    reader = new_consumer(connection, fetch_max_wait_ms=min(connection.fetch_wait_ms, 50), max_poll_records=1)
    await reader.start()
    try:
        reader.assign(list(listed))
        for partition, offset in listed.items():
            reader.seek(partition, offset)
        while any(reader.highwater(partition) is None for partition in listed):
            await reader.getmany(timeout_ms=20)
        return {partition: max(offset, int(reader.highwater(partition))) for partition, offset in listed.items()}
    finally:
        await reader.stop()


def _log_identity(connection: KafkaConnection, topic: str, bootstrap_timeout_ms: int) -> LogIdentity:
    admin = admin_client(connection, bootstrap_timeout_ms)
    try:
        return _described(connection, admin, topic)
    finally:
        admin.close()


def admin_client(connection: KafkaConnection, bootstrap_timeout_ms: int = BOOTSTRAP_TIMEOUT_MS) -> KafkaAdminClient:
    """A connected client for administration; it blocks meanwhile.

    Raises:
        BrokerUnavailableError: when the cluster cannot be reached.
    """
    # kafka-python would wait for the answer to a handshake for ever.
    if found := _handshake_error(connection, bootstrap_timeout_ms / 1_000):
        raise found
    try:
        return KafkaAdminClient(**(kafka_python_options(connection) | {"bootstrap_timeout_ms": bootstrap_timeout_ms}))
    except AdminKafkaError as error:
        raise unavailable(connection, error) from error


def _handshake_error(connection: KafkaConnection, timeout_s: float) -> BrokerUnavailableError | None:
    """Why no broker can be reached over TLS; None: one answers, or TLS is not wanted."""
    tls = connection.security.tls
    failed = tls and failed_handshake(connection.bootstrap_servers, tls.context(), timeout_s)
    if not tls or not failed:
        return None
    problem = tls.problem(failed.error, failed.server)
    if problem is None:
        return unavailable(connection, failed.error)
    return BrokerUnavailableError(f"Kafka at {connection.bootstrap_servers} cannot be reached: {problem}")


def _described(connection: KafkaConnection, admin: KafkaAdminClient, topic: str) -> LogIdentity:
    try:
        (description,) = admin.describe_topics([topic])
    except AdminKafkaError as error:
        raise BrokerUnavailableError(f"Kafka did not describe the topic {topic}: {error}") from error
    if description["error_code"]:
        raise missing(connection, topic)
    return LogIdentity(uuid.UUID(str(description["topic_id"])).bytes, len(description["partitions"]))
