"""The catalog as read so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from services.recommender.domain.learner.restamp import AssessedSkills
from services.recommender.domain.ranking.catalog import CatalogColumns, CatalogSkill, CatalogVersion
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


@dataclass(frozen=True, slots=True)
class CatalogTags:
    """Every tenant's skills, and those that their resources assess, at one version of the catalog.

    Attributes:
        resources_offset: up to where `cairn.resources` was read.
        skills_offset: up to where `cairn.skills` was read.
        assessed: the skills of each resource; none for one that assesses nothing.
        skills: the skills of each tenant.
    """

    resources_offset: int
    skills_offset: int
    assessed: AssessedSkills
    skills: Mapping[str, Sequence[CatalogSkill]] = field(default_factory=dict)


class CatalogTagsReader(Protocol):
    """Reads the catalog once."""

    async def read(self) -> CatalogTags:
        """The tags of now. Raises ConnectionError or LookupError (no such topic) when the catalog cannot be read."""
        ...
