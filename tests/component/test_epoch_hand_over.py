"""When an epoch is handed over to those who are served."""

from __future__ import annotations

import asyncio

import mode
import pytest

from services.recommender.adapters.memory import MemoryStates
from services.recommender.application.ports import EpochMeta, EpochStatus, PartitionProgress
from services.recommender.entrypoints.worker import EpochServices

LOG = "0d9b3c1e-0000-0000-0000-000000000000/1"
ENDS = {0: 5}


class Log:
    async def identity(self):
        return LOG

    async def end_offsets(self):
        return ENDS


class EventService(mode.Service):
    """Stands for the one that folds; `healthy` says whether it holds partitions and gets on."""

    abstract = False
    healthy = False


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


def _services(states, service, looked):
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

    return Watched(states, Log(), make_service, watch_every_s=0.01)
