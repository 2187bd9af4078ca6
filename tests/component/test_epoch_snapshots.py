"""Snapshots of epochs: a restore gives exactly what was saved, or fails."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from services.recommender.adapters.files.epoch_file import EpochFile, EpochFileWriter
from services.recommender.application.ports.epochs import EpochMeta, EpochMissingError, EpochRestamp, EpochStatus
from services.recommender.application.ports.learners import PartitionProgress
from services.recommender.application.ports.log import RecordMark
from services.recommender.application.state.epochs import EpochUnusableError, digest_epoch
from services.recommender.application.state.fold_events import FoldEvents
from services.recommender.application.state.partition_batch import PartitionBatch
from services.recommender.application.state.restamps import restamp_of
from services.recommender.application.state.snapshots import SnapshotInvalidError, restore_epoch, snapshot_epoch
from services.recommender.domain.learner.events import AssessmentEvent, Grain
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.parameters import PRIOR_PARAMETERS_ID, TracingParameters
from services.recommender.domain.learner.restamp import Restamp, RestampedEvents, assessed_skills_id
from tests.adapters.memory_states import MemoryDeadLetters, MemoryStates

LOG = "00000000-0000-0000-0000-000000000001/2"
OTHER_LOG = "00000000-0000-0000-0000-000000000002/2"
META = EpochMeta(1, EpochStatus.LIVE, PRIOR_PARAMETERS_ID, "", LOG, {0: 3, 1: 0})
EVENTS = 300
MARK = "00ff00ff00ff00ff"


class Log:
    def __init__(self, identity=LOG, ends=None):
        self._identity, self._ends = identity, {0: EVENTS, 1: 0} if ends is None else ends

    async def identity(self):
        return self._identity

    async def end_offsets(self):
        return self._ends

    async def beginnings(self):
        return dict.fromkeys(self._ends, 0)

    async def fingerprints(self, offsets):
        return {(partition, offset): MARK for partition, some in offsets.items() for offset in some}


class NoBundles:
    def load(self, bundle_id):
        raise AssertionError("no bundle contains the priors")


def batch(offsets: range) -> PartitionBatch:
    made = PartitionBatch(0, offsets.stop, last=RecordMark(offsets.stop - 1, MARK))
    for offset in offsets:
        event = AssessmentEvent(struct.pack("<Q", offset), offset % 3 / 2, 7, f"i{offset}", "", ("s",), Grain.ITEM, "r")
        made.learners.setdefault(b"riverbend/L%d" % (offset % 3), ("riverbend", []))[1].append((offset, event))
    return made


def folding(states, epoch=1):
    return FoldEvents(states.fold_store(epoch), MemoryDeadLetters(), LearnerFold(TracingParameters()))


@pytest.fixture
async def states():
    states = MemoryStates()
    await states.create(META)
    fold = folding(states)
    await fold.on_assigned({0: 0, 1: 0})
    await fold.fold([batch(range(200))])
    return states


@pytest.fixture
def path(tmp_path):
    return tmp_path / "epoch.cairn"


async def kept(states, path, epoch=1):
    with EpochFileWriter(path) as sink:
        return await snapshot_epoch(states, epoch, sink)


async def restored(path, *, into=None, log=None, epoch=None):
    into = into or MemoryStates()
    return into, await restore_epoch(into, log or Log(), NoBundles(), EpochFile(path), epoch)


async def test_a_restored_epoch_is_byte_for_byte_the_saved_one_and_is_built(states, path):
    contents = await kept(states, path)
    assert contents == await digest_epoch(states, 1)
    back, (number, found) = await restored(path)
    assert (number, found) == (1, contents)
    assert back.learners[1] == states.learners[1]
    assert await back.progress(1) == await states.progress(1)
    assert await back.get(1) == replace(META, status=EpochStatus.BUILT)
    assert await back.current_epoch() is None


async def test_a_snapshot_holds_the_skills_with_which_its_epoch_stamps_events_again(states, path):
    skills = {"riverbend": {"item-1": ("fractions", "ratios"), "lesson-1": ()}}
    restamp = EpochRestamp(RestampedEvents.WITHOUT_SKILLS, 12, 4, assessed_skills_id(skills), {0: 150})
    meta = replace(META, epoch=2, restamp=restamp)
    await states.create(meta, skills)
    fold = folding(states, 2)
    await fold.on_assigned({0: 0, 1: 0})
    await fold.fold([batch(range(200))])
    await kept(states, path, 2)
    back, _ = await restored(path)
    assert await back.get(2) == replace(meta, status=EpochStatus.BUILT)
    assert await restamp_of(back, await back.get(2)) == Restamp(restamp.events, skills, {0: 150})


async def test_an_epoch_is_restored_under_another_number_alongside_the_served_one(states, path):
    await kept(states, path)
    await states.make_current(1)
    _, (number, _) = await restored(path, into=states, epoch=7)
    assert number == 7
    assert await states.current_epoch() == 1
    assert (await states.get(7)).status is EpochStatus.BUILT


async def test_folding_continues_after_a_restore(states, path):
    await kept(states, path)
    back, _ = await restored(path)
    for some in (states, back):
        fold = folding(some)
        await fold.on_assigned({0: 0, 1: 0})
        await fold.fold([batch(range(150, EVENTS))])
    assert back.learners[1] == states.learners[1]
    assert await back.progress(1) == await states.progress(1)


async def test_events_that_are_folded_while_the_snapshot_is_taken_are_neither_lost_nor_doubled(states, path):
    contents = states.contents
    fold = folding(states)
    await fold.on_assigned({0: 0, 1: 0})

    async def overtaken(epoch):
        async for index, learner in _enumerated(contents(epoch)):
            yield learner
            if index == 0:
                await fold.fold([batch(range(200, EVENTS))])

    states.contents = overtaken
    await kept(states, path)
    back, _ = await restored(path)
    assert back.learners[1] != states.learners[1], "nothing changed during the snapshot"
    again = folding(back)
    await again.on_assigned({0: 0, 1: 0})
    await again.fold([batch(range(190, EVENTS))])
    assert back.learners[1] == states.learners[1]
    assert await back.progress(1) == await states.progress(1)


async def test_every_byte_of_a_snapshot_is_guarded(states, path):
    await kept(states, path)
    whole = path.read_bytes()
    for place in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(SnapshotInvalidError):
            EpochFile(path)
    for length in (0, 5, 40, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(SnapshotInvalidError):
            EpochFile(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(SnapshotInvalidError, match="damaged"):
        EpochFile(path)


async def test_a_file_that_is_not_a_snapshot_is_refused_with_the_remedy(path):
    path.write_text("epoch,digest\n" * 10)
    with pytest.raises(SnapshotInvalidError, match="cairn epoch snapshot"):
        EpochFile(path)


async def test_an_interrupted_snapshot_leaves_no_file(states, path, monkeypatch):
    contents = states.contents
    broken = RuntimeError("power cut")

    async def cut(epoch):
        async for index, learner in _enumerated(contents(epoch)):
            if index == 2:
                raise broken
            yield learner

    monkeypatch.setattr(states, "contents", cut)
    with pytest.raises(RuntimeError, match="power cut"):
        await kept(states, path)
    assert list(path.parent.iterdir()) == []


async def test_a_snapshot_is_readable_only_by_its_owner(states, path):
    await kept(states, path)
    assert path.stat().st_mode & 0o077 == 0


async def test_a_snapshot_of_another_log_is_not_restored(states, path):
    await kept(states, path)
    into = MemoryStates()
    with pytest.raises(EpochUnusableError, match="recreated"):
        await restored(path, into=into, log=Log(OTHER_LOG))
    assert await into.epochs() == []


async def test_a_snapshot_that_is_ahead_of_the_log_is_not_restored(states, path):
    await kept(states, path)
    into = MemoryStates()
    with pytest.raises(EpochUnusableError, match="offset 200 of partition 0, but the log ends at 150"):
        await restored(path, into=into, log=Log(ends={0: 150, 1: 0}))
    assert await into.epochs() == []


async def test_a_restore_does_not_overwrite_an_existing_epoch(states, path):
    await kept(states, path)
    before = dict(states.learners[1])
    with pytest.raises(EpochUnusableError, match="--epoch"):
        await restored(path, into=states)
    assert states.learners[1] == before


async def test_an_epoch_that_is_not_built_or_does_not_exist_is_not_saved(states, path):
    with pytest.raises(EpochMissingError):
        await kept(states, path, 9)
    await states.set_status(1, EpochStatus.BUILDING)
    with pytest.raises(EpochUnusableError, match="not reached its end"):
        await kept(states, path)
    assert not path.exists()


async def test_a_store_that_loses_data_while_it_is_read_gives_no_snapshot(states, path, monkeypatch):
    contents = states.contents

    async def losing(epoch):
        async for learner in contents(epoch):
            yield learner
        states.positions[1][0] = PartitionProgress(120, 120, 0, 0)

    monkeypatch.setattr(states, "contents", losing)
    with pytest.raises(EpochUnusableError, match="lost data"):
        await kept(states, path)
    assert not path.exists()


async def test_an_epoch_that_differs_from_its_snapshot_is_not_marked_as_built(states, path):
    await kept(states, path)

    class Forgetful(MemoryStates):
        async def put_learners(self, epoch, learners):
            await super().put_learners(epoch, learners[1:])

    into = Forgetful()
    with pytest.raises(EpochUnusableError, match="drop 1"):
        await restored(path, into=into)
    assert (await into.get(1)).status is EpochStatus.BUILDING


async def _enumerated(learners):
    index = 0
    async for learner in learners:
        yield index, learner
        index += 1
