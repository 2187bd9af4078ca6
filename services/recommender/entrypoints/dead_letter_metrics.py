"""Prometheus metrics of the dead letters that a worker counts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.common.kafka.envelope import Position
from services.recommender.application.operations.dead_letter_counts import DeadLetterCounts
from services.recommender.application.operations.dead_letters import FiledLetter

_LETTERS_MAX = 500_000


class TooManyLettersError(RuntimeError):
    """The dead-letter topic holds more letters than this process is allowed to count."""


class DeadLetterMetrics(Collector):
    """Letters on the partitions of the dead-letter topic that this process holds, and the state of the agent.

    Implements LetterCounter. The agent's thread writes, Prometheus' threads read. Ages are computed at each scrape.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        letters_max: int = _LETTERS_MAX,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        """Register the metrics.

        Args:
            registry: where to register.
            letters_max: most letters to hold, about 150 bytes each, so that the fold keeps its memory.
            clock_s: returns the time, in seconds since 1970.
        """
        self._letters_max = letters_max
        self._clock_s = clock_s
        self._counts = DeadLetterCounts()
        self._lock = threading.Lock()
        self._has_failed = False
        self._running = Gauge(
            "cairn_dead_letter_agent_running", "1 while the agent counts dead letters.", registry=registry
        )
        self._failures = Counter("cairn_dead_letter_agent_failures", "How often the agent failed.", registry=registry)
        registry.register(self)

    @property
    def healthy(self) -> bool:
        """Whether the agent runs; false from a failure until it counts again."""
        return not self._has_failed

    def assigned(self, partitions: Collection[int]) -> None:
        """Count these partitions of the topic; other workers count the rest."""
        with self._lock:
            self._counts.keep_only(partitions)
        self._has_failed = False
        self._running.set(1)

    def add(self, place: Position, filed: FiledLetter, written_at_s: float) -> None:
        """Count one record of the topic.

        Raises:
            TooManyLettersError: when there are more than `letters_max` letters.
        """
        with self._lock:
            self._counts.add(place, filed, written_at_s)
            letters = self._counts.letters
        if letters > self._letters_max:
            raise TooManyLettersError(
                f"the dead-letter topic holds over {self._letters_max:,} letters, more than this process may count; "
                "see cairn status, then replay them with: cairn dlt replay"
            )

    def failed(self) -> None:
        """Record a failure of the agent. Its counts are dropped, because others may count those partitions now."""
        self._has_failed = True
        self._failures.inc()
        self.stopped()

    def stopped(self) -> None:
        """Record that the agent is not running."""
        self._running.set(0)
        with self._lock:
            self._counts = DeadLetterCounts()

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without samples."""
        return self._families()

    def collect(self) -> Iterable[Metric]:
        """Return the current metrics."""
        held, oldest, newest = families = self._families()
        with self._lock:
            groups = self._counts.groups(self._clock_s())
        for group in groups:
            for age, letters in group.by_age.items():
                held.add_metric([group.reason, group.tenant, age], letters)
            oldest.add_metric([group.reason, group.tenant], group.oldest_at_s)
            newest.add_metric([group.reason, group.tenant], group.newest_at_s)
        return families

    @staticmethod
    def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily]:
        return (
            GaugeMetricFamily(
                "cairn_dead_letters_held", "Dead letters not replayed.", labels=["reason", "tenant", "age"]
            ),
            GaugeMetricFamily(
                "cairn_dead_letters_oldest_timestamp_seconds",
                "When the oldest letter was written.",
                labels=["reason", "tenant"],
            ),
            GaugeMetricFamily(
                "cairn_dead_letters_newest_timestamp_seconds",
                "When the newest letter was written.",
                labels=["reason", "tenant"],
            ),
        )
