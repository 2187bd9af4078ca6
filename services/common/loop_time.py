"""Time limits that do not run while the event loop is busy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_TICKS = 10


@asynccontextmanager
async def loop_timeout(timeout_s: float | None) -> AsyncIterator[None]:
    """Raise TimeoutError after a time in which the event loop could have taken what is waited for; None: never.

    With `asyncio.timeout`, an answer that came while the loop was busy for longer than the limit counts as missing.
    Here the loop has to come round several times before the limit is reached.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as limit:
        if timeout_s is None:
            yield
            return
        tick_s, timers = timeout_s / _TICKS, list[asyncio.TimerHandle]()

        def tick() -> None:
            if len(timers) == _TICKS:
                limit.reschedule(loop.time())
            else:
                timers.append(loop.call_later(tick_s, tick))

        timers.append(loop.call_later(tick_s, tick))
        try:
            yield
        finally:
            timers[-1].cancel()
