"""A learner whose stored value is damaged is quarantined, others go on, and a repair rebuilds the learner."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from services.recommender.application.ports.learners import PartitionProgress
from services.recommender.application.ports.log import DeadLetter, RecordMark
from services.recommender.application.state.fold_by_time import FoldByTime
from services.recommender.application.state.fold_events import FoldEvents
from services.recommender.application.state.partition_batch import PartitionBatch
from services.recommender.application.state.repair import (
    RepairFailedError,
    RepairLearners,
    RepairReport,
    quarantine_learner,
)
from services.recommender.domain.learner.corrections import KnownCorrections
from services.recommender.domain.learner.events import CorrectionEvent, ErasureEvent
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.parameters import TracingParameters
from tests.adapters.memory_states import MemoryDeadLetters, MemoryStates
from tests.component.test_fold_events import ADA, ALAN, batch, event, folding

FOLD = LearnerFold(TracingParameters())


@dataclass
class MemoryLog:
    """One partition's events, by offset; implements LearnerLog."""

    events: dict[int, tuple[bytes, object]] = field(default_factory=dict)
    begins: int = 0
    on_read: object = None

    def add(self, *events: tuple[bytes, object]) -> PartitionBatch:
        """Append events; return them as a worker reads them."""
        first = self.end
        self.events |= dict(enumerate(events, start=first))
        return self.batch(first, self.end)

    @property
    def end(self) -> int:
        return max(self.events, default=-1) + 1

    def batch(self, begin: int, end: int, keys=None) -> PartitionBatch:
        made = PartitionBatch(0, end)
        made.letter_at = lambda offset: DeadLetter(0, offset, self.events[offset][0], b"v", [], "", "")
        for offset, (key, one) in self.events.items():
            if begin <= offset < end and (keys is None or key in keys):
                made.learners.setdefault(key, ("riverbend", []))[1].append((offset, one))
        return made

    async def span(self, _partition):
        return self.begins, self.end

    async def read(self, _partition, begin, end, keys):
        for offset in range(begin, end, 2):
            yield self.batch(offset, min(offset + 2, end), keys)
        if self.on_read is not None:
            await self.on_read()


@pytest.fixture
def log():
    return MemoryLog()


@pytest.fixture
def states():
    return MemoryStates()


@pytest.fixture
def letters():
    return MemoryDeadLetters()


@pytest.fixture
async def fold(states, letters):
    fold = folding(states, letters)
    await fold.on_assigned({0: 0})
    return fold


def repair(states, log, letters) -> RepairLearners:
    return RepairLearners(states.fold_store(1), log, letters, FOLD, KnownCorrections())


async def undisturbed(log):
    """The states and letters of a worker that met no damage."""
    states, letters = MemoryStates(), MemoryDeadLetters()
    fold = FoldEvents(states.fold_store(1), letters, FOLD)
    await fold.on_assigned({0: 0})
    await fold.fold([log.batch(0, log.end)])
    return states, letters


async def test_the_worker_names_the_learner_and_goes_on_with_the_others(states, log, fold, capsys):
    await fold.fold([log.add((ADA, event(1)), (ALAN, event(2)))])
    held = states.learners[1][ADA]
    states.damage(1, ADA, "it is too short")
    report = await fold.fold([log.add((ADA, event(3)), (ALAN, event(4)), (ADA, event(5)))])
    assert (report.applied, report.quarantined, report.in_quarantine) == (1, 2, 1)
    assert states.learners[1][ALAN].offset == 3
    assert states.learners[1][ADA] is held
    assert await states.progress(1) == {0: PartitionProgress(5, 3, 0, 0, quarantined=2)}
    said = capsys.readouterr().out
    assert ADA.decode() in said
    assert "cairn learner repair" in said


async def test_the_quarantine_outlives_the_worker_and_more_records_are_counted(states, log, letters, fold):
    await fold.fold([log.add((ADA, event(1)))])
    states.damage(1, ADA)
    await fold.fold([log.add((ADA, event(2)))])
    # The value is whole again, but lacks an event.
    del states.damaged[1, ADA]
    after = folding(states, letters)
    await after.on_assigned({0: 0})
    await after.fold([log.batch(0, log.end)])
    await after.fold([log.add((ADA, event(3)), (ADA, event(3)))])
    assert await states.progress(1) == {0: PartitionProgress(4, 1, 0, 0, quarantined=3)}
    assert states.learners[1][ADA].offset == 0


