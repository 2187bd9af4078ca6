"""Measures a gRPC server from outside: latency of single calls, then calls per second and CPU under load."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np
import psutil

Call = Callable[[int], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class CallFigures:
    """Figures of one method of one server process."""

    p50_ms: float
    p99_ms: float
    calls_per_s: float
    server_cpu_ms_per_call: float


async def measure(call: Call, server: psutil.Process, *, calls: int, concurrency: int = 8) -> CallFigures:
    """Time `calls` calls one by one, then `calls` calls from `concurrency` callers.

    Args:
        call: performs the n-th call.
        server: the server process.
        calls: number of calls in each half, after 50 warm-up calls.
        concurrency: number of callers in the second half.
    """
    for number in range(50):
        await call(number)
    latencies_ms = []
    for number in range(calls):
        began = time.perf_counter()
        await call(number)
        latencies_ms.append((time.perf_counter() - began) * 1000)
    cpu_before, began = _cpu_s(server), time.perf_counter()
    await asyncio.gather(*(_caller(call, range(first, calls, concurrency)) for first in range(concurrency)))
    seconds, cpu_s = time.perf_counter() - began, _cpu_s(server) - cpu_before
    p50_ms, p99_ms = np.percentile(latencies_ms, [50, 99])
    return CallFigures(float(p50_ms), float(p99_ms), calls / seconds, cpu_s / calls * 1000)


async def _caller(call: Call, numbers: range) -> None:
    for number in numbers:
        await call(number)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
