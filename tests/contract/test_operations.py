"""docs/operations.md names every metric that the processes have, and no other."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry

from services.catalog.bootstrap import _metrics as catalog_metrics
from services.recommender.entrypoints.fold_metrics import FoldMetrics

DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"
# Where metrics of the default registry are made.
MODULES = (
    "services.ingest.bootstrap",
    "services.ingest.entrypoints.grpc",
    "services.ingest.adapters.metered_log",
    "services.recommender.entrypoints.grpc",
    "services.recommender.entrypoints.subscriptions",
    "services.recommender.entrypoints.background_refresh",
)


class View:
    """Stands for the catalog's view; nothing is read from it."""

    def __getattr__(self, name):
        return 0


def test_every_metric_is_explained_and_every_explained_metric_exists():
    for module in MODULES:
        importlib.import_module(module)
    FoldMetrics(worker := CollectorRegistry())
    catalog = CollectorRegistry()
    catalog_metrics(catalog, View())
    made = {name for registry in (REGISTRY, worker, catalog) for name in _names(registry)}
    rows = [line.split("|")[1] for line in DOCUMENT.read_text().splitlines() if line.startswith("| `cairn_")]
    named = [name for row in rows for name in re.findall(r"`(cairn_\w+)`", row)]
    assert len(named) == len(set(named))
    assert set(named) == made


def _names(registry):
    collectors = {collector for collector in registry._collector_to_names if hasattr(collector, "_name")}
    return {collector._name for collector in collectors if collector._name.startswith("cairn_")}
