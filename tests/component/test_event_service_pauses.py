"""The event service while Redis or Kafka cannot be written to: it waits, and then reads again what was not stored."""

from __future__ import annotations

import asyncio

import aiokafka
import pytest

from services.common.kafka.connection import BrokerUnavailableError, KafkaConnection
from services.common.kafka.envelope import LEARNER_EVENTS, LogIdentity
from services.recommender.adapters.fail_points import FailingFoldStore, FailPoint, FailPointInvalidError, FailPoints
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus
from services.recommender.application.ports.learners import StateRefusedError, StateUnavailableError
from services.recommender.bootstrap.folding import FoldAdapters, epoch_service
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.parameters import PRIOR_PARAMETERS_ID, TracingParameters
from services.recommender.entrypoints.event_service import EventService
from services.recommender.entrypoints.event_service_options import EventServiceOptions
from tests.adapters.memory_states import MemoryDeadLetters, MemoryStates
from tests.learner_events import Record, message, record

PARTITION = aiokafka.TopicPartition(LEARNER_EVENTS, 0)
KAFKA = KafkaConnection("nowhere:0")


class OnePartition:
    """A consumer of one partition that holds some records from the start."""

    def __init__(self, records: list[Record]) -> None:
        self.records = [
            aiokafka.ConsumerRecord(
                LEARNER_EVENTS, 0, offset, 0, 0, one.key, one.value, None, 0, len(one.value or b""), tuple(one.headers)
            )
            for offset, one in enumerate(records)
        ]
        self.position = 0
        self.told = -1
        self.listener = None

    async def start(self):
        return None

    async def stop(self):
        return None

    def subscribe(self, _topics, listener):
        self.listener = listener

    def assign(self, _partitions):
        return None

    def assignment(self):
        return {PARTITION}

    def last_poll_timestamp(self, _partition):
        return 1_000

    def highwater(self, _partition):
        return len(self.records)

    def seek(self, _partition, offset):
        self.position = offset

    async def beginning_offsets(self, partitions):
        return dict.fromkeys(partitions, 0)

    async def committed(self, _partition):
        return None

    async def commit(self, offsets):
        self.told = offsets[PARTITION]

    async def getmany(self, *_partitions, timeout_ms, max_records):
        await asyncio.sleep(0.001)
        some = self.records[self.position : self.position + max_records]
        self.position += len(some)
        return {PARTITION: some} if some else {}


class Failing:
    """Raises an error instead of the next calls, a given number of times."""

    def __init__(self, target, name: str, error: Exception, times: int) -> None:
        self._right = getattr(target, name)
        self._error = error
        self.left = times
        setattr(target, name, self)

    async def __call__(self, *arguments):
        if self.left:
            self.left -= 1
            raise self._error
        return await self._right(*arguments)


@pytest.fixture
def states():
    return MemoryStates()


@pytest.fixture
def letters():
    return MemoryDeadLetters()


def service_of(consumer: OnePartition, store, letters, *, group: str | None = "workers") -> EventService:
    return epoch_service(
        EpochMeta(1, EpochStatus.BUILDING, PRIOR_PARAMETERS_ID, "", str(LogIdentity(bytes(16), 1)), {}),
        LearnerFold(TracingParameters()),
        FoldAdapters(KAFKA, store, letters, make_consumer=lambda *_, **__: consumer),
        group=group,
        goal=None if group else {0: len(consumer.records)},
        options=EventServiceOptions(batch_records=10, rewind_records=0),
    )


def some_records(count: int) -> list[Record]:
    return [record(message(number, f"learner-{number % 3}")) for number in range(count)]


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for is another program's state.
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("method", ["read", "commit", "advance", "progress"])
async def test_while_the_store_is_away_nothing_is_acknowledged_and_afterwards_everything_counts_once(
    states, letters, method
):
    consumer, store = OnePartition(some_records(40)), states.fold_store(1)
    service = service_of(consumer, store, letters)
    away = Failing(store, method, StateUnavailableError("Redis is full"), times=3)
    await service.start()
    await consumer.listener.on_partitions_assigned([PARTITION])
    await until(lambda: away.left < 3 and not service.healthy)
    assert consumer.told <= service.positions.get(0, 0)
    await until(lambda: service.positions.get(0) == 40)
    assert service.healthy
    await service.stop()
    assert consumer.told == 40
    progress = (await states.progress(1))[0]
    assert (progress.applied, progress.duplicates, progress.dead_lettered) == (40, 0, 0)


