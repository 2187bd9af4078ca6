"""Behaviour of every store of learner states, positions and epochs; run on the in-memory and the Redis adapter."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest

from services.common.encryption.values import KeyTopicSeen
from services.recommender.application.ports.epochs import (
    EpochBehindError,
    EpochBusyError,
    EpochExistsError,
    EpochMeta,
    EpochMissingError,
    EpochReader,
    EpochRestamp,
    EpochStatus,
    EpochStore,
)
from services.recommender.application.ports.learners import (
    CommitRefusedError,
    FoldStore,
    LearnerCommit,
    LearnerKey,
    LearnerReader,
    PartitionProgress,
)
from services.recommender.application.ports.log import RecordMark
from services.recommender.application.state.epochs import EpochUnusableError, digest_epoch, drop_epoch
from services.recommender.domain.learner.batch import LearnerEvents
from services.recommender.domain.learner.events import AssessmentEvent, CorrectionEvent, ErasureEvent, Grain
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.journal import EMPTY_JOURNAL
from services.recommender.domain.learner.parameters import TracingParameters
from services.recommender.domain.learner.record import NEW_LEARNER, SEEN_EVENTS, LearnerRecord
from services.recommender.domain.learner.restamp import RestampedEvents
from tests.learner_events import pseudonym

ADA = LearnerKey("riverbend", pseudonym("ada"))
ALAN = LearnerKey("riverbend", pseudonym("alan"))
FOLD = LearnerFold(TracingParameters())
ENDS = MappingProxyType({0: 3, 1: 0, 2: 5, 3: 1})


def record_key_of(key: LearnerKey) -> bytes:
    return f"{key.tenant}/{key.learner}".encode()


def answer(number: int, response: float = 1.0) -> AssessmentEvent:
    skills = ("s1", f"s{number % 5}")
    return AssessmentEvent(struct.pack("<Q", number), response, 7, f"i{number}", "", skills, Grain.ITEM, f"r{number}")


def commit(
    key: LearnerKey,
    offsets: range,
    stored: LearnerRecord = NEW_LEARNER,
    *,
    expected: int | None = None,
    response: float = 1.0,
) -> LearnerCommit:
    """The commit of events at these offsets."""
    events = [(offset, answer(offset, response)) for offset in offsets]
    (folded,) = FOLD.fold([LearnerEvents(key.tenant, stored, events)])
    before = stored.offset if expected is None else expected
    return LearnerCommit(record_key_of(key), before, folded.stored, folded.seen, folded.checkpoint_changed)


def erasure(key: LearnerKey, offset: int, stored: LearnerRecord, *, then: range = range(0)) -> LearnerCommit:
    """The commit of an erasure and of events after it."""
    forgotten = (offset, ErasureEvent(struct.pack("<Q", offset)))
    events = [(number, answer(number)) for number in then]
    (folded,) = FOLD.fold([LearnerEvents(key.tenant, stored, [forgotten, *events])])
    return LearnerCommit(
        record_key_of(key),
        stored.offset,
        folded.stored,
        folded.seen,
        folded.checkpoint_changed,
        erased=folded.erased,
    )


class LearnerStatesSuite:
    """Inherited by a test class per adapter, with the fixtures `make_fold_store`, `reader` and `epochs`."""

    @pytest.fixture
    def fold_store(self, make_fold_store: Callable[[int], FoldStore]) -> FoldStore:
        return make_fold_store(1)

    async def test_learners_of_a_tenant_are_listed_with_their_offsets(self, make_fold_store, reader):
        foreign = LearnerKey("lakeside", ADA.learner)
        await make_fold_store(1).commit([commit(ADA, range(3)), commit(ALAN, range(9)), commit(foreign, range(2))])
        await make_fold_store(2).commit([commit(LearnerKey("riverbend", pseudonym("eve")), range(3))])
        listed = [learner async for some in reader.learners_of(1, "riverbend") for learner in some]
        assert set(listed) == {ADA.learner, ALAN.learner}
        assert await reader.applied_offsets(1, [ALAN, LearnerKey("riverbend", "NOBODY"), ADA]) == [8, None, 2]
        assert await reader.applied_offsets(1, []) == []

    async def test_a_learner_that_was_never_stored_is_absent(self, fold_store: FoldStore, reader: LearnerReader):
        assert await reader.read(1, ADA) is None
        assert await reader.read_many(1, [ADA, ALAN]) == [None, None]
        assert await reader.applied_offset(1, ADA) is None
        assert await reader.position(1, 0) is None
        assert await fold_store.progress([0]) == {}
        assert await fold_store.read([0], [record_key_of(ADA)]) == ({}, [NEW_LEARNER])

    async def test_a_committed_learner_is_read_back_completely(self, make_fold_store, fold_store, reader):
        written = commit(ADA, range(100))
        await fold_store.commit([written, commit(ALAN, range(100, 103))])
        # Another store has an empty cache.
        _, (read, _) = await make_fold_store(1).read([], [record_key_of(ADA), record_key_of(ALAN)])
        assert read == written.stored
        seen = await reader.read(1, ADA)
        assert seen.offset == 99
        assert seen.state.applied == 100
        assert await reader.applied_offset(1, ADA) == 99
        assert [one.offset for one in await reader.read_many(1, [ALAN, ADA])] == [102, 99]

    async def test_commits_build_on_one_another(self, make_fold_store, fold_store):
        first = commit(ADA, range(70))
        await fold_store.commit([first])
        _, (read,) = await fold_store.read([], [record_key_of(ADA)])
        await fold_store.commit([commit(ADA, range(70, 140), read)])
        _, (again,) = await make_fold_store(1).read([], [record_key_of(ADA)])
        assert again == commit(ADA, range(140)).stored

    async def test_a_commit_based_on_another_offset_is_refused_and_writes_nothing(self, make_fold_store, fold_store):
        first = commit(ADA, range(3))
        await fold_store.commit([first])
        second = commit(ADA, range(3, 6), first.stored)
        zombie = commit(ADA, range(3, 9), first.stored, response=0.0)
        await fold_store.commit([second])
        with pytest.raises(CommitRefusedError):
            await make_fold_store(1).commit([zombie])
        _, (read,) = await make_fold_store(1).read([], [record_key_of(ADA)])
        assert read == second.stored

    async def test_a_commit_for_a_new_learner_is_refused_if_the_learner_exists(self, make_fold_store, fold_store):
        await fold_store.commit([commit(ADA, range(3))])
        with pytest.raises(CommitRefusedError):
            await make_fold_store(1).commit([commit(ADA, range(2))])

    async def test_a_commit_is_refused_if_the_learner_was_lost(self, fold_store):
        first = commit(ADA, range(3))
        with pytest.raises(CommitRefusedError):
            await fold_store.commit([commit(ADA, range(3, 6), first.stored)])
        _, (read,) = await fold_store.read([], [record_key_of(ADA)])
        assert read == NEW_LEARNER

    async def test_one_refused_learner_does_not_affect_others(self, make_fold_store, fold_store):
        with pytest.raises(CommitRefusedError):
            await fold_store.commit([commit(ADA, range(2), expected=7), commit(ALAN, range(2))])
        _, (ada, alan) = await make_fold_store(1).read([], [record_key_of(ADA), record_key_of(ALAN)])
        assert (ada.offset, alan.offset) == (-1, 1)

    async def test_a_stale_cache_does_not_mislead_a_reader(self, make_fold_store, fold_store):
        first = commit(ADA, range(3))
        await fold_store.commit([first])
        second = commit(ADA, range(3, 6), first.stored)
        await make_fold_store(1).commit([second])
        _, (read,) = await fold_store.read([], [record_key_of(ADA)])
        assert read == second.stored

    async def test_learners_for_whom_corrections_wait_are_found_with_the_targets(self, fold_store, epochs):
        await epochs.create(meta_of(1))
        targets = [struct.pack("<Q", target) for target in (70, 71)]
        waits = [CorrectionEvent(struct.pack("<Q", 900 + n), target, 1.0) for n, target in enumerate(targets)]
        (folded,) = FOLD.fold([LearnerEvents(ADA.tenant, NEW_LEARNER, list(enumerate(waits)))])
        changed = folded.checkpoint_changed
        waiting = LearnerCommit(record_key_of(ADA), -1, folded.stored, folded.seen, changed)
        await fold_store.commit([waiting, commit(ALAN, range(100))])
        found = [one async for one in epochs.waiting_corrections(1)]
        assert found == [(record_key_of(ADA), targets)]

    async def test_only_a_tombstone_remains_of_an_erased_learner(self, make_fold_store, fold_store, reader, epochs):
        await epochs.create(meta_of(1))
        first = commit(ADA, range(70))
        await fold_store.commit([first])
        await fold_store.commit([erasure(ADA, 70, first.stored)])
        tombstone = LearnerRecord(70, None, EMPTY_JOURNAL, b"", struct.pack("<Q", 70))
        _, (read,) = await make_fold_store(1).read([], [record_key_of(ADA)])
        assert read == tombstone
        assert (await fold_store.read([], [record_key_of(ADA)]))[1] == [tombstone]
        assert await reader.read(1, ADA) is None
        assert await reader.applied_offset(1, ADA) == 70
        contents = [one async for one in epochs.contents(1)]
        assert [(one.offset, one.state, one.journal, one.checkpoint) for one in contents] == [(70, b"", b"", b"")]
        digest = await digest_epoch(epochs, 1)
        assert (digest.learners, digest.applied) == (0, 0)
        with pytest.raises(CommitRefusedError):
            await make_fold_store(1).commit([commit(ADA, range(71))])

    async def test_an_erased_learner_starts_as_a_new_one(self, make_fold_store, fold_store, reader):
        first = commit(ADA, range(70))
        await fold_store.commit([first])
        forgotten = erasure(ADA, 70, first.stored)
        await fold_store.commit([forgotten])
        afterwards = commit(ADA, range(71, 74), forgotten.stored)
        await fold_store.commit([afterwards])
        _, (read,) = await make_fold_store(1).read([], [record_key_of(ADA)])
        assert read == afterwards.stored
        assert (await reader.read(1, ADA)).state.applied == 3

    async def test_an_erasure_and_the_events_after_it_are_stored_in_one_commit(self, make_fold_store, fold_store):
        first = commit(ADA, range(70))
        await fold_store.commit([first])
        both = erasure(ADA, 70, first.stored, then=range(71, 74))
        await fold_store.commit([both])
        _, (read,) = await make_fold_store(1).read([], [record_key_of(ADA)])
        assert read == both.stored
        assert read.seen == b"".join(struct.pack("<Q", number) for number in range(70, 74))

    async def test_positions_move_only_from_the_value_that_was_read(self, fold_store, reader):
        begun, moved = PartitionProgress(5, 0, 0, 0), PartitionProgress(9, 3, 1, 0)
        await fold_store.advance({2: (None, begun)})
        assert await reader.position(1, 2) == 5
        await fold_store.advance({2: (begun, moved)})
        assert await fold_store.progress([1, 2]) == {2: moved}
        assert await fold_store.read([2, 3], []) == ({2: 9}, [])
        with pytest.raises(CommitRefusedError):
            await fold_store.advance({2: (begun, PartitionProgress(7, 2, 0, 0))})
        with pytest.raises(CommitRefusedError):
            await fold_store.advance({2: (None, begun)})
        assert await fold_store.progress([2]) == {2: moved}

    async def test_epochs_are_isolated(self, make_fold_store, fold_store, reader):
        await fold_store.commit([commit(ADA, range(3))])
        await fold_store.advance({0: (None, PartitionProgress(3, 3, 0, 0))})
        assert await reader.read(2, ADA) is None
        assert await make_fold_store(2).progress([0]) == {}

    async def test_nothing_is_stored_for_an_epoch_that_is_gone_or_was_replaced(self, epochs, make_fold_store, reader):
        meta = meta_of(1)
        store = make_fold_store(1, fold_id=meta.fold_id)
        await epochs.create(meta)
        await store.commit([commit(ADA, range(3))])
        await store.advance({0: (None, at(3))})
        await epochs.drop(1)
        for replaced in (False, True):
            if replaced:
                await epochs.create(meta_of(1, end_positions=dict(ENDS) | {2: 6}))
            with pytest.raises(CommitRefusedError, match="epoch 1 is gone, or another one"):
                await store.commit([commit(ALAN, range(3))])
            with pytest.raises(CommitRefusedError, match="epoch 1 is gone, or another one"):
                await store.advance({1: (None, at(3))})
        assert await reader.read(1, ALAN) is None
        assert await epochs.progress(1) == {}

    async def test_an_epoch_is_created_once(self, epochs: EpochStore):
        meta = meta_of(3)
        await epochs.create(meta)
        with pytest.raises(EpochExistsError):
            await epochs.create(meta_of(3, parameters_id="others"))
        assert await epochs.get(3) == meta
        assert await epochs.epochs() == [meta]
        assert await epochs.get(4) is None

    async def test_epochs_are_listed_by_number(self, epochs):
        for number in (10, 9, 2):
            await epochs.create(meta_of(number))
        assert [meta.epoch for meta in await epochs.epochs()] == [2, 9, 10]

    async def test_the_current_epoch_can_be_set(self, epochs: EpochStore & EpochReader):
        assert await epochs.current_epoch() is None
        assert await epochs.current() is None
        await epochs.create(meta_of(1, end_positions={}))
        await epochs.make_current(1)
        assert await epochs.current_epoch() == 1
        assert (await epochs.current()).status is EpochStatus.LIVE

    async def test_switches_are_counted(self, epochs: EpochStore):
        for number in (2, 3, 4):
            await epochs.create(meta_of(number, end_positions={}))
        for number in (2, 3, 2):
            await epochs.make_current(number)
        assert [meta.last_switch for meta in await epochs.epochs()] == [3, 2, 0]

    async def test_an_epoch_keeps_the_skills_of_its_restamp_until_it_is_dropped(self, epochs: EpochStore):
        skills = {"riverbend": {"item-1": ("fractions", "ratios"), "lesson-1": ()}, "hilltop": {}}
        restamp = EpochRestamp(RestampedEvents.ALL, 12, 4, "an id", {0: 7, 3: 9})
        await epochs.create(meta_of(1))
        await epochs.create(replace(meta_of(2), restamp=restamp), skills)
        with pytest.raises(EpochExistsError):
            await epochs.create(replace(meta_of(2), restamp=restamp), {"riverbend": {}})
        assert ((await epochs.get(1)).restamp, await epochs.restamp_skills(1)) == (None, None)
        assert ((await epochs.get(2)).restamp, await epochs.restamp_skills(2)) == (restamp, skills)
        await epochs.clear(2)
        assert await epochs.restamp_skills(2) == skills
        await epochs.drop(2)
        assert await epochs.restamp_skills(2) is None

    async def test_an_epoch_is_not_served_before_it_has_reached_its_end(self, epochs, make_fold_store):
        await epochs.create(meta_of(1))
        store = make_fold_store(1)
        await store.advance({0: (None, at(3)), 2: (None, at(4)), 3: (None, at(9))})
        with pytest.raises(EpochBehindError, match="epoch 1 has not reached"):
            await epochs.make_current(1)
        assert await epochs.current_epoch() is None
        assert (await epochs.get(1)).status is EpochStatus.BUILDING

        await store.advance({2: (at(4), at(5))})
        await epochs.make_current(1)
        assert await epochs.current_epoch() == 1

    async def test_an_epoch_remembers_the_topic_of_keys_and_that_lost_keys_are_accepted(self, epochs: EpochStore):
        await epochs.create(meta_of(1))
        assert (await epochs.get(1)).keys is None
        seen = KeyTopicSeen("00000000-0000-0000-0000-000000000009/1", 40, 30)
        await epochs.see_keys(1, seen)
        await epochs.accept_lost_keys(1)
        assert await epochs.get(1) == replace(meta_of(1), keys=seen, accepts_lost_keys=True)
        await epochs.create(meta := replace(meta_of(2), keys=seen, accepts_lost_keys=True))
        assert await epochs.get(2) == meta

    async def test_how_the_topic_of_keys_looks_is_not_noted_in_an_epoch_that_is_gone(self, epochs: EpochStore):
        await epochs.see_keys(7, KeyTopicSeen("00000000-0000-0000-0000-000000000009/1", 40, 30))
        assert await epochs.get(7) is None

    async def test_a_missing_epoch_cannot_be_changed(self, epochs):
        for change in (
            epochs.set_status(7, EpochStatus.BUILT),
            epochs.accept_lost_keys(7),
            epochs.make_current(7),
            epochs.drop(7),
        ):
            with pytest.raises(EpochMissingError):
                await change

    async def test_dropping_an_epoch_removes_all_of_it_and_nothing_else(self, epochs, make_fold_store, reader):
        for number in (1, 11):
            await epochs.create(meta_of(number))
            await make_fold_store(number).commit([commit(ADA, range(3)), commit(ALAN, range(3, 5))])
            await make_fold_store(number).advance({0: (None, PartitionProgress(5, 5, 0, 0))})
        assert await drop_epoch(epochs, 1) == 2
        assert await epochs.get(1) is None
        assert await reader.read(1, ADA) is None
        assert await reader.position(1, 0) is None
        assert (await reader.read(11, ADA)).offset == 2
        assert await reader.position(11, 0) == 5

    async def test_a_cleared_epoch_is_empty_and_still_exists(self, epochs, make_fold_store, reader):
        for number in (1, 11):
            await epochs.create(meta_of(number))
            await make_fold_store(number).commit([commit(ADA, range(3))])
            await make_fold_store(number).advance({0: (None, at(3))})
        assert await epochs.clear(1) == 1
        assert await epochs.get(1) == meta_of(1)
        assert await epochs.progress(1) == {}
        assert await reader.read(1, ADA) is None
        assert (await reader.read(11, ADA)).offset == 2
        assert await epochs.progress(11) == {0: at(3)}

    async def test_the_current_epoch_cannot_be_dropped(self, epochs):
        await epochs.create(meta_of(1, end_positions={}))
        await epochs.make_current(1)
        with pytest.raises(EpochUnusableError, match="being served"):
            await drop_epoch(epochs, 1)

    async def test_progress_is_reported_by_partition(self, epochs, make_fold_store):
        await epochs.create(meta_of(1))
        await make_fold_store(1).advance({1: (None, PartitionProgress(5, 3, 1, 1))})
        assert await epochs.progress(1) == {1: PartitionProgress(5, 3, 1, 1)}

    async def test_progress_keeps_the_marks_of_records_folded_last(self, epochs, make_fold_store):
        await epochs.create(meta_of(1))
        begun = PartitionProgress(5, 3, 1, 1, marks=(RecordMark(2, "00ff"), RecordMark(4, "ab12")))
        moved = PartitionProgress(9, 7, 1, 1, marks=(RecordMark(8, "cd34"),))
        fold_store = make_fold_store(1)
        await fold_store.advance({0: (None, begun)})
        assert await fold_store.progress([0]) == {0: begun}
        await fold_store.advance({0: (begun, moved)})
        await epochs.put_progress(1, {2: begun})
        assert await epochs.progress(1) == {0: moved, 2: begun}

    async def test_a_commit_first_notes_how_far_learners_may_be_ahead_of_the_position(self, epochs, make_fold_store):
        await epochs.create(meta_of(1))
        fold_store, begun, last = make_fold_store(1), PartitionProgress(5, 5, 0, 0), RecordMark(7, "ab12")
        await fold_store.advance({0: (None, begun)})
        with pytest.raises(CommitRefusedError):
            await fold_store.commit([commit(ADA, range(2), expected=7)], {0: last, 3: last})
        assert await fold_store.progress([0, 3]) == {0: replace(begun, ahead=last)}, "3 has no position yet"
        await fold_store.advance({0: (begun, PartitionProgress(8, 8, 0, 0))})
        assert (await epochs.progress(1))[0].ahead is None

    async def test_equal_contents_have_equal_digests_and_others_differ(self, epochs, make_fold_store):
        for number in (1, 2, 3):
            await epochs.create(meta_of(number))
        ada, alan = commit(ADA, range(70)), commit(ALAN, range(70, 80))
        await make_fold_store(1).commit([ada, alan])
        await make_fold_store(2).commit([alan])
        await make_fold_store(2).commit([ada])
        await make_fold_store(3).commit([ada, commit(ALAN, range(70, 79))])
        one, two, three = [await digest_epoch(epochs, number) for number in (1, 2, 3)]
        assert one == two
        assert (one.learners, one.applied) == (2, 80)
        assert three.digest != one.digest

    async def test_restored_learners_equal_the_stored_ones(self, epochs, make_fold_store):
        for number in (1, 2):
            await epochs.create(meta_of(number))
        ada, alan = commit(ADA, range(SEEN_EVENTS + 70)), commit(ALAN, range(3))
        await make_fold_store(1).commit([ada, alan])
        await epochs.put_learners(2, [learner async for learner in epochs.contents(1)])
        await epochs.put_progress(2, {0: PartitionProgress(9, 3, 1, 2), 2: PartitionProgress(4, 4, 0, 0)})
        assert await digest_epoch(epochs, 2) == await digest_epoch(epochs, 1)
        assert await epochs.progress(2) == {0: PartitionProgress(9, 3, 1, 2), 2: PartitionProgress(4, 4, 0, 0)}
        _, read = await make_fold_store(2).read([], [record_key_of(ADA), record_key_of(ALAN)])
        assert read == [ada.stored, alan.stored]

    async def test_only_one_holder_can_lock_an_epoch(self, epochs):
        async with epochs.exclusive(1):
            with pytest.raises(EpochBusyError):
                async with epochs.exclusive(1):
                    pytest.fail("both hold it")
            async with epochs.exclusive(2):
                pass
        async with epochs.exclusive(1):
            pass


def at(position: int) -> PartitionProgress:
    return PartitionProgress(position, position, 0, 0)


def meta_of(epoch: int, *, parameters_id: str = "priors-1", end_positions: Mapping[int, int] = ENDS) -> EpochMeta:
    return EpochMeta(
        epoch,
        EpochStatus.BUILDING,
        parameters_id,
        "",
        "00000000-0000-0000-0000-000000000001/4",
        dict(end_positions),
    )
