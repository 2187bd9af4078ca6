"""What is kept of statements for a while: to answer repeats, queries by id, and voiding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.common.auth.tenant import Tenant
from services.ingest.application.ports import RecentEventsUnavailableError


class StatementsUnavailableError(RecentEventsUnavailableError):
    """What is kept of statements cannot be reached."""


@dataclass(frozen=True, slots=True)
class KeptStatement:
    """A statement that was taken.

    Attributes:
        statement_id: its id, in lower case.
        digest: of everything in it that cannot change.
        content: the statement in JSON, without names; empty when it was too large to keep.
        learners: the pseudonyms of the people in it, on whose erasure it is removed.
        voids: the id of the statement that it voids; empty: none.
    """

    statement_id: str
    digest: bytes
    content: bytes
    learners: tuple[str, ...] = ()
    voids: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """What is kept under an id.

    Attributes:
        statement: the statement; None: none is kept.
        voided_by: the id of a statement that voids it, which may have come before it; empty: none.
    """

    statement: KeptStatement | None = None
    voided_by: str = ""


class StatementStore(Protocol):
    """Keeps the last statements of each tenant: a number of them, and for a time.

    It is a hint: the log has the events, and a statement that it does not keep is taken as a new one.
    """

    async def of(self, tenant: Tenant, ids: Sequence[str]) -> list[Known]:
        """What is kept under ids, in the order given.

        Raises:
            StatementsUnavailableError: when it cannot be read.
        """
        ...

    async def add(self, tenant: Tenant, statements: Sequence[KeptStatement]) -> None:
        """Keep statements; one that is kept under the same id stays as it is.

        Raises:
            StatementsUnavailableError: when not all may have been kept.
        """
        ...

    async def forget(self, tenant: Tenant, learner: str) -> None:
        """Remove every statement with a learner.

        Raises:
            StatementsUnavailableError: when some may be left; the call may be repeated.
        """
        ...


class NoStatements:
    """Implements StatementStore where nothing is kept."""

    async def of(self, tenant: Tenant, ids: Sequence[str]) -> list[Known]:  # noqa: ARG002 - the port's.
        """See StatementStore."""
        return [Known() for _ in ids]

    async def add(self, tenant: Tenant, statements: Sequence[KeptStatement]) -> None:
        """See StatementStore."""

    async def forget(self, tenant: Tenant, learner: str) -> None:
        """See StatementStore."""
