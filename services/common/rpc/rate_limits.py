"""Limits on tenants' calls: a token bucket per tenant."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A limit per tenant and process.

    Attributes:
        calls_per_s: sustained calls per second.
        burst: calls at once after a pause.
    """

    calls_per_s: float
    burst: int


class TokenBuckets:
    """One bucket per tenant: it holds at most `burst` tokens, fills at `calls_per_s`, and each call takes one.

    There is at most one bucket per tenant, and tenants are few, so none is removed.
    """

    def __init__(self, limit: RateLimit, clock: Callable[[], float] = time.monotonic) -> None:
        """Args: the `limit`, and a monotonic `clock` in seconds."""
        self._limit = limit
        self._clock = clock
        # By tenant: tokens, and the time at which it had them.
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, tenant: str) -> float:
        """Take a token and return 0; without one, take nothing and return the seconds until there is one."""
        now = self._clock()
        held, since = self._buckets.get(tenant, (float(self._limit.burst), now))
        tokens = min(self._limit.burst, held + (now - since) * self._limit.calls_per_s)
        wait_s = 0.0 if tokens >= 1 else (1 - tokens) / self._limit.calls_per_s
        self._buckets[tenant] = (tokens if wait_s else tokens - 1, now)
        return wait_s
