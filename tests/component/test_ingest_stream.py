"""StreamEvents over real gRPC, with the log in memory: order, flow control, failures, ends."""

import asyncio

import grpc
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cairn.v1 import ingest_pb2, ingest_pb2_grpc
from services.common.auth.api_keys import create_api_key
from services.common.auth.tenants_file import load_tenants
from services.common.rpc.rate_limits import RateLimit
from services.common.rpc.server import ServerOptions
from services.common.rpc.statuses import abort, retry_after_s_of, violations_of
from services.common.telemetry.traces import NO_TRACES, traces_into
from services.ingest.application.ports import LogUnavailableError
from services.ingest.bootstrap import IngestAdapters, IngestOptions, ingest_server
from services.ingest.entrypoints.grpc import STREAMS
from services.ingest.entrypoints.stream import StreamLimits
from tests.adapters.memory_event_log import MemoryEventLog, MemoryLearnerKeys, MemorySkillTags
from tests.adapters.memory_recent_events import MemoryRecentEvents
from tests.component.test_ingest_service import ACCEPTED, DUPLICATE, NOW, REJECTED, submission

BATCHES_MAX = 4


class HeldLog(MemoryEventLog):
    """Stores at once, confirms when told to."""

    def __init__(self):
        super().__init__()
        self.confirming = asyncio.Event()
        self.confirming.set()
        self.submitted = 0
        self.moved = asyncio.Condition()

    async def submit(self, events, *, wait_for_room=False):
        assert wait_for_room
        positions = await self.append(events)
        async with self.moved:
            self.submitted += 1
            self.moved.notify_all()
        confirmation = asyncio.ensure_future(self._confirm(positions))
        # There may be no caller left to receive its failure.
        confirmation.add_done_callback(lambda done: done.cancelled() or done.exception())
        return confirmation

    async def reached(self, submitted):
        async with asyncio.timeout(10), self.moved:
            await self.moved.wait_for(lambda: self.submitted >= submitted)

    async def _confirm(self, positions):
        await self.confirming.wait()
        if not self.reachable:
            raise LogUnavailableError("the log is switched off")
        return positions


class Service:
    def __init__(self, tmp_path, *, rate_limit=None, limits=None, traces=NO_TRACES):
        self.log = HeldLog()
        file = tmp_path / "tenants.yaml"
        self.metadata = (("authorization", f"Bearer {create_api_key(file, 'riverbend', 'test')}"),)
        options = ServerOptions("127.0.0.1:0", max_message_bytes=200_000, drain_s=0.1, rate_limit=rate_limit)
        self.server = ingest_server(
            IngestAdapters(
                self.log, MemoryRecentEvents(), MemorySkillTags(), MemoryLearnerKeys(), load_tenants(file), lambda: NOW
            ),
            IngestOptions(options, limits or StreamLimits(batches_max=BATCHES_MAX), traces),
        )

    async def __aenter__(self):
        self.channel = grpc.aio.insecure_channel(await self.server.grpc.start())
        return self

    async def __aexit__(self, *_):
        self.log.confirming.set()
        await self.channel.close()
        await self.server.stop()

    def stream(self):
        # Without a deadline: a stream may go on.
        return ingest_pb2_grpc.IngestServiceStub(self.channel).StreamEvents(metadata=self.metadata)

    def items(self):
        return [event.body.assessment.item for partition in self.log.partitions for event in partition]


@pytest.fixture
async def service(tmp_path):
    async with Service(tmp_path) as service:
        yield service


def batch(number, events=2, **fields):
    sent = [submission(event_id=f"{number}-{n}", item=f"{number}-{n}", **fields) for n in range(events)]
    return ingest_pb2.StreamEventsRequest(batch=number, events=sent)


async def replies_of(call):
    async with asyncio.timeout(10):
        replies = []
        while (reply := await call.read()) is not grpc.aio.EOF:
            replies.append(reply)
        return replies


async def ended(call):
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await replies_of(call)
    return error.value


async def test_results_and_a_learners_events_are_in_the_order_sent(service):
    call = service.stream()
    for number in range(20):
        await call.write(batch(number))
    await call.done_writing()
    replies = await replies_of(call)
    assert [reply.batch for reply in replies] == list(range(20))
    assert {result.status for reply in replies for result in reply.results} == {ACCEPTED}
    assert service.items() == [f"{number}-{n}" for number in range(20) for n in range(2)]
    offsets = [result.position.offset for reply in replies for result in reply.results]
    assert offsets == sorted(offsets)


