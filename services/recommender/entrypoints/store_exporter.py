"""Exports what the state store says about itself, next to the lag: no other process is the only one of its kind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.recommender.application.ports.learners import StateUnavailableError
from services.recommender.application.ports.state_store import StoreFigures


class StoreExporter(Collector):
    """Keeps the figures of the last reading. While the store does not answer there are none."""

    def __init__(self, read: Callable[[], Awaitable[StoreFigures]], registry: CollectorRegistry = REGISTRY) -> None:
        """Args: `read`; `registry` of the metrics."""
        self._read = read
        self._found: StoreFigures | None = None
        registry.register(self)

    async def refresh(self) -> None:
        """Read once."""
        try:
            self._found = await self._read()
        except StateUnavailableError:
            # The lag exporter cannot read the positions then either, and logs why.
            self._found = None

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without samples."""
        return _families()

    def collect(self) -> Iterable[Metric]:
        """Return the current metrics."""
        found, (memory, memory_max, evicted, refused) = self._found, _families()
        if found is not None:
            memory.add_metric([], found.memory_bytes)
            memory_max.add_metric([], found.memory_max_bytes)
            evicted.add_metric([], found.evicted_keys)
            refused.add_metric([], found.refused_commits)
        return memory, memory_max, evicted, refused


def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily, CounterMetricFamily, CounterMetricFamily]:
    return (
        GaugeMetricFamily("cairn_redis_memory_bytes", "Memory that Redis uses.", labels=[]),
        GaugeMetricFamily("cairn_redis_memory_max_bytes", "Memory that Redis may use; 0: no limit.", labels=[]),
        CounterMetricFamily("cairn_redis_evicted_keys", "Keys that Redis evicted to free memory.", labels=[]),
        CounterMetricFamily(
            "cairn_commits_refused", "Workers that ended because a commit of theirs was refused.", labels=[]
        ),
    )
