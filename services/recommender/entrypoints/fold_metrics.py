"""The worker's Prometheus metrics."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.recommender.application.state.fold_events import FoldReport

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_RECORDS = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)


class FoldMetrics:
    """The worker's metrics, by epoch."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._applied = Counter(
            "cairn_events_applied", "Records in a learner's state, each once.", ["epoch"], registry=registry
        )
        self._duplicates = Counter(
            "cairn_events_duplicate", "Records left out: their source and id came before.", ["epoch"], registry=registry
        )
        self._conflicts = Counter(
            "cairn_events_conflict",
            "Records left out: an earlier one of their source and id says something else.",
            ["epoch"],
            registry=registry,
        )
        self._dead_lettered = Counter(
            "cairn_events_dead_lettered", "Records that cannot be applied.", ["epoch", "reason"], registry=registry
        )
        self._refused_skills = Counter(
            "cairn_skills_refused",
            "Times that an event named a new skill of a learner who has as many skills as the fold keeps.",
            ["epoch"],
            registry=registry,
        )
        self._erased = Counter(
            "cairn_events_erased",
            "Records of erased learners, which can no longer be read.",
            ["epoch"],
            registry=registry,
        )
        self._lost = Counter(
            "cairn_events_lost", "Records whose keys are lost, which was accepted.", ["epoch"], registry=registry
        )
        self._keys_missing = Gauge(
            "cairn_fold_keys_missing_records",
            "Records whose keys are missing, so that the fold is paused.",
            ["epoch"],
            registry=registry,
        )
        self._quarantined = Counter(
            "cairn_events_quarantined", "Records of quarantined learners.", ["epoch"], registry=registry
        )
        self._in_quarantine = Gauge(
            "cairn_learners_quarantined", "Learners whose stored value is damaged.", ["epoch"], registry=registry
        )
        self._batch = Histogram(
            "cairn_fold_batch_records", "Records of a batch.", ["epoch"], buckets=_RECORDS, registry=registry
        )
        self._stages = {
            name: Histogram(
                f"cairn_fold_{name}_seconds", f"Time to {what}.", ["epoch"], buckets=_SECONDS, registry=registry
            )
            for name, what in (
                ("read", "read a batch's learners"),
                ("compute", "fold a batch"),
                ("commit", "store a batch"),
            )
        }
        self._lag = Gauge(
            "cairn_fold_lag_records", "Records not dealt with yet.", ["epoch", "partition"], registry=registry
        )

    def observe(self, epoch: int, records: int, report: FoldReport) -> None:
        """Record the result of a batch."""
        label = str(epoch)
        self._applied.labels(label).inc(report.applied)
        self._duplicates.labels(label).inc(report.duplicates)
        self._refused_skills.labels(label).inc(sum(report.refused_skills.values()))
        self._erased.labels(label).inc(report.erased)
        self._lost.labels(label).inc(report.lost)
        self._conflicts.labels(label).inc(report.conflicts)
        self._quarantined.labels(label).inc(report.quarantined)
        self._in_quarantine.labels(label).set(report.in_quarantine)
        for code, count in report.dead_lettered.items():
            self._dead_lettered.labels(label, code).inc(count)
        self._batch.labels(label).observe(records)
        self._stages["read"].labels(label).observe(report.read_s)
        self._stages["compute"].labels(label).observe(report.fold_s)
        self._stages["commit"].labels(label).observe(report.commit_s)

    def lag(self, epoch: int, lag_by_partition: Mapping[int, int]) -> None:
        """Record the lag of each assigned partition."""
        for partition, lag in lag_by_partition.items():
            self._lag.labels(str(epoch), str(partition)).set(lag)

    def keys_missing(self, epoch: int, records: int) -> None:
        """Record how many records wait for missing keys."""
        self._keys_missing.labels(str(epoch)).set(records)

    def forget(self, epoch: int, partitions: Mapping[int, int]) -> None:
        """Stop reporting the lag of partitions that are now assigned to others."""
        for partition in partitions:
            self._lag.remove(str(epoch), str(partition))
