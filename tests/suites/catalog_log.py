"""How every catalog log and view behave, whatever they are made of.

A test module inherits `CatalogLogSuite` and provides two fixtures: `log`, and `new_view`, an async function that gives
a view of it that is ready. The log may be shared, so every test has a tenant of its own.
"""

import asyncio
import uuid

import pytest

from services.catalog.application.import_catalog import ImportCatalog, ImportInvalidError
from services.catalog.domain.model import Resource, ResourceKind, ResourceStatus, Skill, SkillTag

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
    kind=ResourceKind.VIDEO,
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
)
BARE_RESOURCE = Resource(id="r", title="R", kind=ResourceKind.ACTIVITY)


@pytest.fixture
def tenant():
    return f"t-{uuid.uuid4().hex[:12]}"


class CatalogLogSuite:
    async def test_what_was_appended_is_in_the_view_as_it_was(self, log, new_view, tenant):
        view = await new_view()
        await view.wait_for(await log.append(tenant, [*BARE_SKILLS, RATIO], [PAINT, BARE_RESOURCE]))
        contents = view.contents(tenant)
        assert dict(contents.skills.items()) == {skill.id: skill for skill in (*BARE_SKILLS, RATIO)}
        assert dict(contents.resources.items()) == {PAINT.id: PAINT, "r": BARE_RESOURCE}

    async def test_a_later_record_replaces_the_one_with_its_id(self, log, new_view, tenant):
        view = await new_view()
        await log.append(tenant, [Skill(id="a", statement="first")], [])
        await view.wait_for(await log.append(tenant, [Skill(id="a", statement="second")], []))
        assert view.contents(tenant).skills["a"].statement == "second"
        assert len(view.contents(tenant).skills) == 1

    async def test_a_tenant_sees_nothing_of_another(self, log, new_view, tenant):
        view = await new_view()
        await view.wait_for(await log.append(tenant, [Skill(id="a")], [BARE_RESOURCE]))
        other = view.contents(tenant + "-other")
        assert len(other.skills) == 0
        assert other.resources.get("r") is None

    async def test_a_new_view_is_rebuilt_from_the_log(self, log, new_view, tenant):
        await log.append(tenant, [Skill(id="a"), Skill(id="b", statement="first")], [PAINT])
        await log.append(tenant, [Skill(id="b", statement="second")], [])
        view = await new_view()
        assert view.ready
        assert view.contents(tenant).skills["b"].statement == "second"
        assert view.contents(tenant).resources[PAINT.id] == PAINT

    async def test_a_record_reaches_a_view_that_did_not_write_it(self, log, new_view, tenant):
        mine, other = await new_view(), await new_view()
        version = await log.append(tenant, [Skill(id="a")], [])
        await mine.wait_for(version)
        await other.wait_for(version)
        assert "a" in other.contents(tenant).skills

    async def test_a_view_of_the_end_has_every_record(self, log, new_view, tenant):
        view = await new_view()
        await log.append(tenant, [Skill(id=str(n)) for n in range(300)], [BARE_RESOURCE])
        end = await log.end()
        await view.wait_for(end)
        assert view.version.includes(end)
        assert len(view.contents(tenant).skills) == 300

    async def test_an_append_says_how_far_it_went_in_the_topics_it_wrote_to(self, log, new_view, tenant):
        before = await log.end()
        skills_only = await log.append(tenant, [Skill(id="a"), Skill(id="b")], [])
        assert (skills_only.skills_offset, skills_only.resources_offset) == (before.skills_offset + 2, 0)
        resources_only = await log.append(tenant, [], [BARE_RESOURCE])
        assert (resources_only.skills_offset, resources_only.resources_offset) == (0, before.resources_offset + 1)

    async def test_an_import_is_seen_when_it_answers(self, log, new_view, tenant):
        view = await new_view()
        outcome = await ImportCatalog(log, view).run(tenant, [RATIO, *BARE_SKILLS], [PAINT])
        assert (outcome.skills_written, outcome.resources_written) == (3, 1)
        assert view.contents(tenant).resources[PAINT.id] == PAINT
        assert outcome.version == view.version

    async def test_an_import_again_writes_nothing(self, log, new_view, tenant):
        view = await new_view()
        importing = ImportCatalog(log, view)
        await importing.run(tenant, [RATIO, *BARE_SKILLS], [PAINT])
        end = await log.end()
        outcome = await importing.run(tenant, [RATIO, *BARE_SKILLS], [PAINT])
        assert (outcome.skills_unchanged, outcome.resources_unchanged) == (3, 1)
        assert (outcome.skills_written, outcome.resources_written) == (0, 0)
        assert await log.end() == end

    async def test_only_what_differs_is_written(self, log, new_view, tenant):
        view = await new_view()
        importing = ImportCatalog(log, view)
        await importing.run(tenant, BARE_SKILLS, [BARE_RESOURCE])
        changed = Skill(id="5.NF.B.3", statement="now with words")
        outcome = await importing.run(tenant, [changed, BARE_SKILLS[1]], [BARE_RESOURCE])
        assert (outcome.skills_written, outcome.skills_unchanged, outcome.resources_unchanged) == (1, 1, 1)
        assert view.contents(tenant).skills["5.NF.B.3"] == changed

    async def test_one_problem_keeps_a_whole_import_out(self, log, new_view, tenant):
        view = await new_view()
        end = await log.end()
        with pytest.raises(ImportInvalidError) as caught:
            await ImportCatalog(log, view).run(tenant, BARE_SKILLS, [PAINT, BARE_RESOURCE])
        assert [problem.path for problem in caught.value.problems] == [
            "resources[0].teaches[0].skill",
            "resources[0].assesses[0].skill",
        ]
        assert await log.end() == end
        assert len(view.contents(tenant).skills) == 0

    async def test_an_import_is_checked_against_what_another_service_wrote(self, log, new_view, tenant):
        view, other = await new_view(), await new_view()
        await ImportCatalog(log, other).run(tenant, [Skill(id="a"), Skill(id="b", prerequisites=("a",))], [])
        with pytest.raises(ImportInvalidError) as caught:
            await ImportCatalog(log, view).run(tenant, [Skill(id="a", prerequisites=("b",))], [])
        assert "a -> b -> a" in caught.value.problems[0].reason

    async def test_of_two_imports_at_once_the_second_is_checked_after_the_first(self, log, new_view, tenant):
        importing = ImportCatalog(log, await new_view())
        await importing.run(tenant, [Skill(id="a"), Skill(id="b")], [])
        results = await asyncio.gather(
            importing.run(tenant, [Skill(id="a", prerequisites=("b",))], []),
            importing.run(tenant, [Skill(id="b", prerequisites=("a",))], []),
            return_exceptions=True,
        )
        assert sorted(type(result).__name__ for result in results) == ["ImportInvalidError", "ImportOutcome"]
