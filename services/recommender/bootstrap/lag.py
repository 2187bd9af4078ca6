"""Wires the lag exporter."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

from services.common.process import announce, run_until_stopped
from services.common.telemetry.certificates import report_expiry
from services.common.telemetry.http import serve_http
from services.recommender.adapters.kafka.log import KafkaLog
from services.recommender.application.operations.lag import ReadLag
from services.recommender.bootstrap.stores import state_store
from services.recommender.entrypoints.lag_exporter import LagExporter
from services.recommender.entrypoints.store_exporter import StoreExporter
from services.recommender.settings import LagSettings


async def run_lag_exporter(settings: LagSettings) -> None:
    """Export the lag until stopped.

    Raises:
        StateUrlInvalidError: when CAIRN_REDIS is not the URL of a state store.
        OSError: when the port is taken.
    """
    async with aclosing(state_store(settings.redis_url, settings.redis_timeout_s)) as store:
        read = ReadLag(KafkaLog(settings.connection), store.epochs, time.monotonic)
        exporter = LagExporter(read)
        of_store = StoreExporter(store.figures)

        async def keep_fresh() -> None:
            while True:
                await exporter.refresh()
                await of_store.refresh()
                await asyncio.sleep(settings.lag_every_s)

        report_expiry("CAIRN_KAFKA_CERTIFICATE", settings.kafka_certificate)
        server = serve_http("lag", settings.metrics_port, settings.metrics_host, lambda: exporter.ready)
        announce("lag", f"{settings.metrics_host}:{server.server_port}", settings.address_file)
        await run_until_stopped([keep_fresh()])
