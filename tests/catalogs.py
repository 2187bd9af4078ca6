"""The catalog service as deployed, over a log in memory."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from services.catalog.bootstrap import CatalogAdapters, CatalogOptions, catalog_server
from services.catalog.cli.catalog import app
from services.catalog.entrypoints.grpc import ImportLimits
from services.catalog.tagging.served import TaggerFolders
from services.common.auth.api_keys import create_api_key
from services.common.auth.tenant import ALL_SCOPES
from services.common.auth.tenants_file import load_tenants
from services.common.rpc.server import ServerOptions
from tests.adapters.memory_catalog_log import MemoryCatalogLog

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


@asynccontextmanager
async def catalog_commands(folder, *, columns=300):
    """`cairn catalog` against a running service: a function that runs one command, with the service's log and view."""
    api_key = create_api_key(folder / "t.yaml", "riverbend", "test", ALL_SCOPES)
    log = MemoryCatalogLog()
    view = await log.view()
    limits = ImportLimits(records_max=10_000, bytes_max=10_000_000)
    server = grpc_server(log, view, folder / "t.yaml", options=CatalogOptions(LISTEN, limits))
    environment = {"CAIRN_API_KEY": api_key, "CAIRN_TARGET_CATALOG": await server.start(), "COLUMNS": str(columns)}
    runner = CliRunner(env=environment)

    async def run(*arguments):
        return await asyncio.to_thread(runner.invoke, app, [*map(str, arguments)])

    run.log, run.view = log, view
    yield run
    await server.stop()
