"""The catalog in columns, built from its compacted topics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

import structlog

from services.common.kafka.compacted import CompactedView
from services.common.kafka.connection import KafkaConnection
from services.common.kafka.envelope import RESOURCES, RULES, SKILLS, KeyInvalidError, split_key
from services.recommender.domain.learner.restamp import AssessedSkills
from services.recommender.domain.ranking.catalog import (
    CatalogColumns,
    CatalogResource,
    CatalogSkill,
    CatalogVersion,
    build_columns,
)
from services.recommender.domain.ranking.rules import NO_RULE_BOOK, Rule, RuleBook, rule_book
from services.recommender.wire.catalog import (
    CatalogRecordInvalidError,
    decode_resource,
    decode_rule,
    decode_skill,
)

_log = structlog.get_logger(__name__)

_PAUSE_S = 0.05
# Even if a large catalog changes all the time, building its columns takes at most a fifth of a core.
_PAUSE_PER_BUILD_S = 4.0
_PAUSE_MAX_S = 10.0

_EMPTY = build_columns((), ())


@dataclass(slots=True)
class _Contents:
    """A tenant's catalog by id."""

    resources: dict[str, CatalogResource] = field(default_factory=dict)
    skills: dict[str, CatalogSkill] = field(default_factory=dict)
    rules: dict[str, Rule] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Changes:
    """Tenants whose resources or skills changed, and tenants whose rules did."""

    catalogs: set[str] = field(default_factory=set)
    rules: set[str] = field(default_factory=set)


class CatalogContents:
    """The contents of the topics, and the columns built from them. For one thread at a time."""

    def __init__(self) -> None:
        self._tenants: dict[str, _Contents] = {}
        self._next_offsets = {RESOURCES: 0, SKILLS: 0, RULES: 0}

    @property
    def version(self) -> CatalogVersion:
        """The version up to which records have been applied."""
        return CatalogVersion(self._next_offsets[RESOURCES], self._next_offsets[SKILLS], self._next_offsets[RULES])

    def apply(self, records: Iterable[Any]) -> _Changes:
        """Apply consumer records in the order of each topic; return whose catalog and whose rules they changed."""
        changes = _Changes()
        for record in records:
            try:
                tenant = self._apply(record)
                (changes.rules if record.topic == RULES else changes.catalogs).add(tenant)
            except (CatalogRecordInvalidError, KeyInvalidError) as error:
                # Only the catalog service writes here; a record from elsewhere must not stop recommendations.
                _log.error("catalog record ignored", topic=record.topic, offset=record.offset, reason=str(error))
            self._next_offsets[record.topic] = record.offset + 1
        return changes

    def columns(self, tenants: Collection[str]) -> dict[str, CatalogColumns]:
        """The catalogs of some tenants in columns."""
        return {
            tenant: build_columns(contents.resources.values(), contents.skills.values())
            for tenant, contents in self._tenants.items()
            if tenant in tenants
        }

    def rules(self, columns: Mapping[str, CatalogColumns]) -> dict[str, RuleBook]:
        """Look up the rules of some tenants in their columns."""
        return {tenant: rule_book(indexed, self._tenants[tenant].rules.values()) for tenant, indexed in columns.items()}

    def assessed_skills(self) -> AssessedSkills:
        """The skills that each resource assesses, also of retired resources."""
        # Many resources assess the same skills, so they share a tuple.
        shared: dict[tuple[str, ...], tuple[str, ...]] = {}
        return {
            tenant: {
                identifier: shared.setdefault(skills := resource.assessed_skills, skills)
                for identifier, resource in contents.resources.items()
            }
            for tenant, contents in self._tenants.items()
        }

    def skills(self) -> dict[str, list[CatalogSkill]]:
        """The skills of each tenant, in the order of their ids."""
        return {
            tenant: [contents.skills[skill] for skill in sorted(contents.skills)]
            for tenant, contents in self._tenants.items()
        }

    def _apply(self, record: Any) -> str:
        tenant, identifier = split_key(record.key)
        contents = self._tenants.setdefault(tenant, _Contents())
        if record.topic == RESOURCES:
            _put(contents.resources, identifier, record, decode_resource)
        elif record.topic == RULES:
            _put(contents.rules, identifier, record, decode_rule)
        else:
            _put(contents.skills, identifier, record, decode_skill)
        return tenant


