"""Folding batches into one epoch: when positions move, and what stops the worker."""

from __future__ import annotations

import pytest

from services.common.kafka.envelope import record_key
from services.recommender.application.ports.learners import CommitRefusedError, PartitionProgress
from services.recommender.application.ports.log import DeadLetter
from services.recommender.application.state.fold_events import FoldEvents
from services.recommender.application.state.partition_batch import PartitionBatch
from services.recommender.domain.learner.events import (
    VOIDED,
    AssessmentEvent,
    ContentKind,
    CorrectionEvent,
    Grain,
    content_of,
)
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.parameters import TracingParameters
from services.recommender.domain.learner.state import decode_state, encode_state
from tests.adapters.memory_states import MemoryDeadLetters, MemoryStates

ADA, ALAN = record_key("riverbend", "ADA"), record_key("riverbend", "ALAN")


def event(number: int) -> AssessmentEvent:
    return AssessmentEvent(number.to_bytes(8, "little"), 1.0, 0, "i", "", ("s",), Grain.ITEM, "")


def batch(events: dict[int, tuple[bytes, int]], *, partition: int = 0, dead: tuple[int, ...] = ()) -> PartitionBatch:
    """Records by offset: the learner's key and the event's number."""
    made = PartitionBatch(partition, max([*events, *dead]) + 1)
    for offset, (key, number) in events.items():
        made.learners.setdefault(key, ("riverbend", []))[1].append((offset, event(number)))
    made.dead += [DeadLetter(partition, offset, b"k", b"v", [], "value", "why") for offset in dead]
    return made


@pytest.fixture
def states():
    return MemoryStates()


@pytest.fixture
def letters():
    return MemoryDeadLetters()


def folding(states, letters) -> FoldEvents:
    return FoldEvents(states.fold_store(1), letters, LearnerFold(TracingParameters()), clock_s=lambda: 0.0)


async def test_the_start_of_a_new_partition_is_recorded_at_once(states, letters):
    fold = folding(states, letters)
    await fold.on_assigned({0: 17})
    assert await states.position(1, 0) == 17
    assert fold.positions == {0: 17}


async def test_a_batch_is_applied_and_its_position_moves(states, letters):
    fold = folding(states, letters)
    await fold.on_assigned({0: 0})
    report = await fold.fold([batch({0: (ADA, 1), 1: (ALAN, 2), 2: (ADA, 1), 3: (ADA, 3)}, dead=(4,))])
    assert (report.applied, report.duplicates, report.dead_lettered, report.learners) == (3, 1, {"value": 1}, 2)
    assert await states.progress(1) == {0: PartitionProgress(5, 3, 1, 1)}
    assert [letter.offset for letter in letters.letters] == [4]


async def test_records_read_again_change_nothing_and_are_not_counted_again(states, letters):
    fold = folding(states, letters)
    await fold.on_assigned({0: 0})
    first = batch({0: (ADA, 1), 1: (ADA, 1), 2: (ALAN, 2)}, dead=(3,))
    await fold.fold([first])
    before = dict(states.learners[1])
    again = folding(states, letters)
    await again.on_assigned({0: 0})
    await again.fold([first])
    assert states.learners[1] == before
    assert await states.progress(1) == {0: PartitionProgress(4, 2, 1, 1)}
    assert len(letters.letters) == 1


async def test_a_crash_between_learners_and_position_loses_and_doubles_nothing(states, letters, monkeypatch):
    fold = folding(states, letters)
    await fold.on_assigned({0: 0})
    crash = RuntimeError("power cut")

    async def cut(_moves, _skipped):
        raise crash

    monkeypatch.setattr(fold._store, "advance", cut)
    records = batch({0: (ADA, 1), 1: (ALAN, 2), 2: (ADA, 3)})
    with pytest.raises(RuntimeError, match="power cut"):
        await fold.fold([records])
    stored = dict(states.learners[1])
    assert await states.position(1, 0) == 0
    again = folding(states, letters)
    await again.on_assigned({0: 0})
    await again.fold([records])
    assert states.learners[1] == stored
    assert await states.progress(1) == {0: PartitionProgress(3, 3, 0, 0)}


async def test_a_learner_that_was_lost_below_the_position_is_folded_again(states, letters):
    fold = folding(states, letters)
    await fold.on_assigned({0: 0})
    records = batch({0: (ADA, 1), 1: (ALAN, 2)})
    await fold.fold([records])
    whole = dict(states.learners[1])
    del states.learners[1][ADA]
    await fold.fold([records])
    assert states.learners[1] == whole
    assert (await states.progress(1))[0].applied == 2


async def test_a_zombie_whose_partition_was_advanced_by_another_worker_is_refused(states, letters):
    zombie, owner = folding(states, letters), folding(states, letters)
    await zombie.on_assigned({0: 0})
    await owner.on_assigned({0: 0})
    await owner.fold([batch({0: (ADA, 1)})])
    with pytest.raises(CommitRefusedError, match="another worker"):
        await zombie.fold([batch({0: (ADA, 1), 1: (ADA, 2)})])
    assert await states.position(1, 0) == 1


