"""The catalog's log and view, without a broker."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from services.catalog.application.ports import CatalogUnavailableError, CatalogVersion, TurnLostError
from services.catalog.domain.contents import Changes, Contents
from services.catalog.domain.model import RecordKind, Resource, Rule, Skill, kind_of

Entry = tuple[str, RecordKind, str, Skill | Resource | Rule | None]
"""Tenant, kind, id, and the record; None: it was removed."""


class MemoryCatalogLog:
    """A log in this process.

    Attributes:
        skills: everything appended about skills.
        resources: everything appended about resources.
        rules: everything appended about rules.
        reachable: set it to False for a log that cannot be reached.
    """

    def __init__(self) -> None:
        self.skills: list[Entry] = []
        self.resources: list[Entry] = []
        self.rules: list[Entry] = []
        self.reachable = True
        self._views: list[MemoryCatalogView] = []
        self._turn_of: object = self

    def of_another_service(self) -> MemoryCatalogService:
        """The same log as another service writes to it."""
        return MemoryCatalogService(self)

    async def take_turn(self) -> CatalogVersion | None:
        """As the port says."""
        return await self.take_turn_for(self)

    async def append(self, tenant: str, changes: Changes) -> CatalogVersion:
        """As the port says."""
        return await self.append_for(self, tenant, changes)

    async def take_turn_for(self, service: object) -> CatalogVersion:
        """`take_turn` of one service. Returns the end even if it holds the turn: a test may have emptied the log."""
        self._turn_of = service
        return await self.end()

    async def append_for(self, service: object, tenant: str, changes: Changes) -> CatalogVersion:
        """`append` of one service."""
        self._check_reachable()
        if self._turn_of is not service:
            raise TurnLostError("another service has taken the turn")
        entries: list[Entry] = [(tenant, kind_of(record), record.id, record) for record in changes.put]
        entries += [(tenant, kind, identifier, None) for kind, identifier in changes.removed]
        for entry in entries:
            self._of(entry[1]).append(entry)
        for view in self._views:
            await view.follow()
        written = {kind for _, kind, _, _ in entries}
        return CatalogVersion(
            resources_offset=len(self.resources) if RecordKind.RESOURCE in written else 0,
            skills_offset=len(self.skills) if RecordKind.SKILL in written else 0,
            rules_offset=len(self.rules) if RecordKind.RULE in written else 0,
        )

    async def end(self) -> CatalogVersion:
        """As the port says."""
        self._check_reachable()
        return CatalogVersion(len(self.resources), len(self.skills), len(self.rules))

    async def view(self) -> MemoryCatalogView:
        """A new view of the log, ready and kept up to date."""
        view = MemoryCatalogView(self)
        self._views.append(view)
        await view.follow()
        return view

    def _of(self, kind: RecordKind) -> list[Entry]:
        if kind is RecordKind.SKILL:
            return self.skills
        return self.resources if kind is RecordKind.RESOURCE else self.rules

    def _check_reachable(self) -> None:
        if not self.reachable:
            raise CatalogUnavailableError("the catalog log cannot be reached")


class MemoryCatalogService:
    """A MemoryCatalogLog as one more service writes to it; made by its `of_another_service`."""

    def __init__(self, log: MemoryCatalogLog) -> None:
        self._log = log

    async def take_turn(self) -> CatalogVersion | None:
        """As the port says."""
        return await self._log.take_turn_for(self)

    async def end(self) -> CatalogVersion:
        """As the port says."""
        return await self._log.end()

    async def append(self, tenant: str, changes: Changes) -> CatalogVersion:
        """As the port says."""
        # Where a broker would be on its way, another service may come first.
        await asyncio.sleep(0)
        return await self._log.append_for(self, tenant, changes)


class MemoryCatalogView:
    """A view of a MemoryCatalogLog; made by its `view`."""

    def __init__(self, log: MemoryCatalogLog) -> None:
        self._log = log
        self._contents: defaultdict[str, Contents] = defaultdict(Contents)
        self._version = CatalogVersion()
        self._moved = asyncio.Condition()

    @property
    def ready(self) -> bool:
        """As the port says."""
        return True

    @property
    def version(self) -> CatalogVersion:
        """As the port says."""
        return self._version

    def contents(self, tenant: str) -> Contents:
        """As the port says."""
        return self._contents.get(tenant) or Contents()

    async def wait_for(self, version: CatalogVersion) -> None:
        """As the port says."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._version.includes(version))

    async def follow(self) -> None:
        """Take in what the log has gained."""
        log, seen = self._log, self._version
        for tenant, kind, identifier, record in (
            *log.skills[seen.skills_offset :],
            *log.resources[seen.resources_offset :],
            *log.rules[seen.rules_offset :],
        ):
            if record is None:
                self._contents[tenant].remove(kind, identifier)
            else:
                self._contents[tenant].put(record)
        async with self._moved:
            self._version = CatalogVersion(len(log.resources), len(log.skills), len(log.rules))
            self._moved.notify_all()
