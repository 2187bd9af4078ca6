"""Event loops that run one step at a time, on a clock that the scheduler moves."""

from __future__ import annotations

import asyncio
import heapq
from asyncio import events
from collections.abc import Coroutine
from typing import Any


class VirtualClock:
    """A clock that moves only when the scheduler moves it."""

    def __init__(self) -> None:
        self.now_s = 0.0


class _NumberedTask(asyncio.Task[Any]):
    """A task hashed by number instead of address, so that sets of tasks have the same order in every run."""

    def __init__(self, coroutine: Any, *, loop: SteppedLoop, **options: Any) -> None:
        self.number = loop.next_number()
        super().__init__(coroutine, loop=loop, **options)
        loop.note(self)

    def __hash__(self) -> int:
        return self.number


class _NumberedFuture(asyncio.Future[Any]):
    """The same for futures."""

    def __init__(self, *, loop: SteppedLoop) -> None:
        self.number = loop.next_number()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number


class SteppedLoop(asyncio.BaseEventLoop):
    """The event loop of one simulated process.

    A loop that is not stepped is a stopped process (SIGSTOP). One that is never stepped again is a killed process:
    none of its `finally` and `except` clauses runs.
    """

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._virtual_clock = clock
        self._numbered = 0
        self._living: set[asyncio.Task[Any]] = set()
        self.steps = 0
        self.set_task_factory(lambda loop, coroutine, **options: _NumberedTask(coroutine, loop=loop, **options))

    def note(self, task: asyncio.Task[Any]) -> None:
        """Keep a reference to a task until it is done."""
        self._living.add(task)
        task.add_done_callback(self._living.discard)

    def next_number(self) -> int:
        """The number of the next task or future."""
        self._numbered += 1
        return self._numbered

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return _NumberedFuture(loop=self)

    def time(self) -> float:
        """Virtual seconds."""
        return self._virtual_clock.now_s

    @property
    def ready(self) -> bool:
        """Whether a callback is ready to run."""
        timers, now_s = self._scheduled, self._virtual_clock.now_s
        while timers and (timers[0]._cancelled or timers[0]._when <= now_s):
            timer = heapq.heappop(timers)
            timer._scheduled = False
            if timer._cancelled:
                self._timer_cancelled_count -= 1
            else:
                self._ready.append(timer)
        return bool(self._ready)

    @property
    def next_timer_s(self) -> float | None:
        """When the next timer is due; None: there is none."""
        return self._scheduled[0]._when if self._scheduled else None

    def step(self) -> None:
        """Run the next callback, which runs a task up to its next blocking `await`."""
        handle = self._ready.popleft()
        self.steps += 1
        if handle._cancelled:
            return
        events._set_running_loop(self)
        try:
            handle._run()
        finally:
            events._set_running_loop(None)

    def bury(self) -> None:
        """Discard a dead process, so that Python does not warn about unfinished coroutines."""
        for task in sorted(self._living, key=hash):
            task._log_destroy_pending = False
            task.cancel()
        for _ in range(10_000):
            if not self.ready:
                break
            self.step()
        self.close()


def at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that never blocks."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("the coroutine blocks")
