"""Behaviour of every catalog log and view.

A test module inherits `CatalogLogSuite` and provides three fixtures: `log`; `another_log`, the same log as seen by
another service; and `new_view`, an async function that returns a ready view of it. The log may be shared, so every
test uses its own tenant.
"""

import asyncio
import uuid
from datetime import UTC, datetime

import pytest

from services.catalog.application.edit_catalog import ConflictError, EditCatalog, Expectation
from services.catalog.application.import_catalog import ImportCatalog, ImportInvalidError
from services.catalog.application.ports import TurnLostError
from services.catalog.application.writing import CatalogWriter
from services.catalog.domain.contents import Changes
from services.catalog.domain.model import RecordKind, Resource, ResourceStatus, Rule, RuleAction, Skill, SkillTag
from services.common.resource_kinds import ResourceKindName

RATIO = Skill(
    id="6.RP.A.1",
    framework="CCSS.Math",
    code="6.RP.A.1",
    statement="Razón: says how two amounts are related",
    prerequisites=("5.NF.B.3", "4.OA.A.2"),
    grades=("6",),
    importance=0.0,
)
BARE_SKILLS = (Skill(id="5.NF.B.3"), Skill(id="4.OA.A.2"))
PAINT = Resource(
    id="vid/1",
    title="Paint in the ratio 2 to 3",
    kind=ResourceKindName.VIDEO,
    description="Two painters.\nTwo greens.",
    provider="Números en Casa",
    url="https://example.org/paint",
    teaches=(SkillTag("6.RP.A.1", 0.8), SkillTag("5.NF.B.3", 0.2)),
    assesses=(SkillTag("6.RP.A.1", 0.1),),
    grades=("6", "7"),
    language="es",
    minutes=7,
    license="CC-BY-4.0",
    difficulty=0.0,
    status=ResourceStatus.RETIRED,
    topics=("outer-space", "art"),
    rejected_skills=("4.OA.A.2",),
)
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
PIN = Rule(
    id="pin",
    action=RuleAction.PIN,
    author="teacher-7",
    resource_ids=("r", "vid/1"),
    providers=("Números en Casa",),
    skills=("a",),
    classes=("4b",),
    grades=("4",),
    expires_at=NOW,
    note="The test is on Friday.",
    updated_at=NOW,
    updated_with="0123456789ab",
)
BARE_RESOURCE = Resource(id="r", title="R", kind=ResourceKindName.ACTIVITY)


@pytest.fixture
def tenant():
    return f"t-{uuid.uuid4().hex[:12]}"


