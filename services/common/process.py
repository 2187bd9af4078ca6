"""The life of a server process: reporting its address, and running until it is stopped."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import structlog

_log = structlog.get_logger(__name__)


def announce(service: str, address: str, address_file: Path | None) -> None:
    """Log where a server listens, and write the address to a file, if one is named, atomically."""
    _log.info("listening", server=service, address=address)
    if address_file is not None:
        temporary = address_file.with_name(address_file.name + ".new")
        temporary.write_text(address, encoding="utf-8")
        temporary.replace(address_file)


async def run_until_stopped(jobs: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run jobs until SIGTERM or SIGINT, or until one of them fails.

    Raises:
        Exception: the first exception of a job. When a job returns, the others are stopped as well.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    tasks = [asyncio.create_task(job) for job in jobs]
    waiting = asyncio.create_task(stopping.wait())
    try:
        done, _ = await asyncio.wait([*tasks, waiting], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (*tasks, waiting):
            task.cancel()
        await asyncio.gather(*tasks, waiting, return_exceptions=True)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
