"""The catalog as read so far."""

from __future__ import annotations

from typing import Protocol

from services.recommender.domain.ranking.catalog import CatalogColumns, CatalogVersion
from services.recommender.domain.ranking.rules import RuleBook


class CatalogReader(Protocol):
    """The tenants' catalogs as read so far."""

    @property
    def reachable(self) -> bool:
        """Whether the log of the catalog can be reached; if not, the catalog may have changed since."""
        ...

    @property
    def version(self) -> CatalogVersion:
        """The version that `columns` and `rules` are built from, for every tenant."""
        ...

    def columns(self, tenant: str) -> CatalogColumns:
        """A tenant's catalog in columns, for ranking; empty when the tenant has no resources."""
        ...

    def rules(self, tenant: str) -> RuleBook:
        """A tenant's rules, looked up in `columns`."""
        ...
