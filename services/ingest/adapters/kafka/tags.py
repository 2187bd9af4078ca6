"""The skills that the catalog's resources assess, from a view of the compacted topic `cairn.resources`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import structlog
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from cairn.v1 import catalog_pb2
from services.common.kafka.compacted import CompactedView
from services.common.kafka.connection import KafkaConnection
from services.common.kafka.envelope import JSON, RESOURCES, KeyInvalidError, content_type_of, split_key

_log = structlog.get_logger(__name__)


class RecordInvalidError(ValueError):
    """A record of the catalog cannot be used."""


class KafkaSkillTags:
    """Keeps only the skills that each resource assesses; `run` reads the topic."""

    def __init__(self, connection: KafkaConnection, *, topic: str = RESOURCES) -> None:
        self._view = CompactedView(connection, [topic], self._apply)
        self._assessed: defaultdict[str, dict[str, tuple[str, ...]]] = defaultdict(dict)
        # Many resources assess the same skills, so they share a tuple.
        self._shared: dict[tuple[str, ...], tuple[str, ...]] = {}

    @property
    def ready(self) -> bool:
        """See SkillTags."""
        return self._view.ready

    @property
    def resources(self) -> int:
        """Number of known resources, over all tenants."""
        return sum(map(len, self._assessed.values()))

    def assessed_skills(self, tenant: str, resource: str) -> tuple[str, ...] | None:
        """See SkillTags."""
        of_tenant = self._assessed.get(tenant)
        return None if of_tenant is None else of_tenant.get(resource)

    async def wait_ready(self) -> None:
        """Return once `ready`."""
        await self._view.wait_ready()

    async def wait_for(self, topic: str, offset: int) -> None:
        """Return once the record at `offset` is in the view."""
        await self._view.wait_for(topic, offset)

    async def run(self) -> None:
        """Read until cancelled. Raises as CompactedView.run."""
        await self._view.run()

    def _apply(self, topic: str, records: Sequence[Any]) -> None:
        for record in records:
            try:
                self._apply_one(record)
            except (RecordInvalidError, KeyInvalidError) as error:
                # Only the catalog service should write here; an invalid record must not block events.
                _log.error("catalog record ignored", topic=topic, offset=record.offset, reason=str(error))

    def _apply_one(self, record: Any) -> None:
        tenant, identifier = split_key(record.key)
        if record.value is None:
            self._assessed[tenant].pop(identifier, None)
            return
        resource = _resource_of(record)
        if resource.id != identifier:
            raise RecordInvalidError(f"the key names {identifier!r}, the body {resource.id!r}")
        tags = sorted(resource.assesses, key=lambda tag: (-tag.weight, tag.skill))
        skills = tuple(tag.skill for tag in tags)
        self._assessed[tenant][identifier] = self._shared.setdefault(skills, skills)


def _resource_of(record: Any) -> catalog_pb2.Resource:
    if not record.value:
        raise RecordInvalidError("the value has no bytes; a removal is a null value")
    try:
        if content_type_of(record.headers) == JSON:
            return json_format.Parse(record.value, catalog_pb2.Resource())
        return catalog_pb2.Resource.FromString(record.value)
    except (DecodeError, json_format.ParseError) as error:
        raise RecordInvalidError(f"the value is not a Resource: {error}") from error