class NoPartition(OnePartition):
    """A consumer that the group leaves without a partition, because it has more members."""

    def assignment(self):
        return set()

    async def getmany(self, *_partitions, timeout_ms, max_records):
        await asyncio.sleep(0.001)
        return {}


async def test_a_worker_that_gets_no_partition_is_healthy_so_that_a_rolling_update_can_go_on(states, letters):
    consumer = NoPartition([])
    service = service_of(consumer, states.fold_store(1), letters)
    await service.start()
    assert not service.healthy
    await consumer.listener.on_partitions_assigned([])
    assert service.healthy
    await consumer.listener.on_partitions_revoked([])
    assert not service.healthy
    await service.stop()


async def test_while_dead_letters_cannot_be_written_nothing_is_skipped(states, letters):
    records = some_records(20)
    records[7] = record(message(7), value=b"\xff")
    consumer = OnePartition(records)
    service = service_of(consumer, states.fold_store(1), letters)
    Failing(letters, "write", BrokerUnavailableError("no broker"), times=2)
    await service.start()
    await consumer.listener.on_partitions_assigned([PARTITION])
    await until(lambda: service.positions.get(0) == 20)
    await service.stop()
    assert [letter.offset for letter in letters.letters] == [7]
    assert (await states.progress(1))[0].applied == 19


async def test_an_error_that_waiting_cannot_fix_ends_the_service(states, letters):
    consumer, store = OnePartition(some_records(10)), states.fold_store(1)
    service = service_of(consumer, store, letters)
    Failing(store, "commit", StateRefusedError("WRONGTYPE"), times=1)
    await service.start()
    await consumer.listener.on_partitions_assigned([PARTITION])
    await until(lambda: service.crashed)
    assert isinstance(service.crash_reason, StateRefusedError)
    await service.stop()


async def test_a_replay_does_not_wait_for_a_store_that_is_away(states, letters):
    consumer, store = OnePartition(some_records(10)), states.fold_store(1)
    service = service_of(consumer, store, letters, group=None)
    Failing(store, "commit", StateUnavailableError("Redis is away"), times=1)
    await service.start()
    with pytest.raises(StateUnavailableError):
        await service.wait_finished()
    await service.stop()


@pytest.mark.parametrize(
    ("step", "stored", "moved"),
    [("before-commit", False, False), ("after-commit", True, False), ("before-acknowledgement", True, True)],
)
async def test_a_fail_point_comes_between_the_steps_it_names(states, letters, step, stored, moved):
    class StoppedError(Exception):
        pass

    def stop(_number):
        raise StoppedError

    # Recording the start of a partition also moves its position, once.
    fail_points = FailPoints(FailPoint.parse(f"{step}:kill:{2 if moved else 1}"), stop)
    consumer = OnePartition(some_records(10))
    service = service_of(consumer, FailingFoldStore(states.fold_store(1), fail_points), letters)
    await service.start()
    await consumer.listener.on_partitions_assigned([PARTITION])
    await until(lambda: service.crashed)
    assert isinstance(service.crash_reason, StoppedError)
    await service.stop()
    assert bool(states.learners[1]) is stored
    assert (await states.position(1, 0) > 0) is moved


@pytest.mark.parametrize("text", ["", "after-commit", "after-commit:kill", "nowhere:kill:1", "after-commit:kill:often"])
def test_an_unknown_fail_point_is_refused(text):
    with pytest.raises(FailPointInvalidError, match="STEP:ACTION:OCCASION"):
        FailPoint.parse(text)
