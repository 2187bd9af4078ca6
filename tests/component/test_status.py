"""What `cairn status` finds out, on ports in memory."""

from __future__ import annotations

from services.recommender.application.operations.status import Health, ReadStatus
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus
from services.recommender.application.ports.learners import PartitionProgress, StateUnavailableError
from services.recommender.application.ports.models import BundleUnreadableError

LOG = "0d9b3c1e-0000-0000-0000-000000000000/2"
ALL_SERVING = {"ingest": "127.0.0.1:1", "server": "127.0.0.1:2"}


class Log:
    def __init__(self, ends=None, error=None):
        self._ends, self._error = ends, error

    async def identity(self):
        if self._error:
            raise self._error
        return LOG

    async def end_offsets(self):
        return self._ends


class Epochs:
    def __init__(self, current, progress, error=None, log=LOG):
        self._current, self._progress, self._error, self._log = current, progress, error, log

    async def current_epoch(self):
        if self._error:
            raise self._error
        return self._current

    async def epochs(self):
        return [EpochMeta(epoch, EpochStatus.LIVE, "priors-1", "", self._log, {}) for epoch in self._progress]

    async def progress(self, epoch):
        return self._progress[epoch]


class Bundles:
    def __init__(self, latest=None, error=None):
        self._latest, self._error = latest, error

    def latest_id(self):
        if self._error:
            raise self._error
        return self._latest


class Probe:
    def __init__(self, **others):
        self._others = others

    async def health(self, address):
        return self._others.get(address, Health.SERVING)


def reader(log=None, epochs=None, bundles=None, probe=None):
    return ReadStatus(
        log or Log({0: 10, 1: 5}),
        epochs or Epochs(1, {1: {0: PartitionProgress(10, 9, 1, 0), 1: PartitionProgress(5, 4, 0, 1)}}),
        bundles or Bundles("b1"),
        probe or Probe(),
    )


async def test_a_system_that_is_well_has_no_problems():
    status = await reader()(ALL_SERVING)

    assert status.problems == ()
    assert status.bundle == "b1"
    assert status.current is not None
    assert (status.current.lag, status.current.applied, status.current.duplicates) == (0, 13, 1)
    assert status.current.dead_lettered == 1


async def test_lag_is_the_number_of_records_after_the_positions():
    status = await reader(log=Log({0: 12, 1: 6}))({})

    assert [partition.lag for partition in status.current.partitions] == [2, 1]
    assert status.current.lag == 3


async def test_a_partition_the_epoch_never_saw_lags_by_all_it_holds():
    status = await reader(log=Log({0: 10, 1: 5, 2: 7}))({})

    assert status.current.partitions[2].lag == 7


async def test_every_epoch_is_listed_and_one_is_current():
    epochs = Epochs(2, {1: {0: PartitionProgress(4, 4, 0, 0)}, 2: {0: PartitionProgress(10, 10, 0, 0)}})

    status = await reader(log=Log({0: 10}), epochs=epochs)({})

    assert [(report.meta.epoch, report.current, report.lag) for report in status.epochs] == [
        (1, False, 6),
        (2, True, 0),
    ]


async def test_without_the_broker_the_rest_is_still_shown_and_lag_is_unknown():
    status = await reader(log=Log(error=ConnectionError("Kafka at x cannot be reached")))(ALL_SERVING)

    assert status.problems == ("Kafka at x cannot be reached",)
    assert status.current.lag is None
    assert status.current.applied == 13
    assert [process.health for process in status.processes] == [Health.SERVING, Health.SERVING]


async def test_without_redis_the_rest_is_still_shown():
    status = await reader(epochs=Epochs(None, {}, StateUnavailableError("Redis at x cannot be reached")))({})

    assert status.problems == ("Redis at x cannot be reached",)
    assert status.log_identity == LOG
    assert not status.state_readable
    assert status.epochs == ()


async def test_no_current_epoch_is_a_problem_with_a_remedy():
    status = await reader(epochs=Epochs(None, {}))({})

    assert "cairn epoch switch" in status.problems[0]
    assert status.state_readable


async def test_an_epoch_of_another_log_is_a_problem_that_names_it():
    status = await reader(epochs=Epochs(1, {1: {}}, log="other/2"))({})

    assert len(status.problems) == 1
    assert "epoch 1" in status.problems[0]
    assert "cairn replay" in status.problems[0]


async def test_a_process_that_does_not_serve_is_named_with_its_address():
    probe = Probe(**{"127.0.0.1:1": Health.AWAY, "127.0.0.1:2": Health.NOT_SERVING})

    status = await reader(probe=probe)(ALL_SERVING)

    assert status.problems == ("ingest at 127.0.0.1:1 cannot be reached", "server at 127.0.0.1:2 is not serving")


async def test_a_store_of_bundles_that_cannot_be_read_is_a_problem():
    status = await reader(bundles=Bundles(error=BundleUnreadableError("the bundle b1 is incomplete")))({})

    assert status.problems == ("the bundle b1 is incomplete",)
    assert status.bundle == ""


async def test_a_process_without_an_address_is_not_asked():
    status = await reader()({"worker": ""})

    assert status.processes == ()
