"""A replay of a log that no longer holds all its records, and a switch to an epoch that lacks some."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.recommender.application.ports.epochs import EpochMeta, EpochStatus
from services.recommender.application.ports.learners import PartitionProgress
from services.recommender.application.ports.log import LogTruncatedError
from services.recommender.application.ports.served_parameters import NoMemory
from services.recommender.application.state.epochs import EpochUnusableError, ensure_first_epoch
from services.recommender.application.state.replays import begin_replay, switch_epoch
from services.recommender.application.state.served_parameters import RememberServed
from tests.adapters.memory_log import MemoryLog
from tests.adapters.memory_states import MemoryStates
from tests.learner_events import message, record

OTHER_LOG = "00000000-0000-0000-0000-00000000000f/2"


class NoBundles:
    def load(self, bundle_id):
        raise AssertionError(bundle_id)


@pytest.fixture
def log():
    log = MemoryLog(2)
    log.records[0] = [record(message(number)) for number in range(40)]
    log.records[1] = [record(message(number)) for number in range(40, 70)]
    return log


@pytest.fixture
async def states(log):
    """Epoch 1, which is served and has folded the whole log."""
    states = MemoryStates()
    meta = EpochMeta(1, EpochStatus.LIVE, "priors-1", "", await log.identity(), {0: 40, 1: 30})
    await built(states, meta, {0: PartitionProgress(40, 36, 2, 1, 1), 1: PartitionProgress(30, 30, 0, 0)})
    await states.make_current(1)
    return states


async def built(states, meta, progress):
    await states.create(meta)
    await states.fold_store(meta.epoch).advance({partition: (None, one) for partition, one in progress.items()})


async def begin(states, log, epoch=2, **options):
    return await begin_replay(states, log, NoBundles(), epoch, "same", **options)


async def test_a_replay_of_a_whole_log_begins(states, log):
    assert (await begin(states, log)).begin_positions == {}


async def test_a_replay_of_a_log_without_its_beginning_is_refused_and_says_how_much_is_missing(states, log):
    log.begins = {0: 25, 1: 10}
    with pytest.raises(EpochUnusableError, match=r"35 records are missing \(25 of partition 0, 10 of partition 1\)"):
        await begin(states, log)
    assert len(await states.epochs()) == 1, "nothing was begun"


async def test_the_loss_of_the_beginning_can_be_accepted_once_and_is_then_known(states, log):
    log.begins = {0: 25, 1: 0}
    meta = await begin(states, log, accept_loss=True)
    assert meta.begin_positions == {0: 25}
    ends = {0: PartitionProgress(40, 15, 0, 0), 1: PartitionProgress(30, 30, 0, 0)}
    await states.fold_store(2).advance({partition: (None, one) for partition, one in ends.items()})
    await states.make_current(2)
    assert (await begin(states, log, 3)).begin_positions == {0: 25}, "nothing is missing that epoch 2 had"
    log.begins = {0: 26, 1: 0}
    with pytest.raises(EpochUnusableError, match=r"1 records are missing \(1 of partition 0\)"):
        await begin(states, log, 4)


async def test_a_replay_into_an_empty_store_knows_nothing_that_was_folded(log):
    log.begins = {0: 25, 1: 0}
    states = MemoryStates()
    await ensure_first_epoch(states, log, RememberServed(NoMemory()))
    (meta,) = await states.epochs()
    assert meta.begin_positions == {0: 25}


async def test_a_replay_after_a_partition_increase_is_refused_and_names_the_remedy_that_loses_nothing(states, log):
    grown = MemoryLog(8, (await log.identity()).replace("/2", "/8"))
    with pytest.raises(EpochUnusableError, match=r"had 2 partitions .* and has 8 now.*cairn topics repartition"):
        await begin(states, grown)
    assert (await begin(states, grown, accept_loss=True)).epoch == 2


async def test_a_replay_of_a_log_that_lost_its_end_is_refused_unless_that_is_accepted(states, log):
    log.records[1].pop()
    with pytest.raises(LogTruncatedError, match="partition 1 ends at offset 29, but ended at 30") as caught:
        await begin(states, log)
    assert "cairn replay --epoch 2 --parameters same --accept-loss" in str(caught.value)
    assert len(await states.epochs()) == 1, "nothing was begun"
    assert (await begin(states, log, accept_loss=True)).end_positions == {0: 40, 1: 29}


async def test_a_replay_is_not_resumed_in_a_log_that_lost_its_end(states, log):
    await begin(states, log)
    log.records[1].pop()
    with pytest.raises(LogTruncatedError, match="partition 1 ends at offset 29, but ended at 30"):
        await begin(states, log)


def replayed(log_identity, ends):
    return EpochMeta(2, EpochStatus.BUILT, "priors-1", "", log_identity, ends)


async def test_an_epoch_that_accounts_for_every_record_is_switched_to_though_it_is_behind(states, log):
    meta = replayed(await log.identity(), {0: 35, 1: 30})
    # Other counts: what was a duplicate when it came may be anything in a replay.
    await built(states, meta, {0: PartitionProgress(35, 30, 3, 2), 1: PartitionProgress(30, 20, 1, 1, 4, 2, 2)})
    assert (await switch_epoch(states, 2)).status is EpochStatus.CATCHING_UP


async def test_an_epoch_that_lacks_records_of_one_partition_is_refused_unless_that_is_accepted(states, log):
    meta = replayed(await log.identity(), {0: 40, 1: 30})
    await built(states, meta, {0: PartitionProgress(40, 15, 0, 0), 1: PartitionProgress(30, 30, 0, 0)})
    with pytest.raises(EpochUnusableError, match="lacks 25 records of partition 0 that epoch 1"):
        await switch_epoch(states, 2)
    assert (await states.get(2)).status is EpochStatus.BUILT
    assert (await switch_epoch(states, 2, accept_loss=True)).status is EpochStatus.CATCHING_UP


async def test_offsets_without_records_are_not_missing(states, log):
    # Transactions leave offsets without a record, which no epoch counts.
    identity = await log.identity()
    states.positions[1][0] = PartitionProgress(44, 40, 0, 0)
    await built(states, replayed(identity, {0: 44}), {0: PartitionProgress(44, 40, 0, 0)})
    assert (await switch_epoch(states, 2)).status is EpochStatus.CATCHING_UP


async def test_offsets_without_records_that_the_served_epoch_has_not_reached_are_not_missing(states, log):
    meta = replayed(await log.identity(), {0: 60, 1: 30})
    await built(states, meta, {0: PartitionProgress(60, 55, 0, 0), 1: PartitionProgress(30, 30, 0, 0)})
    assert (await switch_epoch(states, 2)).status is EpochStatus.CATCHING_UP


async def test_an_epoch_that_is_ahead_and_begins_later_lacks_what_came_before_it(states, log):
    meta = replace(replayed(await log.identity(), {0: 60}), begin_positions={0: 5})
    await built(states, meta, {0: PartitionProgress(60, 55, 0, 0)})
    with pytest.raises(EpochUnusableError, match="lacks 5 records of partition 0 that epoch 1"):
        await switch_epoch(states, 2)


async def test_an_epoch_that_is_ahead_and_accounts_for_fewer_records_in_all_lacks_some(states, log):
    await built(states, replayed(await log.identity(), {0: 60}), {0: PartitionProgress(60, 33, 0, 0)})
    with pytest.raises(EpochUnusableError, match="lacks 7 records of partition 0 that epoch 1"):
        await switch_epoch(states, 2)


async def test_a_beginning_that_the_served_epoch_lacks_too_is_not_missing(states, log):
    # It did not note where it began.
    states.positions[1][0] = PartitionProgress(40, 15, 0, 0)
    meta = replace(replayed(await log.identity(), {0: 60}), begin_positions={0: 25})
    await built(states, meta, {0: PartitionProgress(60, 35, 0, 0)})
    assert (await switch_epoch(states, 2)).status is EpochStatus.CATCHING_UP


async def test_an_epoch_of_another_topic_is_compared_as_a_whole(states):
    meta = replayed(OTHER_LOG, {0: 10, 1: 60})
    await built(states, meta, {0: PartitionProgress(10, 10, 0, 0), 1: PartitionProgress(60, 59, 0, 0, 1)})
    assert (await switch_epoch(states, 2)).status is EpochStatus.CATCHING_UP
    fewer = replace(meta, epoch=3)
    await built(states, fewer, {0: PartitionProgress(10, 10, 0, 0), 1: PartitionProgress(59, 59, 0, 0)})
    with pytest.raises(EpochUnusableError, match="lacks 1 records"):
        await switch_epoch(states, 3)
