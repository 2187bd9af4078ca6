"""The catalog in memory, for tests and for trying things out."""

from __future__ import annotations

from collections.abc import Iterable

from services.recommender.domain.ranking.catalog import (
    CatalogColumns,
    CatalogResource,
    CatalogSkill,
    CatalogVersion,
    build_columns,
)


class MemoryCatalog:
    """Implements `CatalogReader` over what it is given; every `put` is a version."""

    def __init__(self) -> None:
        self.reachable = True
        self._columns: dict[str, CatalogColumns] = {}
        self._version = CatalogVersion()

    @property
    def version(self) -> CatalogVersion:
        """As the port says."""
        return self._version

    def columns(self, tenant: str) -> CatalogColumns:
        """As the port says."""
        return self._columns.get(tenant) or build_columns((), ())

    def put(self, tenant: str, resources: Iterable[CatalogResource], skills: Iterable[CatalogSkill] = ()) -> None:
        """Replace a tenant's catalog."""
        listed, described = list(resources), list(skills)
        self._columns[tenant] = build_columns(listed, described)
        self._version = CatalogVersion(
            self._version.resources_offset + len(listed), self._version.skills_offset + len(described)
        )
