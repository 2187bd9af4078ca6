"""Subscriptions over real gRPC, with everything behind the server's ports in memory."""

from __future__ import annotations

import pytest

from tests.subscribing import HINTS_ONLY, SubscribedServer, listed


@pytest.fixture
async def world(tmp_path):
    world = SubscribedServer(tmp_path, options=HINTS_ONLY)
    await world.begin_epoch()
    return world


async def test_a_list_for_every_learner_comes_first_then_word_that_these_were_all(world):
    await world.answer("amy", 6)
    async with world.serving() as process, process.reading("amy", "ben", limit=3) as reader:
        updates, learners = await reader.snapshot()
        assert (set(updates), learners) == ({"amy", "ben"}, 2)
        amy = updates["amy"]
        assert len(amy.recommendations) == 3
        assert amy.provenance.applied.offset == 5
        assert amy.provenance.epoch == 1
        assert not updates["ben"].provenance.HasField("applied")
        assert len({update.cursor for update in updates.values()}) == 2


async def test_an_event_that_changes_a_list_is_followed_by_that_list(world):
    await world.answer("amy", 6)
    async with world.serving() as process, process.reading("amy", "ben") as reader:
        updates, _ = await reader.snapshot()
        offset = await world.answer("amy", 40, response=1.0)
        update = await reader.update()
        assert update.learner_id == "amy"
        assert update.provenance.applied.offset == offset
        assert listed(update) != listed(updates["amy"])
