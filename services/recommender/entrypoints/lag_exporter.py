"""The lag exporter: gives Prometheus, and what scales workers by it, the lag of the epochs that workers fold into.

Workers export the lag of their own partitions, which is gone while no worker runs and when an epoch is replaced. A
consumer group's lag is no substitute, as each epoch has a group of its own.
"""

from __future__ import annotations

import structlog
from prometheus_client import REGISTRY, CollectorRegistry, Gauge

from services.recommender.application.operations.lag import ReadLag
from services.recommender.application.ports.learners import StateUnavailableError

_log = structlog.get_logger(__name__)


class LagExporter:
    """Keeps the lag of the last reading.

    Attributes:
        ready: whether the last attempt could read it.
    """

    def __init__(self, read: ReadLag, registry: CollectorRegistry = REGISTRY) -> None:
        """Args: `read`; `registry` of the metrics."""
        self._read = read
        self.ready = False
        self._records = Gauge(
            "cairn_lag_records",
            "Records of the log that an epoch does not hold yet.",
            ["epoch", "partition"],
            registry=registry,
        )
        self._seconds = Gauge(
            "cairn_lag_seconds",
            "How long the first of these records has been in the log.",
            ["epoch", "partition"],
            registry=registry,
        )

    async def refresh(self) -> None:
        """Read once. Without an answer there are no figures, rather than old ones: nothing is scaled by them."""
        try:
            found = await self._read()
        except (ConnectionError, LookupError, StateUnavailableError) as error:
            if self.ready:
                _log.warning("the lag cannot be read", reason=str(error))
            self.ready = False
            found = ()
        else:
            self.ready = True
        for gauge in (self._records, self._seconds):
            gauge.clear()
        for lag in found:
            labels = (str(lag.epoch), str(lag.partition))
            self._records.labels(*labels).set(lag.records)
            self._seconds.labels(*labels).set(lag.seconds)
