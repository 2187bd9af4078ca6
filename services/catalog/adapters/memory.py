"""The catalog's log and view without a broker, for tests and for trying things out."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from services.catalog.application.ports import CatalogUnavailableError, CatalogVersion
from services.catalog.domain.contents import Contents
from services.catalog.domain.model import Resource, Skill


class MemoryCatalogLog:
    """A log in this process.

    Attributes:
        skills: every skill record appended, with its tenant.
        resources: every resource record appended, with its tenant.
        reachable: set it to False for a log that cannot be reached.
    """

    def __init__(self) -> None:
        self.skills: list[tuple[str, Skill]] = []
        self.resources: list[tuple[str, Resource]] = []
        self.reachable = True
        self._views: list[MemoryCatalogView] = []

    async def append(self, tenant: str, skills: Sequence[Skill], resources: Sequence[Resource]) -> CatalogVersion:
        """As the port says."""
        self._check_reachable()
        self.skills += [(tenant, skill) for skill in skills]
        self.resources += [(tenant, resource) for resource in resources]
        for view in self._views:
            await view.follow()
        return CatalogVersion(
            resources_offset=len(self.resources) if resources else 0,
            skills_offset=len(self.skills) if skills else 0,
        )

    async def end(self) -> CatalogVersion:
        """As the port says."""
        self._check_reachable()
        return CatalogVersion(resources_offset=len(self.resources), skills_offset=len(self.skills))

    async def view(self) -> MemoryCatalogView:
        """A new view of the log, ready and kept up to date."""
        view = MemoryCatalogView(self)
        self._views.append(view)
        await view.follow()
        return view

    def _check_reachable(self) -> None:
        if not self.reachable:
            raise CatalogUnavailableError("the catalog log cannot be reached")


class MemoryCatalogView:
    """A view of a MemoryCatalogLog; made by its `view`."""

    def __init__(self, log: MemoryCatalogLog) -> None:
        self._log = log
        self._contents: defaultdict[str, Contents] = defaultdict(Contents)
        self._version = CatalogVersion(0, 0)
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
        for tenant, skill in self._log.skills[self._version.skills_offset :]:
            self._contents[tenant].skills.put(skill)
        for tenant, resource in self._log.resources[self._version.resources_offset :]:
            self._contents[tenant].resources.put(resource)
        async with self._moved:
            self._version = CatalogVersion(
                resources_offset=len(self._log.resources), skills_offset=len(self._log.skills)
            )
            self._moved.notify_all()
