"""For platforms: a subscription that stays open over reconnects. Needs grpcio and the generated code of `cairn.v1`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

import grpc

from cairn.v1 import recommender_pb2, recommender_pb2_grpc

# With these the same subscription, asked for again, can succeed; any other is the caller's to solve.
_PASSING = frozenset(
    (
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
    )
)

# For the channel: a server that vanished without a word is noticed.
CHANNEL_OPTIONS = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
)


class LearnerUpdates:
    """Lists of learners, kept up to date, for as long as one wants to know.

    Connects again whenever the server ends the stream or cannot be reached, and resumes from the cursors it has, so
    that nothing is missed and nothing unchanged is sent twice::

        async with grpc.aio.secure_channel(target, credentials, options=CHANNEL_OPTIONS) as channel:
            stub = recommender_pb2_grpc.RecommendationServiceStub(channel)
            request = recommender_pb2.SubscribeRequest(learner_ids=["amy", "ben"])
            updates = LearnerUpdates(stub, request, [("authorization", f"Bearer {api_key}")])
            async for update in updates:
                show(update.learner_id, update.recommendations)

    An update counts as had when the next one is asked for: one that was being worked on when something failed comes
    again. Keep `cursors` (they are small) to resume after the platform's own restart.
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
        on_pause: Callable[[str, float], None] | None = None,
        first_pause_s: float = 0.2,
        longest_pause_s: float = 30.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Nothing is asked for before the iteration begins.

        Args:
            stub: of a `grpc.aio` channel.
            request: what to subscribe to; its own cursors are not looked at.
            metadata: sent with every call: the API key.
            cursors: `cursors` of an earlier subscription with the same limit, filter and class.
            on_snapshot: called with the number of watched learners whenever all are up to date after connecting.
            on_gone: called with the pseudonym of a learner who was forgotten, where the whole tenant is watched.
            on_pause: called with why the stream ended and the seconds until it is tried again.
            first_pause_s: about how long to wait before connecting again; doubles as long as it fails.
            longest_pause_s: at most this long.
            sleep: waits.
            jitter: from 0 to 1; readers that lost a server at once do not come back at once.
        """
        self._stub = stub
        self._request = request
        self._metadata = tuple(metadata)
        self._cursors = dict(cursors or {})
        self._on_snapshot = on_snapshot
        self._on_gone = on_gone
        self._on_pause = on_pause
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self._sleep = sleep
        self._jitter = jitter

    @property
    def cursors(self) -> dict[str, str]:
        """What has been had so far: cursors by learner id."""
        return dict(self._cursors)

    async def __aiter__(self) -> AsyncGenerator[recommender_pb2.LearnerUpdate, None]:
        """Updates, until the iteration is left.

        Raises:
            grpc.aio.AioRpcError: when trying again cannot help: the request or the API key is refused.
        """
        pause_s = self._first_pause_s
        while True:
            call = self._stub.Subscribe(self._resuming(), metadata=self._metadata)
            ended = "the stream ended"
            try:
                async for response in call:
                    pause_s = self._first_pause_s
                    if response.HasField("update"):
                        yield response.update
                        self._cursors[response.update.learner_id] = response.update.cursor
                    elif response.HasField("gone"):
                        self._cursors.pop(response.gone.learner_id, None)
                        if self._on_gone is not None:
                            self._on_gone(response.gone.learner_id)
                    elif response.HasField("snapshot_complete") and self._on_snapshot is not None:
                        self._on_snapshot(response.snapshot_complete.learners)
            except grpc.aio.AioRpcError as error:
                if error.code() not in _PASSING:
                    raise
                ended = f"{error.code().name}: {error.details()}"
            finally:
                call.cancel()
            # At least half of it, so that a server that keeps refusing is left in peace.
            pausing_s = pause_s * (0.5 + 0.5 * self._jitter())
            if self._on_pause is not None:
                self._on_pause(ended, pausing_s)
            await self._sleep(pausing_s)
            pause_s = min(2 * pause_s, self._longest_pause_s)

    def _resuming(self) -> recommender_pb2.SubscribeRequest:
        request = recommender_pb2.SubscribeRequest()
        request.CopyFrom(self._request)
        del request.cursors[:]
        for learner_id, cursor in self._cursors.items():
            request.cursors.add(learner_id=learner_id, cursor=cursor)
        return request
