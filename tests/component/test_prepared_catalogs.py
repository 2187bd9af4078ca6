"""Catalogs are prepared for ranking in a thread, so the server keeps answering meanwhile."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time

import pytest

from services.common.auth.api_keys import create_api_key
from services.common.auth.tenant import ALL_SCOPES
from services.recommender.application.answers import prepared_catalogs
from services.recommender.application.answers.active_models import ActiveModels, NoEpochError
from services.recommender.application.ports.learners import StateUnavailableError
from services.recommender.domain.ranking.catalog import CatalogResource
from services.recommender.domain.ranking.rules import Rule, RuleAction
from tests.adapters.memory_states import MemoryStates
from tests.component.test_recommender_server import RESOURCES, SKILLS, WEAK, bundle, server
from tests.subscribing import NoBundles, until

__all__ = ["server"]

PREPARING_S = 0.3


class Preparations:
    """Counts preparations, and makes each take long."""

    def __init__(self, prepare):
        self._prepare = prepare
        self.begun = 0
        self.threads = set()
        self.seconds = PREPARING_S

    def __call__(self, *arguments):
        self.begun += 1
        self.threads.add(threading.current_thread())
        time.sleep(self.seconds)
        return self._prepare(*arguments)


@pytest.fixture
def preparations(monkeypatch):
    preparations = Preparations(prepared_catalogs.prepare)
    monkeypatch.setattr(prepared_catalogs, "prepare", preparations)
    return preparations


async def longest_pause(work):
    """Await work; return its result, and the longest time for which it blocked the event loop."""
    longest_s, before_s = 0.0, time.perf_counter()
    task = asyncio.ensure_future(work)
    while not task.done():
        await asyncio.sleep(0.001)
        now_s = time.perf_counter()
        longest_s, before_s = max(longest_s, now_s - before_s), now_s
    return await task, longest_s


def add_tenant(server, tmp_path):
    api_key = create_api_key(tmp_path / "tenants.yaml", "hilltop", "test", ALL_SCOPES)
    server.catalog.put("hilltop", RESOURCES, SKILLS)
    return api_key


async def test_a_tenant_added_to_a_running_server_is_prepared_in_the_background(server, preparations, tmp_path):
    # The first list of a process loads compiled code, which takes a while too.
    await server.recommend()
    preparations.seconds = 1.5
    api_key = add_tenant(server, tmp_path)
    reply, pause_s = await longest_pause(server.recommend(api_key=api_key))
    assert len(reply.recommendations) == len(RESOURCES)
    assert preparations.begun == 2
    assert threading.main_thread() not in preparations.threads
    assert pause_s < preparations.seconds / 2


async def test_requests_for_the_same_catalog_wait_for_one_preparation(server, preparations):
    replies = await asyncio.gather(*(server.recommend(learner) for learner in ("amy", "ben", "eve")))
    assert preparations.begun == 1
    assert all(reply.recommendations for reply in replies)


async def test_a_tenant_added_to_a_running_server_is_prepared_before_its_first_request(server, preparations, tmp_path):
    refreshing = asyncio.create_task(server.refresh.run())
    try:
        await until(lambda: refreshing.done() or server.catalogs.current("riverbend") is not None)
        add_tenant(server, tmp_path)
        await until(lambda: refreshing.done() or server.catalogs.current("hilltop") is not None)
        assert not refreshing.done()
    finally:
        refreshing.cancel()
        await asyncio.gather(refreshing, return_exceptions=True)
    assert threading.main_thread() not in preparations.threads


async def test_a_catalog_that_changes_during_preparation_is_ranked_as_it_was_at_the_request(server, preparations):
    server.store(WEAK)
    server.catalog.replace_rules("riverbend", [Rule("pin", RuleAction.PIN, ("add-practice",))])
    asked = asyncio.create_task(server.recommend(limit=1))
    await until(lambda: preparations.begun == 1)
    # Rows of the new catalog are other resources.
    server.catalog.put("riverbend", [CatalogResource("new"), *RESOURCES])
    later = asyncio.create_task(server.recommend(limit=10))
    first = await asked
    assert [each.resource_id for each in first.recommendations] == ["add-practice"]
    assert first.provenance.catalog.resources_offset == len(RESOURCES)
    reply = await later
    assert "new" in {each.resource_id for each in reply.recommendations}
    assert reply.recommendations[0].resource_id == "add-practice"


async def test_a_cancelled_caller_does_not_cancel_the_preparation_for_others(server, preparations):
    epoch = server.active_models.epoch
    gives_up = asyncio.create_task(server.catalogs.snapshot("riverbend", epoch))
    await until(lambda: preparations.begun == 1)
    waits = asyncio.create_task(server.catalogs.snapshot("riverbend", epoch))
    await asyncio.sleep(0)
    gives_up.cancel()
    assert (await waits).catalog is server.catalog.columns("riverbend")
    assert preparations.begun == 1


async def test_a_snapshot_uses_a_new_bundle_even_if_the_catalog_needs_no_new_preparation(server, preparations):
    preparations.seconds = 0.0
    epoch = server.active_models.epoch
    before = await server.catalogs.snapshot("riverbend", epoch)
    server.bundles.bundles["b1"] = bundle("b1", lakeside=None)
    await server.active_models.refresh_bundle()
    after = await server.catalogs.snapshot("riverbend", epoch)
    assert (before.bundle, after.bundle) == (None, "b1")
    assert after.rankable is before.rankable
    assert dataclasses.replace(after, bundle=None) == before


async def test_a_server_that_starts_does_not_claim_that_there_is_no_epoch():
    models = ActiveModels(MemoryStates(), NoBundles())
    with pytest.raises(StateUnavailableError, match="starting"):
        _ = models.epoch
    await models.refresh_epoch()
    with pytest.raises(NoEpochError):
        _ = models.epoch
