"""The catalog in Kafka's compacted topics `cairn.skills` and `cairn.resources`."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import aiokafka
import structlog
from aiokafka.errors import KafkaError as ReadKafkaError
from kafka import KafkaProducer
from kafka.errors import KafkaError

from services.catalog import wire
from services.catalog.application.ports import CatalogUnavailableError, CatalogVersion
from services.catalog.domain.contents import Contents
from services.catalog.domain.model import Resource, Skill
from services.common import envelope
from services.common.compacted import CompactedView
from services.common.kafka import BrokerUnavailableError, KafkaConnection, end_offsets, new_consumer

_log = structlog.get_logger(__name__)

_SOURCE = "/cairn/catalog"
_BOOTSTRAP_TIMEOUT_MS = 5_000
_DELIVERY_TIMEOUT_MS = 15_000
_REQUEST_TIMEOUT_MS = 10_000
_LINGER_MS = 5
_BATCH_BYTES = 256 * 1024
_CLOSE_TIMEOUT_S = 5.0


class KafkaCatalogLog:
    """Appends to the two topics, confirmed by all in-sync replicas and in order."""

    def __init__(self, connection: KafkaConnection, now: Callable[[], datetime]) -> None:
        """Args: the cluster, and the clock of the records' `ce_time` (aware)."""
        self._connection = connection
        self._now = now
        self._producer: KafkaProducer | None = None
        self._writing = threading.Lock()

    async def append(self, tenant: str, skills: Sequence[Skill], resources: Sequence[Resource]) -> CatalogVersion:
        """As the port says."""
        skill_values = ((skill.id, wire.skill_to_proto(skill).SerializeToString()) for skill in skills)
        resource_values = (
            (resource.id, wire.resource_to_proto(resource).SerializeToString()) for resource in resources
        )
        return await asyncio.to_thread(self._append, tenant, skill_values, resource_values)

    async def end(self) -> CatalogVersion:
        """As the port says."""
        topics = (envelope.RESOURCES, envelope.SKILLS)
        partitions = [aiokafka.TopicPartition(topic, 0) for topic in topics]
        consumer = new_consumer(self._connection)
        try:
            await consumer.start()
            ends = await end_offsets(self._connection, consumer, partitions)
        except (BrokerUnavailableError, ReadKafkaError) as error:
            raise CatalogUnavailableError(f"the catalog topics cannot be reached: {error}") from error
        finally:
            await consumer.stop()
        resources, skills = (ends[partition] for partition in partitions)
        return CatalogVersion(resources_offset=resources, skills_offset=skills)

    async def close(self) -> None:
        """Give up the connection to the cluster."""
        await asyncio.to_thread(self._drop_producer)

    def _append(
        self, tenant: str, skills: Iterable[tuple[str, bytes]], resources: Iterable[tuple[str, bytes]]
    ) -> CatalogVersion:
        with self._writing:
            try:
                # Nothing of the resources leaves before every skill is confirmed.
                skills_end = self._send(envelope.SKILLS, "cairn.v1.Skill", tenant, skills)
                resources_end = self._send(envelope.RESOURCES, "cairn.v1.Resource", tenant, resources)
            except KafkaError as error:
                # A producer that failed to deliver has a gap in its sequence; the next append starts with a new one.
                self._drop_producer()
                raise CatalogUnavailableError(f"the catalog topics did not take the records: {error!r}") from error
        return CatalogVersion(resources_offset=resources_end, skills_offset=skills_end)

    def _send(self, topic: str, event_type: str, tenant: str, values: Iterable[tuple[str, bytes]]) -> int:
        producer = self._connected()
        time = self._now()
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
            for identifier, value in values
        ]
        # Every record is decided before this returns or raises, so that none arrives after the answer was given.
        producer.flush()
        return max((future.get().offset + 1 for future in sent), default=0)

    def _connected(self) -> Any:
        if self._producer is None:
            self._producer = KafkaProducer(
                bootstrap_servers=self._connection.bootstrap_servers.split(","),
                acks="all",
                enable_idempotence=True,
                allow_auto_create_topics=False,
                bootstrap_timeout_ms=_BOOTSTRAP_TIMEOUT_MS,
                max_block_ms=_BOOTSTRAP_TIMEOUT_MS,
                request_timeout_ms=_REQUEST_TIMEOUT_MS,
                delivery_timeout_ms=_DELIVERY_TIMEOUT_MS,
                linger_ms=_LINGER_MS,
                batch_size=_BATCH_BYTES,
            )
        return self._producer

    def _drop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close(timeout=_CLOSE_TIMEOUT_S)


class KafkaCatalogView:
    """Every tenant's catalog in memory, rebuilt from the topics at the start and following them.

    A record that is not what its topic carries is logged with its offset and passed over; what stood before it stays.
    """

    def __init__(self, connection: KafkaConnection) -> None:
        """Args: the cluster."""
        self._view = CompactedView(connection, (envelope.SKILLS, envelope.RESOURCES), self._apply)
        self._contents: defaultdict[str, Contents] = defaultdict(Contents)
        self._ignored = 0

    @property
    def ready(self) -> bool:
        """As the port says."""
        return self._view.ready

    @property
    def reachable(self) -> bool:
        """Whether the broker was reached last; when not, the view may be behind."""
        return self._view.reachable

    @property
    def version(self) -> CatalogVersion:
        """As the port says."""
        offsets = self._view.next_offsets
        return CatalogVersion(resources_offset=offsets[envelope.RESOURCES], skills_offset=offsets[envelope.SKILLS])

    @property
    def ignored(self) -> int:
        """Records passed over because they were not what their topic carries."""
        return self._ignored

    @property
    def sizes(self) -> tuple[int, int]:
        """How many skills and resources all tenants have together."""
        # Metrics are collected on another thread, while tenants may be added.
        contents = tuple(self._contents.values())
        return sum(len(tenant.skills) for tenant in contents), sum(len(tenant.resources) for tenant in contents)

    def contents(self, tenant: str) -> Contents:
        """As the port says."""
        return self._contents.get(tenant) or Contents()

    async def wait_ready(self) -> None:
        """Return once `ready`."""
        await self._view.wait_ready()

    async def wait_for(self, version: CatalogVersion) -> None:
        """As the port says."""
        if version.skills_offset:
            await self._view.wait_for(envelope.SKILLS, version.skills_offset - 1)
        if version.resources_offset:
            await self._view.wait_for(envelope.RESOURCES, version.resources_offset - 1)

    async def run(self) -> None:
        """Follow the topics until cancelled.

        Raises:
            TopicMissingError: when a topic does not exist.
            BrokerUnavailableError: when the broker cannot be reached at the start.
        """
        await self._view.run()

    def _apply(self, topic: str, records: Sequence[Any]) -> None:
        for record in records:
            try:
                self._apply_record(topic, record)
            except (envelope.KeyInvalidError, wire.RecordInvalidError) as error:
                self._ignored += 1
                _log.warning(
                    "record ignored", topic=topic, partition=record.partition, offset=record.offset, reason=str(error)
                )

    def _apply_record(self, topic: str, record: Any) -> None:
        tenant, identifier = envelope.split_key(record.key)
        content_type = envelope.content_type_of(record.headers)
        contents = self._contents[tenant]
        if topic == envelope.SKILLS:
            if record.value is None:
                contents.skills.remove(identifier)
            else:
                contents.skills.put(wire.skill_from_record(identifier, record.value, content_type))
        elif record.value is None:
            contents.resources.remove(identifier)
        else:
            contents.resources.put(wire.resource_from_record(identifier, record.value, content_type))
