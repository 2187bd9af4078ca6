"""Keeps the dead-letter agent running alongside the fold, and isolates the fold from its failures."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial

import structlog

from services.recommender.entrypoints.dead_letter_metrics import DeadLetterMetrics, TooManyLettersError

_log = structlog.get_logger(__name__)

_PAUSE_FIRST_S = 1.0
_PAUSE_LAST_S = 60.0
# An agent that ran for this long failed for a new reason, so the backoff starts over.
_SETTLED_S = 300.0
_STOP_TIMEOUT_S = 5.0


class DeadLetterWatch:
    """Runs the agent in a thread with its own event loop, and restarts it after a failure.

    It uses a thread because asyncio lets a SystemExit (Faust raises one) escape from the loop and end the process, and
    because closing the loop ends every task that a crashed Faust app leaves behind.
    """

    def __init__(
        self,
        run_agent: Callable[[], Awaitable[None]],
        metrics: DeadLetterMetrics,
        *,
        pause_first_s: float = _PAUSE_FIRST_S,
        stop_timeout_s: float = _STOP_TIMEOUT_S,
    ) -> None:
        """Create the watch; nothing runs yet.

        Args:
            run_agent: counts dead letters into the metrics until cancelled, and raises when it fails.
            metrics: counts failures.
            pause_first_s: how long to wait after the first failure; each further one doubles it, up to a minute.
            stop_timeout_s: how long to wait for the agent to stop.
        """
        self._run_agent = run_agent
        self._metrics = metrics
        self._pause_first_s = pause_first_s
        self._stop_timeout_s = stop_timeout_s
        self._stopping = threading.Event()
        self._cancel: Callable[[], object] = lambda: None

    async def run(self) -> None:
        """Keep the agent running until cancelled. Its failures are logged and counted, never raised."""
        # The copied context carries the fields that every log line has.
        thread = threading.Thread(
            target=copy_context().run, args=(self._keep_running,), name="dead-letters", daemon=True
        )
        thread.start()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._stopping.set()
            # The agent's loop is closed while the thread waits for the next attempt.
            with suppress(RuntimeError):
                self._cancel()
            await asyncio.shield(asyncio.to_thread(thread.join, self._stop_timeout_s))
            if thread.is_alive():
                _log.warning("the dead-letter agent does not stop; leaving it", after_s=self._stop_timeout_s)

    def _keep_running(self) -> None:
        pause_s = self._pause_first_s
        while not self._stopping.is_set():
            began_s = time.monotonic()
            error = self._run_once()
            if self._stopping.is_set():
                break
            self._metrics.failed()
            if isinstance(error, TooManyLettersError):
                _log.error("the dead-letter agent stays down; events are still folded", reason=str(error))
                break
            if time.monotonic() - began_s > _SETTLED_S:
                pause_s = self._pause_first_s
            # An unavailable Kafka is no bug of this program, so it needs no traceback.
            trace = None if isinstance(error, ConnectionError | LookupError) else error
            _log.error(
                "the dead-letter agent failed; events are still folded",
                reason=repr(error),
                again_in_s=pause_s,
                exc_info=trace,
            )
            self._stopping.wait(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_LAST_S)
        self._metrics.stopped()

    def _run_once(self) -> BaseException:
        """Run the agent until it ends, and return the reason."""
        try:
            asyncio.run(self._cancellable())
        except (Exception, SystemExit, asyncio.CancelledError) as error:  # noqa: BLE001 - must not reach the fold.
            return error
        return RuntimeError("the agent ended on its own")

    async def _cancellable(self) -> None:
        running, loop = asyncio.ensure_future(self._run_agent()), asyncio.get_running_loop()
        self._cancel = partial(loop.call_soon_threadsafe, running.cancel)
        if self._stopping.is_set():
            running.cancel()
        await running
