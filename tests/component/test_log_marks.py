"""A log that lost records which an epoch has folded is refused, also once it has grown past them again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.recommender.application.ports.learners import PartitionProgress
from services.recommender.application.ports.log import LogTruncatedError, RecordMark
from services.recommender.application.state.epochs import EpochUnusableError
from services.recommender.application.state.fold_events import FoldEvents
from services.recommender.application.state.log_marks import LogMarks, check_log_holds
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.parameters import TracingParameters
from services.recommender.entrypoints.record_decoding import decode_batch
from tests.adapters.memory_log import MemoryLog
from tests.adapters.memory_states import MemoryDeadLetters, MemoryStates
from tests.learner_events import message, record
from tests.simulation.log import LogRecord


@pytest.fixture
def log():
    return MemoryLog(1)


@pytest.fixture
async def fold():
    fold = FoldEvents(MemoryStates().fold_store(1), MemoryDeadLetters(), LearnerFold(TracingParameters()))
    await fold.on_assigned({0: 0})
    return fold


async def folded(fold, log, first: int, count: int, at_s: float = 0.0) -> None:
    """Write records with these numbers to the log, and fold them as one batch that the broker sent at this time."""
    begin = len(log.records[0])
    log.records[0] += [record(message(number)) for number in range(first, first + count)]
    records = [
        LogRecord(offset, one.key, one.value, tuple(one.headers))
        for offset, one in enumerate(log.records[0][begin:], start=begin)
    ]
    batch = decode_batch(0, records, 1)
    batch.sent_at_s = at_s
    await fold.fold([batch])


async def compare(log, fold) -> None:
    await check_log_holds(log, 1, await log.identity(), fold.progress, {})


async def test_the_log_that_was_folded_is_accepted_as_it_grows(log, fold):
    await folded(fold, log, 0, 10)
    log.records[0].append(record(message(99)))
    await compare(log, fold)


async def test_a_log_that_ends_before_the_position_is_refused_with_both_remedies(log, fold):
    await folded(fold, log, 0, 10)
    del log.records[0][6:]
    with pytest.raises(LogTruncatedError, match="partition 0 lacks the record at offset 9, which was folded") as caught:
        await compare(log, fold)
    assert "Restore the lost records" in str(caught.value)
    assert "cairn replay --epoch 2" in str(caught.value)
    assert "cairn epoch switch 2 --accept-loss" in str(caught.value)


async def test_a_log_that_grew_past_the_position_with_other_records_is_refused(log, fold):
    await folded(fold, log, 0, 10)
    log.records[0][6:] = [record(message(number)) for number in range(50, 60)]
    with pytest.raises(LogTruncatedError, match="another record at offset 9"):
        await compare(log, fold)


async def test_records_lost_under_records_that_were_folded_since_are_noticed(log, fold):
    await folded(fold, log, 0, 10)
    log.records[0][6:] = []
    await folded(fold, log, 50, 20, at_s=1.5)
    with pytest.raises(LogTruncatedError, match="another record at offset 9"):
        await compare(log, fold)


async def test_a_position_without_marks_is_compared_with_the_end(log, fold):
    await folded(fold, log, 0, 10)
    old = {0: replace(fold.progress[0], marks=())}
    identity = await log.identity()
    await check_log_holds(log, 1, identity, old, {})
    log.records[0].pop()
    with pytest.raises(LogTruncatedError, match="ends at offset 9, but ended at 10"):
        await check_log_holds(log, 1, identity, old, {})


async def test_records_that_retention_deleted_after_they_were_folded_are_not_missed(log, fold):
    await folded(fold, log, 0, 10)
    log.begins[0] = 10
    await compare(log, fold)


async def test_a_recreated_topic_is_called_that(log, fold):
    await folded(fold, log, 0, 10)
    other = MemoryLog(1)
    with pytest.raises(EpochUnusableError, match="the topic was recreated"):
        await check_log_holds(other, 1, await log.identity(), fold.progress, {})


async def test_a_replay_whose_goal_the_log_lost_is_refused(log, fold):
    await folded(fold, log, 0, 10)
    identity, progress = await log.identity(), {0: PartitionProgress(4, 4, 0, 0)}
    await check_log_holds(log, 2, identity, progress, {0: 10})
    with pytest.raises(LogTruncatedError, match="ended at 11 or later before"):
        await check_log_holds(log, 2, identity, progress, {0: 11})
    with pytest.raises(LogTruncatedError, match="ended at 11 or later before"):
        await check_log_holds(log, 2, identity, {}, {0: 11})


async def test_marks_are_one_record_of_each_second_since_they_were_last_found(log, fold):
    for number in range(12):
        await folded(fold, log, 10 * number, 1, at_s=number * 0.4)
    # Stretches of a second begin at 0, 1.2, 2.4 and 3.6 s, at offsets 0, 3, 6 and 9.
    assert [mark.offset for mark in fold.progress[0].marks] == [2, 5, 8, 11]
    compared = fold.progress
    await folded(fold, log, 500, 1, at_s=60.0)
    fold.confirm(compared)
    assert [mark.offset for mark in fold.progress[0].marks] == [11, 12]


def test_marks_that_are_never_confirmed_stay_few():
    keeper, marks = LogMarks(), ()
    for offset in range(100):
        marks = keeper.extended(0, marks, RecordMark(offset, "f"), 2.0 * offset)
    assert [mark.offset for mark in marks] == list(range(84, 100))


async def test_marks_are_stored_with_the_position(log, fold):
    await folded(fold, log, 0, 3)
    stored = await fold._store.progress([0])
    assert stored[0].marks == fold.progress[0].marks != ()


async def test_a_partition_of_which_nothing_was_folded_needs_no_record(log):
    await check_log_holds(log, 1, await log.identity(), {0: PartitionProgress(0, 0, 0, 0)}, {})
