"""Behaviour of every store of learners whose stored value is damaged; run on the in-memory and the Redis adapter."""

from __future__ import annotations

import pytest

from services.recommender.application.ports.learners import CommitRefusedError, PartitionProgress
from services.recommender.application.ports.quarantine import (
    LearnerDamagedError,
    LearnersDamagedError,
    QuarantineChangedError,
    QuarantinedLearner,
    RepairedLearner,
    Skipped,
)
from services.recommender.application.state.epochs import digest_epoch
from services.recommender.domain.learner.record import NEW_LEARNER
from tests.suites.learner_states import ADA, ALAN, commit, meta_of, record_key_of

ADAS, ALANS = record_key_of(ADA), record_key_of(ALAN)


def counted(position: int, applied: int, quarantined: int) -> PartitionProgress:
    return PartitionProgress(position, applied, 0, 0, quarantined=quarantined)


class QuarantineSuite:
    """Inherited by a test class per adapter.

    Fixtures: `make_fold_store`, `reader`, `epochs`, and `damage`, which damages what an epoch stores about a learner.
    """

    @pytest.fixture
    async def store(self, make_fold_store):
        """A store with two learners, at position 9 of partition 0."""
        store = make_fold_store(1)
        await store.commit([commit(ADA, range(3)), commit(ALAN, range(3, 9))])
        await store.advance({0: (None, counted(9, 9, 0))})
        return store

    async def test_a_damaged_learner_is_named_and_the_others_are_read(self, store, make_fold_store, damage):
        await damage(1, ADAS)
        with pytest.raises(LearnersDamagedError) as caught:
            await make_fold_store(1).read([0], [ALANS, ADAS])
        assert caught.value.damaged.keys() == {ADAS}
        _, (alan,) = await make_fold_store(1).read([0], [ALANS])
        assert alan == commit(ALAN, range(3, 9)).stored

    async def test_answers_name_the_damaged_learner_alone(self, store, reader, damage):
        await damage(1, ADAS)
        with pytest.raises(LearnerDamagedError, match="cairn learner repair"):
            await reader.read(1, ADA)
        ada, alan = await reader.read_many(1, [ADA, ALAN])
        assert isinstance(ada, LearnerDamagedError)
        assert alan.offset == 8

    async def test_a_quarantined_learner_is_not_read_though_its_value_is_whole(self, store, reader):
        await store.quarantine.add(0, 9, {ADAS: "its journal is damaged"})
        ada, alan = await reader.read_many(1, [ADA, ALAN])
        assert ada.reason == "its journal is damaged"
        assert alan.offset == 8
        assert await reader.applied_offsets(1, [ADA, ALAN]) == [None, 8]

    async def test_the_quarantine_is_remembered_with_the_position_and_the_first_reason(
        self, store, make_fold_store, epochs
    ):
        before = (await store.quarantine.read()).version
        await store.quarantine.add(0, 9, {ADAS: "too short"})
        await store.quarantine.add(0, 9, {ADAS: "another reason"})
        held = await make_fold_store(1).quarantine.read()
        assert held.learners == {ADAS: QuarantinedLearner(0, 9, 0, "too short")}
        assert held.version != before
        assert await epochs.quarantine(1) == held
        assert (await make_fold_store(2).quarantine.read()).learners == {}

    async def test_a_learner_is_not_quarantined_at_a_position_that_has_passed(self, store):
        with pytest.raises(CommitRefusedError):
            await store.quarantine.add(0, 8, {ADAS: "damaged"})
        assert (await store.quarantine.read()).learners == {}

    async def test_records_of_a_quarantined_learner_are_counted_with_the_position(self, store, epochs):
        await epochs.create(meta_of(1))
        await store.quarantine.add(0, 9, {ADAS: "damaged"})
        version = (await store.quarantine.read()).version
        await store.advance({0: (counted(9, 9, 0), counted(12, 10, 2))}, Skipped(version, {0: {ADAS: 2}}))
        await store.advance({0: (counted(12, 10, 2), counted(13, 10, 3))}, Skipped(version, {0: {ADAS: 1}}))
        assert await store.quarantine.progress_of(ADAS, 0) == (QuarantinedLearner(0, 9, 3, "damaged"), 13)
        assert await store.progress([0]) == {0: counted(13, 10, 3)}

    async def test_a_position_does_not_move_with_an_outdated_quarantine(self, store, make_fold_store):
        version = (await store.quarantine.read()).version
        await make_fold_store(1).quarantine.add(0, 9, {ADAS: "damaged"})
        with pytest.raises(QuarantineChangedError) as caught:
            await store.advance({0: (counted(9, 9, 0), counted(12, 12, 0))}, Skipped(version))
        assert not caught.value.moved
        assert (await store.progress([0]))[0].position == 9

    async def test_a_repaired_learner_replaces_the_damaged_one_and_its_records_are_counted(
        self, store, make_fold_store, reader, damage
    ):
        await damage(1, ADAS)
        await store.quarantine.add(0, 9, {ADAS: "damaged"})
        version = (await store.quarantine.read()).version
        await store.advance({0: (counted(9, 9, 0), counted(14, 9, 5))}, Skipped(version, {0: {ADAS: 5}}))
        rebuilt = commit(ADA, range(80)).stored
        assert await store.quarantine.release(RepairedLearner(ADAS, 0, 5, rebuilt, 2, 1, 1))
        assert (await make_fold_store(1).read([0], [ADAS]))[1] == [rebuilt]
        assert (await reader.read(1, ADA)).offset == 79
        assert await store.progress([0]) == {0: PartitionProgress(14, 11, 1, 1, erased=1)}
        assert (await store.quarantine.read()).learners == {}

    async def test_a_learner_with_new_records_is_not_released(self, store, make_fold_store, damage):
        await damage(1, ADAS)
        await store.quarantine.add(0, 9, {ADAS: "damaged"})
        version = (await store.quarantine.read()).version
        await store.advance({0: (counted(9, 9, 0), counted(11, 9, 2))}, Skipped(version, {0: {ADAS: 2}}))
        assert not await store.quarantine.release(RepairedLearner(ADAS, 0, 1, commit(ADA, range(10)).stored, 1, 0, 0))
        assert ADAS in (await store.quarantine.read()).learners
        with pytest.raises(LearnersDamagedError):
            await make_fold_store(1).read([0], [ADAS])
        assert not await store.quarantine.release(RepairedLearner(ALANS, 0, 0, NEW_LEARNER, 0, 0, 0))

    async def test_nothing_is_stored_of_a_learner_without_readable_records(self, store, make_fold_store, damage):
        await damage(1, ADAS)
        await store.quarantine.add(0, 9, {ADAS: "damaged"})
        assert await store.quarantine.release(RepairedLearner(ADAS, 0, 0, NEW_LEARNER, 0, 0, 0))
        assert (await make_fold_store(1).read([0], [ADAS]))[1] == [NEW_LEARNER]

    async def test_what_is_stored_about_an_erased_learner_is_removed_and_the_quarantine_stays(
        self, store, make_fold_store, damage
    ):
        await damage(1, ADAS)
        await store.quarantine.add(0, 9, {ADAS: "damaged"})
        await store.quarantine.forget(0, 9, [ADAS, ALANS])
        assert ADAS in (await store.quarantine.read()).learners
        _, (ada, alan) = await make_fold_store(1).read([0], [ADAS, ALANS])
        assert ada == NEW_LEARNER
        assert alan.offset == 8

    async def test_contents_name_what_is_damaged_or_quarantined_and_no_digest_hides_it(self, store, epochs, damage):
        await epochs.create(meta_of(1))
        await damage(1, ALANS)
        await store.quarantine.add(0, 9, {ADAS: "damaged"})
        found = {one.key: (bool(one.damage), one.state) async for one in epochs.contents(1)}
        assert found == {ADAS: (True, b""), ALANS: (True, b"")}
        with pytest.raises(LearnerDamagedError):
            await digest_epoch(epochs, 1)

    async def test_a_cleared_epoch_has_no_quarantine(self, store, epochs):
        await epochs.create(meta_of(1))
        await store.quarantine.add(0, 9, {ADAS: "damaged"})
        await epochs.clear(1)
        assert (await epochs.quarantine(1)).learners == {}
