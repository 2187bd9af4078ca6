"""Processes and the network between them, which delivers late, out of order, and even after a sender has died."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from tests.simulation.loops import SteppedLoop, VirtualClock

_USUAL_S = 0.001
_SLOW_S = 0.05
_VERY_SLOW_S = 0.8


class Network:
    """Scheduled deliveries.

    Attributes:
        trace: a hash of when each request was sent. It does not depend on the seed of Python's hashes.
    """

    def __init__(self, clock: VirtualClock, rng: random.Random) -> None:
        self.clock = clock
        self._rng = rng
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self.trace = 0

    def after(self, delay_s: float, deliver: Callable[[], None]) -> None:
        """Call `deliver` after a delay in virtual seconds."""
        self._number += 1
        heapq.heappush(self._waiting, (self.clock.now_s + delay_s, self._number, deliver))

    def be_away(self, server: Server, seconds: float) -> None:
        """A server refuses connections for a while."""
        server.away = True
        self.after(seconds, lambda: setattr(server, "away", False))

    def latency_s(self) -> float:
        """The delay of one message: usually short, sometimes longer than that of later messages."""
        luck = self._rng.random()
        return _USUAL_S if luck < 0.9 else _SLOW_S if luck < 0.995 else _VERY_SLOW_S

    @property
    def next_s(self) -> float | None:
        """When the next delivery is due; None: nothing is in flight."""
        return self._waiting[0][0] if self._waiting else None

    def deliver_next(self) -> None:
        """Perform the next delivery."""
        heapq.heappop(self._waiting)[2]()


class Server:
    """A server that answers requests, and loses those in flight when it restarts.

    Attributes:
        incarnation: number of restarts.
        away: whether it refuses connections.
    """

    def __init__(self, away_error: Callable[[], Exception]) -> None:
        self.incarnation = 0
        self.away = False
        self.away_error = away_error


class Process:
    """A worker process: an event loop that the scheduler steps, and its requests in flight.

    Attributes:
        name: its name for people.
        loop: its event loop.
        stopped: whether it is stopped by SIGSTOP.
        alive: false once it was killed or has exited.
        failure: the error it exited with; None: it runs, was killed, or was asked to exit.
    """

    def __init__(self, name: str, network: Network, main: Callable[[Process], Coroutine[Any, Any, None]]) -> None:
        self.name = name
        self.network = network
        self.loop = SteppedLoop(network.clock)
        self.stopped = False
        self.alive = True
        self.failure: BaseException | None = None
        self._main = self.loop.create_task(main(self))

    def terminate(self) -> None:
        """SIGTERM: it exits cleanly."""
        self._main.cancel()

    def kill(self) -> None:
        """SIGKILL: none of its code runs any more, but what it sent is still delivered."""
        if self.alive:
            self.alive = False
            self.loop.bury()

    def step(self) -> None:
        """Run its next callback."""
        self.loop.step()
        if self._main.done():
            if not self._main.cancelled():
                self.failure = self._main.exception()
            self.kill()

    def ask(
        self, server: Server, steps: Sequence[Callable[[], Any]], *, connected_to: int | None = None
    ) -> asyncio.Future[Any]:
        """Have a server perform steps in order, but not atomically; return the last one's answer.

        A dead process sends nothing. An error that a step raises is the answer.

        Args:
            server: the server.
            steps: the steps to perform.
            connected_to: the incarnation of the server that the connection was opened to; None: the current one.
        """
        future = self.loop.create_future()
        if not self.alive:
            future.cancel()
            return future
        network = self.network
        network.trace = hash((network.trace, network.clock.now_s, self.loop.steps, len(steps)))
        incarnation = server.incarnation if connected_to is None else connected_to
        remaining = list(reversed(steps))

        def answer(result: Any, error: Exception | None) -> None:
            if not self.alive or future.done():
                return
            if error is None:
                self.loop.call_soon(_settle, future, result)
            else:
                self.loop.call_soon(_fail, future, error)

        def arrive() -> None:
            result: Any = None
            error: Exception | None = None
            if server.away or server.incarnation != incarnation:
                error = server.away_error()
            elif remaining:
                try:
                    result = remaining.pop()()
                except Exception as raised:  # noqa: BLE001 - it is the server's answer.
                    error = raised
            if error is None and remaining:
                # A pipeline is not atomic: commands of others may run in between.
                network.after(0.0 if len(remaining) % 3 else network.latency_s(), arrive)
            else:
                network.after(network.latency_s(), lambda: answer(result, error))

        network.after(network.latency_s(), arrive)
        return future


def _settle(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
