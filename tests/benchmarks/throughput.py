"""Events per second: a Faust agent that does nothing, the live worker, and a replay, over one preloaded log."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import redis

from deploy.local.stack import TOPICS, Component, Stack, StackOptions
from deploy.processes import Child, Command
from services.common.kafka.connection import topic_end_offsets
from services.common.kafka.envelope import LEARNER_EVENTS, record_key
from services.common.kafka.topics import load_declarations
from tests.benchmarks.synthetic import TENANT, fifty_skills, learner_key, log_events, preload

EVENTS = 200_000
LEARNERS = 2_000
_LIMIT_S = 60.0
_POLL_S = 0.005
CAIRN = [sys.executable, "-c", "from services.cli import main; main()"]
PARTITIONS = load_declarations(TOPICS)[LEARNER_EVENTS].partitions


@dataclass(frozen=True, slots=True)
class Throughput:
    """Figures of one run over one log. Other load on the machine adds little to CPU times.

    Attributes:
        noop_events_per_s: of a Faust agent that does nothing.
        worker_events_per_s: of the live worker.
        replay_events_per_s: of `cairn replay`.
        worker_rss_mb: memory of the worker at the end.
        worker_cpu_us_per_event: CPU time of the worker.
        redis_cpu_us_per_event: CPU time of Redis meanwhile.
        replay_cpu_us_per_event: CPU time of `cairn replay`.
        redis_bytes_per_learner_p50: of an epoch, median.
        redis_bytes_per_learner_p99: the same, 99th percentile.
        state_bytes_at_50_skills: of a learner's state alone.
    """

    noop_events_per_s: float
    worker_events_per_s: float
    replay_events_per_s: float
    worker_rss_mb: float
    worker_cpu_us_per_event: float
    redis_cpu_us_per_event: float
    replay_cpu_us_per_event: float
    redis_bytes_per_learner_p50: float
    redis_bytes_per_learner_p99: float
    state_bytes_at_50_skills: int


def measure(directory: Path) -> Throughput:
    """Preload a log on an embedded broker, then read it three times: no-op agent, worker, replay."""
    started: list[Component] = []
    with Stack(StackOptions(directory, services=()), started.append) as stack:
        (redis_pid,) = (component.pid for component in started if component.name == "redis")
        events = log_events(EVENTS, LEARNERS, skills=100, items=2_000, seed=1)
        count = asyncio.run(preload(stack.kafka, events, PARTITIONS))
        noop = agent_rate(stack, "noop_agent", [stack.kafka.bootstrap_servers, LEARNER_EVENTS, str(count)])
        worker = _worker(stack, count, psutil.Process(redis_pid))
        replay, replay_cpu_us = _replay(stack, count)
        sizes = _bytes_per_learner(stack.redis)
        asyncio.run(preload(stack.kafka, fifty_skills(), PARTITIONS))
        state_bytes = _state_bytes_at_50_skills(stack)
    p50, p99 = np.percentile(sizes, [50, 99])
    return Throughput(
        noop_events_per_s=noop,
        worker_events_per_s=worker.events_per_s,
        replay_events_per_s=replay,
        worker_rss_mb=worker.rss_mb,
        worker_cpu_us_per_event=worker.cpu_us_per_event,
        redis_cpu_us_per_event=worker.redis_cpu_us_per_event,
        replay_cpu_us_per_event=replay_cpu_us,
        redis_bytes_per_learner_p50=float(p50),
        redis_bytes_per_learner_p99=float(p99),
        state_bytes_at_50_skills=state_bytes,
    )


def agent_rate(stack: Stack, module: str, arguments: Sequence[str]) -> float:
    """Events per second of a Faust agent: a module of this package, run as a process of its own."""
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *arguments]
    # Faust creates folders for tables, even without tables.
    environment = stack.environment | {"FAUST_DATADIR": str(stack.directory / "agent")}
    printed = subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True, timeout=2 * _LIMIT_S
    ).stdout
    result = json.loads(printed[printed.index("{") : printed.index("}") + 1])
    return float(result["events"] / result["seconds"])


def worker_rate(stack: Stack, events: int) -> float:
    """Events per second of a worker that folds into a Redis without epochs."""
    with _running_worker(stack) as child:
        return _rate(stack, epoch=1, events=events, child=child)


@dataclass(frozen=True, slots=True)
class _WorkerRun:
    events_per_s: float
    rss_mb: float
    cpu_us_per_event: float
    redis_cpu_us_per_event: float


def _worker(stack: Stack, events: int, redis_process: psutil.Process) -> _WorkerRun:
    with _running_worker(stack) as child, redis.Redis.from_url(stack.redis) as client:
        worker_process = psutil.Process(child.pid)
        rate, (cpu_us, redis_cpu_us) = _timed(stack, 1, events, child, [worker_process, redis_process])
        child.wait_ready(lambda: client.get("cairn:current-epoch") is not None, _LIMIT_S)
        return _WorkerRun(rate, worker_process.memory_info().rss / 1e6, cpu_us, redis_cpu_us)


def _replay(stack: Stack, events: int) -> tuple[float, float]:
    """Events per second, and microseconds of CPU time per event."""
    command = [*CAIRN, "replay", "--epoch", "2", "--parameters", "same"]
    with _Running(Command("replay", command, stack.directory / "replay.log", stack.environment)) as child:
        rate, (cpu_us,) = _timed(stack, 2, events, child, [psutil.Process(child.pid)])
        return rate, cpu_us


def _timed(
    stack: Stack, epoch: int, events: int, child: Child, processes: Sequence[psutil.Process]
) -> tuple[float, list[float]]:
    """Durable events per second after the first batch, and each process's microseconds of CPU time per event."""
    with redis.Redis.from_url(stack.redis) as client:
        child.wait_ready(lambda: sum(_positions(client, epoch).values()) > 0, _LIMIT_S)
        at_start = sum(_positions(client, epoch).values())
    before_s = [_cpu_s(process) for process in processes]
    rate = _rate(stack, epoch=epoch, events=events, child=child)
    return rate, [
        (_cpu_s(process) - before) / (events - at_start) * 1e6
        for process, before in zip(processes, before_s, strict=True)
    ]


