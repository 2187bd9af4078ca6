"""The event service while learners send more than a batch holds: all partitions take turns."""

from __future__ import annotations

import asyncio

import aiokafka
import pytest

from services.common.kafka.connection import KafkaConnection
from services.common.kafka.envelope import LEARNER_EVENTS, LogIdentity
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus
from services.recommender.application.state.fold_events import FoldEvents
from services.recommender.application.state.partition_batch import PartitionBatch
from services.recommender.bootstrap.folding import FoldAdapters, epoch_service
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.parameters import PRIOR_PARAMETERS_ID, TracingParameters
from services.recommender.entrypoints.event_service_options import EventServiceOptions, FoldObservers
from services.recommender.entrypoints.record_decoding import decode_batch
from tests.adapters.memory_states import MemoryDeadLetters, MemoryStates
from tests.learner_events import PARTITIONS, Record, message, record

BATCH_RECORDS = 100


def learner_on(partition: int) -> str:
    names = (f"learner-{number}" for number in range(1_000))
    return next(name for name in names if record(message(0, name)).right_partition == partition)


def whale_records(count: int, partition: int = 0) -> list[Record]:
    whale = learner_on(partition)
    return [record(message(n, whale, skills=[f"made-up-{n}-{skill}" for skill in range(16)])) for n in range(count)]


def fetched(partition: int, offset: int, one: Record) -> aiokafka.ConsumerRecord:
    size = len(one.value or b"")
    return aiokafka.ConsumerRecord(
        LEARNER_EVENTS, partition, offset, 0, 0, one.key, one.value, None, 0, size, tuple(one.headers)
    )


class Buffered:
    """A consumer that has fetched everything, and like aiokafka's empties one partition before the next."""

    def __init__(self, records: dict[int, list[Record]]) -> None:
        self.log = {
            partition: [fetched(partition, offset, one) for offset, one in enumerate(some)]
            for partition, some in records.items()
        }
        self.positions = dict.fromkeys(range(PARTITIONS), 0)

    async def start(self):
        return None

    async def stop(self):
        return None

    def assign(self, _partitions):
        return None

    def assignment(self):
        return {aiokafka.TopicPartition(LEARNER_EVENTS, partition) for partition in self.positions}

    def highwater(self, partition):
        return len(self.log.get(partition.partition, ()))

    def seek(self, partition, offset):
        self.positions[partition.partition] = offset

    async def beginning_offsets(self, partitions):
        return dict.fromkeys(partitions, 0)

    def last_poll_timestamp(self, _partition):
        return 1_000

    async def getmany(self, *asked, timeout_ms, max_records):
        await asyncio.sleep(0.001 if timeout_ms else 0)
        taken = {}
        for partition in [one.partition for one in asked] or list(self.log):
            position = self.positions[partition]
            some = self.log.get(partition, [])[position : position + max_records]
            if some:
                self.positions[partition] += len(some)
                max_records -= len(some)
                taken[aiokafka.TopicPartition(LEARNER_EVENTS, partition)] = some
            if not max_records:
                break
        return taken


def service_of(consumer: Buffered, states: MemoryStates, on_batch):
    goal = {partition: len(some) for partition, some in consumer.log.items()}
    return epoch_service(
        EpochMeta(1, EpochStatus.BUILDING, PRIOR_PARAMETERS_ID, "", str(LogIdentity(bytes(16), PARTITIONS)), {}),
        LearnerFold(TracingParameters()),
        FoldAdapters(
            KafkaConnection("nowhere:0"),
            states.fold_store(1),
            MemoryDeadLetters(),
            make_consumer=lambda *_, **__: consumer,
        ),
        group=None,
        goal=goal,
        options=EventServiceOptions(batch_records=BATCH_RECORDS, rewind_records=0),
        observers=FoldObservers(on_batch=on_batch),
    )


@pytest.mark.parametrize("whales", [[0], [0, 1]])
async def test_a_learner_with_a_long_backlog_delays_other_partitions_by_two_batches_each(whales):
    states, moved = MemoryStates(), []
    other = record(message(1, learner_on(3)))
    consumer = Buffered({partition: whale_records(900, partition) for partition in whales} | {3: [other]})
    service = service_of(consumer, states, lambda _: moved.append(dict(service.positions)))
    await service.start()
    await asyncio.wait_for(service.wait_finished(), 30)
    await service.stop()
    assert service.positions == {partition: len(consumer.log.get(partition, [])) for partition in range(PARTITIONS)}
    batches_before = next(number for number, positions in enumerate(moved) if positions[3] == 1)
    assert batches_before <= 2 * len(whales)
    assert len(moved) > 10


async def test_batches_cut_by_cost_give_the_same_states_as_one_batch():
    consumer, states = Buffered({0: whale_records(300), 3: [record(message(1, learner_on(3)))]}), MemoryStates()
    service = service_of(consumer, states, lambda _: None)
    await service.start()
    await asyncio.wait_for(service.wait_finished(), 30)
    await service.stop()
    whole = MemoryStates()
    fold = FoldEvents(whole.fold_store(1), MemoryDeadLetters(), LearnerFold(TracingParameters()))
    await fold.on_assigned(dict.fromkeys(range(PARTITIONS), 0))
    await fold.fold([decode_batch(partition, some, PARTITIONS) for partition, some in consumer.log.items()])
    assert states.learners == whole.learners
    assert await states.progress(1) == await whole.progress(1)


def test_a_batch_is_cut_by_the_skills_and_the_bytes_of_its_records():
    ordinary = [fetched(0, n, record(message(n, learner_on(0)))) for n in range(200)]
    many_skills = [fetched(0, n, one) for n, one in enumerate(whale_records(200))]
    large = [fetched(0, n, record(message(n, learner_on(0), item="i" * 900))) for n in range(200)]
    taken = [decode_batch(0, some, PARTITIONS, cost_max=100) for some in (ordinary, many_skills, large)]
    assert [batch.records for batch in taken] == [100, 17, 25]
    for batch in taken:
        assert batch.next_offset == batch.records
        assert 100 <= batch.cost < 106


def test_a_batch_holds_one_record_whatever_it_costs():
    large = [fetched(0, n, record(message(n, learner_on(0), item="i" * 900))) for n in range(3)]
    assert decode_batch(0, large, PARTITIONS, cost_max=1).records == 1


class Watched(LearnerFold):
    """Waits until the event loop has run meanwhile."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(TracingParameters())
        self._loop = loop

    def fold(self, batch):
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop).result(timeout=5)
        return super().fold(batch)


async def test_the_event_loop_goes_on_while_a_large_batch_is_folded():
    states = MemoryStates()
    fold = FoldEvents(states.fold_store(1), MemoryDeadLetters(), Watched(asyncio.get_running_loop()))
    await fold.on_assigned({0: 0})
    batch: PartitionBatch = decode_batch(
        0, [fetched(0, n, one) for n, one in enumerate(whale_records(4_000))], PARTITIONS
    )
    assert batch.cost > 20_000
    report = await asyncio.wait_for(fold.fold([batch]), 10)
    assert report.applied == 4_000
