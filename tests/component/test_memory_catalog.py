from __future__ import annotations

import pytest

from tests.adapters.memory_catalog import MemoryCatalog
from tests.suites.catalog_reader import CatalogReaderSuite


class TestMemoryCatalog(CatalogReaderSuite):
    @pytest.fixture
    def catalog(self):
        return MemoryCatalog()

    @pytest.fixture
    def replace(self, catalog):
        async def put(tenant, resources, skills):
            catalog.put(tenant, resources, skills)

        return put

    @pytest.fixture
    def replace_rules(self, catalog):
        async def put(tenant, rules):
            catalog.replace_rules(tenant, rules)

        return put
