"""A refused commit stops everything: the position must not move over records that were not stored."""

from __future__ import annotations

import pytest

from services.recommender.application.ports.learners import CommitRefusedError, PartitionProgress
from services.recommender.application.state.fold_events import FoldEvents
from services.recommender.application.state.partition_batch import PartitionBatch
from services.recommender.domain.learner.events import AssessmentEvent, Grain
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.parameters import TracingParameters
from tests.adapters.memory_states import MemoryDeadLetters, MemoryStates

ADA = b"riverbend/ADA"


def batch(offsets: range) -> PartitionBatch:
    events = [
        (offset, AssessmentEvent(offset.to_bytes(8, "little"), 1.0, 0, "i", "", ("s",), Grain.ITEM, ""))
        for offset in offsets
    ]
    return PartitionBatch(0, offsets.stop, {ADA: ("riverbend", events)})


async def test_a_position_stays_where_it_is_when_a_learner_of_its_batch_was_refused():
    states = MemoryStates()
    zombie_store = states.fold_store(1)
    zombie, owner = (
        FoldEvents(store, MemoryDeadLetters(), LearnerFold(TracingParameters()))
        for store in (zombie_store, states.fold_store(1))
    )
    await zombie.on_assigned({0: 0})
    await owner.on_assigned({0: 0})
    read = zombie_store.read

    async def held_up(partitions, keys):
        """Paused between reading and storing, while another worker stores a part of the same records."""
        found = await read(partitions, keys)
        await owner._store.commit([one async for one in _commits(owner, batch(range(2)))])
        return found

    zombie_store.read = held_up
    with pytest.raises(CommitRefusedError):
        await zombie.fold([batch(range(5))])
    assert await states.position(1, 0) == 0
    assert states.learners[1][ADA].offset == 1


@pytest.mark.parametrize("left", [None, 1], ids=["everything", "the last"])
async def test_a_store_that_lost_what_this_worker_stored_is_not_folded_into_again(left):
    """The epoch may have been replaced by one with the same number, but other parameters and another end."""
    states = MemoryStates()
    fold = FoldEvents(states.fold_store(1), MemoryDeadLetters(), LearnerFold(TracingParameters()))
    await fold.on_assigned({0: 0})
    await fold.fold([batch(range(5))])
    fold.release([0])
    await fold.on_assigned({0: 0})
    if left is None:
        states.positions[1].clear()
    else:
        states.positions[1][0] = PartitionProgress(left, left, 0, 0)
    fold.release([0])
    with pytest.raises(CommitRefusedError, match="lost data"):
        await fold.on_assigned({0: 0})


async def _commits(fold: FoldEvents, records: PartitionBatch):
    """What a fold would store."""
    noted = []

    class Noting:
        read = fold._store.read
        quarantine = fold._store.quarantine

        async def commit(self, commits, ahead):
            noted.extend(commits)

        async def advance(self, *_):
            """The owner has not done this yet."""

    held = FoldEvents(Noting(), MemoryDeadLetters(), LearnerFold(TracingParameters()))
    held._progress = dict(fold._progress)
    await held.fold([records])
    for one in noted:
        yield one
