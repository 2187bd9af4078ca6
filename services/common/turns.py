"""Shares a process's time between tenants: long work is done in pieces, and the tenant that used least goes next."""

from __future__ import annotations

import time
from asyncio import Future, get_running_loop, sleep
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

# A call needs several rounds of the event loop: to be accepted, to read its body, to read from Redis, to be answered.
_ROUNDS = 8


class Turns:
    """Lets one piece of work run at a time.

    A tenant with many pieces delays the piece of another by at most the one that is running. Between tenants whose
    pieces wait, the one that has used the least time is next; the pieces of one tenant run in the order in which they
    came. A tenant saves up no time while it has nothing to do.
    """

    def __init__(self, timer: Callable[[], float] = time.perf_counter) -> None:
        """Args: `timer` returns monotonic seconds."""
        self._timer = timer
        self._taken = False
        self._waiting: dict[str, deque[Future[None]]] = {}
        # The time that tenants have used, and that of the tenant whose turn it is: those who come late start there.
        self._used_s: dict[str, float] = {}
        self._now_s = 0.0

    @asynccontextmanager
    async def of(self, tenant: str) -> AsyncIterator[None]:
        """Wait for a turn, and hold it. The work inside should take a few milliseconds, and not wait."""
        if self._taken:
            await self._wait(tenant)
        self._taken = True
        began_s = self._timer()
        try:
            yield
        finally:
            self._used_s[tenant] = self._of(tenant) + self._timer() - began_s
            self._pass_on()

    @asynccontextmanager
    async def piece(self, tenant: str) -> AsyncIterator[None]:
        """As `of`, for one piece of many: before the next piece of anybody, other calls get ahead by some rounds."""
        async with self.of(tenant):
            yield
            for _ in range(_ROUNDS):
                await sleep(0)

    async def _wait(self, tenant: str) -> None:
        turn: Future[None] = get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(turn)
        try:
            await turn
        except BaseException:
            if not turn.cancelled():
                # It got the turn, and was cancelled before it could take it.
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            tenant = min(self._waiting, key=self._of)
            turn = self._waiting[tenant].popleft()
            if not self._waiting[tenant]:
                del self._waiting[tenant]
            if not turn.done():
                self._now_s = self._of(tenant)
                turn.set_result(None)
                return
        # Nobody waits, so nobody is owed anything.
        self._taken = False
        self._used_s.clear()
        self._now_s = 0.0

    def _of(self, tenant: str) -> float:
        return max(self._used_s.get(tenant, 0.0), self._now_s)


class Pauses:
    """Lets other calls run while a list is worked on whose entries take unequal time."""

    def __init__(self, every_s: float = 0.005, timer: Callable[[], float] = time.perf_counter) -> None:
        """Args: `every_s` between two pauses, and `timer`, which returns monotonic seconds."""
        self._every_s = every_s
        self._timer = timer
        self._since_s = timer()

    async def when_due(self) -> None:
        """Pause if the last pause was long enough ago. Call it after each entry."""
        if self._timer() - self._since_s >= self._every_s:
            await sleep(0)
            self._since_s = self._timer()