async def test_a_bad_event_and_a_duplicate_are_answered_as_in_a_single_call(service):
    call = service.stream()
    bad = submission(event_id="bad", attempt=0)
    events = [submission(event_id="e"), bad, submission(event_id="e")]
    await call.write(ingest_pb2.StreamEventsRequest(batch=7, events=events))
    await call.done_writing()
    (reply,) = await replies_of(call)
    assert [result.status for result in reply.results] == [ACCEPTED, REJECTED, DUPLICATE]
    assert reply.results[1].problems[0].field == "events[1].assessment.attempt"


async def test_the_server_reads_no_further_while_too_many_batches_await_the_log(service):
    service.log.confirming.clear()
    call = service.stream()

    async def send():
        for number in range(BATCHES_MAX + 10):
            await call.write(batch(number))
        await call.done_writing()

    sending = asyncio.ensure_future(send())
    await service.log.reached(BATCHES_MAX)
    # One more is read and waits; the rest stays with the transport and the sender.
    await asyncio.wait({sending}, timeout=0.2)
    assert service.log.submitted == BATCHES_MAX
    service.log.confirming.set()
    replies = await replies_of(call)
    await sending
    assert [reply.batch for reply in replies] == list(range(BATCHES_MAX + 10))


async def test_many_bytes_are_held_back_though_the_batches_are_few(tmp_path):
    async with Service(tmp_path, limits=StreamLimits(batches_max=100, bytes_max=1_000)) as service:
        service.log.confirming.clear()
        call = service.stream()
        for number in range(4):
            await call.write(batch(number, source="s" * 200))
        await service.log.reached(2)
        await asyncio.wait({asyncio.ensure_future(service.log.reached(3))}, timeout=0.1)
        assert service.log.submitted == 2
        service.log.confirming.set()
        await call.done_writing()
        assert len(await replies_of(call)) == 4


async def test_an_unreachable_log_ends_the_stream_after_the_confirmed_results(service):
    call = service.stream()
    await call.write(batch(1))
    assert (await call.read()).batch == 1
    service.log.confirming.clear()
    await call.write(batch(2))
    await service.log.reached(2)
    service.log.reachable = False
    service.log.confirming.set()
    error = await ended(call)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "batches without results may be sent again on another stream" in error.details()
    assert retry_after_s_of(error) == 1.0


async def test_a_batch_of_no_events_ends_the_stream_after_the_batches_before_it(service):
    call = service.stream()
    service.log.confirming.clear()
    await call.write(batch(1))
    await call.write(ingest_pb2.StreamEventsRequest(batch=2))
    await service.log.reached(1)
    service.log.confirming.set()
    assert (await call.read()).batch == 1
    error = await ended(call)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert violations_of(error)[0].field == "events"


async def test_a_batch_beyond_the_limit_is_named(service):
    call = service.stream()
    await call.write(batch(1, source="s" * 150_000))
    error = await ended(call)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "send fewer events per request" in violations_of(error)[0].reason


async def test_a_client_that_cancels_leaves_nothing_behind(service):
    service.log.confirming.clear()
    call = service.stream()
    await call.write(batch(1))
    await service.log.reached(1)
    assert STREAMS._value.get() == 1
    tasks = len(asyncio.all_tasks())
    call.cancel()
    async with asyncio.timeout(5):
        while STREAMS._value.get():  # noqa: ASYNC110 - what is waited for is a metric.
            await asyncio.sleep(0.005)
    assert len(asyncio.all_tasks()) < tasks


@pytest.mark.parametrize("age_s", [None, 0.05])
async def test_a_stream_that_the_server_ends_is_answered_so_far_and_says_to_open_another(tmp_path, age_s):
    async with Service(tmp_path, limits=StreamLimits(age_s=age_s)) as service:
        call = service.stream()
        await call.write(batch(1))
        assert (await call.read()).batch == 1
        if age_s is None:
            service.server.servicer.end_streams()
        error = await ended(call)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "open another" in error.details() or "on another stream" in error.details()
        assert retry_after_s_of(error) == 0.0