async def test_a_repaired_learner_is_as_if_there_had_been_no_damage(states, log, letters, fold):
    await fold.fold([log.add((ADA, event(1)), (ALAN, event(2)), (ADA, event(3)), (ADA, event(1)))])
    states.damage(1, ADA)
    missing = CorrectionEvent(event(9).fingerprint, event(7).fingerprint, 0.5)
    await fold.fold([log.add((ADA, event(4)), (ADA, event(3)), (ALAN, event(5)), (ADA, missing))])
    assert await repair(states, log, letters)(0, [ADA]) == [RepairReport(ADA, 2, 1, 0, 0)]
    clean, _ = await undisturbed(log)
    assert states.learners[1] == clean.learners[1]
    assert await states.progress(1) == await clean.progress(1)
    await fold.fold([log.add((ADA, event(6)))])
    assert states.learners[1] == (await undisturbed(log))[0].learners[1]


async def test_a_repair_keeps_the_order_by_time_that_an_epoch_was_replayed_in(states, log, letters):
    def answered(number, at_s, response):
        return ADA, event(number)._replace(at_s=at_s, response=response)

    this_year, last_year = range(5, 9), range(1, 5)
    logged = [answered(number, number, 1.0) for number in this_year]
    logged += [answered(number, number, 0.0) for number in last_year]
    log.add(*logged, (ADA, event(8)))
    by_time_before = log.end
    by_time = FoldByTime(states.fold_store(1), letters, FOLD, {0: by_time_before})
    await by_time.fold([log.batch(0, by_time_before)])
    await by_time.finish({0: RecordMark(by_time_before - 1, bytes(8))})
    fold = folding(states, letters)
    await fold.on_assigned({0: 0})
    # Once the epoch is served, what comes is folded in the order of the log.
    await fold.fold([log.add(answered(20, 2, 0.0), answered(21, 30, 1.0))])
    served = states.learners[1][ADA]
    assert served != (await undisturbed(log))[0].learners[1][ADA]
    await quarantine_learner(states.fold_store(1), 0, ADA)
    await repair(states, log, letters)(0, [ADA], by_time_before=by_time_before)
    assert states.learners[1][ADA] == served


async def test_records_that_come_while_a_learner_is_rebuilt_are_in_the_state(states, log, letters, fold):
    await fold.fold([log.add((ADA, event(1)))])
    states.damage(1, ADA)
    await fold.fold([log.add((ADA, event(2)))])
    come = iter(range(3, 6))

    async def worker_reads_on():
        for number in come:
            await fold.fold([log.add((ADA, event(number)))])
            break

    log.on_read = worker_reads_on
    assert await repair(states, log, letters)(0, [ADA]) == [RepairReport(ADA, 4, 0, 0, 0)]
    clean, _ = await undisturbed(log)
    assert states.learners[1] == clean.learners[1]
    assert await states.progress(1) == await clean.progress(1)


async def test_records_that_the_worker_has_not_reached_are_left_to_it(states, log, letters, fold):
    await fold.fold([log.add((ADA, event(1)))])
    states.damage(1, ADA)
    await fold.fold([log.add((ADA, event(2)))])
    ahead = log.add((ADA, event(3)), (ALAN, event(4)))
    assert await repair(states, log, letters)(0, [ADA]) == [RepairReport(ADA, 1, 0, 0, 0)]
    assert states.learners[1][ADA].offset == 1
    await fold.fold([ahead])
    clean, _ = await undisturbed(log)
    assert states.learners[1] == clean.learners[1]
    assert await states.progress(1) == await clean.progress(1)


async def test_a_learner_released_while_a_batch_is_folded_gets_the_batch_too(states, log, letters, fold, monkeypatch):
    await fold.fold([log.add((ADA, event(1)), (ALAN, event(2)))])
    states.damage(1, ADA)
    await fold.fold([log.add((ADA, event(3)))])
    read, once = fold._store.read, iter([True])

    async def released_meanwhile(partitions, keys):
        found = await read(partitions, keys)
        if next(once, False):
            await repair(states, log, letters)(0, [ADA])
        return found

    monkeypatch.setattr(fold._store, "read", released_meanwhile)
    await fold.fold([log.add((ADA, event(4)), (ALAN, event(5)))])
    clean, _ = await undisturbed(log)
    assert states.learners[1] == clean.learners[1]
    assert await states.progress(1) == await clean.progress(1)


