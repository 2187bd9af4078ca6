"""Rows per second of a CSV that `cairn ingest load` brings into the log, against the same events over gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import time
import zlib
from collections.abc import Iterator, Sequence
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
# A path that is slower than this is given up.
_START_S, _ROWS_PER_S_MIN = 60.0, 1_000
_LOOK_EVERY_S = 0.1

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
    """A load, and the same events over gRPC: half of them before it and half after it, through the same ingest.

    Attributes:
        rows: of the file.
        rows_per_s: of the whole command, from its start to its end.
        grpc_events_per_s: of PublishEvents with requests that are built before.
        grpc_before_events_per_s: of the half before the load.
        grpc_after_events_per_s: of the half after it.
        ratio_to_grpc: of `rows_per_s` to `grpc_events_per_s`.
        cpu_us_per_row: CPU time of the load.
        ingest_cpu_us_per_row: CPU time of ingest meanwhile.
        rss_mb: the most memory of the load with its child processes.
        ingest_rss_mb: the most memory of ingest.
    """

    rows: int
    rows_per_s: float
    grpc_events_per_s: float
    grpc_before_events_per_s: float
    grpc_after_events_per_s: float
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
    events = (response.event() for response in responses(rows, "grpc"))
    watching = asyncio.create_task(ingest.watch())
    try:
        before_s = await _published(stack, events, rows // 2)
        cpu_before_s = ingest.cpu_s
        load_s, load = await _loaded(stack, file, mapping, rows)
        ingest_cpu_s = ingest.cpu_s - cpu_before_s
        after_s = await _published(stack, events, rows - rows // 2)
    finally:
        watching.cancel()
    rate, grpc_rate = rows / load_s, rows / (before_s + after_s)
    return LoadFigures(
        rows=rows,
        rows_per_s=rate,
        grpc_events_per_s=grpc_rate,
        grpc_before_events_per_s=rows // 2 / before_s,
        grpc_after_events_per_s=(rows - rows // 2) / after_s,
        ratio_to_grpc=rate / grpc_rate,
        cpu_us_per_row=load.cpu_s / rows * 1e6,
        ingest_cpu_us_per_row=ingest_cpu_s / rows * 1e6,
        rss_mb=load.rss_mb,
        ingest_rss_mb=ingest.rss_mb,
    )


async def _loaded(stack: Stack, file: Path, mapping: Path, rows: int) -> tuple[float, _Process]:
    """Seconds of the command that loads the file, and its process."""
    summary = file.with_name("summary.json")
    arguments = ["ingest", "load", str(file), "--mapping", str(mapping)]
    arguments += ["--streams", str(_STREAMS), "--json", str(summary)]
    log = stack.directory / "load.log"
    # It keeps its progress in its working directory.
    command = Command("load", [*CAIRN, *arguments], log, stack.environment, stack.directory)
    began = time.perf_counter()
    child = Child(command)
    try:
        process = _Process(child.pid)
        async with asyncio.timeout(_limit_s(rows)):
            while child.running:
                process.look()
                await asyncio.sleep(_LOOK_EVERY_S)
        load_s = time.perf_counter() - began
    finally:
        child.stop()
    if not summary.exists() or orjson.loads(summary.read_bytes())["new"] != rows:
        raise child.failure()
    return load_s, process


async def _published(stack: Stack, events: Iterator[ingest_pb2.EventSubmission], count: int) -> float:
    """Seconds to publish the next events: each learner's on one of the streams, as a load does it."""
    streams: list[list[ingest_pb2.EventSubmission]] = [[] for _ in range(_STREAMS)]
    for _, event in zip(range(count), events, strict=False):
        streams[zlib.crc32(event.learner_id.encode()) % _STREAMS].append(event)
    requests = [
        [ingest_pb2.PublishEventsRequest(events=of[at : at + _BATCH]) for at in range(0, len(of), _BATCH)]
        for of in streams
    ]
    del streams
    async with (
        grpc.aio.insecure_channel(stack.environment["CAIRN_TARGET_INGEST"], options=CHANNEL_OPTIONS) as channel,
        asyncio.timeout(_limit_s(count)),
    ):
        stub = ingest_pb2_grpc.IngestServiceStub(channel)
        metadata = (("authorization", f"Bearer {stack.api_key}"),)
        began = time.perf_counter()
        accepted = await asyncio.gather(*(_accepted(stub, metadata, of) for of in requests))
        took_s = time.perf_counter() - began
    if sum(accepted) != count:
        raise AssertionError(f"{count - sum(accepted)} of {count} events were not accepted as new")
    return took_s


async def _accepted(
    stub: ingest_pb2_grpc.IngestServiceAsyncStub,
    metadata: tuple[tuple[str, str], ...],
    requests: Sequence[ingest_pb2.PublishEventsRequest],
) -> int:
    """How many events of requests, sent one after the other, were new."""
    accepted = 0
    for request in requests:
        reply = await stub.PublishEvents(request, metadata=metadata, timeout=_CALL_TIMEOUT_S)
        accepted += sum(result.status == ingest_pb2.EVENT_STATUS_ACCEPTED for result in reply.results)
    return accepted


def _limit_s(rows: int) -> float:
    return _START_S + rows / _ROWS_PER_S_MIN


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

    async def watch(self) -> None:
        """Look again and again, until this is cancelled."""
        while True:
            self.look()
            await asyncio.sleep(_LOOK_EVERY_S)
