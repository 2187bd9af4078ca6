"""The catalog, as far as it has been read."""

from __future__ import annotations

from typing import Protocol

from services.recommender.domain.ranking.catalog import CatalogColumns, CatalogVersion
from services.recommender.domain.ranking.rules import RuleBook


class CatalogReader(Protocol):
    """The tenants' catalogs, as far as they have been read."""

    @property
    def reachable(self) -> bool:
        """Whether the truth about the catalog can be reached; when not, it may have changed since."""
        ...

    @property
    def version(self) -> CatalogVersion:
        """What `columns` and `rules` are made from, for every tenant."""
        ...

    def columns(self, tenant: str) -> CatalogColumns:
        """A tenant's catalog in columns, for ranking; empty when the tenant has no resources."""
        ...

    def rules(self, tenant: str) -> RuleBook:
        """A tenant's rules, looked up in `columns`."""
        ...
