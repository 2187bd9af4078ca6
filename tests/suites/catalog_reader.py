"""Behaviour of every catalog reader; run on the in-memory and the Kafka adapter."""

from __future__ import annotations

import uuid

import pytest

from services.recommender.domain.ranking.catalog import CatalogResource, CatalogSkill
from services.recommender.domain.ranking.rules import Rule, RuleAction

LESSON = CatalogResource("lesson", title="A lesson", teaches=(("s", 0.5), ("t", 1.5)), minutes=9, grades=("3",))
QUIZ = CatalogResource("quiz", assesses=(("t", 1.0),), language="en")
DRAFT = CatalogResource("draft", active=False)
SKILL = CatalogSkill("t", "Taking away", prerequisites=("s",), importance=0.25)


class CatalogReaderSuite:
    """Inherited by a test class per adapter, with the fixtures `catalog`, `replace` and `replace_rules`.

    `replace(tenant, resources, skills)` replaces the tenant's catalog and returns once the reader has it;
    `replace_rules(tenant, rules)` does the same with its rules.
    """

    @pytest.fixture
    def tenant(self):
        return f"tenant-{uuid.uuid4().hex[:8]}"

    async def test_an_unknown_tenant_has_an_empty_catalog(self, catalog, tenant):
        assert len(catalog.columns(tenant)) == 0

    async def test_written_records_are_in_the_catalogs_columns(self, catalog, replace, tenant):
        await replace(tenant, [QUIZ, LESSON, DRAFT], [SKILL])
        columns = catalog.columns(tenant)
        assert columns.resource_ids == ("lesson", "quiz")
        assert columns.titles[0] == "A lesson"
        assert columns.minutes.tolist() == [9, -1]
        assert columns.skill_labels == ("s", "Taking away")
        assert columns.importance.tolist() == [1.0, 0.25]
        assert columns.shares(0).tolist() == [0.25, 0.75]
        assert columns.skill_prerequisites.row(1).tolist() == [0]

    async def test_a_resource_can_change_and_disappear(self, catalog, replace, tenant):
        await replace(tenant, [LESSON, QUIZ], [SKILL])
        await replace(tenant, [CatalogResource("quiz", title="A better quiz")], [])
        columns = catalog.columns(tenant)
        assert columns.resource_ids == ("quiz",)
        assert columns.titles == ("A better quiz",)
        assert columns.skill_ids == ()

    async def test_the_same_id_in_two_tenants_never_meets(self, catalog, replace, tenant):
        await replace(tenant, [LESSON], [])
        await replace(f"{tenant}-other", [CatalogResource("lesson", title="Theirs")], [])
        assert catalog.columns(tenant).titles == ("A lesson",)
        assert catalog.columns(f"{tenant}-other").titles == ("Theirs",)

    async def test_a_write_creates_a_version_and_keeps_the_columns_of_other_tenants(self, catalog, replace, tenant):
        await replace(tenant, [LESSON], [SKILL])
        before, columns = catalog.version, catalog.columns(tenant)
        await replace(f"{tenant}-other", [QUIZ], [])
        assert catalog.version.resources_offset > before.resources_offset
        assert catalog.version.skills_offset >= before.skills_offset
        assert catalog.columns(tenant) is columns

    async def test_rules_refer_to_rows_of_the_catalog_and_can_be_added_and_removed(
        self, catalog, replace, replace_rules, tenant
    ):
        pin = Rule("pin", RuleAction.PIN, ("quiz", "lesson"), skills=("s",), expires_at_s=2_000_000_000, note="now")
        block = Rule("block", RuleAction.BLOCK, providers=("acorn",), classes=("4b",), grades=("4",))
        boost = Rule("boost", RuleAction.BOOST, ("quiz",), factor=2.5)
        await replace(tenant, [QUIZ, LESSON], [SKILL])
        columns, before = catalog.columns(tenant), catalog.version
        await replace_rules(tenant, [pin, block, boost])
        assert dict(catalog.rules(tenant).rules) == {"pin": pin, "block": block, "boost": boost}
        assert [subject.named for subject in catalog.rules(tenant).anywhere] == [(1,), (0,)]
        assert catalog.columns(tenant) is columns
        assert catalog.version.rules_offset > before.rules_offset
        await replace_rules(tenant, [boost])
        assert dict(catalog.rules(tenant).rules) == {"boost": boost}
        assert not catalog.rules(f"{tenant}-other").rules

    async def test_rules_follow_changes_of_the_catalog(self, catalog, replace, replace_rules, tenant):
        await replace_rules(
            tenant, [Rule("pin", RuleAction.PIN, ("quiz",)), Rule("block", RuleAction.BLOCK, ("gone",))]
        )
        assert catalog.rules(tenant).anywhere == ()
        await replace(tenant, [QUIZ, LESSON], [])
        assert [subject.named for subject in catalog.rules(tenant).anywhere] == [(1,)]
        await replace(tenant, [QUIZ], [])
        assert [subject.named for subject in catalog.rules(tenant).anywhere] == [(0,)]

    async def test_a_reachable_catalog_reports_that_it_is_reachable(self, catalog):
        assert catalog.reachable
