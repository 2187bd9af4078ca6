"""What is kept of statements, in memory."""

from __future__ import annotations

from collections.abc import Sequence

from services.common.auth.tenant import Tenant
from services.ingest.application.statements import KeptStatement, Known, StatementsUnavailableError


class MemoryStatements:
    """Keeps the last statements of each tenant.

    Attributes:
        available: set to False to have every call fail as it does without Redis.
        kept: the statements, by tenant and id.
    """

    def __init__(self, *, statements_max: int = 1000) -> None:
        self.available = True
        self.kept: dict[tuple[str, str], KeptStatement] = {}
        self._voided: dict[tuple[str, str], str] = {}
        self._max = statements_max

    async def of(self, tenant: Tenant, ids: Sequence[str]) -> list[Known]:
        """As the port says."""
        self._require()
        return [Known(self.kept.get((tenant.name, each)), self._voided.get((tenant.name, each), "")) for each in ids]

    async def add(self, tenant: Tenant, statements: Sequence[KeptStatement]) -> None:
        """As the port says."""
        self._require()
        for each in statements:
            if self.kept.setdefault((tenant.name, each.statement_id), each) is each and each.voids:
                self._voided.setdefault((tenant.name, each.voids), each.statement_id)
        own = [key for key in self.kept if key[0] == tenant.name]
        for key in own[: max(len(own) - self._max, 0)]:
            del self.kept[key]

    async def forget(self, tenant: Tenant, learner: str) -> None:
        """As the port says."""
        self._require()
        self.kept = {
            key: each for key, each in self.kept.items() if key[0] != tenant.name or learner not in each.learners
        }

    def _require(self) -> None:
        if not self.available:
            raise StatementsUnavailableError("the test made Redis unavailable")
