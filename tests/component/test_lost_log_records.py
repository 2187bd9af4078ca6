"""What a worker does about an epoch whose records the log has lost."""

from __future__ import annotations

import asyncio

import mode
import pytest

from services.common.kafka.connection import KafkaConnection
from services.common.kafka.partitioner import partition_of
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus
from services.recommender.application.ports.learners import PartitionProgress
from services.recommender.application.ports.log import LogTruncatedError, RecordMark
from services.recommender.application.state.epochs import EpochUnusableError
from services.recommender.application.state.fold_events import FoldEvents
from services.recommender.application.state.log_marks import check_log_holds
from services.recommender.bootstrap.folding import FoldAdapters, epoch_service
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.parameters import PRIOR_PARAMETERS_ID, TracingParameters
from services.recommender.entrypoints import event_service
from services.recommender.entrypoints.record_decoding import decode_batch
from services.recommender.entrypoints.worker import EpochServices
from tests.adapters.memory_log import MemoryLog
from tests.adapters.memory_states import MemoryDeadLetters, MemoryStates
from tests.component.test_event_service_pauses import OnePartition, some_records, until
from tests.learner_events import message, record


class FoldsNothing(mode.Service):
    abstract = False
    healthy = False

    def __init__(self):
        super().__init__()
        self.positions = {}


@pytest.fixture
async def log():
    log = MemoryLog(1)
    log.records[0] = some_records(20)
    return log


async def epoch_that_folded_all_of(log, states, number: int) -> EpochMeta:
    meta = EpochMeta(number, EpochStatus.LIVE, PRIOR_PARAMETERS_ID, "", await log.identity(), {0: 20})
    await states.create(meta)
    (mark,) = (await log.fingerprints({0: [19]})).values()
    progress = PartitionProgress(20, 20, 0, 0, marks=(RecordMark(19, mark),))
    await states.fold_store(number).advance({0: (None, progress)})
    return meta


def lose_the_last(log, records: int) -> None:
    """The log loses records, and grows again with others."""
    log.records[0][-records:] = [record(message(number)) for number in range(900, 900 + records + 5)]


def worker(log, states, begun: list[int]) -> EpochServices:
    async def make_service(meta):
        begun.append(meta.epoch)
        return FoldsNothing()

    return EpochServices(states, log, make_service, watch_every_s=0.01)


async def test_a_worker_whose_only_epoch_holds_lost_records_does_not_start(log):
    states, begun = MemoryStates(), []
    await epoch_that_folded_all_of(log, states, 1)
    lose_the_last(log, 4)
    for _ in range(2):
        services = worker(log, states, begun)
        with pytest.raises(LogTruncatedError, match="epoch switch 2 --accept-loss"):
            await services.start()
        await services.stop()
    assert begun == [], "not after a restart either"


async def test_an_epoch_that_holds_lost_records_is_ignored_once_another_was_folded_from_what_is_left(log):
    states, begun = MemoryStates(), []
    await epoch_that_folded_all_of(log, states, 1)
    lose_the_last(log, 4)
    rebuilt = MemoryLog(1, await log.identity())
    rebuilt.records[0] = log.records[0][:20]
    await epoch_that_folded_all_of(rebuilt, states, 2)
    async with worker(log, states, begun):
        assert begun == [2]


async def test_a_worker_whose_next_records_were_deleted_does_not_start_and_names_the_remedy(log):
    states, begun = MemoryStates(), []
    await epoch_that_folded_all_of(log, states, 1)
    log.records[0] += some_records(10)
    log.begins[0] = 25
    services = worker(log, states, begun)
    with pytest.raises(LogTruncatedError, match="begins at offset 25, and the epoch is at 20") as caught:
        await services.start()
    await services.stop()
    assert "cairn replay --epoch 2 --parameters same --accept-loss" in str(caught.value)
    assert begun == []


async def test_an_epoch_whose_next_records_were_deleted_is_ignored_once_another_was_folded_from_what_is_left(log):
    states, begun = MemoryStates(), []
    await epoch_that_folded_all_of(log, states, 1)
    await epoch_that_folded_all_of(log, states, 2)
    log.records[0] += some_records(10)
    log.begins[0] = 25
    progress = (await states.progress(2))[0]
    await states.fold_store(2).advance({0: (progress, PartitionProgress(30, 25, 0, 0))})
    async with worker(log, states, begun):
        assert begun == [2]


