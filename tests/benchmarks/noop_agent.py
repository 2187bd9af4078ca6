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
from collections.abc import Callable

import faust

_SAMPLE_EVERY_S = 0.01


def main() -> None:
    bootstrap, topic_name, events = sys.argv[1], sys.argv[2], int(sys.argv[3])
    app = agent_app(bootstrap)

    @app.agent(raw_topic(app, topic_name))
    async def noop(stream):
        async for _event in stream:
            pass

    # Sample the monitor's count, so that the agent's body stays empty.
    run_and_report(app, events, lambda: app.monitor.events_total)


def agent_app(bootstrap: str) -> faust.App:
    """A Faust app that reads topics from the beginning, in a group of its own."""
    return faust.App(
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


def raw_topic(app: faust.App, name: str) -> faust.TopicT:
    """A topic of keys and values that Faust does not decode."""
    return app.topic(name, value_serializer="raw", key_serializer="raw")


def run_and_report(app: faust.App, events: int, handled: Callable[[], int]) -> None:
    """Run the app until it handled the events, print the result, and end the process."""

    @app.task
    async def watch():
        while handled() == 0:  # noqa: ASYNC110 - a counter, not an event.
            await asyncio.sleep(_SAMPLE_EVERY_S)
        began, at_start = time.perf_counter(), handled()
        while handled() < events:  # noqa: ASYNC110 - as above.
            await asyncio.sleep(_SAMPLE_EVERY_S)
        seconds = time.perf_counter() - began
        result = {"events": handled() - at_start, "seconds": seconds}
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()
        # Leaving the group cleanly would take seconds that are not part of the measurement.
        os._exit(0)

    logging.basicConfig(level=logging.WARNING)
    faust.Worker(app, loglevel="WARN", redirect_stdouts=False, quiet=True).execute_from_commandline()


if __name__ == "__main__":
    main()
