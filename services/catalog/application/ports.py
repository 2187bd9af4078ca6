"""What the catalog needs from outside: a log to append to, and a view of what the log holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from services.catalog.domain.contents import Changes, Contents


@dataclass(frozen=True, slots=True)
class CatalogVersion:
    """How far the logs of the catalog go, or have been read: one past the last record of each."""

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
    """The log cannot be reached. What was to be appended may stand in it or not."""


class TurnLostError(RuntimeError):
    """Another service has taken the turn to write since; nothing was appended."""


class CatalogLog(Protocol):
    """The truth. Every call may raise CatalogUnavailableError."""

    async def take_turn(self) -> CatalogVersion | None:
        """Be the one that writes, until another service takes the turn.

        What is checked after this call, against everything before the end that it returns, still holds when `append`
        succeeds: nobody wrote in between.

        Returns:
            The end of the log, when the turn was taken just now; None when it was held all along, so that nobody else
            has written since.
        """
        ...

    async def end(self) -> CatalogVersion:
        """How far the log goes now."""
        ...

    async def append(self, tenant: str, changes: Changes) -> CatalogVersion:
        """Write changes, all of them or none: skills, then resources, then rules, then the removals of skills.

        Returns once all of it is confirmed, with one past the last record written of each kind (0: none was).

        Raises:
            TurnLostError: when another service has taken the turn; nothing was written.
        """
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
