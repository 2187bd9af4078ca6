"""Rows per second of a CSV that `cairn ingest load` brings into the log, against the same events over gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import os
import signal
import time
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import numpy as np
import orjson
import psutil

from cairn.client import CHANNEL_OPTIONS
from cairn.v1 import events_pb2, ingest_pb2, ingest_pb2_grpc
from deploy.local.stack import SERVICES, Component, Stack, StackOptions
from deploy.processes import Child, Command
from tests.benchmarks.synthetic import START
from tests.benchmarks.throughput import CAIRN

ROWS = 1_000_000
RATIO_MIN = 0.8
RSS_MB_MAX = 500
# As many as the load has in flight, each with as many events.
_STREAMS = 4
_BATCH = 500
_ROWS_PER_LEARNER = 50
_ITEMS = 2_000
_SKILLS = 50
_POINTS = 4
_CALL_TIMEOUT_S = 30.0
# Requests of each stream that are built before a turn: more than it can send.
_BUILT = 50
# The two take turns, so that other work on the machine slows down both. Shorter than calls may take.
_TURN_S = 5.0
# What is slower than this on average is given up.
_START_S, _ROWS_PER_S_MIN = 60.0, 1_000
_LOOK_EVERY_S = 0.1
# Ingest is idle once it took less than this share of a processor at each of this number of looks in a row.
_IDLE_CPU, _IDLE_LOOKS = 0.25, 2
_SUMMARY = "summary.json"

MAPPING = f"""\
columns:
  learner_id: Student
  event_id: Response
  item: Question
  activity: Quiz
  skills: Standard
  score: Points
  attempt: Attempt
  occurred_at: Submitted
constants:
  source: gradebook