async def test_of_several_epochs_of_other_topics_the_newest_is_named_because_its_next_number_is_free(log):
    states = MemoryStates()
    await epoch_that_folded_all_of(log, states, 1)
    await epoch_that_folded_all_of(log, states, 2)
    recreated = MemoryLog(1)
    services = worker(recreated, states, [])
    with pytest.raises(EpochUnusableError, match=r"epoch 2 was folded from .* cairn replay --epoch 3"):
        await services.start()
    await services.stop()


def service_of(states, log, identity: str, consumer, letters=None, **meta) -> event_service.EventService:
    return epoch_service(
        EpochMeta(1, EpochStatus.LIVE, PRIOR_PARAMETERS_ID, "", identity, {}, **meta),
        LearnerFold(TracingParameters()),
        FoldAdapters(
            KafkaConnection("nowhere:0"),
            states.fold_store(1),
            letters or MemoryDeadLetters(),
            make_consumer=lambda *_, **__: consumer,
            log=log,
        ),
        group="workers",
    )


async def test_records_that_are_deleted_before_a_new_epoch_is_read_are_missed(log):
    states, consumer = MemoryStates(), OnePartition(log.records[0])

    async def beginnings(partitions):
        return dict.fromkeys(partitions, 5)

    consumer.beginning_offsets = beginnings
    began_there = service_of(states, log, await log.identity(), consumer, begin_positions={0: 5})
    async with began_there:
        await began_there.on_assigned([0])
        assert began_there.positions[0] >= 5
    before = service_of(MemoryStates(), log, await log.identity(), consumer, begin_positions={0: 3})
    async with before:
        with pytest.raises(LogTruncatedError, match="begins at offset 5, and the epoch is at 3"):
            await before.on_assigned([0])


async def test_a_worker_notices_while_it_runs_that_the_log_lost_records(log, monkeypatch):
    monkeypatch.setattr(event_service, "_COMPARE_LOG_EVERY_S", 0.01)
    states, consumer = MemoryStates(), OnePartition(log.records[0])
    service = service_of(states, log, await log.identity(), consumer)
    await service.start()
    await service.on_assigned([0])
    await until(lambda: service.positions == {0: 20})
    lose_the_last(log, 4)
    async with asyncio.timeout(5):
        await service.wait_until_stopped()
    await service.stop()
    assert isinstance(service.crash_reason, LogTruncatedError)
    assert "another record at offset 19" in str(service.crash_reason)


@pytest.mark.parametrize("partitions_now", [2, 3])
async def test_a_record_on_another_partition_is_dead_only_if_no_partitions_were_added(partitions_now):
    topic = "00000000-0000-0000-0000-000000000001"
    elsewhere = next(one for one in map(str, range(99)) if partition_of(record(message(0, one)).key, 2) == 1)
    log, letters = MemoryLog(1, f"{topic}/{partitions_now}"), MemoryDeadLetters()
    service = service_of(MemoryStates(), log, f"{topic}/2", OnePartition([record(message(0, elsewhere))]), letters)
    await service.start()
    await service.on_assigned([0])
    if partitions_now == 2:
        await until(lambda: service.positions == {0: 1})
    else:
        async with asyncio.timeout(5):
            await service.wait_until_stopped()
        assert isinstance(service.crash_reason, EpochUnusableError)
        assert "cairn topics repartition" in str(service.crash_reason)
    await service.stop()
    assert [letter.code for letter in letters.letters] == ["partition"] * (partitions_now == 2)


async def test_records_that_were_stored_before_the_position_moved_are_missed_too(log):
    states, letters = MemoryStates(), MemoryDeadLetters()
    store = states.fold_store(1)

    class DiesBeforeItMovesThePosition:
        def __getattr__(self, name):
            return getattr(store, name)

        async def advance(self, moves, skipped=None):
            if any(before is not None for before, _ in moves.values()):
                raise ConnectionError("killed")
            await store.advance(moves)

    fold = FoldEvents(DiesBeforeItMovesThePosition(), letters, LearnerFold(TracingParameters()))
    await fold.on_assigned({0: 0})
    records = OnePartition(log.records[0]).records
    with pytest.raises(ConnectionError):
        await fold.fold([decode_batch(0, records, 1)])
    identity, progress = await log.identity(), await states.progress(1)
    assert progress[0].position == 0
    await check_log_holds(log, 1, identity, progress, {})
    lose_the_last(log, 4)
    with pytest.raises(LogTruncatedError, match="another record at offset 19"):
        await check_log_holds(log, 1, identity, progress, {})