async def test_a_store_that_lost_the_position_stops_the_worker(states, letters):
    fold = folding(states, letters)
    await fold.on_assigned({0: 0})
    await fold.fold([batch({0: (ADA, 1)})])
    states.learners[1].clear()
    states.positions[1].clear()
    with pytest.raises(CommitRefusedError, match="lost data"):
        await fold.fold([batch({1: (ADA, 2)})])
    assert states.learners[1] == {}


async def test_the_position_stays_when_the_dead_letters_are_not_confirmed(states, letters, monkeypatch):
    async def away(_letters):
        raise ConnectionError("broker away")

    monkeypatch.setattr(letters, "write", away)
    fold = folding(states, letters)
    await fold.on_assigned({0: 0})
    with pytest.raises(ConnectionError):
        await fold.fold([batch({0: (ADA, 1)}, dead=(1,))])
    assert await states.position(1, 0) == 0


def refused_correction() -> PartitionBatch:
    """Seventy answers, then the first of them voided, which is no longer in the journal."""
    records = batch({offset: (ADA, offset) for offset in range(70)})
    void = CorrectionEvent(b"void....", event(0).fingerprint, VOIDED)
    records.learners[ADA][1].append((70, void))
    records.letter_at = lambda offset: DeadLetter(0, offset, ADA, b"value", [("h", b"1")], "", "")
    records.next_offset = 71
    return records


async def test_a_correction_beyond_the_journal_goes_to_the_dead_letters_unchanged(states, letters):
    fold = folding(states, letters)
    await fold.on_assigned({0: 0})
    report = await fold.fold([refused_correction()])
    assert (report.applied, report.dead_lettered) == (70, {"correction-beyond-journal": 1})
    assert await states.progress(1) == {0: PartitionProgress(71, 70, 0, 1)}
    (letter,) = letters.letters
    assert (letter.offset, letter.key, letter.value, letter.headers) == (70, ADA, b"value", [("h", b"1")])
    assert letter.code == "correction-beyond-journal"
    await fold.fold([refused_correction()])
    assert len(letters.letters) == 1


async def test_the_learner_is_not_stored_when_a_refused_corrections_letter_is_not_confirmed(
    states, letters, monkeypatch
):
    async def away(_letters):
        raise ConnectionError("broker away")

    monkeypatch.setattr(letters, "write", away)
    fold = folding(states, letters)
    await fold.on_assigned({0: 0})
    with pytest.raises(ConnectionError):
        await fold.fold([refused_correction()])
    assert states.learners[1] == {}


async def test_a_conflict_is_counted_on_its_own_and_goes_to_the_dead_letters_unchanged(states, letters):
    fold = folding(states, letters)
    await fold.on_assigned({0: 0})
    first, other = (event(0)._replace(content=content_of(ContentKind.ASSESSMENT, said)) for said in (b"one", b"two"))
    records = batch({}, dead=(3,))
    records.learners[ADA] = ("riverbend", [(0, first), (1, other), (2, first)])
    records.letter_at = lambda offset: DeadLetter(0, offset, ADA, b"value", [("h", b"1")], "", "")
    report = await fold.fold([records])
    assert (report.applied, report.duplicates, report.conflicts, sum(report.dead_lettered.values())) == (1, 1, 1, 1)
    assert await states.progress(1) == {0: PartitionProgress(4, 1, 1, 1, conflicts=1)}
    letter = letters.letters[-1]
    assert (letter.offset, letter.key, letter.value, letter.headers) == (1, ADA, b"value", [("h", b"1")])
    assert letter.code == "conflict"
    await fold.fold([records])
    assert len(letters.letters) == 2
    assert await states.progress(1) == {0: PartitionProgress(4, 1, 1, 1, conflicts=1)}


async def test_a_correction_that_is_known_beforehand_is_applied(states, letters):
    fold = folding(states, letters)
    await fold.on_assigned({0: 0})
    records = refused_correction()
    for offset, one in records.learners[ADA][1]:
        fold.known.note(ADA, offset, one)
    report = await fold.fold([records])
    assert (report.applied, report.dead_lettered, letters.letters) == (71, {}, [])
    stored = states.learners[1][ADA].state
    assert decode_state(encode_state(stored)).responses == 69


async def test_records_that_can_no_longer_be_read_are_counted_once(states, letters):
    fold = folding(states, letters)
    await fold.on_assigned({0: 0})
    records = batch({1: (ADA, 1)})
    records.erased.append(0)
    report = await fold.fold([records])
    assert (report.applied, report.erased) == (1, 1)
    report = await fold.fold([records])
    assert (report.applied, report.erased) == (0, 0)
    assert await states.progress(1) == {0: PartitionProgress(2, 1, 0, 0, erased=1)}


async def test_partitions_are_counted_separately(states, letters):
    fold = folding(states, letters)
    await fold.on_assigned({0: 0, 3: 5})
    await fold.fold([batch({0: (ADA, 1)}), batch({5: (ALAN, 2), 6: (ALAN, 2)}, partition=3, dead=(7,))])
    assert await states.progress(1) == {0: PartitionProgress(1, 1, 0, 0), 3: PartitionProgress(8, 1, 1, 1)}


async def test_the_position_of_a_released_partition_is_not_moved(states, letters):
    fold = folding(states, letters)
    await fold.on_assigned({0: 0, 1: 0})
    fold.release([1])
    assert fold.positions == {0: 0}