score_max: {_POINTS}
"""


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """A load, and the same events over gRPC, in turns and through the same ingest.

    Attributes:
        rows: of the file.
        rows_per_s: of the whole command, from its start to its end, in its turns.
        grpc_events: published in the other turns.
        grpc_events_per_s: of PublishEvents with requests that are built before.
        ratio_to_grpc: of `rows_per_s` to `grpc_events_per_s`.
        cpu_us_per_row: CPU time of the load.
        ingest_cpu_us_per_row: CPU time of ingest meanwhile.
        rss_mb: the most memory of the load with its child processes.
        ingest_rss_mb: the most memory of ingest.
    """

    rows: int
    rows_per_s: float
    grpc_events: int
    grpc_events_per_s: float
    ratio_to_grpc: float
    cpu_us_per_row: float
    ingest_cpu_us_per_row: float
    rss_mb: float
    ingest_rss_mb: float

    @property
    def reached(self) -> bool:
        """Whether the load is fast enough, and it and ingest are small enough."""
        return self.ratio_to_grpc >= RATIO_MIN and max(self.rss_mb, self.ingest_rss_mb) < RSS_MB_MAX

    def verdict(self) -> str:
        """What was to be reached, in one line."""
        return (
            f"load: {'pass' if self.reached else 'FAIL'}: {self.rows:,} rows at {self.ratio_to_grpc:.3f} of the rate "
            f"of gRPC (at least {RATIO_MIN:g}), load {self.rss_mb:.0f} MB and ingest {self.ingest_rss_mb:.0f} MB "
            f"(less than {RSS_MB_MAX} MB)"
        )


@dataclass(frozen=True, slots=True)
class Response:
    """A learner's points for a question.

    Attributes:
        learner: their id.
        number: of the response.
        item: the number of the question.
        points: what they got.
    """

    learner: str
    number: int
    item: int
    points: int

    def row(self) -> dict[str, object]:
        """As a row of the file."""
        return {
            "Student": self.learner,
            "Response": self._event_id,
            "Question": self._question,
            "Quiz": self._quiz,
            "Standard": self._skill,
            "Points": self.points,
            "Attempt": 1,
            "Submitted": self._at.isoformat(),
        }

    def event(self) -> ingest_pb2.EventSubmission:
        """As the event of that row."""
        event = ingest_pb2.EventSubmission(
            event_id=self._event_id,
            learner_id=self.learner,
            source="gradebook",
            assessment=ingest_pb2.AssessmentSubmission(
                item=self._question,
                activity=self._quiz,
                skills=[self._skill],
                score=events_pb2.Score(raw=self.points, min=0, max=_POINTS),
                attempt=1,
            ),
        )
        event.occurred_at.FromDatetime(self._at)
        return event

    def json(self) -> dict[str, object]:
        """As that event in JSON."""
        return {
            "event_id": self._event_id,
            "learner_id": self.learner,
            "source": "gradebook",
            "item": self._question,
            "activity": self._quiz,
            "skills": [self._skill],
            "score": {"raw": self.points, "min": 0, "max": _POINTS},
            "attempt": 1,
            "occurred_at": self._at.isoformat(),
        }

    @property
    def _event_id(self) -> str:
        return f"00000000-0000-5000-8000-{self.number:012d}"

    @property
    def _question(self) -> str:
        return f"{self._quiz}/q{self.item % 10}"

    @property
    def _quiz(self) -> str:
        return f"unit-{self.item // 40:02d}/quiz-{self.item // 10:03d}"

    @property
    def _skill(self) -> str:
        skill = self.item % _SKILLS
        return f"CCSS.Math.{3 + skill % 6}.NBT.{skill}"

    @property
    def _at(self) -> datetime:
        return START.astimezone(UTC) + timedelta(seconds=self.number)


def responses(rows: int, learners: str) -> Iterator[Response]:
    """Responses in the order of time, learners interleaved; `learners` begins their ids, so that they are others."""
    random = np.random.default_rng(1)
    who = random.integers(0, max(1, rows // _ROWS_PER_LEARNER), rows).tolist()
    what = random.integers(0, _ITEMS, rows).tolist()
    points = random.integers(0, _POINTS + 1, rows).tolist()
    for number in range(rows):
        yield Response(f"{learners}-{who[number]:05d}", number, what[number], points[number])


def write_files(rows: int, directory: Path) -> tuple[Path, Path]:
    """Write a CSV with its mapping; their paths."""
    directory = directory.resolve()
    file, mapping = directory / "responses.csv", directory / "mapping.yaml"
    mapping.write_text(MAPPING, encoding="utf-8")
    with file.open("w", encoding="utf-8", newline="") as text:
        writer: csv.DictWriter[str] | None = None
        for response in responses(rows, "file"):
            row = response.row()
            if writer is None:
                writer = csv.DictWriter(text, list(row))
                writer.writeheader()
            writer.writerow(row)
    return file, mapping


def measure_load(directory: Path, rows: int) -> LoadFigures:
    """Start only a broker, Redis and ingest, and bring events in on both ways."""
    services = [service for service in SERVICES if service.name == "ingest"]
    started: list[Component] = []
    with Stack(StackOptions(directory, services=services), started.append) as stack:
        (pid,) = (component.pid for component in started if component.name == "ingest")
        return asyncio.run(_measure(stack, _Process(pid), rows))


async def _measure(stack: Stack, ingest: _Process, rows: int) -> LoadFigures:
    file, mapping = write_files(rows, stack.directory)
    async with (
        asyncio.timeout(_START_S + 2 * rows / _ROWS_PER_S_MIN),
        grpc.aio.insecure_channel(stack.environment["CAIRN_TARGET_INGEST"], options=CHANNEL_OPTIONS) as channel,
    ):
        publishing = _Publishing(channel, stack.api_key, (response.event() for response in responses(rows, "grpc")))
        load, load_s, ingest_cpu_s = await _in_turns(stack, ingest, file, mapping, publishing)
    if orjson.loads(file.with_name(_SUMMARY).read_bytes())["new"] != rows:
        raise AssertionError(f"not all of {rows} rows were new: see {stack.directory}")
    rate, grpc_rate = rows / load_s, publishing.accepted / publishing.seconds
    return LoadFigures(
        rows=rows,
        rows_per_s=rate,
        grpc_events=publishing.accepted,
        grpc_events_per_s=grpc_rate,
        ratio_to_grpc=rate / grpc_rate,
        cpu_us_per_row=load.cpu_s / rows * 1e6,
        ingest_cpu_us_per_row=ingest_cpu_s / rows * 1e6,
        rss_mb=load.rss_mb,
        ingest_rss_mb=ingest.rss_mb,
    )


async def _in_turns(
    stack: Stack, ingest: _Process, file: Path, mapping: Path, publishing: _Publishing
) -> tuple[_Process, float, float]:
    """Run the load, stopped while the others publish. Its process, its seconds, and ingest's of CPU time meanwhile."""
    arguments = ["ingest", "load", str(file), "--mapping", str(mapping), "--streams", str(_STREAMS)]
    arguments += ["--json", str(file.with_name(_SUMMARY))]
    load_s, ingest_cpu_s = 0.0, 0.0
    # It keeps its progress in its working directory.
    child = Child(Command("load", [*CAIRN, *arguments], stack.directory / "load.log", stack.environment, file.parent))
    try:
        load = _Process(child.pid)
        while child.running:
            ingest.look()
            began, cpu_before_s = time.perf_counter(), ingest.cpu_s
            os.killpg(child.pid, signal.SIGCONT)
            while child.running and time.perf_counter() - began < _TURN_S:
                load.look()
                ingest.look()
                await asyncio.sleep(_LOOK_EVERY_S)
            if child.running:
                os.killpg(child.pid, signal.SIGSTOP)
            # What it has in flight belongs to its turn.
            load_s += await ingest.idle_since() - began
            ingest_cpu_s += ingest.cpu_s - cpu_before_s
            await publishing.turn()
            ingest.look()
    finally:
        child.stop()
    if not file.with_name(_SUMMARY).exists():
        raise child.failure()
    return load, load_s, ingest_cpu_s


