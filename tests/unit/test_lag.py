"""The lag of the epochs that workers fold into, from the log's ends and the stored positions."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from services.recommender.application.operations.lag import ReadLag
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus
from services.recommender.application.ports.learners import PartitionProgress, StateUnavailableError
from services.recommender.application.ports.state_store import StoreFigures
from services.recommender.entrypoints.lag_exporter import LagExporter
from services.recommender.entrypoints.store_exporter import StoreExporter

LOG = "log"


class World:
    """A log and the epochs of it, as both ports show them, and a clock."""

    def __init__(self, **positions: dict[int, int]) -> None:
        self.now_s, self.log, self.ends = 1_000.0, LOG, {0: 0, 1: 0}
        self.statuses = dict.fromkeys(range(1, 9), EpochStatus.LIVE)
        self.positions = {int(name.removeprefix("epoch_")): of for name, of in positions.items()}
        self.error: Exception | None = None

    async def identity(self):
        if self.error:
            raise self.error
        return self.log

    async def end_offsets(self):
        return dict(self.ends)

    async def epochs(self):
        return [EpochMeta(number, self.statuses[number], "p", "", LOG, {}) for number in self.positions]

    async def progress(self, epoch):
        return {partition: PartitionProgress(at, 0, 0, 0) for partition, at in self.positions[epoch].items()}

    def timer(self):
        return self.now_s

    def reader(self):
        return ReadLag(self, self, self.timer)


def by_place(lags):
    return {(lag.epoch, lag.partition): (lag.records, lag.seconds) for lag in lags}


async def test_lag_is_what_the_log_holds_beyond_the_position_also_where_there_is_no_position_yet():
    world = World(epoch_1={0: 5})
    world.ends = {0: 8, 1: 2}
    assert by_place(await world.reader()()) == {(1, 0): (3, 0.0), (1, 1): (2, 0.0)}


async def test_seconds_are_counted_from_when_the_first_record_that_is_missing_was_seen():
    world = World(epoch_1={0: 0, 1: 0})
    read = world.reader()
    for at_s, end, position, waited_s in (
        (0, 0, 0, 0.0),
        (10, 5, 0, 0.0),
        (20, 9, 0, 10.0),
        # The first five are folded: the sixth came at 20.
        (30, 9, 5, 10.0),
        (40, 9, 9, 0.0),
        (50, 9, 9, 0.0),
        (60, 10, 9, 0.0),
        (65, 10, 9, 5.0),
    ):
        world.now_s, world.ends[0], world.positions[1][0] = 1_000.0 + at_s, end, position
        assert by_place(await read())[1, 0] == (end - position, waited_s), at_s


async def test_epochs_are_counted_apart_and_only_those_that_workers_fold_into():
    world = World(epoch_1={0: 8}, epoch_2={0: 1}, epoch_3={0: 0}, epoch_4={0: 0})
    world.ends = {0: 8}
    world.statuses |= {2: EpochStatus.CATCHING_UP, 3: EpochStatus.BUILDING, 4: EpochStatus.BUILT}
    read = world.reader()
    assert by_place(await read()) == {(1, 0): (0, 0.0), (2, 0): (7, 0.0)}
    # After the switch the first one is deleted.
    world.now_s += 30
    del world.positions[1]
    assert by_place(await read()) == {(2, 0): (7, 30.0)}


async def test_after_the_log_was_recreated_waiting_is_counted_from_the_start():
    world = World(epoch_1={0: 0})
    world.ends = {0: 8}
    read = world.reader()
    await read()
    world.now_s, world.log, world.ends = world.now_s + 60, "another", {0: 2}
    assert by_place(await read()) == {(1, 0): (2, 0.0)}


@pytest.mark.parametrize(
    "error", [ConnectionError("no Kafka"), LookupError("no topic"), StateUnavailableError("no Redis")]
)
async def test_without_an_answer_there_are_no_figures_and_the_exporter_is_not_ready(error):
    world, registry = World(epoch_1={0: 2}), CollectorRegistry()
    world.ends = {0: 5}
    exporter = LagExporter(world.reader(), registry)

    def records():
        return registry.get_sample_value("cairn_lag_records", {"epoch": "1", "partition": "0"})

    assert not exporter.ready
    await exporter.refresh()
    assert (exporter.ready, records()) == (True, 3.0)
    world.error = error
    await exporter.refresh()
    assert (exporter.ready, records()) == (False, None)
    world.error = None
    await exporter.refresh()
    assert (exporter.ready, records()) == (True, 3.0)


async def test_figures_of_an_epoch_that_is_gone_are_gone():
    world, registry = World(epoch_1={0: 2}, epoch_2={0: 2}), CollectorRegistry()
    world.ends = {0: 5}
    exporter = LagExporter(world.reader(), registry)
    await exporter.refresh()
    del world.positions[1]
    await exporter.refresh()
    shown = {sample.labels["epoch"] for metric in registry.collect() for sample in metric.samples}
    assert shown == {"2"}


async def test_figures_of_the_store_are_exported_while_it_answers():
    registry, answers = CollectorRegistry(), [StoreFigures(700, 1_000, 3, 2), StateUnavailableError("no Redis")]

    async def figures():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    names = (
        "cairn_redis_memory_bytes",
        "cairn_redis_memory_max_bytes",
        "cairn_redis_evicted_keys_total",
        "cairn_commits_refused_total",
    )
    exporter = StoreExporter(figures, registry)
    shown = []
    for refresh in (None, exporter.refresh, exporter.refresh):
        if refresh is not None:
            await refresh()
        shown.append([registry.get_sample_value(name) for name in names])
    assert shown == [[None] * 4, [700, 1_000, 3, 2], [None] * 4]
