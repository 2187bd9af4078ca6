"""Records whose keys are missing: a worker pauses and goes on by itself, a replay refuses, nothing counts as erased."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from services.common.encryption.values import KeysMissingError, KeyTopicSeen, MissingKeys
from services.common.kafka.envelope import LogIdentity
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus
from services.recommender.application.ports.learners import PartitionProgress
from services.recommender.application.state.epochs import EpochUnusableError
from services.recommender.application.state.key_topic import check_keys, check_keys_of_log
from services.recommender.bootstrap.folding import FoldAdapters, epoch_service
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.parameters import PRIOR_PARAMETERS_ID, TracingParameters
from services.recommender.entrypoints.event_service_options import EventServiceOptions, FoldObservers
from services.recommender.entrypoints.fold_metrics import FoldMetrics
from services.recommender.entrypoints.key_topic_watch import KeyTopicWatch
from tests.adapters.memory_keys import MemoryKeyTopic, MemoryLearnerKeys
from tests.adapters.memory_states import MemoryDeadLetters, MemoryStates
from tests.component.test_event_service_pauses import KAFKA, PARTITION, OnePartition, until
from tests.learner_events import message, record

LOG = str(LogIdentity(bytes(16), 1))
META = EpochMeta(1, EpochStatus.LIVE, PRIOR_PARAMETERS_ID, "", LOG, {})
SEEN = KeyTopicSeen("00000000-0000-0000-0000-000000000001/1", 10, 10)


@pytest.fixture
def topic():
    return MemoryKeyTopic()


@pytest.fixture
def states():
    return MemoryStates()


def sealed(topic, event):
    plain = record(event)
    key = topic.key_of(plain.key)
    return replace(plain, value=key.encrypt(plain.key, plain.value), headers=[*plain.headers, *key.headers])


def sealed_records(topic, count=20):
    return [sealed(topic, message(number, f"learner-{number % 3}")) for number in range(count)]


def service_of(consumer, states, topic, *, meta=META, group="workers", registry=None, read_ahead=None):
    return epoch_service(
        meta,
        LearnerFold(TracingParameters()),
        FoldAdapters(
            KAFKA,
            states.fold_store(1),
            MemoryDeadLetters(),
            MemoryLearnerKeys(topic),
            read_ahead,
            make_consumer=lambda *_, **__: consumer,
        ),
        group=group,
        goal=None if group else {0: len(consumer.records)},
        options=EventServiceOptions(batch_records=10, rewind_records=0, look_for_keys_s=0.01),
        observers=FoldObservers(FoldMetrics(registry or CollectorRegistry())),
    )


def without_marks(progress):
    return replace(progress, marks=())


async def test_a_worker_pauses_while_keys_are_missing_and_goes_on_by_itself_when_they_are_back(topic, states):
    consumer, registry = OnePartition(sealed_records(topic)), CollectorRegistry()
    held = topic.lose()
    service = service_of(consumer, states, topic, registry=registry)
    await service.start()
    await consumer.listener.on_partitions_assigned([PARTITION])
    await until(lambda: service.waits_for_keys)
    assert not service.healthy
    assert registry.get_sample_value("cairn_fold_keys_missing_records", {"epoch": "1"}) == 10
    assert service.positions[0] == 0

    topic.records = held
    await until(lambda: service.positions.get(0) == 20)
    await until(lambda: service.healthy)
    assert registry.get_sample_value("cairn_fold_keys_missing_records", {"epoch": "1"}) == 0
    await service.stop()
    assert without_marks((await states.progress(1))[0]) == PartitionProgress(20, 20, 0, 0, erased=0)


async def test_a_worker_that_cannot_read_corrections_ahead_waits_for_keys_though_it_is_given_no_record(topic, states):
    class NoKeys:
        async def read(self, _):
            raise KeysMissingError(MissingKeys(1, "riverbend", 0, 3, "k"), "cairn.learner-keys")

    consumer = OnePartition([])
    service = service_of(consumer, states, topic, meta=replace(META, end_positions={0: 20}), read_ahead=NoKeys())
    await service.start()
    await consumer.listener.on_partitions_assigned([PARTITION])
    await until(lambda: service.waits_for_keys)
    assert not service.healthy
    await service.stop()


async def test_a_worker_without_the_partition_no_longer_waits_for_its_keys(topic, states):
    consumer = OnePartition(sealed_records(topic))
    topic.lose()
    service = service_of(consumer, states, topic)
    await service.start()
    await consumer.listener.on_partitions_assigned([PARTITION])
    await until(lambda: service.waits_for_keys)
    await consumer.listener.on_partitions_revoked([PARTITION])
    assert not service.waits_for_keys

    # Meanwhile the other worker found the keys and folded everything.
    (progress,) = (await states.fold_store(1).progress([0])).values()
    await states.fold_store(1).advance({0: (progress, PartitionProgress(20, 20, 0, 0))})
    await consumer.listener.on_partitions_assigned([PARTITION])
    await until(lambda: service.healthy)
    await service.stop()


async def test_a_replay_refuses_and_names_the_records_and_the_remedy(topic, states):
    records = sealed_records(topic)
    topic.lose()
    service = service_of(OnePartition(records), states, topic, group=None)
    await service.start()
    with pytest.raises(KeysMissingError) as refused:
        await service.wait_finished()
    await service.stop()
    for named in ("10 records", "tenant 'riverbend'", "partition 0, offset 0", "Restore", "--accept-lost-keys"):
        assert named in str(refused.value)


async def test_a_destroyed_key_is_erased_and_pauses_nothing(topic, states):
    records = sealed_records(topic, 6)
    topic.destroy(records[0].key)
    consumer = OnePartition(records)
    service = service_of(consumer, states, topic)
    await service.start()
    await consumer.listener.on_partitions_assigned([PARTITION])
    await until(lambda: service.positions.get(0) == 6)
    await service.stop()
    assert without_marks((await states.progress(1))[0]) == PartitionProgress(6, 4, 0, 0, erased=2)


async def test_an_epoch_that_accepts_lost_keys_counts_them_as_lost_up_to_its_end_and_not_beyond(topic, states):
    records = sealed_records(topic)
    topic.lose()
    meta = replace(META, accepts_lost_keys=True, end_positions={0: 10})
    consumer, registry = OnePartition(records), CollectorRegistry()
    service = service_of(consumer, states, topic, meta=meta, registry=registry)
    await service.start()
    await consumer.listener.on_partitions_assigned([PARTITION])
    await until(lambda: service.waits_for_keys)
    await service.stop()
    assert without_marks((await states.progress(1))[0]) == PartitionProgress(10, 0, 0, 0, erased=0, lost=10)
    assert registry.get_sample_value("cairn_events_lost_total", {"epoch": "1"}) == 10
    assert registry.get_sample_value("cairn_events_erased_total", {"epoch": "1"}) == 0


@pytest.mark.parametrize(
    "now",
    [
        SEEN,
        replace(SEEN, end=12, learners=9),  # one was erased
        replace(SEEN, identity="00000000-0000-0000-0000-000000000002/1", end=3),  # a compacted copy of all
    ],
)
def test_a_topic_of_keys_that_holds_what_it_held_is_accepted(now):
    check_keys(replace(META, keys=SEEN), now)


@pytest.mark.parametrize(
    ("now", "how"),
    [
        (replace(SEEN, end=9, learners=9), "ends earlier than before"),
        (replace(SEEN, identity="00000000-0000-0000-0000-000000000002/1", end=90, learners=9), "was recreated"),
        (replace(SEEN, identity="00000000-0000-0000-0000-000000000002/1", end=0, learners=0), "was recreated"),
    ],
)
def test_a_topic_of_keys_that_lost_some_is_refused_with_the_remedy(now, how):
    with pytest.raises(EpochUnusableError, match=how) as refused:
        check_keys(replace(META, keys=SEEN), now)
    assert "Restore the topic from a copy" in str(refused.value)


def test_an_epoch_of_an_earlier_release_accepts_any_topic_of_keys():
    check_keys(META, replace(SEEN, learners=0))


async def test_a_replay_compares_the_topic_with_what_epochs_of_the_same_log_saw(topic):
    keys = MemoryLearnerKeys(topic)
    await check_keys_of_log([META, replace(META, log_identity="other", keys=SEEN)], LOG, keys)
    assert keys.seen is None
    with pytest.raises(EpochUnusableError, match="holds keys of 0 learners, where epoch 1 saw 10"):
        await check_keys_of_log([META, replace(META, keys=SEEN)], LOG, keys)


async def test_the_watch_notes_the_topic_at_first_sight_and_names_a_lost_one_until_it_is_restored(topic, states):
    await states.create(META)
    keys = MemoryLearnerKeys(topic)
    watch = KeyTopicWatch(states, keys, lambda: [1])
    await watch.look()
    assert (await states.get(1)).keys is None

    sealed_records(topic)
    await keys.load_keys([])
    await watch.look()
    assert (await states.get(1)).keys == KeyTopicSeen("00000000-0000-0000-0000-000000000001/1", 3, 3)

    held = topic.lose()
    await watch.look()
    assert "holds keys of 0 learners, where epoch 1 saw 3" in watch.problem
    assert (await states.get(1)).keys.learners == 3

    topic.records = held
    await watch.look()
    assert not watch.problem
    assert (await states.get(1)).keys.identity == "00000000-0000-0000-0000-000000000002/1"
