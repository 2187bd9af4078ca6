"""The recommender's view of the catalog, in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from services.recommender.domain.ranking.catalog import (
    CatalogColumns,
    CatalogResource,
    CatalogSkill,
    CatalogVersion,
    build_columns,
)
from services.recommender.domain.ranking.rules import NO_RULE_BOOK, Rule, RuleBook, rule_book

_EMPTY = build_columns((), ())


class MemoryCatalog:
    """Implements `CatalogReader` over what it is given; every `put` is a version."""

    def __init__(self) -> None:
        self.reachable = True
        self.ready = True
        self._columns: dict[str, CatalogColumns] = {}
        self._rules: dict[str, RuleBook] = {}
        self._version = CatalogVersion()

    @property
    def version(self) -> CatalogVersion:
        """As the port says."""
        return self._version

    def columns(self, tenant: str) -> CatalogColumns:
        """As the port says."""
        return self._columns.get(tenant, _EMPTY)

    def rules(self, tenant: str) -> RuleBook:
        """As the port says."""
        return self._rules.get(tenant, NO_RULE_BOOK)

    def put(self, tenant: str, resources: Iterable[CatalogResource], skills: Iterable[CatalogSkill] = ()) -> None:
        """Replace a tenant's catalog."""
        listed, described = list(resources), list(skills)
        self._columns[tenant] = build_columns(listed, described)
        self._rules[tenant] = rule_book(self._columns[tenant], self.rules(tenant).rules.values())
        self._version = CatalogVersion(
            self._version.resources_offset + len(listed),
            self._version.skills_offset + len(described),
            self._version.rules_offset,
        )

    def replace_rules(self, tenant: str, rules: Iterable[Rule]) -> None:
        """Replace a tenant's rules."""
        listed = list(rules)
        self._rules[tenant] = rule_book(self.columns(tenant), listed)
        self._version = replace(self._version, rules_offset=self._version.rules_offset + max(1, len(listed)))
