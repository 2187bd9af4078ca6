"""Subscribe over gRPC: writes the messages of subscriptions, and ends each one with a reason."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING

from google.rpc import status_pb2
from prometheus_client import Counter, Gauge, Histogram

from cairn.v1 import recommender_pb2
from services.common.auth.tenant import Tenant
from services.common.rpc.call_context import current_tenant
from services.common.rpc.statuses import abort, aborted, invalid_argument, resource_exhausted
from services.common.telemetry.traces import NO_TRACES, Traces
from services.recommender.application.ports.learners import StateUnavailableError
from services.recommender.application.subscriptions.subscribe import ListUpdate, Subscribe
from services.recommender.application.subscriptions.subscriptions import (
    CapReachedError,
    SubscriptionEndedError,
    Subscriptions,
)
from services.recommender.entrypoints.unavailable import state_unavailable
from services.recommender.wire.calls import RequestInvalidError
from services.recommender.wire.subscribe import CursorCodec, subscribe_query, subscribe_response

if TYPE_CHECKING:
    from services.common.rpc.call_context import Context

_RETRY_AFTER_S = 5.0
# How long a call is kept for a status that its reader does not read.
_STATUS_WAITS_S = 60.0
_FASTEST_S = 0.001

STREAMS = Gauge("cairn_server_subscriptions", "Open subscriptions.")
WATCHED = Gauge("cairn_server_subscribed_learners", "Learners watched; one on two subscriptions counts twice.")
DIRTY = Gauge("cairn_server_subscribed_learners_dirty", "Watched learners whose list may have changed.")
UPDATES = Counter("cairn_server_subscription_updates", "Lists sent on subscriptions.")
UPDATE_SECONDS = Histogram(
    "cairn_server_subscription_update_seconds",
    "Time from the notification of a change to the list written.",
    buckets=[_FASTEST_S * 2**power for power in range(16)],
)
ENDED = Counter("cairn_server_subscriptions_ended", "Subscriptions that ended, by reason.", ["reason"])


class ReaderTooSlowError(TimeoutError):
    """A reader does not read what is written to it."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(
            f"the reader read nothing for {timeout_s:g} s; read updates as they come and process them elsewhere, "
            "then subscribe again with the cursors of the last ones"
        )


class SubscriptionStreams:
    """Answers Subscribe calls."""

    def __init__(
        self,
        subscribe: Subscribe,
        subscriptions: Subscriptions,
        *,
        write_timeout_s: float = 10.0,
        traces: Traces = NO_TRACES,
    ) -> None:
        """Args: `write_timeout_s`, how long a write may wait for the reader; `traces` gets a span for each list."""
        self._traces = traces
        self._subscribe = subscribe
        self._subscriptions = subscriptions
        self._write_timeout_s = write_timeout_s
        STREAMS.set_function(subscriptions.__len__)
        WATCHED.set_function(lambda: subscriptions.learners)
        DIRTY.set_function(lambda: subscriptions.dirty)

    async def __call__(self, request: recommender_pb2.SubscribeRequest, context: Context) -> None:
        """Write until the reader leaves or the stream is ended."""
        reason = "failed"
        try:
            status, reason = await self._run(request, context, current_tenant())
        except asyncio.CancelledError:
            reason = "left"
            raise
        finally:
            ENDED.labels(reason).inc()
        try:
            async with asyncio.timeout(_STATUS_WAITS_S):
                await abort(context, status)
        except TimeoutError:
            # The status is queued behind what the reader has not read; the subscription itself is released.
            return

    async def _run(
        self, request: recommender_pb2.SubscribeRequest, context: Context, tenant: Tenant
    ) -> tuple[status_pb2.Status, str]:
        """Write until the stream must end; return the status and the reason."""
        try:
            await self._write_all(request, context, tenant)
        except RequestInvalidError as error:
            return invalid_argument(error.violations), "invalid"
        except CapReachedError as error:
            cap = f"SUBSCRIBE_{error.cap.name}"
            return resource_exhausted(str(error), reason=cap, retry_after_s=_RETRY_AFTER_S), "capped"
        except ReaderTooSlowError as error:
            return resource_exhausted(str(error), reason="READER_TOO_SLOW", retry_after_s=_RETRY_AFTER_S), "slow_reader"
        except SubscriptionEndedError as error:
            return aborted(str(error), reason=error.reason.name), error.reason.value
        except StateUnavailableError as error:
            return state_unavailable(error), "unavailable"
        raise AssertionError("a subscription ended without a reason")

    async def _write_all(self, request: recommender_pb2.SubscribeRequest, context: Context, tenant: Tenant) -> None:
        query, names = subscribe_query(request, tenant)
        cursors = CursorCodec(tenant, query)
        with self._subscriptions.opened(tenant.name, query) as subscription:
            async with aclosing(self._subscribe.messages(subscription)) as messages:
                async for message in messages:
                    await self._write(context, subscribe_response(message, names, cursors))
                    if isinstance(message, ListUpdate):
                        UPDATES.inc()
                        self._observe(message)

    def _observe(self, update: ListUpdate) -> None:
        waited_s = time.monotonic() - update.since_s
        UPDATE_SECONDS.observe(waited_s)
        if self._traces.on and update.traceparent:
            began_ns = time.time_ns() - round(waited_s * 1e9)
            attributes = {"cairn.recommendations": len(update.answer.resources), "cairn.offset": update.cursor.offset}
            self._traces.record("subscription update", update.traceparent, began_ns=began_ns, attributes=attributes)

    async def _write(self, context: Context, response: recommender_pb2.SubscribeResponse) -> None:
        try:
            async with asyncio.timeout(self._write_timeout_s):
                await context.write(response)
        except TimeoutError as error:
            raise ReaderTooSlowError(self._write_timeout_s) from error
