"""The catalog's metrics, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_IMPORT_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class CatalogMetrics:
    """The catalog's counters and gauges.

    Attributes:
        imports: imports by outcome: written, invalid, unavailable.
        written: records written by kind: skill, resource, rule.
        changes: calls that change single records, by method and outcome: done, invalid, missing, conflict, in_use,
            too_many, unavailable, failed.
        suggested: resources and texts for which skills were suggested.
        reviews: answers to suggestions that changed a resource, by decision.
        import_seconds: duration of imports that were written, from the last chunk received to the reply.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        """Args: where the metrics are registered."""
        self._registry = registry
        self.imports = Counter("cairn_catalog_imports", "Imports by outcome.", ["outcome"], registry=registry)
        self.written = Counter("cairn_catalog_records_written", "Records written by kind.", ["kind"], registry=registry)
        self.changes = Counter(
            "cairn_catalog_changes",
            "Calls that change single records, by method and outcome.",
            ["method", "outcome"],
            registry=registry,
        )
        self.suggested = Counter(
            "cairn_catalog_suggested", "Resources and texts that skills were suggested for.", registry=registry
        )
        self.reviews = Counter(
            "cairn_catalog_tag_reviews",
            "Answers to suggestions that changed a resource.",
            ["decision"],
            registry=registry,
        )
        self.import_seconds = Histogram(
            "cairn_catalog_import_seconds",
            "Time from the last chunk of an import to its reply.",
            buckets=_IMPORT_BUCKETS_S,
            registry=registry,
        )

    def watch(self, name: str, documentation: str, read: Callable[[], float]) -> None:
        """Add the gauge `cairn_catalog_<name>`, read whenever metrics are collected."""
        gauge = Gauge(f"cairn_catalog_{name}", documentation, registry=self._registry)
        gauge.set_function(read)
