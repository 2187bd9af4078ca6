"""Turns: whose piece of work runs next."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common import turns as turns_module
from services.common.turns import Turns


class Timer:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def timer():
    return Timer()


async def until(reached):
    while not reached():  # noqa: ASYNC110 - the rounds of the loop are what is observed.
        await asyncio.sleep(0)


async def run(turns, timer, ran, tenant, pieces, cost_s=1.0):
    for _ in range(pieces):
        async with turns.of(tenant):
            ran.append(tenant)
            timer.now_s += cost_s
            # Others may ask for a turn meanwhile.
            await asyncio.sleep(0)


async def test_a_tenant_that_comes_late_is_next_however_many_pieces_of_another_wait(timer):
    turns, ran = Turns(timer), []
    flood = [asyncio.create_task(run(turns, timer, ran, "riverbend", 50)) for _ in range(20)]
    await until(lambda: len(ran) >= 10)
    before = len(ran)
    await run(turns, timer, ran, "hilltop", 1)
    assert ran.index("hilltop") <= before + 1
    await asyncio.gather(*flood)


async def test_tenants_with_much_to_do_get_the_same_time_not_the_same_number_of_pieces(timer):
    turns, ran = Turns(timer), []
    slow = [asyncio.create_task(run(turns, timer, ran, "slow", 100, cost_s=4)) for _ in range(3)]
    quick = [asyncio.create_task(run(turns, timer, ran, "quick", 400, cost_s=1)) for _ in range(3)]
    await until(lambda: timer.now_s >= 800)
    assert abs(ran.count("quick") - 4 * ran.count("slow")) <= 8
    for task in (*slow, *quick):
        task.cancel()
    await asyncio.gather(*slow, *quick, return_exceptions=True)


async def test_a_tenant_that_was_idle_has_saved_up_nothing(timer):
    turns, ran = Turns(timer), []
    busy = [asyncio.create_task(run(turns, timer, ran, "busy", 100)) for _ in range(2)]
    await until(lambda: len(ran) >= 100)
    came = len(ran)
    late = [asyncio.create_task(run(turns, timer, ran, "late", 20)) for _ in range(2)]
    await asyncio.gather(*busy, *late)
    following = ran[came : came + 40]
    assert abs(following.count("late") - following.count("busy")) <= 2


async def test_the_pieces_of_a_tenant_run_in_the_order_in_which_they_came(timer):
    turns, ran = Turns(timer), []

    async def piece(number):
        async with turns.of("riverbend"):
            ran.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(piece(number) for number in range(10)))
    assert ran == list(range(10))


@pytest.fixture
def patient(monkeypatch):
    """Nobody is held back for too long, however slow the machine."""
    monkeypatch.setattr(turns_module, "_PATIENCE_S", 3600.0)


async def work_through(turns, timer, ran, tenant, pieces):
    for _ in range(pieces):
        async with turns.piece(tenant):
            ran.append(tenant)
            timer.now_s += 1.0


async def test_no_piece_of_another_tenant_begins_while_a_call_is_about_to_need_its_turn(timer, patient):
    turns, ran = Turns(timer), []
    flood = [asyncio.create_task(work_through(turns, timer, ran, "riverbend", 100)) for _ in range(5)]
    await until(lambda: len(ran) >= 10)
    with turns.expected("hilltop"):
        before = len(ran)
        for _ in range(100):
            await asyncio.sleep(0)
        async with turns.of("hilltop"):
            ran.append("hilltop")
    assert ran.index("hilltop") <= before + 1
    await asyncio.gather(*flood)


async def test_pieces_go_on_when_a_call_does_not_take_its_turn_for_long(timer):
    turns, ran = Turns(timer), []
    async with asyncio.timeout(10):
        with turns.expected("hilltop"):
            await work_through(turns, timer, ran, "riverbend", 50)


async def test_a_tenant_that_has_used_more_time_holds_back_nobody(timer, patient):
    turns, ran = Turns(timer), []
    flood = [asyncio.create_task(work_through(turns, timer, ran, "riverbend", 100)) for _ in range(5)]
    await until(lambda: len(ran) >= 10)
    async with turns.of("hilltop"):
        timer.now_s += 20.0
    with turns.expected("hilltop"):
        before = len(ran)
        await asyncio.wait_for(until(lambda: len(ran) >= before + 5), 10)
    await asyncio.gather(*flood)


async def test_calls_that_are_expected_do_not_hold_back_pieces_of_their_own_tenant(timer, patient):
    turns, ran = Turns(timer), []
    async with asyncio.timeout(10):
        with turns.expected("riverbend"):
            await work_through(turns, timer, ran, "riverbend", 3)
    assert ran == ["riverbend"] * 3


@settings(max_examples=50)
@given(cancelled=st.sets(st.integers(0, 9)), rounds=st.integers(0, 30))
def test_pieces_that_are_cancelled_leave_the_turn_to_others(cancelled, rounds):
    async def scenario():
        turns, ran = Turns(Timer()), []

        async def piece(number):
            tenant = f"tenant-{number % 3}"
            with turns.expected(tenant) if number % 4 == 0 else nullcontext():
                async with turns.piece(tenant) if number % 2 else turns.of(tenant):
                    await asyncio.sleep(0)
                    ran.append(number)

        tasks = [asyncio.create_task(piece(number)) for number in range(10)]
        for _ in range(rounds):
            await asyncio.sleep(0)
        for number in cancelled:
            tasks[number].cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
        assert set(ran) >= set(range(10)) - cancelled
        async with asyncio.timeout(10), turns.of("after"):
            pass

    asyncio.run(scenario())


async def test_a_piece_that_fails_passes_the_turn_on():
    turns = Turns(Timer())
    with pytest.raises(ValueError, match="no"):
        async with turns.of("riverbend"):
            raise ValueError("no")
    async with asyncio.timeout(10), turns.of("hilltop"):
        pass
