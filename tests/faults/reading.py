"""A platform that reads, and the answers it gets."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc

from cairn.v1 import recommender_pb2, recommender_pb2_grpc
from deploy.local.serving import channel_to

_CALL_TIMEOUT_S = 3.0


class Reader:
    """Requests learners continuously on its own thread.

    Attributes:
        answers: number of calls by gRPC status.
        fewest: the lowest number of responses in an OK answer since `expect`, by learner.
        degraded: number of answers with each degradation.
        latencies_ms: of OK answers to `Recommend`.
    """

    def __init__(
        self,
        target: str,
        api_key: str,
        learners: Sequence[str],
        *,
        pause_s: float = 0.05,
        authority: Path | None = None,
    ) -> None:
        self._channel: Any = channel_to(target, authority, max_reconnect_backoff_ms=500)
        self._stub: Any = recommender_pb2_grpc.RecommendationServiceStub(self._channel)
        self._metadata = (("authorization", f"Bearer {api_key}"),)
        self._learners = learners
        self._pause_s = pause_s
        self.answers: Counter[str] = Counter()
        self.degraded: Counter[str] = Counter()
        self.fewest: dict[str, int] = {}
        self.latencies_ms: list[float] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Stop requesting. Safe to call again."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._channel.close()

    def forget(self) -> None:
        """Start counting."""
        self.answers, self.degraded, self.fewest, self.latencies_ms = Counter(), Counter(), {}, []

    def responses(self, learner: str) -> int:
        """The number of responses in the learner's state now."""
        request = recommender_pb2.GetLearnerRequest(learner_id=learner)
        return self._stub.GetLearner(request, timeout=_CALL_TIMEOUT_S, metadata=self._metadata).responses

    def _run(self) -> None:
        number = 0
        while not self._stopping.is_set():
            learner = self._learners[number % len(self._learners)]
            number += 1
            try:
                view = self._stub.GetLearner(
                    recommender_pb2.GetLearnerRequest(learner_id=learner),
                    timeout=_CALL_TIMEOUT_S,
                    metadata=self._metadata,
                )
                self.fewest[learner] = min(view.responses, self.fewest.get(learner, view.responses))
                begun_s = time.perf_counter()
                reply = self._stub.Recommend(
                    recommender_pb2.RecommendRequest(learner_id=learner, limit=5),
                    timeout=_CALL_TIMEOUT_S,
                    metadata=self._metadata,
                )
            except grpc.RpcError as error:
                self.answers[error.code().name] += 1
            else:
                self.latencies_ms.append((time.perf_counter() - begun_s) * 1000)
                self.answers["OK"] += 1
                self.degraded.update(recommender_pb2.Degradation.Name(each) for each in reply.degraded)
            self._stopping.wait(self._pause_s)
