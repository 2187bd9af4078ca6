"""When the worker starts to serve an epoch."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import mode
import pytest

from services.recommender.application.ports.epochs import EpochMeta, EpochsLostError, EpochStatus
from services.recommender.application.ports.learners import PartitionProgress
from services.recommender.application.state.epochs import EpochUnusableError
from services.recommender.entrypoints.worker import EpochServices
from tests.adapters.memory_states import MemoryStates

LOG = "0d9b3c1e-0000-0000-0000-000000000000/1"
OTHER_LOG = LOG.replace("0d9b", "0d9c")
ENDS = {0: 5}


class Log:
    log_identity = LOG
    ends = ENDS

    async def identity(self):
        return self.log_identity

    async def end_offsets(self):
        return self.ends

    async def beginnings(self):
        return dict.fromkeys(ENDS, 0)

    async def fingerprints(self, _offsets):
        return {}


class EventService(mode.Service):
    """A fake event service; `healthy`: whether it has partitions and makes progress."""

    abstract = False
    healthy = False

    def __init__(self):
        super().__init__()
        self.positions = {}


class States(MemoryStates):
    def __init__(self):
        super().__init__()
        self.handed_over = asyncio.Event()

    async def make_current(self, epoch):
        await super().make_current(epoch)
        self.handed_over.set()


@pytest.fixture
async def replayed():
    """An epoch that a replay has folded to the end of the log, handed to the workers."""
    states = States()
    await states.create(EpochMeta(2, EpochStatus.CATCHING_UP, "priors-1", "", LOG, ENDS))
    await states.fold_store(2).advance({0: (None, PartitionProgress(5, 5, 0, 0))})
    return states


async def test_an_epoch_is_not_served_before_its_event_service_holds_partitions(replayed):
    service = EventService()
    looked = asyncio.Event()
    services = _services(replayed, service, looked)

    async with services:
        await asyncio.wait_for(looked.wait(), 5)
        assert await replayed.current_epoch() is None

        service.healthy = True
        await asyncio.wait_for(replayed.handed_over.wait(), 5)
        assert await replayed.current_epoch() == 2


async def test_an_epoch_is_served_although_the_log_lost_records_that_nobody_had_folded(replayed):
    service, looked, log = EventService(), asyncio.Event(), Log()
    service.healthy, log.ends = True, {0: 9}
    async with _services(replayed, service, looked, log=log):
        await asyncio.wait_for(looked.wait(), 5)
        assert await replayed.current_epoch() is None

        log.ends = ENDS
        await asyncio.wait_for(replayed.handed_over.wait(), 5)
        assert await replayed.current_epoch() == 2


async def test_an_epoch_that_loses_its_positions_at_the_last_moment_is_served_once_it_has_them_again(replayed):
    service, refused = EventService(), asyncio.Event()
    service.healthy = True
    make_current, kept = replayed.make_current, replayed.positions[2].copy()

    async def lost_before(epoch):
        if not refused.is_set():
            replayed.positions[2].clear()
            refused.set()
        await make_current(epoch)

    replayed.make_current = lost_before
    async with _services(replayed, service, asyncio.Event()):
        await asyncio.wait_for(refused.wait(), 5)
        assert await replayed.current_epoch() is None

        replayed.positions[2].update(kept)
        await asyncio.wait_for(replayed.handed_over.wait(), 5)
        assert await replayed.current_epoch() == 2


async def test_an_idle_worker_notices_that_its_stored_data_was_lost(replayed):
    service, looked = EventService(), asyncio.Event()
    service.positions = {0: 5}
    services = _services(replayed, service, looked)
    await services.start()
    await asyncio.wait_for(looked.wait(), 5)
    replayed.positions[2][0] = PartitionProgress(3, 3, 0, 0)
    await asyncio.wait_for(services.wait_until_stopped(), 5)
    await services.stop()
    assert isinstance(services.crash_reason, EpochsLostError)
    assert "epoch 2, partition 0" in str(services.crash_reason)


async def test_an_idle_worker_notices_that_its_epoch_was_replaced(replayed):
    service, looked = EventService(), asyncio.Event()
    services = _services(replayed, service, looked)
    await services.start()
    await asyncio.wait_for(looked.wait(), 5)
    replayed._metas[2] = replace(replayed._metas[2], end_positions={0: 4})
    await asyncio.wait_for(services.wait_until_stopped(), 5)
    await services.stop()
    assert isinstance(services.crash_reason, EpochsLostError)
    assert "epoch 2 is not the one" in str(services.crash_reason)


async def test_a_position_moved_by_another_worker_is_not_data_loss(replayed):
    service, looked = EventService(), asyncio.Event()
    service.positions = {0: 4}
    async with _services(replayed, service, looked) as services:
        await asyncio.wait_for(looked.wait(), 5)
    assert services.crash_reason is None


async def test_an_epoch_dropped_during_the_check_is_not_data_loss(replayed):
    await replayed.create(EpochMeta(1, EpochStatus.LIVE, "priors-1", "", LOG, {}))
    await replayed.make_current(1)
    service, looked = EventService(), asyncio.Event()
    service.positions = {0: 5}
    progress, dropped = replayed.progress, asyncio.Event()

    async def dropped_before(epoch):
        if epoch == 2 and looked.is_set() and not dropped.is_set():
            dropped.set()
            await replayed.drop(2)
        return await progress(epoch)

    replayed.progress = dropped_before
    await replayed.fold_store(1).advance({0: (None, PartitionProgress(5, 5, 0, 0))})
    services = _services(replayed, service, looked)
    async with services:
        await asyncio.wait_for(dropped.wait(), 5)
        looked.clear()
        async with asyncio.timeout(5):
            while 2 in services._running:  # noqa: ASYNC110 - the service looks by itself.
                await asyncio.sleep(0.01)
    assert services.crash_reason is None


async def test_a_worker_exits_when_its_topic_is_recreated(replayed):
    now_s, log = [0.0], Log()
    looked = asyncio.Event()
    services = _services(replayed, EventService(), looked, log=log, clock_s=lambda: now_s[0])
    await services.start()
    await asyncio.wait_for(looked.wait(), 5)
    log.log_identity = OTHER_LOG
    now_s[0] += 6
    await asyncio.wait_for(services.wait_until_stopped(), 5)
    await services.stop()
    assert isinstance(services.crash_reason, EpochUnusableError)


async def test_an_epoch_lost_before_any_fold_into_it_is_started_again():
    states, looked = States(), asyncio.Event()

    async def forget(_):
        """Redis loses its last write, which started the first epoch."""

    states.create = forget
    async with _services(states, EventService(), looked):
        await asyncio.wait_for(looked.wait(), 5)
        del states.create
        async with asyncio.timeout(5):
            while not await states.epochs():  # noqa: ASYNC110 - the service looks by itself.
                await asyncio.sleep(0.01)
    assert [meta.epoch for meta in await states.epochs()] == [1]


def _services(states, service, looked, *, log=None, **options):
    looks = 0

    async def make_service(_):
        return service

    class Watched(EpochServices):
        async def _look(self):
            nonlocal looks
            await super()._look()
            looks += 1
            if looks == 3:
                looked.set()

    return Watched(states, log or Log(), make_service, watch_every_s=0.01, **options)