async def test_a_sender_over_its_rate_is_held_back_not_refused(tmp_path):
    async with Service(tmp_path, rate_limit=RateLimit(calls_per_s=50, burst=1)) as service:
        call = service.stream()
        began = asyncio.get_running_loop().time()
        for number in range(5):
            await call.write(batch(number))
        await call.done_writing()
        assert [reply.batch for reply in await replies_of(call)] == list(range(5))
        # Opening took the one token there was; each batch waited for its own.
        assert asyncio.get_running_loop().time() - began >= 5 / 50 * 0.9


async def test_each_batch_is_a_part_of_the_trace_the_stream_was_opened_in_until_it_is_answered(tmp_path):
    exporter, trace_id = InMemorySpanExporter(), "a" * 32
    traces = traces_into(SimpleSpanProcessor(exporter), service="ingest", share=0.0)
    async with Service(tmp_path, traces=traces) as service:
        submit, handed_over = service.log.submit, []

        async def submitted(events, **options):
            handed_over.append(traces.current_traceparent())
            return await submit(events, **options)

        service.log.submit = submitted
        service.metadata = (*service.metadata, ("traceparent", f"00-{trace_id}-{'b' * 16}-01"))
        service.log.confirming.clear()
        call = service.stream()
        for number in (1, 2):
            await call.write(batch(number))
        await service.log.reached(2)
        assert not exporter.get_finished_spans()
        service.log.confirming.set()
        await call.write(batch(3, events=0))
        error = await ended(call)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    spans = exporter.get_finished_spans()
    # Confirmed and refused batches may end in any order.
    assert sorted((span.attributes["cairn.batch"], span.attributes["cairn.events"]) for span in spans) == [
        (1, 2),
        (2, 2),
        (3, 0),
    ]
    assert {f"{span.context.trace_id:032x}" for span in spans} == {trace_id}
    by_batch = {span.attributes["cairn.batch"]: f"{span.context.span_id:016x}" for span in spans}
    assert handed_over == [f"00-{trace_id}-{by_batch[number]}-01" for number in (1, 2)]


async def test_batches_that_were_not_answered_leave_no_open_span(tmp_path):
    exporter = InMemorySpanExporter()
    traces = traces_into(SimpleSpanProcessor(exporter), service="ingest", share=1.0)
    async with Service(tmp_path, traces=traces) as service:
        service.log.confirming.clear()
        call = service.stream()
        for number in range(3):
            await call.write(batch(number))
        await service.log.reached(3)
        service.log.reachable = False
        service.log.confirming.set()
        await ended(call)
    assert sorted(span.attributes["cairn.batch"] for span in exporter.get_finished_spans()) == [0, 1, 2]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (StreamLimits(streams_per_tenant_max=2), "INGEST_STREAMS_PER_TENANT"),
        (StreamLimits(streams_max=2), "INGEST_STREAMS"),
    ],
)
async def test_streams_are_limited_and_one_that_ends_makes_room(tmp_path, limits, reason):
    async with Service(tmp_path, limits=limits) as service:
        calls = [service.stream() for _ in range(2)]
        for call in calls:
            await call.write(batch(1))
            await call.read()
        refused = await ended(service.stream())
        assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert f"CAIRN_{reason}" in refused.details()
        assert retry_after_s_of(refused) == 5.0
        await calls[0].done_writing()
        await replies_of(calls[0])
        calls[0] = service.stream()
        await calls[0].write(batch(2))
        assert (await calls[0].read()).batch == 2
        for call in calls:
            await call.done_writing()
            await replies_of(call)


async def test_a_refused_stream_is_closed_before_its_sender_knows(tmp_path, monkeypatch):
    open_at_the_answer = []

    async def observed(context, status):
        open_at_the_answer.append(STREAMS._value.get())
        await abort(context, status)

    monkeypatch.setattr("services.ingest.entrypoints.grpc.abort", observed)
    before = STREAMS._value.get()
    async with Service(tmp_path) as service:
        for events in (0, 501):
            call = service.stream()
            await call.write(ingest_pb2.StreamEventsRequest(events=[submission()] * events))
            assert (await ended(call)).code() is grpc.StatusCode.INVALID_ARGUMENT
    assert open_at_the_answer == [before, before]
