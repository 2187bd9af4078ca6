"""docs/operations.md lists exactly the metrics that the processes have."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry

from services.catalog.bootstrap import _watch_view
from services.catalog.entrypoints.metrics import CatalogMetrics
from services.recommender.entrypoints.dead_letter_metrics import DeadLetterMetrics
from services.recommender.entrypoints.fold_metrics import FoldMetrics
from services.recommender.entrypoints.lag_exporter import LagExporter
from services.recommender.entrypoints.store_exporter import StoreExporter

DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"
# The modules that create metrics in the default registry.
MODULES = (
    "services.common.rpc.refusals",
    "services.common.telemetry.certificates",
    "services.common.telemetry.http",
    "services.ingest.bootstrap",
    "services.ingest.entrypoints.grpc",
    "services.ingest.adapters.metered_log",
    "services.ingest.entrypoints.message_agent",
    "services.recommender.entrypoints.grpc",
    "services.recommender.entrypoints.subscriptions",
    "services.recommender.entrypoints.background_refresh",
)


class View:
    """A fake of the catalog's view; nothing is read from it."""

    def __getattr__(self, name):
        return 0


def test_every_metric_is_documented_and_every_documented_metric_exists():
    for module in MODULES:
        importlib.import_module(module)
    FoldMetrics(worker := CollectorRegistry())
    DeadLetterMetrics(worker)
    LagExporter(None, registry=worker)
    StoreExporter(None, registry=worker)
    catalog = CollectorRegistry()
    _watch_view(CatalogMetrics(catalog), View())
    made = {name for registry in (REGISTRY, worker, catalog) for name in _names(registry)}
    rows = [line.split("|")[1] for line in DOCUMENT.read_text().splitlines() if line.startswith("| `cairn_")]
    named = [name for row in rows for name in re.findall(r"`(cairn_\w+)`", row)]
    assert len(named) == len(set(named))
    assert set(named) == made


def _names(registry):
    # Those of the Python runtime do not describe themselves.
    collectors = [collector for collector in registry._collector_to_names if hasattr(collector, "describe")]
    families = [family for collector in collectors for family in collector.describe()]
    return {family.name for family in families if family.name.startswith("cairn_")}
