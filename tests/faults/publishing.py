"""A platform that sends events through ingest and records the acknowledged ones."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from cairn.v1 import ingest_pb2, ingest_pb2_grpc
from deploy.local.serving import channel_to
from services.common.kafka.envelope import Position

SOURCE = "faults"
_TAKEN = (ingest_pb2.EVENT_STATUS_ACCEPTED, ingest_pb2.EVENT_STATUS_DUPLICATE)
_CALL_TIMEOUT_S = 15.0
_RETRY_PAUSE_S = 0.25
_START_S = 1_788_000_000


def submissions(count: int, *, seed: int, learners: int = 200) -> Iterator[ingest_pb2.EventSubmission]:
    """Responses of learners to items in chronological order; the same seed gives the same events."""
    random = np.random.default_rng(seed)
    who, what = random.integers(0, learners, count), random.integers(0, 300, count)
    correct = random.random(count) < 0.6
    for number in range(count):
        item = int(what[number])
        entry = ingest_pb2.EventSubmission(
            event_id=f"{seed}-{number}",
            learner_id=f"learner-{who[number]}",
            source=SOURCE,
            assessment=ingest_pb2.AssessmentSubmission(
                item=f"item-{item}", skills=[f"skill-{item % 17}"], correct=bool(correct[number])
            ),
        )
        entry.occurred_at.FromSeconds(_START_S + number)
        yield entry


class Platform:
    """Sends requests one by one and repeats each until it is acknowledged.

    Attributes:
        acknowledged: position of each acknowledged event by its id; the first position if it was sent again.
        sent: ids of all events that were sent at least once.
        answers: number of calls by gRPC status.
        resent: events of repeated requests, which may be in the log more than once.
    """

    def __init__(self, target: str, api_key: str, authority: Path | None = None) -> None:
        """Args: `target` of ingest; `api_key` of the tenant; `authority` that signed ingest's certificate, if any."""
        self._channel: Any = channel_to(
            target,
            authority,
            initial_reconnect_backoff_ms=100,
            max_reconnect_backoff_ms=500,
            max_send_message_length=64 << 20,
        )
        self._stub: Any = ingest_pb2_grpc.IngestServiceStub(self._channel)
        self._metadata = (("authorization", f"Bearer {api_key}"),)
        self._lock = threading.Lock()
        self.acknowledged: dict[str, Position] = {}
        self.sent: set[str] = set()
        self.answers: Counter[str] = Counter()
        self.resent = 0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def close(self) -> None:
        """Stop sending."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self._channel.close()

    @property
    def done(self) -> bool:
        """Whether everything started in the background is acknowledged."""
        if self._failure is not None:
            raise self._failure
        return self._thread is None or not self._thread.is_alive()

    def begin(self, events: Iterable[ingest_pb2.EventSubmission], *, per_s: float, per_request: int = 50) -> None:
        """Send events in the background at a given rate; `done` is true once all are acknowledged."""
        self._thread = threading.Thread(target=self._send_all, args=(events, per_s, per_request), daemon=True)
        self._thread.start()

    def send(self, events: Sequence[ingest_pb2.EventSubmission], *, per_request: int = 500) -> None:
        """Send events and return once all are acknowledged."""
        remaining = iter(events)
        while request := list(islice(remaining, per_request)):
            self._send_until_acknowledged(request)

    def send_again(self, events: Sequence[ingest_pb2.EventSubmission]) -> None:
        """Send events that the log lost; from now on their new positions count."""
        for event in events:
            self.acknowledged.pop(event.event_id, None)
        self.resent += len(events)
        self.send(events)

    def note(self, reply: ingest_pb2.PublishEventsResponse) -> None:
        """Record what was acknowledged."""
        with self._lock:
            for result in reply.results:
                # An event that was sent again may be a duplicate; it has a position of its own.
                assert result.status in _TAKEN, result
                self.acknowledged.setdefault(
                    result.event_id, Position(result.position.partition, result.position.offset)
                )

    def _send_all(self, events: Iterable[ingest_pb2.EventSubmission], per_s: float, per_request: int) -> None:
        try:
            begun_s, remaining, sent = time.monotonic(), iter(events), 0
            while (request := list(islice(remaining, per_request))) and not self._stopping.is_set():
                self._send_until_acknowledged(request)
                sent += len(request)
                self._stopping.wait(max(0.0, begun_s + sent / per_s - time.monotonic()))
        except BaseException as error:  # noqa: BLE001 - handed to whoever asks for `done`.
            self._failure = error

    def _send_until_acknowledged(self, events: Sequence[ingest_pb2.EventSubmission]) -> None:
        request = ingest_pb2.PublishEventsRequest(events=events)
        with self._lock:
            self.sent.update(event.event_id for event in events)
        while not self._stopping.is_set():
            try:
                reply = self._stub.PublishEvents(request, timeout=_CALL_TIMEOUT_S, metadata=self._metadata)
            except grpc.RpcError as error:
                self.answers[error.code().name] += 1
                self.resent += len(events)
                self._stopping.wait(_RETRY_PAUSE_S)
                continue
            self.answers["OK"] += 1
            self.note(reply)
            return
