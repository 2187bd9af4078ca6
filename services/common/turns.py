"""Shares a process's time between tenants: long work is done in pieces, and the tenant that used least goes next."""

from __future__ import annotations

import time
from asyncio import Future, get_running_loop, sleep
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple

# A call needs several rounds of the event loop: to be accepted, to read its body, to read from Redis, to be answered.
_ROUNDS = 8
# Longer than it takes to read a learner's state.
_PATIENCE_S = 0.005


class _Waiting(NamedTuple):
    turn: Future[None]
    is_piece: bool


class Turns:
    """Lets one piece of work run at a time.

    A tenant with many pieces delays the piece of another by at most the one that is running. Between tenants whose
    pieces wait, the one that has used the least time is next; the pieces of one tenant run in the order in which they
    came. A tenant saves up no time while it has nothing to do.
    """

    def __init__(self, timer: Callable[[], float] = time.thread_time) -> None:
        """Args: `timer` returns the seconds that a tenant's work uses: what the machine gives others is nobody's."""
        self._timer = timer
        self._taken = False
        self._waiting: dict[str, deque[_Waiting]] = {}
        self._expected: dict[object, str] = {}
        # The time that tenants have used, and that of the tenant whose turn it is: those who come late start there.
        self._used_s: dict[str, float] = {}
        self._now_s = 0.0

    @contextmanager
    def expected(self, tenant: str) -> Iterator[None]:
        """A call that is about to need a turn, for instance once its data have been read.

        Pieces of tenants that have used as much time or more do not begin meanwhile, for at most 5 ms.
        """
        call = object()
        end = get_running_loop().call_later(_PATIENCE_S, self._expect_no_longer, call)
        self._expected[call] = tenant
        try:
            yield
        finally:
            end.cancel()
            self._expect_no_longer(call)

    @asynccontextmanager
    async def of(self, tenant: str) -> AsyncIterator[None]:
        """Wait for a turn, and hold it. The work inside should take a few milliseconds, and not wait."""
        async with self._turn(tenant, is_piece=False):
            yield

    @asynccontextmanager
    async def piece(self, tenant: str) -> AsyncIterator[None]:
        """As `of`, for one piece of many: before the next piece of anybody, other calls get ahead by some rounds."""
        async with self._turn(tenant, is_piece=True):
            yield
            for _ in range(_ROUNDS):
                await sleep(0)

    @asynccontextmanager
    async def _turn(self, tenant: str, *, is_piece: bool) -> AsyncIterator[None]:
        if self._taken or (is_piece and self._gives_way(tenant)):
            await self._wait(tenant, is_piece=is_piece)
        self._taken = True
        began_s = self._timer()
        try:
            yield
        finally:
            self._used_s[tenant] = self._of(tenant) + self._timer() - began_s
            self._pass_on()

    async def _wait(self, tenant: str, *, is_piece: bool) -> None:
        turn: Future[None] = get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(_Waiting(turn, is_piece))
        try:
            await turn
        except BaseException:
            if not turn.cancelled():
                # It got the turn, and was cancelled before it could take it.
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        self._taken = False
        for tenant in sorted(self._waiting, key=self._of):
            waiting = self._waiting[tenant]
            while waiting and waiting[0].turn.done():
                waiting.popleft()
            if waiting and not (waiting[0].is_piece and self._gives_way(tenant)):
                self._taken = True
                self._now_s = self._of(tenant)
                waiting.popleft().turn.set_result(None)
            if not waiting:
                del self._waiting[tenant]
            if self._taken:
                return
        if not self._waiting and not self._expected:
            # Nobody waits, so nobody is owed anything.
            self._used_s.clear()
            self._now_s = 0.0

    def _gives_way(self, tenant: str) -> bool:
        others = {other for other in self._expected.values() if other != tenant}
        return any(self._of(other) <= self._of(tenant) for other in others)

    def _expect_no_longer(self, call: object) -> None:
        if self._expected.pop(call, None) is not None and not self._taken:
            self._pass_on()

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
