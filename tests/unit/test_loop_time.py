"""A time limit that does not run while the event loop is busy."""

from __future__ import annotations

import asyncio
import time

import pytest

from services.common.loop_time import loop_timeout


async def answer_while_the_loop_is_busy():
    """An answer that comes soon, while the loop does something else for longer than the limits below."""
    answer = asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.02)
    asyncio.get_running_loop().call_soon(time.sleep, 0.3)
    await answer
    return "answer"


async def test_an_answer_that_came_while_the_loop_was_busy_is_not_missing():
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await answer_while_the_loop_is_busy()
    async with loop_timeout(0.1):
        assert await answer_while_the_loop_is_busy() == "answer"


async def test_no_answer_ends_the_wait():
    began_s = time.monotonic()
    with pytest.raises(TimeoutError):
        async with loop_timeout(0.05):
            await asyncio.Event().wait()
    assert time.monotonic() - began_s >= 0.04


async def test_the_limit_ends_with_what_it_limits():
    async with loop_timeout(0.01):
        pass
    await asyncio.sleep(0.03)
