"""The life of an epoch: started, built, handed over to workers, dropped."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from services.recommender.application.ports.epochs import EpochMeta, EpochMissingError, EpochStatus
from services.recommender.application.ports.learners import PartitionProgress
from services.recommender.application.ports.models import Bundle, BundleUnreadableError
from services.recommender.application.ports.served_parameters import NoMemory, ServedParameters
from services.recommender.application.state.epochs import (
    EpochUnusableError,
    check_log,
    drop_epoch,
    ensure_first_epoch,
    newest_epoch,
    parameters_of,
    prune_epochs,
)
from services.recommender.application.state.replays import begin_replay, switch_epoch
from services.recommender.application.state.served_parameters import RememberServed
from services.recommender.domain.learner.parameters import PRIOR_PARAMETERS_ID, TracingParameters
from tests.adapters.memory_states import MemoryStates

LOG = "00000000-0000-0000-0000-000000000001/4"
OTHER_LOG = "00000000-0000-0000-0000-000000000002/4"


class Log:
    def __init__(self, identity=LOG, ends=None):
        self._identity, self._ends = identity, ends or {0: 5, 1: 0}

    async def identity(self):
        return self._identity

    async def end_offsets(self):
        return self._ends

    async def beginnings(self):
        return dict.fromkeys(self._ends, 0)

    async def fingerprints(self, _offsets):
        return {}


class Bundles:
    def __init__(self, **parameters_id_by_bundle):
        self._ids = parameters_id_by_bundle

    def latest_id(self):
        return max(self._ids, default=None)

    def load(self, bundle_id):
        if bundle_id not in self._ids:
            raise BundleUnreadableError(f"there is no bundle {bundle_id}")
        return Bundle(bundle_id, datetime(2026, 1, 1, tzinfo=UTC), TracingParameters(self._ids[bundle_id]), {})


class Remembered(NoMemory):
    def __init__(self, served):
        self._served = served

    async def read(self):
        return self._served


@pytest.fixture
def store():
    return MemoryStates()


async def serve(store, epoch):
    """Does what workers do once they have folded the log up to its end at the start of the epoch."""
    ends = (await store.get(epoch)).end_positions
    await store.fold_store(epoch).advance({p: (None, PartitionProgress(end, end, 0, 0)) for p, end in ends.items()})
    await store.make_current(epoch)


async def test_the_first_epoch_has_the_priors_and_is_not_served_before_it_reached_the_end_of_the_log(store):
    await ensure_first_epoch(store, Log(), RememberServed(NoMemory()))
    (meta,) = await store.epochs()
    assert (meta.epoch, meta.status, meta.parameters_id) == (1, EpochStatus.CATCHING_UP, PRIOR_PARAMETERS_ID)
    assert (meta.log_identity, meta.end_positions) == (LOG, {0: 5, 1: 0})
    assert await store.current() is None


async def test_no_epoch_is_started_if_there_is_one_to_fold_into(store):
    await ensure_first_epoch(store, Log(), RememberServed(NoMemory()))
    await serve(store, 1)
    await ensure_first_epoch(store, Log(), RememberServed(NoMemory()))
    assert len(await store.epochs()) == 1


async def test_a_replay_takes_the_parameters_of_the_bundle_it_is_given(store):
    meta = await begin_replay(store, Log(), Bundles(b1="sha-1"), 2, "b1")
    assert (meta.parameters_id, meta.parameters_bundle, meta.status) == ("sha-1", "b1", EpochStatus.BUILDING)
    assert parameters_of(meta, Bundles(b1="sha-1")).parameters_id == "sha-1"


async def test_same_parameters_are_those_of_the_current_epoch(store):
    await begin_replay(store, Log(), Bundles(b1="sha-1"), 2, "b1")
    await serve(store, 2)
    meta = await begin_replay(store, Log(), Bundles(), 3, "same")
    assert (meta.parameters_id, meta.parameters_bundle) == ("sha-1", "b1")


async def test_after_the_store_was_lost_the_same_parameters_are_those_that_workers_began_with(store):
    remembered = Remembered(ServedParameters("sha-1", "b1", LOG.partition("/")[0]))
    await ensure_first_epoch(store, Log(), RememberServed(remembered))
    assert await store.current() is None
    meta = await begin_replay(store, Log(), Bundles(), 2, "same", accept_lost_keys=True)
    assert (meta.parameters_id, meta.parameters_bundle) == ("sha-1", "b1")
    await begin_replay(store, Log(), Bundles(b2="sha-2"), 3, "b2")
    assert (await begin_replay(store, Log(), Bundles(), 4, "same")).parameters_bundle == "b1", "not of another replay"


@pytest.mark.parametrize(
    ("bundles", "remedy"),
    [
        (Bundles(b1="sha-1", b2="sha-2"), "or name a bundle: cairn replay --epoch 3 --parameters b2"),
        (Bundles(), "or name a bundle that cairn train makes"),
    ],
)
async def test_the_same_parameters_are_refused_without_an_epoch_and_the_remedy_is_named(store, bundles, remedy):
    with pytest.raises(EpochUnusableError) as refused:
        await begin_replay(store, Log(), bundles, 3, "same")
    assert "start a worker, which begins one with the parameters that were served last" in str(refused.value)
    assert str(refused.value).endswith(remedy)


async def test_the_newest_parameters_are_those_of_the_last_bundle(store):
    meta = await begin_replay(store, Log(), Bundles(b1="sha-1", b2="sha-2"), 2, "newest")
    assert (meta.parameters_id, meta.parameters_bundle) == ("sha-2", "b2")
    with pytest.raises(EpochUnusableError, match="there is no bundle yet: make one with cairn train"):
        await begin_replay(store, Log(), Bundles(), 3, "newest")


async def test_the_next_epoch_has_the_next_number(store):
    assert (await begin_replay(store, Log(), Bundles(b1="sha-1"), None, "b1")).epoch == 1
    await serve(store, 1)
    await begin_replay(store, Log(), Bundles(b1="sha-1"), 7, "b1")
    await serve(store, 7)
    assert (await begin_replay(store, Log(), Bundles(b1="sha-1"), None, "b1")).epoch == 8


async def test_the_next_epoch_is_the_interrupted_one_if_its_log_and_parameters_are_the_same(store):
    bundles = Bundles(b1="sha-1", b2="sha-2")
    await begin_replay(store, Log(), bundles, 2, "b1")
    assert (await begin_replay(store, Log(), bundles, None, "b1")).epoch == 2
    assert (await begin_replay(store, Log(), bundles, None, "b2")).epoch == 3
    assert (await begin_replay(store, Log(OTHER_LOG), bundles, None, "b1")).epoch == 4
    await store.set_status(2, EpochStatus.BUILT)
    assert (await begin_replay(store, Log(), bundles, None, "b1")).epoch == 5


async def test_pruning_keeps_the_served_epoch_later_ones_and_the_last_that_were_served_before(store):
    bundles = Bundles(b1="sha-1")
    for epoch in (1, 2, 3, 5):
        await begin_replay(store, Log(), bundles, epoch, "b1")
        await serve(store, epoch)
    await begin_replay(store, Log(), bundles, 4, "b1")
    await begin_replay(store, Log(), bundles, 6, "b1")
    assert await prune_epochs(store, 1) == [1, 2, 4]
    assert [meta.epoch for meta in await store.epochs()] == [3, 5, 6]
    assert await prune_epochs(store, 1) == []
    assert await prune_epochs(store, 0) == [3]


async def test_pruning_keeps_the_epoch_that_was_gone_back_to_rather_than_the_one_it_replaced(store):
    bundles = Bundles(b1="sha-1")
    for epoch in (2, 3):
        await begin_replay(store, Log(), bundles, epoch, "b1")
        await serve(store, epoch)
    await switch_epoch(store, 2)
    await begin_replay(store, Log(), bundles, 4, "b1")
    await serve(store, 4)
    assert await prune_epochs(store, 1) == [3]


async def test_nothing_is_pruned_while_no_epoch_is_served(store):
    await begin_replay(store, Log(), Bundles(b1="sha-1"), 1, "b1")
    with pytest.raises(EpochUnusableError, match="no epoch is served"):
        await prune_epochs(store, 0)
    assert len(await store.epochs()) == 1


async def test_the_newest_epoch_has_the_highest_number(store):
    with pytest.raises(EpochMissingError, match="there is no epoch yet"):
        await newest_epoch(store)
    for epoch in (9, 10):
        await begin_replay(store, Log(), Bundles(b1="sha-1", b2="sha-2"), epoch, f"b{epoch - 8}")
    assert await newest_epoch(store) == 10


async def test_an_unknown_bundle_is_refused_and_no_epoch_is_started(store):
    with pytest.raises(BundleUnreadableError):
        await begin_replay(store, Log(), Bundles(), 2, "b9")
    assert await store.epochs() == []


async def test_an_interrupted_replay_is_resumed_with_its_original_end(store):
    begun = await begin_replay(store, Log(), Bundles(b1="sha-1"), 2, "b1")
    assert await begin_replay(store, Log(ends={0: 99}), Bundles(b1="sha-1"), 2, "b1") == begun


async def test_a_replay_is_not_resumed_with_other_parameters_or_on_another_log(store):
    bundles = Bundles(b1="sha-1", b2="sha-2")
    await begin_replay(store, Log(), bundles, 2, "b1")
    with pytest.raises(EpochUnusableError, match="sha-1"):
        await begin_replay(store, Log(), bundles, 2, "b2")
    with pytest.raises(EpochUnusableError, match="recreated"):
        await begin_replay(store, Log(OTHER_LOG), bundles, 2, "b1")


@pytest.mark.parametrize("status", [EpochStatus.BUILT, EpochStatus.CATCHING_UP, EpochStatus.LIVE])
async def test_an_epoch_that_is_no_longer_being_built_accepts_no_replay(store, status):
    await begin_replay(store, Log(), Bundles(b1="sha-1"), 2, "b1")
    await store.set_status(2, status)
    with pytest.raises(EpochUnusableError, match=status.value):
        await begin_replay(store, Log(), Bundles(b1="sha-1"), 2, "b1")


async def test_an_epoch_is_handed_over_only_when_built(store):
    await begin_replay(store, Log(), Bundles(b1="sha-1"), 2, "b1")
    with pytest.raises(EpochUnusableError, match="not reached its end"):
        await switch_epoch(store, 2)
    await store.set_status(2, EpochStatus.BUILT)
    assert (await switch_epoch(store, 2)).status is EpochStatus.CATCHING_UP
    assert await store.current_epoch() is None, "workers make it current"
    with pytest.raises(EpochMissingError):
        await switch_epoch(store, 3)


async def test_a_live_epoch_can_be_served_again(store):
    for number in (1, 2):
        await store.create(EpochMeta(number, EpochStatus.LIVE, "p", "", LOG, {}))
        await store.make_current(number)
    await switch_epoch(store, 1)
    assert await store.current_epoch() == 1


async def test_a_live_epoch_that_lost_its_data_is_not_served_again(store):
    await store.create(EpochMeta(1, EpochStatus.LIVE, "p", "", LOG, {0: 5}))
    with pytest.raises(EpochUnusableError, match="epoch 1 has not reached"):
        await switch_epoch(store, 1)
    assert await store.current_epoch() is None


async def test_the_epoch_being_served_is_never_dropped(store):
    await store.create(EpochMeta(1, EpochStatus.LIVE, "p", "", LOG, {}))
    await store.make_current(1)
    with pytest.raises(EpochUnusableError, match="being served"):
        await drop_epoch(store, 1)


async def test_a_bundle_that_no_longer_holds_the_epochs_parameters_is_refused(store):
    meta = await begin_replay(store, Log(), Bundles(b1="sha-1"), 2, "b1")
    with pytest.raises(EpochUnusableError, match="restore that bundle"):
        parameters_of(meta, Bundles(b1="sha-9"))


@pytest.mark.parametrize(
    ("identity", "differs"), [(OTHER_LOG, "recreated"), (LOG.replace("/4", "/8"), "4 partitions, which now has 8")]
)
def test_an_epoch_of_another_log_is_refused_with_what_differs_and_the_remedy(identity, differs):
    meta = EpochMeta(1, EpochStatus.LIVE, "p", "", LOG, {})
    check_log(meta.epoch, meta.log_identity, LOG)
    with pytest.raises(EpochUnusableError, match=differs) as caught:
        check_log(meta.epoch, meta.log_identity, identity)
    assert "cairn replay --epoch 2" in str(caught.value)
