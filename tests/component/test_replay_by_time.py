"""`cairn replay --order occurred`: a year that was loaded after a later one takes its place before it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cairn.v1 import events_pb2
from services.common.kafka.connection import SpanPart
from services.common.kafka.partitioner import partition_of
from services.recommender.adapters.files.record_spill import FileRecordSpill
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus, FoldOrder
from services.recommender.application.ports.record_spill import SpilledRecord
from services.recommender.application.state.epochs import EpochUnusableError, digest_epoch
from services.recommender.application.state.fold_by_time import FoldByTime
from services.recommender.application.state.fold_events import FoldEvents
from services.recommender.application.state.replays import begin_replay
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.parameters import TracingParameters
from services.recommender.entrypoints.record_decoding import RecordDecoder, decode_batch
from services.recommender.entrypoints.replay_by_time import ByTime, run_replay_by_time
from tests.adapters.memory_log import MemoryLog
from tests.adapters.memory_states import MemoryDeadLetters, MemoryStates
from tests.learner_events import WHEN, message, record

PARTITIONS = 2
FOLD = LearnerFold(TracingParameters())


def happened(number, days, learner=None):
    """An answer on a day."""
    event = message(number, f"learner-{number % 7 if learner is None else learner}")
    event.occurred_at.FromDatetime(WHEN + timedelta(days=days))
    return record(event)


LAST_YEAR = [happened(number, number) for number in range(150)]
THIS_YEAR = [happened(number, 400 + number) for number in range(1_000, 1_150)]


def log_of(records):
    log = MemoryLog(PARTITIONS)
    for one in records:
        log.records[partition_of(one.key or b"", PARTITIONS)].append(one)
    return log


def spilled(log):
    return {
        partition: [
            SpilledRecord(partition, offset, one.key, one.value, tuple(one.headers))
            for offset, one in enumerate(records)
        ]
        for partition, records in log.records.items()
    }


async def in_log_order(log):
    """The digest of a fold in the order of the log."""
    states = MemoryStates()
    meta = EpochMeta(1, EpochStatus.LIVE, "priors-1", "", await log.identity(), {})
    await states.create(meta)
    fold = FoldEvents(states.fold_store(1), MemoryDeadLetters(), FOLD)
    await fold.on_assigned(dict.fromkeys(range(PARTITIONS), 0))
    await fold.fold([decode_batch(p, some, PARTITIONS) for p, some in spilled(log).items() if some])
    return (await digest_epoch(states, 1)).digest


class Store:
    """The fold store of an epoch as it is now: a replay removes what an earlier one left, and the store with it."""

    def __init__(self, states, epoch):
        self._states, self._epoch = states, epoch

    def __getattr__(self, name):
        return getattr(self._states.fold_store(self._epoch), name)


async def by_time(log, states, *, letters=None, epoch=2, read=None, shown=None):
    """Replay into a new epoch."""
    ends = dict(await log.end_offsets())
    meta = await states.get(epoch)
    if meta is None:
        meta = EpochMeta(
            epoch, EpochStatus.BUILDING, "priors-1", "", await log.identity(), ends, order=FoldOrder.OCCURRED
        )
        await states.create(meta)

    async def parts(span):
        assert span == {partition: (0, end) for partition, end in ends.items()}
        done = 0
        for some in spilled(log).values():
            for start in range(0, len(some), 40):
                done += len(some[start : start + 40])
                yield SpanPart(some[start : start + 40], done)

    fold = FoldByTime(Store(states, epoch), letters or MemoryDeadLetters(), FOLD, ends)
    with FileRecordSpill(500_000) as spill:
        needs = ByTime(read or parts, spill, RecordDecoder(PARTITIONS), fold)
        return await run_replay_by_time(meta, states, needs, (shown if shown is not None else []).append)


async def test_last_year_loaded_after_this_year_gives_the_digest_of_a_log_in_the_right_order():
    states, loaded = MemoryStates(), log_of(THIS_YEAR + LAST_YEAR)
    shown = []
    done = await by_time(loaded, states, shown=shown)
    assert (await digest_epoch(states, 2)).digest == await in_log_order(log_of(LAST_YEAR + THIS_YEAR))
    assert (await digest_epoch(states, 2)).digest != await in_log_order(loaded)
    assert (done.applied, done.duplicates, done.dead_lettered) == (300, 0, 0)
    assert (shown[-1].done, shown[-1].total) == (600, 600)
    assert (await states.get(2)).status is EpochStatus.BUILT


async def test_live_folding_goes_on_behind_it_in_the_order_of_the_log():
    states, log = MemoryStates(), log_of(THIS_YEAR + LAST_YEAR)
    await by_time(log, states)
    later = [happened(number, -300) for number in range(5_000, 5_050)]
    progress = await states.progress(2)
    assert {p: one.position for p, one in progress.items()} == await log.end_offsets()
    marked = {partition: [mark.offset for mark in one.marks] for partition, one in progress.items()}
    assert marked == {partition: [end - 1] for partition, end in (await log.end_offsets()).items()}
    assert set(await log.fingerprints(marked)) == {(p, offset) for p, some in marked.items() for offset in some}
    for one in later:
        log.records[partition_of(one.key, PARTITIONS)].append(one)
    fold = FoldEvents(states.fold_store(2), MemoryDeadLetters(), FOLD)
    await fold.on_assigned(dict.fromkeys(range(PARTITIONS), 0))
    # Read again from a little before the position, as a worker does.
    await fold.fold(
        [decode_batch(p, some[progress[p].position - 20 :], PARTITIONS) for p, some in spilled(log).items()]
    )
    assert (await digest_epoch(states, 2)).digest == await in_log_order(log_of(LAST_YEAR + THIS_YEAR + later))


async def test_dead_letters_name_the_place_in_the_log():
    other = happened(1_003, 990)
    broken = record(message(1), value=b"\xff\xff")
    log, letters = log_of([*THIS_YEAR, other, broken, *LAST_YEAR]), MemoryDeadLetters()
    done = await by_time(log, MemoryStates(), letters=letters)
    places = {(p, n): one for p, some in log.records.items() for n, one in enumerate(some)}
    found = {letter.code: places[letter.partition, letter.offset] for letter in letters.letters}
    assert (set(found), found["conflict"], found["value"]) == ({"conflict", "value"}, other, broken)
    assert (done.conflicts, done.dead_lettered) == (1, 1)


async def test_an_erasure_stays_where_it_is():
    gone = events_pb2.LearnerEvent()
    gone.CopyFrom(message(7_000, "learner-3"))
    gone.ClearField("assessment")
    gone.erasure.SetInParent()
    later = [happened(number, 10 + number, 3) for number in (8_002, 8_001)]
    states = MemoryStates()
    await by_time(log_of([*THIS_YEAR, *LAST_YEAR, record(gone), *later]), states)
    right = log_of([*LAST_YEAR, *THIS_YEAR, record(gone), *reversed(later)])
    assert (await digest_epoch(states, 2)).digest == await in_log_order(right)


async def test_an_interrupted_replay_by_time_starts_again():
    states, log = MemoryStates(), log_of(THIS_YEAR + LAST_YEAR)
    fold = FoldByTime.fold

    async def dies(self, batches):
        await fold(self, batches)
        raise ConnectionError("killed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FoldByTime, "fold", dies)
        with pytest.raises(ConnectionError):
            await by_time(log, states)
    assert (await states.get(2)).status is EpochStatus.BUILDING
    assert await states.progress(2) == {}, "no position vouches for what was stored"
    await by_time(log, states)
    assert (await digest_epoch(states, 2)).digest == await in_log_order(log_of(LAST_YEAR + THIS_YEAR))


async def test_later_replays_fold_by_time_too_unless_told_otherwise():
    states, log = MemoryStates(), log_of(THIS_YEAR + LAST_YEAR)
    await by_time(log, states)
    await states.make_current(2)
    assert (await begin_replay(states, log, None, 3, "same")).order is FoldOrder.OCCURRED
    assert (await begin_replay(states, log, None, 4, "same", order=FoldOrder.LOG)).order is FoldOrder.LOG
    with pytest.raises(EpochUnusableError, match="was begun with --order occurred, not log"):
        await begin_replay(states, log, None, 3, "same", order=FoldOrder.LOG)
    assert (await begin_replay(states, log, None, 3, "same")).order is FoldOrder.OCCURRED


def test_a_spill_gives_back_every_record_whole_and_the_records_of_a_key_together():
    records = [
        SpilledRecord(number % 3, number, None if number % 10 == 0 else b"key-%d" % (number % 20), value, headers)
        for number, value, headers in zip(
            range(400),
            [None, b"", b"value"] * 134,
            [(), (("ce_id", b"1"), ("empty", b""))] * 200,
            strict=False,
        )
    ]
    with FileRecordSpill(1_000_000) as spill:
        for one in records:
            spill.add(one)
        groups = list(spill.groups())
    assert len(groups) > 1
    found = [one for group in groups for some in group.values() for one in some]
    assert sorted(found, key=lambda one: one.offset) == records
    for group in groups:
        for partition, some in group.items():
            assert {one.partition for one in some} == {partition}
            assert [one.offset for one in some] == sorted(one.offset for one in some)
    keys = [{one.key for some in group.values() for one in some} for group in groups]
    assert sum(map(len, keys)) == len(set().union(*keys))
