"""How often a tenant may call: a token bucket each."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A limit per tenant and process.

    Attributes:
        calls_per_s: calls a tenant may make in the long run.
        burst: calls it may make at once after a pause.
    """

    calls_per_s: float
    burst: int


class TokenBuckets:
    """One bucket per tenant: it holds at most `burst` tokens, fills at `calls_per_s`, and each call takes one.

    A tenant that has been silent for long has no bucket worth keeping, so as many are kept as there are tenants.
    """

    def __init__(self, limit: RateLimit, clock: Callable[[], float] = time.monotonic) -> None:
        """Args: `clock`, in seconds, never going back."""
        self._limit = limit
        self._clock = clock
        # Per tenant: tokens as of a moment.
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, tenant: str) -> float:
        """Take a token: 0 when there was one, else in how many seconds there will be; then nothing was taken."""
        now = self._clock()
        held, since = self._buckets.get(tenant, (float(self._limit.burst), now))
        tokens = min(self._limit.burst, held + (now - since) * self._limit.calls_per_s)
        wait_s = 0.0 if tokens >= 1 else (1 - tokens) / self._limit.calls_per_s
        self._buckets[tenant] = (tokens if wait_s else tokens - 1, now)
        return wait_s
