"""The baseline for the worker: a Faust agent that does nothing with each event of the log.

Run as a process: `python -m tests.benchmarks.noop_agent BOOTSTRAP TOPIC EVENTS` prints one JSON line with the seconds
from the first event handled to the last.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
import uuid

import faust

_SAMPLE_EVERY_S = 0.01


def main() -> None:
    bootstrap, topic_name, events = sys.argv[1], sys.argv[2], int(sys.argv[3])
    app = faust.App(
        f"noop-{uuid.uuid4().hex[:8]}",
        broker=f"kafka://{bootstrap}",
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=6,
        broker_heartbeat_interval=2,
        value_serializer="raw",
        key_serializer="raw",
    )
    topic = app.topic(topic_name, value_serializer="raw", key_serializer="raw")

    @app.agent(topic)
    async def noop(stream):
        async for _event in stream:
            pass

    @app.task
    async def watch():
        # Sample the monitor's count, so that the agent's body stays empty.
        while app.monitor.events_total == 0:  # noqa: ASYNC110 - the monitor is a counter, not an event.
            await asyncio.sleep(_SAMPLE_EVERY_S)
        began, at_start = time.perf_counter(), app.monitor.events_total
        while app.monitor.events_total < events:  # noqa: ASYNC110 - as above.
            await asyncio.sleep(_SAMPLE_EVERY_S)
        seconds = time.perf_counter() - began
        result = {"events": app.monitor.events_total - at_start, "seconds": seconds}
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()
        # Leaving the group cleanly would take seconds that are not part of the measurement.
        os._exit(0)

    logging.basicConfig(level=logging.WARNING)
    faust.Worker(app, loglevel="WARN", redirect_stdouts=False, quiet=True).execute_from_commandline()


if __name__ == "__main__":
    main()