class CatalogLogSuite:
    async def test_appended_records_appear_unchanged_in_the_view(self, log, new_view, tenant):
        view = await new_view()
        await view.wait_for(await log.append(tenant, Changes((*BARE_SKILLS, RATIO, PAINT, BARE_RESOURCE))))
        contents = view.contents(tenant)
        assert dict(contents.skills.items()) == {skill.id: skill for skill in (*BARE_SKILLS, RATIO)}
        assert dict(contents.resources.items()) == {PAINT.id: PAINT, "r": BARE_RESOURCE}

    async def test_a_later_record_replaces_the_one_with_the_same_id(self, log, new_view, tenant):
        view = await new_view()
        await log.append(tenant, Changes((Skill(id="a", statement="first"),)))
        await view.wait_for(await log.append(tenant, Changes((Skill(id="a", statement="second"),))))
        assert view.contents(tenant).skills["a"].statement == "second"
        assert len(view.contents(tenant).skills) == 1

    async def test_a_tenant_sees_nothing_of_another(self, log, new_view, tenant):
        view = await new_view()
        await view.wait_for(await log.append(tenant, Changes((Skill(id="a"), BARE_RESOURCE))))
        other = view.contents(tenant + "-other")
        assert len(other.skills) == 0
        assert other.resources.get("r") is None

    async def test_a_new_view_is_rebuilt_from_the_log(self, log, new_view, tenant):
        await log.append(tenant, Changes((Skill(id="a"), Skill(id="b", statement="first"), PAINT)))
        await log.append(tenant, Changes((Skill(id="b", statement="second"),)))
        view = await new_view()
        assert view.ready
        assert view.contents(tenant).skills["b"].statement == "second"
        assert view.contents(tenant).resources[PAINT.id] == PAINT

    async def test_a_record_reaches_a_view_that_did_not_write_it(self, log, new_view, tenant):
        mine, other = await new_view(), await new_view()
        version = await log.append(tenant, Changes((Skill(id="a"),)))
        await mine.wait_for(version)
        await other.wait_for(version)
        assert "a" in other.contents(tenant).skills

    async def test_a_view_at_the_end_of_the_log_has_every_record(self, log, new_view, tenant):
        view = await new_view()
        await log.append(tenant, Changes((*[Skill(id=str(n)) for n in range(300)], BARE_RESOURCE)))
        end = await log.end()
        await view.wait_for(end)
        assert view.version.includes(end)
        assert len(view.contents(tenant).skills) == 300

    async def test_an_append_returns_its_end_offsets_in_the_topics_it_wrote_to(self, log, new_view, tenant):
        before = await log.end()
        skills_only = await log.append(
            tenant,
            Changes(
                (
                    Skill(id="a"),
                    Skill(id="b"),
                )
            ),
        )
        assert (skills_only.skills_offset, skills_only.resources_offset) == (before.skills_offset + 2, 0)
        resources_only = await log.append(tenant, Changes((BARE_RESOURCE,)))
        assert (resources_only.skills_offset, resources_only.resources_offset) == (0, before.resources_offset + 1)

    async def test_an_import_is_visible_when_it_answers(self, log, new_view, tenant):
        view = await new_view()
        outcome = await ImportCatalog(CatalogWriter(log, view)).run(tenant, [RATIO, *BARE_SKILLS], [PAINT])
        assert (outcome.skills_written, outcome.resources_written) == (3, 1)
        assert view.contents(tenant).resources[PAINT.id] == PAINT
        assert outcome.version == view.version

    async def test_repeating_an_import_writes_nothing(self, log, new_view, tenant):
        view = await new_view()
        importing = ImportCatalog(CatalogWriter(log, view))
        await importing.run(tenant, [RATIO, *BARE_SKILLS], [PAINT])
        end = await log.end()
        outcome = await importing.run(tenant, [RATIO, *BARE_SKILLS], [PAINT])
        assert (outcome.skills_unchanged, outcome.resources_unchanged) == (3, 1)
        assert (outcome.skills_written, outcome.resources_written) == (0, 0)
        assert await log.end() == end

    async def test_only_changed_records_are_written(self, log, new_view, tenant):
        view = await new_view()
        importing = ImportCatalog(CatalogWriter(log, view))
        await importing.run(tenant, BARE_SKILLS, [BARE_RESOURCE])
        changed = Skill(id="5.NF.B.3", statement="now with words")
        outcome = await importing.run(tenant, [changed, BARE_SKILLS[1]], [BARE_RESOURCE])
        assert (outcome.skills_written, outcome.skills_unchanged, outcome.resources_unchanged) == (1, 1, 1)
        assert view.contents(tenant).skills["5.NF.B.3"] == changed

    async def test_one_problem_refuses_the_whole_import(self, log, new_view, tenant):
        view = await new_view()
        end = await log.end()
        with pytest.raises(ImportInvalidError) as caught:
            await ImportCatalog(CatalogWriter(log, view)).run(tenant, BARE_SKILLS, [PAINT, BARE_RESOURCE])
        assert [problem.path for problem in caught.value.problems] == [
            "resources[0].teaches[0].skill",
            "resources[0].assesses[0].skill",
        ]
        assert await log.end() == end
        assert len(view.contents(tenant).skills) == 0

    async def test_an_import_is_checked_against_the_writes_of_another_service(self, log, new_view, tenant):
        view, other = await new_view(), await new_view()
        await ImportCatalog(CatalogWriter(log, other)).run(
            tenant, [Skill(id="a"), Skill(id="b", prerequisites=("a",))], []
        )
        with pytest.raises(ImportInvalidError) as caught:
            await ImportCatalog(CatalogWriter(log, view)).run(tenant, [Skill(id="a", prerequisites=("b",))], [])
        assert "a -> b -> a" in caught.value.problems[0].reason

    async def test_the_second_of_two_concurrent_imports_is_checked_after_the_first(self, log, new_view, tenant):
        importing = ImportCatalog(CatalogWriter(log, await new_view()))
        await importing.run(tenant, [Skill(id="a"), Skill(id="b")], [])
        results = await asyncio.gather(
            importing.run(tenant, [Skill(id="a", prerequisites=("b",))], []),
            importing.run(tenant, [Skill(id="b", prerequisites=("a",))], []),
            return_exceptions=True,
        )
        assert sorted(type(result).__name__ for result in results) == ["ImportInvalidError", "ImportOutcome"]

    async def test_one_change_puts_and_removes_every_kind_of_record(self, log, new_view, tenant):
        view = await new_view()
        await view.wait_for(await log.append(tenant, Changes((Skill(id="a"), BARE_RESOURCE, PIN))))
        assert view.contents(tenant).rules["pin"] == PIN
        removed = Changes(removed=((RecordKind.RULE, "pin"), (RecordKind.RESOURCE, "r"), (RecordKind.SKILL, "a")))
        await view.wait_for(await log.append(tenant, removed))
        for seen in (view, await new_view()):
            contents = seen.contents(tenant)
            assert (len(contents.skills), len(contents.resources), len(contents.rules)) == (0, 0, 0)

    async def test_a_fenced_writer_writes_nothing(self, log, another_log, new_view, tenant):
        view = await new_view()
        await log.take_turn()
        end = await another_log.take_turn()
        with pytest.raises(TurnLostError):
            await log.append(tenant, Changes((Skill(id="lost"),)))
        await view.wait_for(await another_log.append(tenant, Changes((Skill(id="kept"),))))
        assert list(view.contents(tenant).skills) == ["kept"]
        assert end is not None
        assert (await log.take_turn()).skills_offset > end.skills_offset

    async def test_of_two_services_that_replace_the_same_version_one_gets_a_conflict(
        self, log, another_log, new_view, tenant
    ):
        editors = [EditCatalog(CatalogWriter(each, await new_view()), lambda: NOW) for each in (log, another_log)]
        for round_number in range(4):
            standing = await editors[round_number % 2].put(tenant, Skill(id="a", statement=f"round {round_number}"))
            outcomes = await asyncio.gather(
                *(
                    editor.put(tenant, Skill(id="a", statement=f"{round_number} {name}"), Expectation(standing.etag))
                    for name, editor in zip(("one", "other"), editors, strict=True)
                ),
                return_exceptions=True,
            )
            (written,) = (outcome for outcome in outcomes if not isinstance(outcome, Exception))
            (conflict,) = (outcome for outcome in outcomes if isinstance(outcome, Exception))
            assert isinstance(conflict, ConflictError)
            assert conflict.etag == written.etag
            view = await new_view()
            assert view.contents(tenant).skills["a"] == written.record

    async def test_two_services_never_close_a_cycle_together(self, log, another_log, new_view, tenant):
        one, other = [ImportCatalog(CatalogWriter(each, await new_view())) for each in (log, another_log)]
        await one.run(tenant, [Skill(id="a"), Skill(id="b")], [])
        results = await asyncio.gather(
            one.run(tenant, [Skill(id="a", prerequisites=("b",))], []),
            other.run(tenant, [Skill(id="b", prerequisites=("a",))], []),
            return_exceptions=True,
        )
        assert sorted(type(result).__name__ for result in results) == ["ImportInvalidError", "ImportOutcome"]