async def test_an_erased_learner_leaves_nothing_behind_in_quarantine(states, log, letters, fold):
    await fold.fold([log.add((ADA, event(1)))])
    states.damage(1, ADA)
    await fold.fold([log.add((ADA, event(2)))])
    await fold.fold([log.add((ADA, ErasureEvent(event(3).fingerprint)))])
    assert ADA not in states.learners[1]
    assert ADA in (await states.quarantine(1)).learners
    await repair(states, log, letters)(0, [ADA])
    clean, _ = await undisturbed(log)
    assert states.learners[1] == clean.learners[1]
    assert states.learners[1][ADA].state is None


async def test_corrections_refused_in_a_repair_become_dead_letters(states, log, letters, fold):
    await fold.fold([log.add((ADA, event(1)))])
    states.damage(1, ADA)
    early = [CorrectionEvent(event(100 + n).fingerprint, event(200 + n).fingerprint, 0.5) for n in range(66)]
    await fold.fold([log.add(*((ADA, one) for one in early))])
    assert letters.letters == []
    (report,) = await repair(states, log, letters)(0, [ADA])
    clean, expected = await undisturbed(log)
    assert report.dead_lettered == 2
    assert letters.letters == expected.letters
    assert await states.progress(1) == await clean.progress(1)


async def test_records_that_can_no_longer_be_read_count_as_erased(states, log, letters, fold):
    await fold.fold([log.add((ADA, event(1)))])
    states.damage(1, ADA)
    await fold.fold([log.add((ADA, event(2)), (ADA, event(3)))])
    del log.events[1]
    assert await repair(states, log, letters)(0, [ADA]) == [RepairReport(ADA, 1, 0, 0, 1)]
    assert await states.progress(1) == {0: PartitionProgress(3, 2, 0, 0, erased=1)}


async def test_an_operator_can_rebuild_a_learner_whom_no_worker_has_met(states, log, letters, fold):
    await fold.fold([log.add((ADA, event(1)), (ALAN, event(2)))])
    states.damage(1, ADA)
    await quarantine_learner(states.fold_store(1), 0, ADA)
    assert await repair(states, log, letters)(0, [ADA]) == [RepairReport(ADA, 0, 0, 0, 0)]
    clean, _ = await undisturbed(log)
    assert states.learners[1] == clean.learners[1]
    assert await states.progress(1) == await clean.progress(1)


async def test_a_repair_of_a_learner_without_records_says_so_and_leaves_nothing_behind(states, log, letters, fold):
    await fold.fold([log.add((ALAN, event(1)))])
    held = dict(states.learners[1])
    await quarantine_learner(states.fold_store(1), 0, ADA)
    (report,) = await repair(states, log, letters)(0, [ADA])
    assert not report.known
    assert states.learners[1] == held
    assert (await states.quarantine(1)).learners == {}


async def test_a_log_without_its_beginning_is_refused_unless_the_loss_is_accepted(states, log, letters, fold):
    await fold.fold([log.add((ADA, event(1)), (ADA, event(2)))])
    states.damage(1, ADA)
    await fold.fold([log.add((ADA, event(3)))])
    log.begins = 1
    with pytest.raises(RepairFailedError, match="--accept-loss"):
        await repair(states, log, letters)(0, [ADA])
    assert await repair(states, log, letters)(0, [ADA], accept_loss=True) == [RepairReport(ADA, 1, 0, 0, 0)]


async def test_several_damaged_learners_of_a_batch_are_quarantined_at_once(states, log, letters, fold):
    await fold.fold([log.add((ADA, event(1)), (ALAN, event(2)))])
    states.damage(1, ADA)
    states.damage(1, ALAN)
    report = await fold.fold([log.add((ADA, event(3)), (ALAN, event(4)))])
    assert (report.applied, report.quarantined, report.in_quarantine) == (0, 2, 2)
    assert len(await repair(states, log, letters)(0, [ADA, ALAN])) == 2
    assert states.learners[1] == (await undisturbed(log))[0].learners[1]


def test_the_fixture_batches_are_those_of_the_fold():
    made = MemoryLog()
    assert made.add((ADA, event(1)), (ALAN, event(2))).learners == batch({0: (ADA, 1), 1: (ALAN, 2)}).learners