def _state_bytes_at_50_skills(stack: Stack) -> int:
    ends = asyncio.run(topic_end_offsets(stack.kafka, LEARNER_EVENTS))
    state = f"cairn:1:{{{record_key(TENANT, learner_key(10_000_000)).decode()}}}:state"
    with _running_worker(stack) as child, redis.Redis.from_url(stack.redis) as client:
        child.wait_ready(lambda: _positions(client, 1) == ends, _LIMIT_S)
        return int(client.hstrlen(state, "blob"))


def _running_worker(stack: Stack) -> _Running:
    command = [sys.executable, "-m", "services.recommender", "worker"]
    environment = stack.environment | {"CAIRN_LISTEN": "127.0.0.1:0"}
    return _Running(Command("worker", command, stack.directory / "worker.log", environment))


class _Running:
    """A child process that runs during the block."""

    def __init__(self, command: Command) -> None:
        self._command = command

    def __enter__(self) -> Child:
        self._child = Child(self._command)
        return self._child

    def __exit__(self, *_: object) -> None:
        self._child.stop()


def _rate(stack: Stack, *, epoch: int, events: int, child: Child) -> float:
    """Durable events per second after the first batch, which starts the clock."""
    with redis.Redis.from_url(stack.redis) as client:
        child.wait_ready(lambda: sum(_positions(client, epoch).values()) > 0, _LIMIT_S)
        began, at_start = time.perf_counter(), sum(_positions(client, epoch).values())
        done = at_start
        while done < events and time.perf_counter() - began < _LIMIT_S:
            done = sum(_positions(client, epoch).values())
            time.sleep(_POLL_S)
        return (done - at_start) / (time.perf_counter() - began)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _positions(client: redis.Redis, epoch: int) -> Mapping[int, int]:
    with client.pipeline(transaction=False) as pipeline:
        for partition in range(PARTITIONS):
            pipeline.hget(f"cairn:{epoch}:position:{partition}", "offset")
        return {partition: int(offset or 0) for partition, offset in enumerate(pipeline.execute())}


def _bytes_per_learner(url: str) -> list[int]:
    sizes: dict[bytes, int] = {}
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter("cairn:1:{*", count=1_000):
            learner = key[key.index(b"{") : key.index(b"}")]
            sizes[learner] = sizes.get(learner, 0) + int(client.memory_usage(key, samples=0) or 0)
    return list(sizes.values())