class _Publishing:
    """Publishes events as a load does, each learner's on one of the streams, in requests that are built before.

    Attributes:
        accepted: how many events were accepted as new.
        seconds: that this took.
    """

    def __init__(self, channel: grpc.aio.Channel, api_key: str, events: Iterator[ingest_pb2.EventSubmission]) -> None:
        self.accepted, self.seconds = 0, 0.0
        self._stub = ingest_pb2_grpc.IngestServiceStub(channel)
        self._metadata = (("authorization", f"Bearer {api_key}"),)
        self._events = events
        self._filling = [ingest_pb2.PublishEventsRequest() for _ in range(_STREAMS)]
        self._built: list[deque[ingest_pb2.PublishEventsRequest]] = [deque() for _ in range(_STREAMS)]

    async def turn(self) -> None:
        """Publish for a while, until every request is answered."""
        self._build()
        began = time.perf_counter()
        await asyncio.gather(*(self._send(built, began + _TURN_S) for built in self._built))
        self.seconds += time.perf_counter() - began

    def _build(self) -> None:
        while min(map(len, self._built)) < _BUILT and (event := next(self._events, None)) is not None:
            stream = zlib.crc32(event.learner_id.encode()) % _STREAMS
            filling = self._filling[stream]
            filling.events.append(event)
            if len(filling.events) == _BATCH:
                self._built[stream].append(filling)
                self._filling[stream] = ingest_pb2.PublishEventsRequest()

    async def _send(self, built: deque[ingest_pb2.PublishEventsRequest], until: float) -> None:
        while built and time.perf_counter() < until:
            reply = await self._stub.PublishEvents(built.popleft(), metadata=self._metadata, timeout=_CALL_TIMEOUT_S)
            if any(result.status != ingest_pb2.EVENT_STATUS_ACCEPTED for result in reply.results):
                raise AssertionError("an event was not accepted as new")
            self.accepted += len(reply.results)


class _Process:
    """A process with its children, as it was looked at.

    Attributes:
        cpu_s: its CPU time, at the last look.
        rss_mb: the most memory of all of them together, at any look.
    """

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.cpu_s = 0.0
        self.rss_mb = 0.0

    def look(self) -> None:
        # One of them may end meanwhile.
        with contextlib.suppress(psutil.NoSuchProcess):
            times = self._process.cpu_times()
            self.cpu_s = max(self.cpu_s, times.user + times.system)
            family = [self._process, *self._process.children(recursive=True)]
            self.rss_mb = max(self.rss_mb, sum(process.memory_info().rss for process in family) / 1e6)

    async def idle_since(self) -> float:
        """When it last had work, once it has none."""
        busy_at, looks = time.perf_counter(), 0
        while looks < _IDLE_LOOKS:
            before_s = self.cpu_s
            await asyncio.sleep(_LOOK_EVERY_S)
            self.look()
            looks += 1
            if self.cpu_s - before_s > _IDLE_CPU * _LOOK_EVERY_S:
                busy_at, looks = time.perf_counter(), 0
        return busy_at