class KafkaCatalog:
    """Implements `CatalogReader`. `run` reads the topics.

    A thread decodes records and builds columns, for all records that have arrived since the last time; meanwhile
    requests use the previous columns. Measured on a busy 2-core machine: building the columns of 10,000 resources takes
    0.05 s, of 100,000 resources 0.6 s; decoding them all at the start takes 0.2 s and 2.4 s.
    """

    def __init__(self, connection: KafkaConnection) -> None:
        self._view = CompactedView(connection, [RESOURCES, SKILLS, RULES], self._receive)
        self._contents = CatalogContents()
        self._received: list[Any] = []
        self._wake = asyncio.Event()
        self._caught_up = asyncio.Event()
        self._version = CatalogVersion()
        self._columns: Mapping[str, CatalogColumns] = MappingProxyType({})
        self._rules: Mapping[str, RuleBook] = MappingProxyType({})

    @property
    def reachable(self) -> bool:
        """See the port."""
        return self._view.reachable

    @property
    def ready(self) -> bool:
        """Whether the columns include everything that was in the topics at the start."""
        return self._caught_up.is_set()

    @property
    def version(self) -> CatalogVersion:
        """See the port."""
        return self._version

    def columns(self, tenant: str) -> CatalogColumns:
        """See the port."""
        return self._columns.get(tenant, _EMPTY)

    def rules(self, tenant: str) -> RuleBook:
        """See the port."""
        return self._rules.get(tenant, NO_RULE_BOOK)

    async def wait_ready(self) -> None:
        """Return once `ready`."""
        await self._caught_up.wait()

    async def run(self) -> None:
        """Read until cancelled. Raises what `CompactedView.run` raises."""
        jobs = [asyncio.create_task(job) for job in (self._view.run(), self._build(), self._build_at_end())]
        try:
            await asyncio.gather(*jobs)
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)

    def _receive(self, _topic: str, records: Sequence[Any]) -> None:
        self._received.extend(records)
        self._wake.set()

    async def _build_at_end(self) -> None:
        """Empty topics never notify the builder."""
        await self._view.wait_ready()
        self._wake.set()

    async def _build(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            read_to_end = self._view.ready
            records, self._received = self._received, []
            began_s = time.monotonic()
            columns, rules, version = await asyncio.to_thread(self._prepare, records)
            self._columns = MappingProxyType({**self._columns, **columns})
            self._rules = MappingProxyType({**self._rules, **rules})
            self._version = version
            if read_to_end and not self._caught_up.is_set():
                self._caught_up.set()
            took_s = time.monotonic() - began_s
            if records:
                resources = sum(map(len, self._columns.values()))
                _log.info("catalog built", records=len(records), resources=resources, seconds=round(took_s, 3))
            await asyncio.sleep(min(_PAUSE_S + _PAUSE_PER_BUILD_S * took_s, _PAUSE_MAX_S))

    def _prepare(self, records: Sequence[Any]) -> tuple[dict[str, CatalogColumns], dict[str, RuleBook], CatalogVersion]:
        changes = self._contents.apply(records)
        columns = self._contents.columns(changes.catalogs)
        # Rules point into columns, so they are looked up again when either changes.
        looked_in = {tenant: self._columns.get(tenant, _EMPTY) for tenant in changes.rules} | columns
        return columns, self._contents.rules(looked_in), self._contents.version


_Thing = TypeVar("_Thing")


def _put(
    things: dict[str, _Thing],
    identifier: str,
    record: Any,
    decode: Callable[[str, bytes, Iterable[tuple[str, bytes]]], _Thing],
) -> None:
    if record.value is None:
        things.pop(identifier, None)
    else:
        things[identifier] = decode(identifier, record.value, record.headers)
