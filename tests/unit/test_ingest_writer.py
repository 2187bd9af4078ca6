"""Confirmations of a producer are trusted only while the producer is not suspect."""

import asyncio
from types import SimpleNamespace

import pytest
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.future import Future

from services.common.kafka.connection import KafkaConnection
from services.common.kafka.envelope import LogIdentity, Position, record_key
from services.ingest.adapters.kafka.log import KafkaEventLog, LogRecreatedError
from services.ingest.adapters.kafka.writer import KafkaWriter, PendingAppend
from services.ingest.application.ports import LogUnavailableError
from tests.suites.event_log import event

ONE = LogIdentity(bytes(15) + b"\1", 4)
# The learner of `event` is on this partition.
PARTITION = 1


class FakeProducer:
    """Keeps the sent events until the test decides their outcome."""

    def __init__(self):
        self.sent = []
        self.refuses = None

    def send(self, topic, *, value, key, headers, partition):
        if self.refuses:
            raise self.refuses
        assert partition == PARTITION
        self.sent.append(Future())
        return self.sent[-1]


@pytest.fixture
def producer():
    return FakeProducer()


@pytest.fixture
async def append(producer):
    writer = KafkaWriter(producer, "topic", 4, asyncio.get_running_loop())

    async def submit(count):
        batch = PendingAppend(count, asyncio.get_running_loop())
        events = [event(number) for number in range(count)]
        writer.submit(events, [record_key(one.tenant, one.learner) for one in events], [None] * count, batch)
        await asyncio.wrap_future(writer._thread.submit(lambda: None))
        return batch.done

    submit.writer = writer
    yield submit
    writer._thread.shutdown()


def confirm(future, offset):
    future.success(SimpleNamespace(partition=PARTITION, offset=offset))


async def test_a_batch_is_done_when_its_last_event_is(producer, append):
    done = await append(3)
    for future, offset in zip(producer.sent, (7, 8, 12), strict=True):
        assert not done.done()
        confirm(future, offset)
    assert await done == [Position(PARTITION, 7), Position(PARTITION, 8), Position(PARTITION, 12)]
    assert not append.writer.in_doubt.done()


async def test_one_failed_event_fails_its_batch_and_the_producer(producer, append):
    done = await append(2)
    confirm(producer.sent[0], 1)
    producer.sent[1].failure(KafkaTimeoutError("expired"))
    with pytest.raises(LogUnavailableError, match="expired"):
        await done
    assert "expired" in await append.writer.in_doubt


@pytest.mark.parametrize("offset", [-1, 5, 4])
async def test_an_offset_that_does_not_grow_is_not_a_confirmation(producer, append, offset):
    first, second = await append(1), await append(1)
    confirm(producer.sent[0], 5)
    confirm(producer.sent[1], offset)
    assert await first == [Position(PARTITION, 5)]
    with pytest.raises(LogUnavailableError, match=f"offset {offset} of partition 1 after 5"):
        await second
    await append.writer.in_doubt


async def test_a_confirmation_after_a_suspected_recreation_is_not_trusted(producer, append):
    first, second = await append(1), await append(1)
    producer.sent[0].failure(KafkaError("gone"))
    confirm(producer.sent[1], 100)
    for done in (first, second):
        with pytest.raises(LogUnavailableError, match="gone"):
            await done


@pytest.mark.parametrize("error", [KafkaTimeoutError("no metadata"), ValueError("Unrecognized partition 3")])
async def test_an_event_that_cannot_be_sent_fails_its_batch(producer, append, error):
    producer.refuses = error
    with pytest.raises(LogUnavailableError, match=str(error)):
        await (await append(1))
    assert str(error) in await append.writer.in_doubt


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (LogIdentity(bytes(15) + b"\2", 4), "was recreated (it was 00000000-0000-0000-0000-000000000001/4, it is "),
        (LogIdentity(ONE.topic_id, 6), "had 4 partitions and has 6, so learners' records are on other partitions"),
    ],
    ids=["recreated", "with more partitions"],
)
async def test_another_log_is_described_with_the_remedy(monkeypatch, now, said):
    identities = iter([ONE, now])

    async def identity(*_, **__):
        return next(identities)

    monkeypatch.setattr("services.ingest.adapters.kafka.log.log_identity", identity)
    monkeypatch.setattr("services.ingest.adapters.kafka.log.new_producer", lambda *_: FakeProducer())
    log = KafkaEventLog(KafkaConnection("127.0.0.1:1"))
    await log._connect()
    with pytest.raises(LogRecreatedError) as ended:
        await log._connect()
    assert f"the topic cairn.learner-events {said}" in str(ended.value)
    assert ("cairn topics repartition" in str(ended.value)) == (now.topic_id == ONE.topic_id)
    assert "fold it into a new epoch with cairn replay" in str(ended.value)
    assert "catalog" not in str(ended.value)
