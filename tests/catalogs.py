"""The catalog service as deployed, over a log in memory."""

from __future__ import annotations

from datetime import UTC, datetime

from prometheus_client import CollectorRegistry

from services.catalog.bootstrap import CatalogAdapters, CatalogOptions, catalog_server
from services.catalog.tagging.served import TaggerFolders
from services.common.auth.tenants_file import load_tenants
from services.common.rpc.server import ServerOptions

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
LISTEN = ServerOptions("127.0.0.1:0", drain_s=0.1)


def grpc_server(log, view, tenants_file, *, taggers=None, registry=None, options=None):
    """Its gRPC server, to be started; without `taggers` no tenant has a tagger."""
    adapters = CatalogAdapters(
        log,
        view,
        taggers or TaggerFolders(None),
        load_tenants(tenants_file),
        registry or CollectorRegistry(),
        clock=lambda: NOW,
    )
    return catalog_server(adapters, options or CatalogOptions(LISTEN)).grpc
