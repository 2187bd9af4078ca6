"""What the catalog needs from outside: a log to append to, and a view of what the log holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.catalog.domain.contents import Contents
from services.catalog.domain.model import Resource, Skill


@dataclass(frozen=True, slots=True)
class CatalogVersion:
    """How far the two logs go, or have been read: one past the last record of each."""

    resources_offset: int
    skills_offset: int

    def includes(self, other: CatalogVersion) -> bool:
        """Whether everything before `other` is before this one too, in both logs."""
        return self.resources_offset >= other.resources_offset and self.skills_offset >= other.skills_offset


class CatalogUnavailableError(ConnectionError):
    """The log cannot be reached. Some records of an append may stand in it, in their order; the rest do not."""


class CatalogLog(Protocol):
    """The truth. Every call may raise CatalogUnavailableError."""

    async def append(self, tenant: str, skills: Sequence[Skill], resources: Sequence[Resource]) -> CatalogVersion:
        """Write records in the order given, the skills before the resources; each replaces the one with its id.

        Returns once every record is confirmed, with one past the last one written of each kind (0: none was).
        """
        ...

    async def end(self) -> CatalogVersion:
        """How far the log goes now."""
        ...


class CatalogView(Protocol):
    """What the log holds, in memory, following it."""

    @property
    def ready(self) -> bool:
        """Whether everything that stood in the log at the start is in."""
        ...

    @property
    def version(self) -> CatalogVersion:
        """How far the log is in."""
        ...

    def contents(self, tenant: str) -> Contents:
        """A tenant's records as they are now; not to be changed. Empty for a tenant without any."""
        ...

    async def wait_for(self, version: CatalogVersion) -> None:
        """Return once `self.version` includes `version`."""
        ...
