"""Messages per second that the reader of Open edX's event bus brings through ingest into the log."""

from __future__ import annotations

import asyncio
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aiokafka
import psutil

from deploy.local.stack import SERVICES, Component, Stack, StackOptions
from deploy.processes import LOOPBACK, Child, Command, free_port
from services.common.kafka.connection import aiokafka_options
from services.common.kafka.topics import TopicDeclaration, ensure_topics
from tests.openedx_messages import HEADERS, answer

MESSAGES = 3_000
_LEARNERS = 500
# Those that are not counted: connections are made, and ingest gives learners their keys.
_WARM_UP = 500
_TOPIC, _LETTERS = "analytics", "cairn.openedx.dlt"
_TAKEN = re.compile(r'^cairn_openedx_messages_total\{outcome="taken"\} (\S+)$', re.MULTILINE)
_TIMEOUT_S = 120.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class OpenEdxFigures:
    """One reader of one partition, which takes one message at a time.

    Attributes:
        messages_per_s: taken, each with one answer.
        reader_cpu_ms_per_message: CPU time of the reader.
        ingest_cpu_ms_per_message: of ingest.
        reader_rss_mb: memory of the reader at the end.
    """

    messages_per_s: float
    reader_cpu_ms_per_message: float
    ingest_cpu_ms_per_message: float
    reader_rss_mb: float


def measure_openedx(directory: Path) -> OpenEdxFigures:
    """Start only a broker, Redis and ingest, fill a topic, and let a reader take it."""
    services = [service for service in SERVICES if service.name == "ingest"]
    started: list[Component] = []
    with Stack(StackOptions(directory, services=services), started.append) as stack:
        ensure_topics(stack.kafka, dict.fromkeys((_TOPIC, _LETTERS), TopicDeclaration(partitions=1)))
        asyncio.run(_fill(stack))
        (pid,) = (component.pid for component in started if component.name == "ingest")
        key, port = directory / "key", free_port()
        key.write_text(stack.api_key, encoding="utf-8")
        environment = stack.environment | {
            "CAIRN_OPENEDX_TOPICS": _TOPIC,
            "CAIRN_OPENEDX_API_KEY_FILE": str(key),
            "CAIRN_METRICS_HOST": LOOPBACK,
            "CAIRN_METRICS_PORT": str(port),
        }
        command = [sys.executable, "-m", "services.ingest.openedx"]
        reader = Child(Command("openedx", command, directory / "openedx.log", environment))
        try:
            return _measure(psutil.Process(reader.pid), psutil.Process(pid), lambda: _taken(port))
        finally:
            reader.stop()


async def _fill(stack: Stack) -> None:
    async with aiokafka.AIOKafkaProducer(**aiokafka_options(stack.kafka)) as producer:
        for number in range(_WARM_UP + MESSAGES):
            message = answer(number % _LEARNERS, item=f"block-v1:demo+type@problem+block@{number}")
            await producer.send(_TOPIC, message, headers=HEADERS)
        await producer.flush()


def _measure(reader: psutil.Process, ingest: psutil.Process, taken: Callable[[], int]) -> OpenEdxFigures:
    _wait(taken, _WARM_UP)
    first, began_s = taken(), time.perf_counter()
    reader_s, ingest_s = _cpu_s(reader), _cpu_s(ingest)
    _wait(taken, _WARM_UP + MESSAGES)
    took_s, messages = time.perf_counter() - began_s, _WARM_UP + MESSAGES - first
    return OpenEdxFigures(
        messages_per_s=messages / took_s,
        reader_cpu_ms_per_message=(_cpu_s(reader) - reader_s) / messages * 1e3,
        ingest_cpu_ms_per_message=(_cpu_s(ingest) - ingest_s) / messages * 1e3,
        reader_rss_mb=reader.memory_info().rss / 1e6,
    )


def _wait(taken: Callable[[], int], messages: int) -> None:
    give_up_s = time.monotonic() + _TIMEOUT_S
    while (seen := taken()) < messages:
        if time.monotonic() > give_up_s:
            raise AssertionError(f"the reader took {seen} of {messages} messages in {_TIMEOUT_S:g} s: see its log")
        time.sleep(_POLL_S)


def _taken(port: int) -> int:
    """Messages that the reader says it took; 0 until it answers."""
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=5) as reply:
            found = re.search(
                r'^cairn_openedx_messages_total\{outcome="taken"\} (\S+)$', reply.read().decode(), re.MULTILINE
            )
    except (urllib.error.URLError, TimeoutError):
        return 0
    return int(float(found[1])) if found else 0


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
