"""A subscription that survives reconnects."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import grpc

from cairn.v1 import recommender_pb2, recommender_pb2_grpc

# After these, the same request can succeed. Any other status needs the caller to change something.
_RETRYABLE = frozenset(
    (
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
    )
)

# Pass these to the channel: its keepalive notices within 10 s a server that vanished without closing the connection.
CHANNEL_OPTIONS = (
    ("grpc.keepalive_time_ms", 6_000),
    ("grpc.keepalive_timeout_ms", 4_000),
    ("grpc.http2.max_pings_without_data", 0),
)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before connecting again.

    Attributes:
        first_s: the first pause in seconds; it doubles while connecting fails.
        longest_s: the longest pause in seconds.
        sleep: waits a number of seconds.
        jitter: a number from 0 to 1 that spreads the pauses, so that clients that lose a server together do not
            return together. A pause lasts between half and all of its nominal length.
    """

    first_s: float = 0.2
    longest_s: float = 30.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = random.random


class LearnerUpdates:
    """Keeps learners' lists up to date until the iteration is left.

    Connects again whenever the server ends the stream or cannot be reached. It resumes from the cursors it holds, so no
    update is missed, and a list that did not change is not sent again::

        async with grpc.aio.secure_channel(target, credentials, options=CHANNEL_OPTIONS) as channel:
            stub = recommender_pb2_grpc.RecommendationServiceStub(channel)
            request = recommender_pb2.SubscribeRequest(learner_ids=["amy", "ben"])
            updates = LearnerUpdates(stub, request, [("authorization", f"Bearer {api_key}")])
            async for update in updates:
                show(update.learner_id, update.recommendations)

    An update counts as processed when the next one is requested: if something fails in between, it comes again. Store
    `cursors` (they are small) to resume after your own process restarts.
    """

    def __init__(
        self,
        stub: recommender_pb2_grpc.RecommendationServiceAsyncStub,
        request: recommender_pb2.SubscribeRequest,
        metadata: Sequence[tuple[str, str | bytes]] = (),
        *,
        cursors: Mapping[str, str] | None = None,
        on_snapshot: Callable[[int], None] | None = None,
        on_gone: Callable[[str], None] | None = None,
        on_unreadable: Callable[[str, str], None] | None = None,
        on_pause: Callable[[str, float], None] | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        """Connect when the iteration starts, not before.

        Args:
            stub: of a `grpc.aio` channel.
            request: what to subscribe to; cursors in it are ignored.
            metadata: sent with every call; holds the API key.
            cursors: `cursors` of an earlier subscription with the same limit, filter and class.
            on_snapshot: called after each connect, once every learner's list is up to date, with how many are watched.
            on_gone: called with the pseudonym of a learner who was erased; only when the whole tenant is watched.
            on_unreadable: called with a learner's id and the problem when what the server stores about the learner is
                damaged; an update follows once it is repaired.
            on_pause: called with the reason the stream ended and the seconds until the next attempt.
            backoff: how long to wait between attempts.
        """
        self._stub = stub
        self._request = request
        self._metadata = tuple(metadata)
        self._cursors = dict(cursors or {})
        self._on_snapshot = on_snapshot
        self._on_gone = on_gone
        self._on_unreadable = on_unreadable
        self._on_pause = on_pause
        self._backoff = backoff or Backoff()

    @property
    def cursors(self) -> dict[str, str]:
        """How far each learner's updates are processed: cursors by learner id."""
        return dict(self._cursors)

    async def __aiter__(self) -> AsyncGenerator[recommender_pb2.LearnerUpdate, None]:
        """Yield updates until the iteration is left.

        Raises:
            grpc.aio.AioRpcError: when another attempt cannot help: the server refuses the request or the API key.
        """
        backoff = self._backoff
        pause_s = backoff.first_s
        while True:
            call = self._stub.Subscribe(self._resume_request(), metadata=self._metadata)
            reason = "the stream ended"
            try:
                async for response in call:
                    pause_s = backoff.first_s
                    if response.HasField("update"):
                        yield response.update
                        self._cursors[response.update.learner_id] = response.update.cursor
                    else:
                        self._notice(response)
            except grpc.aio.AioRpcError as error:
                if error.code() not in _RETRYABLE:
                    raise
                reason = f"{error.code().name}: {error.details()}"
            finally:
                call.cancel()
            # Never less than half the pause, so that a server that keeps refusing gets some rest.
            wait_s = pause_s * (0.5 + 0.5 * backoff.jitter())
            if self._on_pause is not None:
                self._on_pause(reason, wait_s)
            await backoff.sleep(wait_s)
            pause_s = min(2 * pause_s, backoff.longest_s)

    def _notice(self, response: recommender_pb2.SubscribeResponse) -> None:
        """Handle a message that is not an update; one of a later release is ignored."""
        if response.HasField("gone"):
            self._cursors.pop(response.gone.learner_id, None)
            if self._on_gone is not None:
                self._on_gone(response.gone.learner_id)
        elif response.HasField("unreadable"):
            self._cursors.pop(response.unreadable.learner_id, None)
            if self._on_unreadable is not None:
                self._on_unreadable(response.unreadable.learner_id, response.unreadable.problem.message)
        elif response.HasField("snapshot_complete") and self._on_snapshot is not None:
            self._on_snapshot(response.snapshot_complete.learners)

    def _resume_request(self) -> recommender_pb2.SubscribeRequest:
        request = recommender_pb2.SubscribeRequest()
        request.CopyFrom(self._request)
        del request.cursors[:]
        for learner_id, cursor in self._cursors.items():
            request.cursors.add(learner_id=learner_id, cursor=cursor)
        return request
