"""The in-memory catalog log and view, and the import use case where the log fails."""

import asyncio

import pytest

from services.catalog.application import import_catalog
from services.catalog.application.import_catalog import ImportCatalog
from services.catalog.application.ports import CatalogUnavailableError
from services.catalog.application.writing import CatalogLogRecreatedError, CatalogWriter
from services.catalog.domain.contents import Changes
from services.catalog.domain.model import RecordKind, Skill
from tests.adapters.memory_catalog_log import MemoryCatalogLog
from tests.suites.catalog_log import BARE_RESOURCE, CatalogLogSuite
from tests.suites.catalog_log import tenant as tenant  # noqa: PLC0414 - a fixture of the suite, used by name.


@pytest.fixture
def log():
    return MemoryCatalogLog()


@pytest.fixture
def another_log(log):
    return log.of_another_service()


@pytest.fixture
def new_view(log):
    return log.view


class TestMemoryCatalogLog(CatalogLogSuite):
    pass


async def test_skills_are_written_after_their_prerequisites(log, new_view):
    skills = [Skill(id="c", prerequisites=("b",)), Skill(id="a"), Skill(id="b", prerequisites=("a",))]
    await ImportCatalog(CatalogWriter(log, await new_view())).run("riverbend", skills, [])
    assert [identifier for _, _, identifier, _ in log.skills] == ["a", "b", "c"]


async def test_an_unreachable_log_refuses_the_import_and_a_repeat_succeeds(log, new_view):
    view = await new_view()
    importing = ImportCatalog(CatalogWriter(log, view))
    log.reachable = False
    with pytest.raises(CatalogUnavailableError):
        await importing.run("riverbend", [Skill(id="a")], [])
    assert len(view.contents("riverbend").skills) == 0
    log.reachable = True
    assert (await importing.run("riverbend", [Skill(id="a")], [])).skills_written == 1


async def test_a_log_that_ends_before_the_view_is_not_written_to(log, new_view):
    importing = ImportCatalog(CatalogWriter(log, await new_view()))
    await importing.run("riverbend", [Skill(id="a")], [BARE_RESOURCE])
    log.skills.clear()
    with pytest.raises(CatalogLogRecreatedError, match="restart the catalog service"):
        await importing.run("riverbend", [Skill(id="b")], [])
    assert log.skills == []


class SlowLog(MemoryCatalogLog):
    def __init__(self):
        super().__init__()
        self.started, self.may_finish = asyncio.Event(), asyncio.Event()

    async def append(self, tenant, changes):
        self.started.set()
        await self.may_finish.wait()
        return await super().append(tenant, changes)


async def test_the_next_import_waits_for_the_append_of_a_caller_that_hung_up():
    log = SlowLog()
    importing = ImportCatalog(CatalogWriter(log, await log.view()))
    hung_up = asyncio.create_task(importing.run("riverbend", [Skill(id="a")], []))
    await log.started.wait()
    hung_up.cancel()
    following = asyncio.create_task(importing.run("riverbend", [Skill(id="b", prerequisites=("a",))], []))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not following.done()
    log.may_finish.set()
    # `a` is known only if the abandoned append was awaited first.
    assert (await following).skills_written == 1
    with pytest.raises(asyncio.CancelledError):
        await hung_up


async def test_a_long_import_is_written_in_parts_between_which_another_tenant_writes(log, new_view, monkeypatch):
    monkeypatch.setattr(import_catalog, "RECORDS_PER_PART", 10)
    writer = CatalogWriter(log, await new_view())
    skills = [Skill(id=f"s{number:03}", prerequisites=(f"s{number + 1:03}",)) for number in range(600)]
    long = asyncio.create_task(ImportCatalog(writer).run("riverbend", [*skills, Skill(id="s600")], []))
    while not log.skills:  # noqa: ASYNC110 - the log says when its first part is there.
        await asyncio.sleep(0)
    await ImportCatalog(writer).run("hilltop", [Skill(id="urgent")], [])
    outcome = await long
    assert outcome.skills_written == 601
    tenants = [tenant for tenant, *_ in log.skills]
    # Both check in threads, so that the long one writes a few parts, of 61, before the other is ready to write.
    assert tenants.index("hilltop") < 300
    # Whatever a reader has seen of it so far is a valid catalog.
    written = [record for tenant, _, _, record in log.skills if tenant == "riverbend"]
    known = set()
    for skill in written:
        assert set(skill.prerequisites) <= known
        known.add(skill.id)


async def test_an_import_that_becomes_invalid_while_it_is_written_says_that_a_part_of_it_is_written(
    log, new_view, monkeypatch
):
    monkeypatch.setattr(import_catalog, "RECORDS_PER_PART", 10)
    writer = CatalogWriter(log, await new_view())
    await ImportCatalog(writer).run("riverbend", [Skill(id="needed")], [])
    skills = [Skill(id=f"s{number:03}") for number in range(30)]
    last = Skill(id="t", prerequisites=("needed",))
    long = asyncio.create_task(ImportCatalog(writer).run("riverbend", [*skills, last], []))
    while len(log.skills) < 2:  # noqa: ASYNC110 - as above.
        await asyncio.sleep(0)

    async def remove(_contents):
        return Changes(removed=((RecordKind.SKILL, "needed"),))

    await writer.write("riverbend", remove)
    with pytest.raises(CatalogUnavailableError, match="10 records are written; send it again"):
        await long
