"""The catalog in Kafka's compacted topics `cairn.skills`, `cairn.resources` and `cairn.rules`."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import aiokafka
import structlog
from aiokafka.errors import KafkaError as ReadKafkaError
from kafka.errors import InvalidProducerEpochError, KafkaError, KafkaTimeoutError, ProducerFencedError

from services.catalog.application.ports import CatalogUnavailableError, CatalogVersion, TurnLostError
from services.catalog.domain.contents import Changes, Contents
from services.catalog.domain.model import RecordKind, Resource, Rule, Skill
from services.catalog.wire.records import (
    RecordInvalidError,
    record_to_proto,
    resource_from_record,
    rule_from_record,
    skill_from_record,
)
from services.common.daemon_threads import in_daemon_thread
from services.common.kafka import envelope
from services.common.kafka.compacted import CompactedView
from services.common.kafka.connection import (
    BrokerUnavailableError,
    KafkaConnection,
    end_offsets,
    kafka_python_options,
    new_consumer,
    unavailable,
)
from services.common.kafka.producer import DiscardableProducer

_log = structlog.get_logger(__name__)

_SOURCE = "/cairn/catalog"
_BOOTSTRAP_TIMEOUT_MS = 5_000
_DELIVERY_TIMEOUT_MS = 15_000
_LINGER_MS = 5
_BATCH_BYTES = 256 * 1024
_RECORDS_PER_FLUSH = 5_000
_TRANSACTIONAL_ID = "cairn-catalog"
# A process that dies while it writes blocks readers for this long, unless another one writes first.
_TRANSACTION_TIMEOUT_MS = 60_000

_TOPICS = {
    RecordKind.SKILL: (envelope.SKILLS, "cairn.v1.Skill"),
    RecordKind.RESOURCE: (envelope.RESOURCES, "cairn.v1.Resource"),
    RecordKind.RULE: (envelope.RULES, "cairn.v1.Rule"),
}
_KINDS = {topic: kind for kind, (topic, _) in _TOPICS.items()}
_DECODE: dict[RecordKind, Callable[[str, bytes, str], Skill | Resource | Rule]] = {
    RecordKind.SKILL: skill_from_record,
    RecordKind.RESOURCE: resource_from_record,
    RecordKind.RULE: rule_from_record,
}


class KafkaCatalogLog:
    """Appends to the catalog's topics: confirmed by all in-sync replicas, in order, and each change all or nothing.

    Every change is a transaction under one transactional id, shared by all processes. Kafka gives the id to the
    producer that requested it last, aborts the open transaction of the previous one, and fences that producer. So Kafka
    decides whose turn it is to write, and a process that lost its turn, or was silent for an hour, cannot write.
    """

    def __init__(self, connection: KafkaConnection, now: Callable[[], datetime]) -> None:
        """Args: the cluster, and the clock of the records' `ce_time` (aware)."""
        self._connection = connection
        self._now = now
        self._producer: DiscardableProducer | None = None
        self._writing = threading.Lock()

    async def take_turn(self) -> CatalogVersion | None:
        """See CatalogLog."""
        if self._producer is not None:
            return None
        await in_daemon_thread(self._take_turn)
        return await self.end()

    async def append(self, tenant: str, changes: Changes) -> CatalogVersion:
        """See CatalogLog. Takes the turn if it was never taken."""
        return await asyncio.to_thread(self._append, tenant, changes)

    async def end(self) -> CatalogVersion:
        """See CatalogLog."""
        partitions = [
            aiokafka.TopicPartition(topic, 0) for topic in (envelope.RESOURCES, envelope.SKILLS, envelope.RULES)
        ]
        consumer = new_consumer(self._connection)
        try:
            await consumer.start()
            ends = await end_offsets(self._connection, consumer, partitions)
        except (BrokerUnavailableError, ReadKafkaError) as error:
            raise CatalogUnavailableError(f"the catalog topics cannot be reached: {error}") from error
        finally:
            await consumer.stop()
        resources, skills, rules = (ends[partition] for partition in partitions)
        return CatalogVersion(resources_offset=resources, skills_offset=skills, rules_offset=rules)

    async def close(self) -> None:
        """Close the connection to the cluster."""
        await asyncio.to_thread(self._drop_producer)

    def _take_turn(self) -> None:
        with self._writing:
            try:
                self._connected()
            except KafkaError as error:
                self._drop_producer()
                raise CatalogUnavailableError(str(unavailable(self._connection, error))) from error

    def _append(self, tenant: str, changes: Changes) -> CatalogVersion:
        with self._writing:
            try:
                self._connected().begin_transaction()
                # On a broker that shows uncommitted records, a reader still sees a valid catalog at any time: no
                # resource is sent before every skill is confirmed, and so on.
                skills_end = self._send(RecordKind.SKILL, tenant, _values(changes.put_of(RecordKind.SKILL)))
                resources_end = self._send(RecordKind.RESOURCE, tenant, _entries(changes, RecordKind.RESOURCE))
                rules_end = self._send(RecordKind.RULE, tenant, _entries(changes, RecordKind.RULE))
                removed = ((identifier, None) for identifier in changes.removed_of(RecordKind.SKILL))
                skills_end = max(skills_end, self._send(RecordKind.SKILL, tenant, removed))
                self._commit()
            except (ProducerFencedError, InvalidProducerEpochError) as error:
                self._drop_producer()
                raise TurnLostError("another catalog service has taken the turn to write") from error
            except KafkaError as error:
                # A producer that failed has a gap in its sequence; the next append starts with a new one.
                self._drop_producer()
                raise CatalogUnavailableError(f"the catalog topics did not take the records: {error!r}") from error
        return CatalogVersion(resources_offset=resources_end, skills_offset=skills_end, rules_offset=rules_end)

    def _send(self, kind: RecordKind, tenant: str, values: Iterable[tuple[str, bytes | None]]) -> int:
        producer, time, end = self._connected(), self._now(), 0
        topic, event_type = _TOPICS[kind]
        remaining = iter(values)
        while chunk := list(islice(remaining, _RECORDS_PER_FLUSH)):
            sent = [
                producer.send(
                    topic,
                    key=envelope.record_key(tenant, identifier),
                    value=value,
                    headers=envelope.cloud_event_headers(
                        event_id=str(uuid.uuid4()), source=f"{_SOURCE}/{tenant}", event_type=event_type, time=time
                    ),
                    partition=0,
                )
                for identifier, value in chunk
            ]
            producer.flush(timeout=_DELIVERY_TIMEOUT_MS / 1_000)
            end = int(max(future.get().offset + 1 for future in sent))
        return end

    def _commit(self) -> None:
        """Commit, or time out: kafka-python would wait for a lost broker forever."""
        producer, outcome = self._connected(), list[KafkaError | None]()

        def commit() -> None:
            try:
                producer.commit_transaction()
                outcome.append(None)
            except KafkaError as error:
                outcome.append(error)

        committing = threading.Thread(target=commit, daemon=True)
        committing.start()
        committing.join(_DELIVERY_TIMEOUT_MS / 1_000)
        if not outcome:
            raise KafkaTimeoutError("the broker did not confirm the commit in time")
        if outcome[0] is not None:
            raise outcome[0]

    def _connected(self) -> Any:
        if self._producer is None:
            options = kafka_python_options(self._connection) | {"bootstrap_timeout_ms": _BOOTSTRAP_TIMEOUT_MS}
            self._producer = DiscardableProducer(
                **options,
                acks="all",
                transactional_id=_TRANSACTIONAL_ID,
                transaction_timeout_ms=_TRANSACTION_TIMEOUT_MS,
                allow_auto_create_topics=False,
                max_block_ms=_BOOTSTRAP_TIMEOUT_MS,
                delivery_timeout_ms=_DELIVERY_TIMEOUT_MS,
                linger_ms=_LINGER_MS,
                batch_size=_BATCH_BYTES,
            )
            # From here on, the previous producer with this id is fenced.
            self._producer.init_transactions()
        return self._producer

    def _drop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            # Everything it sent is confirmed or abandoned, and `close` would wait for a lost broker.
            producer.discard()


