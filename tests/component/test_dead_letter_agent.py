"""The dead-letter agent: it counts the records on the topic, and its failures affect nothing else."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from prometheus_client import CollectorRegistry

from services.common.kafka.connection import BrokerUnavailableError, KafkaConnection
from services.common.kafka.envelope import Position
from services.recommender.application.operations.dead_letters import FiledLetter
from services.recommender.application.ports.log import DeadLetter
from services.recommender.entrypoints.dead_letter_agent import DeadLetterApp, run_dead_letter_agent
from services.recommender.entrypoints.dead_letter_metrics import DeadLetterMetrics, TooManyLettersError
from services.recommender.entrypoints.dead_letter_watch import DeadLetterWatch
from services.recommender.wire.dead_letters import headers_of_letter

NOW_S = 1_000_000_000.0
DEADLINE_S = 10.0
NOWHERE = KafkaConnection("127.0.0.1:1")


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def metrics(registry):
    return DeadLetterMetrics(registry, letters_max=3, clock_s=lambda: NOW_S)


def letter(offset, *, tenant="north", code="field"):
    return DeadLetter(0, offset, f"{tenant}/L".encode(), b"", (), code, "why")


def add(metrics, offset, *, age_s=60.0, **facts):
    metrics.add(Position(0, offset), FiledLetter(letter(offset, **facts)), NOW_S - age_s)


def held(registry, age="hour", **labels):
    return registry.get_sample_value("cairn_dead_letters_held", labels | {"age": age})


def failures(registry):
    return registry.get_sample_value("cairn_dead_letter_agent_failures_total")


def running(registry):
    return registry.get_sample_value("cairn_dead_letter_agent_running")


async def until(condition):
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - another thread makes it true.
            await asyncio.sleep(0.01)


class Watched:
    """A watch that runs during a block."""

    def __init__(self, run_agent, metrics, **options):
        self._watch = DeadLetterWatch(run_agent, metrics, pause_first_s=0.01, **options)

    async def __aenter__(self):
        self._task = asyncio.create_task(self._watch.run())
        return self

    async def __aexit__(self, *_):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        assert self._task.cancelled()


def app_of(counter, **options):
    return DeadLetterApp(
        NOWHERE, counter, **({"topic": "dlt", "session_timeout_ms": 6_000, "before_count": None} | options)
    )


async def test_the_agent_counts_each_record_by_its_headers_and_key(metrics, registry):
    async with app_of(metrics).count.test_context() as agent:
        for offset, (tenant, code) in enumerate([("north", "field"), ("south", "field"), ("north", "field")]):
            made = letter(offset, tenant=tenant, code=code)
            headers = headers_of_letter(made, "log")
            await agent.put(b"", key=made.key, partition=2, timestamp=NOW_S - 7_200, headers=headers)
    assert held(registry, reason="field", tenant="north", age="day") == 2
    assert held(registry, reason="field", tenant="south", age="day") == 1


async def test_an_exception_in_the_agent_ends_the_app_instead_of_skipping_the_record(metrics):
    def fail():
        raise ZeroDivisionError

    app = app_of(metrics, before_count=fail)
    async with app.count.test_context() as agent:
        with pytest.raises(ZeroDivisionError):
            await agent.put(b"", key=b"north/L", headers=[])
    assert app.conf.agent_supervisor.__name__ == "CrashingSupervisor"


async def test_the_app_leaves_nothing_in_the_folder_it_runs_in(metrics, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    await app_of(metrics).on_first_start()
    assert list(tmp_path.iterdir()) == []


async def test_without_a_broker_the_agent_fails_with_an_error_message(metrics):
    with pytest.raises(BrokerUnavailableError, match=r"127\.0\.0\.1:1 cannot be reached"):
        await run_dead_letter_agent(NOWHERE, metrics)


async def test_an_agent_whose_broker_does_not_answer_ends_soon_when_it_is_cancelled(metrics):
    connected = asyncio.Event()

    async def say_nothing(reader, writer):
        connected.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with server:
        address = "{}:{}".format(*server.sockets[0].getsockname())
        running = asyncio.create_task(run_dead_letter_agent(KafkaConnection(address), metrics))
        await asyncio.wait_for(connected.wait(), DEADLINE_S)
        cancelled_s = time.monotonic()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert time.monotonic() - cancelled_s < 2.0


def test_metrics_show_letters_by_reason_tenant_and_age_and_when_the_oldest_and_newest_were_written(metrics, registry):
    add(metrics, 0, age_s=8 * 86_400)
    add(metrics, 1, age_s=60)
    add(metrics, 2, age_s=60, code="value")
    labels = {"reason": "field", "tenant": "north"}
    assert [held(registry, age, **labels) for age in ("hour", "day", "week", "older")] == [1, 0, 0, 1]
    oldest = registry.get_sample_value("cairn_dead_letters_oldest_timestamp_seconds", labels)
    newest = registry.get_sample_value("cairn_dead_letters_newest_timestamp_seconds", labels)
    assert (oldest, newest) == (NOW_S - 8 * 86_400, NOW_S - 60)
    assert held(registry, reason="value", tenant="north") == 1


def test_partitions_counted_by_other_workers_are_no_longer_shown(metrics, registry):
    add(metrics, 0)
    metrics.assigned([1, 2])
    assert held(registry, reason="field", tenant="north") is None
    assert running(registry) == 1


def test_after_a_failure_nothing_is_shown_until_it_counts_again(metrics, registry):
    metrics.assigned([0])
    add(metrics, 0)
    metrics.failed()
    assert (metrics.healthy, running(registry), failures(registry)) == (False, 0, 1)
    assert held(registry, reason="field", tenant="north") is None
    metrics.assigned([0])
    assert (metrics.healthy, running(registry)) == (True, 1)


def test_more_letters_than_the_limit_are_refused(metrics):
    for offset in range(3):
        add(metrics, offset)
    with pytest.raises(TooManyLettersError, match="cairn dlt replay"):
        add(metrics, 3)


async def test_an_agent_that_fails_is_started_again_and_each_failure_is_counted(metrics, registry):
    runs = []

    async def fail_twice():
        runs.append(threading.current_thread())
        if len(runs) < 3:
            raise ZeroDivisionError
        metrics.assigned([0])
        await asyncio.Event().wait()

    async with Watched(fail_twice, metrics):
        await until(lambda: len(runs) == 3 and metrics.healthy)
        assert failures(registry) == 2
    assert threading.main_thread() not in runs
    assert (failures(registry), running(registry)) == (2, 0)


@pytest.mark.parametrize("error", [SystemExit(1), asyncio.CancelledError(), None])
async def test_any_end_of_the_agent_is_a_failure_of_the_agent_only(metrics, registry, error):
    async def end():
        if error is not None:
            raise error

    async with Watched(end, metrics):
        await until(lambda: failures(registry) >= 2)


async def test_with_too_many_letters_the_agent_stays_down(metrics, registry):
    async def too_many():
        raise TooManyLettersError("over 3")

    async with Watched(too_many, metrics):
        await until(lambda: failures(registry) == 1)
        await asyncio.sleep(0.2)
        assert failures(registry) == 1
        assert not metrics.healthy


async def test_tasks_that_a_failed_agent_leaves_behind_end_with_it(metrics, registry):
    left = []

    async def leave_a_task():
        left.append(asyncio.create_task(asyncio.sleep(DEADLINE_S)))
        await asyncio.sleep(0)
        raise ZeroDivisionError

    async with Watched(leave_a_task, metrics):
        await until(lambda: failures(registry) >= 1)
    assert left[0].cancelled()


async def test_an_agent_that_cannot_be_stopped_is_left_behind(metrics):
    stuck, free = threading.Event(), threading.Event()

    async def block():
        stuck.set()
        free.wait(DEADLINE_S)

    async with Watched(block, metrics, stop_timeout_s=0.1):
        await until(stuck.is_set)
        began_s = time.monotonic()
    assert time.monotonic() - began_s < DEADLINE_S / 2
    free.set()


async def test_an_agent_that_waits_for_its_next_attempt_stops_at_once(metrics, registry):
    async def fail():
        raise ZeroDivisionError

    watch = DeadLetterWatch(fail, metrics, pause_first_s=60.0)
    task = asyncio.create_task(watch.run())
    await until(lambda: failures(registry) == 1)
    began_s = time.monotonic()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert time.monotonic() - began_s < 2
    assert task.cancelled()
