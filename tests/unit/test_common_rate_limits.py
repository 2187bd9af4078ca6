"""Token buckets allow a burst, then the rate, separately for each tenant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.rpc.rate_limits import RateLimit, TokenBuckets


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


def test_a_burst_passes_at_once_and_the_next_call_gets_a_retry_delay(clock):
    buckets = TokenBuckets(RateLimit(calls_per_s=2, burst=3), clock)
    assert [buckets.take("riverbend") for _ in range(4)] == [0, 0, 0, 0.5]


def test_a_call_after_the_retry_delay_passes(clock):
    buckets = TokenBuckets(RateLimit(calls_per_s=4, burst=1), clock)
    assert buckets.take("riverbend") == 0
    clock.now_s += 0.125
    wait_s = buckets.take("riverbend")
    assert wait_s == 0.125
    clock.now_s += wait_s
    assert buckets.take("riverbend") == 0


def test_a_refused_call_costs_no_tokens(clock):
    buckets = TokenBuckets(RateLimit(calls_per_s=1, burst=1), clock)
    buckets.take("riverbend")
    assert {buckets.take("riverbend") for _ in range(10)} == {1.0}


def test_the_calls_of_one_tenant_do_not_limit_another(clock):
    buckets = TokenBuckets(RateLimit(calls_per_s=1, burst=1), clock)
    assert buckets.take("riverbend") == 0
    assert buckets.take("riverbend") > 0
    assert buckets.take("hilltop") == 0


def test_a_long_idle_time_accumulates_no_more_than_the_burst(clock):
    buckets = TokenBuckets(RateLimit(calls_per_s=10, burst=2), clock)
    buckets.take("riverbend")
    clock.now_s += 3_600
    assert [buckets.take("riverbend") > 0 for _ in range(3)] == [False, False, True]


@given(
    pauses_s=st.lists(st.floats(0, 3), max_size=60),
    calls_per_s=st.floats(0.1, 50),
    burst=st.integers(1, 10),
)
def test_burst_and_rate_limit_the_calls_that_pass(pauses_s, calls_per_s, burst):
    clock = Clock()
    buckets = TokenBuckets(RateLimit(calls_per_s, burst), clock)
    passed = 0
    for pause_s in pauses_s:
        clock.now_s += pause_s
        passed += buckets.take("riverbend") == 0
    assert passed <= burst + sum(pauses_s) * calls_per_s + 1e-6