def _values(records: Iterable[Skill | Resource | Rule]) -> Iterator[tuple[str, bytes]]:
    return ((record.id, record_to_proto(record).SerializeToString()) for record in records)


def _entries(changes: Changes, kind: RecordKind) -> Iterator[tuple[str, bytes | None]]:
    yield from _values(changes.put_of(kind))
    yield from ((identifier, None) for identifier in changes.removed_of(kind))


class KafkaCatalogView:
    """Every tenant's catalog in memory, built from the topics at the start and kept up to date.

    An invalid record is logged with its offset and skipped; the previous record of its id stays.
    """

    def __init__(self, connection: KafkaConnection) -> None:
        """Args: the cluster."""
        self._view = CompactedView(connection, tuple(_KINDS), self._apply)
        self._contents: defaultdict[str, Contents] = defaultdict(Contents)
        self._ignored = 0

    @property
    def ready(self) -> bool:
        """See CatalogView."""
        return self._view.ready

    @property
    def reachable(self) -> bool:
        """Whether the last read reached the broker; if not, the view may be stale."""
        return self._view.reachable

    @property
    def version(self) -> CatalogVersion:
        """See CatalogView."""
        offsets = self._view.next_offsets
        return CatalogVersion(
            resources_offset=offsets[envelope.RESOURCES],
            skills_offset=offsets[envelope.SKILLS],
            rules_offset=offsets[envelope.RULES],
        )

    @property
    def ignored(self) -> int:
        """Number of invalid records that were skipped."""
        return self._ignored

    @property
    def sizes(self) -> dict[RecordKind, int]:
        """Number of records of each kind, over all tenants."""
        # Metrics are collected on another thread while tenants may be added.
        contents = tuple(self._contents.values())
        return {
            RecordKind.SKILL: sum(len(tenant.skills) for tenant in contents),
            RecordKind.RESOURCE: sum(len(tenant.resources) for tenant in contents),
            RecordKind.RULE: sum(len(tenant.rules) for tenant in contents),
        }

    def contents(self, tenant: str) -> Contents:
        """See CatalogView."""
        return self._contents.get(tenant) or Contents()

    async def wait_ready(self) -> None:
        """Return once `ready`."""
        await self._view.wait_ready()

    async def wait_for(self, version: CatalogVersion) -> None:
        """See CatalogView."""
        for topic, end in (
            (envelope.SKILLS, version.skills_offset),
            (envelope.RESOURCES, version.resources_offset),
            (envelope.RULES, version.rules_offset),
        ):
            if end:
                await self._view.wait_for(topic, end - 1)

    async def run(self) -> None:
        """Read the topics until cancelled.

        Raises:
            TopicMissingError: when a topic does not exist.
            BrokerUnavailableError: when the broker cannot be reached at the start.
        """
        await self._view.run()

    def _apply(self, topic: str, records: Sequence[Any]) -> None:
        for record in records:
            try:
                self._apply_record(topic, record)
            except (envelope.KeyInvalidError, RecordInvalidError) as error:
                self._ignored += 1
                _log.warning(
                    "record ignored", topic=topic, partition=record.partition, offset=record.offset, reason=str(error)
                )

    def _apply_record(self, topic: str, record: Any) -> None:
        tenant, identifier = envelope.split_key(record.key)
        kind = _KINDS[topic]
        if record.value is None:
            self._contents[tenant].remove(kind, identifier)
        else:
            content_type = envelope.content_type_of(record.headers)
            self._contents[tenant].put(_DECODE[kind](identifier, record.value, content_type))
