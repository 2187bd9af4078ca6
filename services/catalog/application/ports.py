"""What the catalog needs from outside: a log to append to, and a view of what the log holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from services.catalog.domain.contents import Changes, Contents


@dataclass(frozen=True, slots=True)
class CatalogVersion:
    """The ends of the catalog's logs, or how far they were read: one past the last record of each."""

    resources_offset: int = 0
    skills_offset: int = 0
    rules_offset: int = 0

    def includes(self, other: CatalogVersion) -> bool:
        """Whether everything before `other` is before this one too, in every log."""
        return (
            self.resources_offset >= other.resources_offset
            and self.skills_offset >= other.skills_offset
            and self.rules_offset >= other.rules_offset
        )


class CatalogUnavailableError(ConnectionError):
    """The log cannot be reached. The changes may have been appended or not."""


class TurnLostError(RuntimeError):
    """Another service has taken the turn to write; nothing was appended."""


class CatalogLog(Protocol):
    """The log of changes, which is the source of truth. Every call may raise CatalogUnavailableError."""

    async def take_turn(self) -> CatalogVersion | None:
        """Become the only writer, until another service takes the turn.

        If `append` succeeds later, no other service wrote in between: checks made after this call, against everything
        before the end that it returns, still hold.

        Returns:
            The end of the log if the turn was taken just now; None if this service had it all along, so that no
            other service has written since its last append.
        """
        ...

    async def end(self) -> CatalogVersion:
        """The current end of the log."""
        ...

    async def append(self, tenant: str, changes: Changes) -> CatalogVersion:
        """Write changes, all or none: skills, then resources, then rules, then the removals of skills.

        Returns, once everything is confirmed, one past the last record written of each kind (0: none was).

        Raises:
            TurnLostError: when another service has taken the turn; nothing was written.
        """
        ...


class CatalogView(Protocol):
    """The log's contents in memory, kept up to date."""

    @property
    def ready(self) -> bool:
        """Whether everything that was in the log at the start has been read."""
        ...

    @property
    def version(self) -> CatalogVersion:
        """How far the log has been read."""
        ...

    def contents(self, tenant: str) -> Contents:
        """A tenant's current records; do not change them. Empty for a tenant without any."""
        ...

    async def wait_for(self, version: CatalogVersion) -> None:
        """Return once `self.version` includes `version`."""
        ...
