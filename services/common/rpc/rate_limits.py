"""Limits on tenants' calls: a token bucket per tenant."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A limit per tenant and process. A call with many items counts as several, as its contract says.

    Attributes:
        calls_per_s: sustained calls per second.
        burst: calls at once after a pause.
    """

    calls_per_s: float
    burst: int


class TokenBuckets:
    """One bucket per tenant: it holds at most `burst` tokens, fills at `calls_per_s`, and each call takes at least one.

    There is at most one bucket per tenant, and tenants are few, so none is removed.
    """

    def __init__(self, limit: RateLimit, clock: Callable[[], float] = time.monotonic) -> None:
        """Args: the `limit`, and a monotonic `clock` in seconds."""
        self._limit = limit
        self._clock = clock
        # By tenant: tokens, and the time at which it had them.
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, tenant: str, calls: float = 1.0) -> float:
        """Take tokens and return 0; without a whole token, take nothing and return the seconds until there is one.

        The bucket may owe tokens afterwards, so that a call that counts as more than a burst is admitted, too.
        """
        tokens = self._tokens(tenant)
        if tokens < 1:
            return (1 - tokens) / self._limit.calls_per_s
        self._buckets[tenant] = (tokens - calls, self._clock())
        return 0.0

    def charge(self, tenant: str, calls: float) -> None:
        """Take further tokens for a call that was admitted, once it is known what it counts as."""
        self._buckets[tenant] = (self._tokens(tenant) - calls, self._clock())

    def _tokens(self, tenant: str) -> float:
        now = self._clock()
        held, since = self._buckets.get(tenant, (float(self._limit.burst), now))
        return min(self._limit.burst, held + (now - since) * self._limit.calls_per_s)
