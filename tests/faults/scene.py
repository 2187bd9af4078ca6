"""The environment of a scenario: the log, its own Redis and processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import redis
from kafka.admin import KafkaAdminClient

from cairn.v1 import ingest_pb2
from deploy.kafka.certificates import Signed
from deploy.processes import LOOPBACK, free_port
from services.common.auth.api_keys import create_api_key
from services.common.auth.tenant import ALL_SCOPES
from services.common.auth.tenants_file import load_tenants
from services.common.kafka.connection import KafkaConnection, topic_end_offsets
from services.common.kafka.envelope import LEARNER_EVENTS, record_key
from services.common.kafka.partitioner import partition_of
from services.recommender.adapters.redis.keys import position_key
from tests.faults import checks
from tests.faults.log_load import LogLoad
from tests.faults.log_records import read_log
from tests.faults.processes import Supervised
from tests.faults.publishing import SOURCE, Platform, submissions
from tests.faults.reading import Reader
from tests.faults.redis_server import DurableRedis
from tests.faults.results import Row, ScenarioFailedError

if TYPE_CHECKING:
    from tests.faults.bench import Bench

TENANT = "riverbend"
PARTITIONS = 4
SESSION_TIMEOUT_MS = 3_000
READERS_LEARNERS = [f"learner-{number}" for number in range(5)]

_POLL_S = 0.05
# Processes load for seconds, on a busy machine for a minute; this time is not part of the measurements.
START_DEADLINE_S = 90.0
_DRAIN_DEADLINE_S = 60.0


class Scene:
    """One run of one scenario.

    Attributes:
        row: its result.
        redis: its Redis; `start` starts it.
        redis_settings: how processes reach it; empty: directly.
        partitions: how many the log has.
        processes: all started processes by name.
        platform: sends events once ingest runs.
    """

    def __init__(self, bench: Bench, directory: Path, row: Row) -> None:
        self.bench = bench
        self.directory = directory
        self.row = row
        self.kafka: KafkaConnection = bench.cluster.connection
        self.partitions = PARTITIONS
        self.redis_settings: dict[str, str] = {}
        self._certificate: Signed | None = None
        self._logs_in = False
        self.redis = DurableRedis(directory / "redis")
        self.processes: dict[str, Supervised] = {}
        self.running = ExitStack()
        directory.mkdir(parents=True, exist_ok=True)
        self.tenants_file = directory / "tenants.yaml"
        self.api_key = create_api_key(self.tenants_file, TENANT, "faults", ALL_SCOPES)
        self.tenant = load_tenants(self.tenants_file).get(TENANT)
        self._platform: Platform | None = None
        self._fault_s: float | None = None

    @property
    def platform(self) -> Platform:
        """What sends events."""
        assert self._platform is not None
        return self._platform

    @property
    def workers(self) -> list[Supervised]:
        """The workers."""
        return [process for name, process in self.processes.items() if name.startswith("worker")]

    def close(self) -> None:
        """Stop everything."""
        if self._platform is not None:
            self._platform.close()
        for process in self.processes.values():
            process.signal_stop()
        for process in self.processes.values():
            process.kill(restart=False)
        self.redis.stop()
        self.running.close()

    def start(self, *, workers: int = 2, server: bool = False) -> None:
        """Start Redis, ingest, workers and optionally a server; return once all are serving."""
        self.redis.start()
        self.start_ingest()
        for number in range(1, workers + 1):
            self.start_worker(number)
        self.wait_serving()
        if server:
            # It serves once there is an epoch, which the workers create.
            self.start_server()
            self.wait_serving()

    def wait_serving(self) -> None:
        """Return once every process reports SERVING."""
        self.wait(lambda: all(process.serving for process in self.processes.values()), START_DEADLINE_S, "start")

    def start_ingest(self, **environment: str) -> None:
        """Start ingest on a fixed port."""
        port = free_port()
        self._start("ingest", ["services.ingest"], {"CAIRN_LISTEN": f"{LOOPBACK}:{port}"} | environment)
        self._platform = Platform(f"{LOOPBACK}:{port}", self.api_key, self._authority)

    def start_worker(self, number: int, **environment: str) -> Supervised:
        """Start a worker without waiting."""
        return self._start(
            f"worker-{number}",
            ["services.recommender", "worker"],
            {
                # Small batches, so that faults happen between two of them.
                "CAIRN_BATCH_RECORDS": "100",
                "CAIRN_REWIND_RECORDS": "50",
                "CAIRN_SESSION_TIMEOUT_MS": str(SESSION_TIMEOUT_MS),
                "CAIRN_LISTEN": f"{LOOPBACK}:0",
            }
            | environment,
        )

    def start_server(self, **environment: str) -> Supervised:
        """Start a recommender server without waiting."""
        listen = {"CAIRN_LISTEN": f"{LOOPBACK}:{free_port()}"}
        return self._start("server", ["services.recommender", "server"], listen | environment)

    def tend(self) -> None:
        """Restart processes that exited, like an orchestrator."""
        for process in self.processes.values():
            process.tend()

    def wait(self, condition: Callable[[], bool], deadline_s: float, what: str) -> None:
        """Return once the condition holds; processes that exit meanwhile are restarted."""

        def tended() -> bool:
            self.tend()
            return condition()

        until(tended, deadline_s, f"{what} took more than {deadline_s:.1f} s")

    def spend(self, seconds: float) -> None:
        """Wait while the fault lasts, and restart processes."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self.tend()
            time.sleep(_POLL_S)

    def check(self, holds: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as assert does.
        """Fail the scenario with a sentence unless a condition holds."""
        if not holds:
            raise ScenarioFailedError(otherwise)

    def begin(self, events: int | Sequence[ingest_pb2.EventSubmission], *, per_s: float) -> None:
        """Send the given events, or that many of the scenario's, in the background at a given rate."""
        self.platform.begin(self.submissions(events) if isinstance(events, int) else events, per_s=per_s)

    def submissions(self, events: int) -> list[ingest_pb2.EventSubmission]:
        """The scenario's events."""
        return list(submissions(events, seed=self.row.seed))

    def reader(self, *, pause_s: float = 0.05) -> Reader:
        """A platform that reads continuously."""
        address = self.processes["server"].address
        reader = Reader(address, self.api_key, READERS_LEARNERS, pause_s=pause_s, authority=self._authority)
        self.running.callback(reader.close)
        reader.start()
        return reader

    def cairn(self, *words: str) -> str:
        """The output of a `cairn` command."""
        done = self.run(*words)
        if done.returncode:
            raise ScenarioFailedError(f"cairn {' '.join(words)} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A `cairn` command that may fail."""
        return subprocess.run(
            [sys.executable, "-m", "services.cli", *words],
            env=os.environ | self._surroundings | self._kafka_of("operator") | environment,
            capture_output=True,
            text=True,
            timeout=START_DEADLINE_S,
            check=False,
        )

    def committed(self, group: str) -> dict[int, int]:
        """A group's committed offsets by partition."""
        admin = KafkaAdminClient(bootstrap_servers=self.bench.cluster.connection.bootstrap_servers.split(","))
        try:
            offsets = admin.list_group_offsets({group: None})[group]
        finally:
            admin.close()
        return {each.partition: found.offset for each, found in offsets.items() if each.topic == LEARNER_EVENTS}

    def wait_drained(self, within_s: float = _DRAIN_DEADLINE_S) -> None:
        """Return once everything sent is acknowledged and nothing lags."""
        self.wait(lambda: self.platform.done, within_s, "acknowledging every event")
        ends = self.ends()
        self.wait(lambda: self.drained(ends), within_s, "processing every record")

    def wait_applied(self, events: int, deadline_s: float = START_DEADLINE_S) -> None:
        """Return once the first epoch has processed at least this many records."""
        self.wait(lambda: sum(self.positions(1).values()) >= events, deadline_s, f"processing {events} records")

    def positions(self, epoch: int) -> dict[int, int]:
        """An epoch's positions by partition; 0 where Redis has none."""
        try:
            with self.redis.client() as client:
                found = {p: client.hget(position_key(epoch, p), "offset") for p in range(self.partitions)}
        except redis.exceptions.RedisError:
            return dict.fromkeys(range(self.partitions), 0)
        return {partition: int(offset or 0) for partition, offset in found.items()}

    def current_epoch(self) -> int | None:
        """The epoch being served, if there is one."""
        try:
            with self.redis.client() as client:
                number = client.get("cairn:current-epoch")
        except redis.exceptions.RedisError:
            return None
        return None if number is None else int(number)

    def fault_is_over(self) -> None:
        """Measure recovery from now on; with several faults, from the last one."""
        self._fault_s = time.monotonic()

    def recover(self, within_s: float) -> None:
        """Send an event to every partition and fail unless all are acknowledged and applied in time."""
        assert self._fault_s is not None
        probes = self._probes()
        probe = Platform(self.processes["ingest"].address, self.api_key, self._authority)
        try:
            probe.begin(probes, per_s=1_000)
            deadline_s = within_s - (time.monotonic() - self._fault_s)
            self.wait(lambda: probe.done, max(deadline_s, 1.0), "acknowledging an event for every partition")

            def applied() -> bool:
                reached = self.positions(self.current_epoch() or 0)
                return all(reached[place.partition] > place.offset for place in probe.acknowledged.values())

            deadline_s = within_s - (time.monotonic() - self._fault_s)
            self.wait(applied, max(deadline_s, 1.0), "applying an event of every partition")
        finally:
            probe.close()
            self.include(probe)
        self.row.recovery_s = round(time.monotonic() - self._fault_s, 2)

    def include(self, other: Platform | LogLoad) -> None:
        """Count what something else sent as part of the scenario."""
        self.platform.acknowledged.update(other.acknowledged)
        self.platform.sent |= other.sent
        self.platform.answers += other.answers

    def _probes(self) -> list[ingest_pb2.EventSubmission]:
        """One new event for each partition."""
        found: dict[int, ingest_pb2.EventSubmission] = {}
        number = len(self.platform.sent)
        while len(found) < self.partitions:
            number += 1
            learner = f"probe-{number}"
            entry = ingest_pb2.EventSubmission(
                event_id=f"{self.row.seed}-probe-{number}",
                learner_id=learner,
                source=SOURCE,
                assessment=ingest_pb2.AssessmentSubmission(item="probe", skills=["probe"], correct=True),
            )
            found.setdefault(self.partition_of(learner), entry)
        return list(found.values())

    def key_of(self, learner_id: str) -> bytes:
        """The record key of a learner, given the platform's id."""
        return record_key(TENANT, self.tenant.pseudonym(learner_id))

    def partition_of(self, learner_id: str) -> int:
        """The partition of a learner."""
        return partition_of(self.key_of(learner_id), self.partitions)

    def finish(
        self, *, within_s: float = _DRAIN_DEADLINE_S, window_exceeded: bool = False, dead_letters: bool = False
    ) -> None:
        """Wait until all sent events are processed, then check what must hold after every fault.

        Args:
            within_s: deadline for zero lag, from now.
            window_exceeded: whether copies came after the de-duplication window and count again.
            dead_letters: whether the scenario made records that cannot be applied.
        """
        self.wait_drained(within_s)
        ends = self.ends()
        if not self.drained(ends):
            raise ScenarioFailedError("the log grew although nothing was sent")
        self.row.restarts += sum(process.restarts for process in self.processes.values())
        epoch = self.current_epoch()
        assert epoch is not None
        log = asyncio.run(read_log(self.bench.cluster.connection))
        checks.check_acknowledged(self, log)
        checks.check_counts(self, epoch, log, window_exceeded=window_exceeded, dead_letters=dead_letters)
        checks.check_against_replay(self, epoch)

    def drained(self, ends: dict[int, int]) -> bool:
        """Whether the epoch that is served has reached these ends."""
        epoch = self.current_epoch()
        return epoch is not None and self.positions(epoch) == ends

    def ends(self) -> dict[int, int]:
        """Where the partitions of the log end now."""
        return asyncio.run(topic_end_offsets(self.bench.cluster.connection, LEARNER_EVENTS))

    def log_in(self, *, secured: bool = True) -> None:
        """From now on, processes reach Kafka over TLS and log in as themselves; or no longer."""
        self._logs_in = secured

    def serve_tls(self) -> None:
        """From now on, services are started with a certificate, and callers trust only its authority."""
        assert self.bench.access is not None
        self._certificate = self.bench.access.authority.sign("service")

    @property
    def _authority(self) -> Path | None:
        if self._certificate is None:
            return None
        assert self.bench.access is not None
        return self.bench.access.authority.certificate

    def _kafka_of(self, user: str) -> dict[str, str]:
        if not self._logs_in:
            return {}
        assert self.bench.access is not None
        return self.bench.access.environment_of(user, self.bench.cluster.secured_servers)

    @property
    def _surroundings(self) -> dict[str, str]:
        return {
            "CAIRN_KAFKA": self.kafka.bootstrap_servers,
            **(self.redis_settings or {"CAIRN_REDIS": self.redis.url}),
            "CAIRN_TENANTS": str(self.tenants_file),
            "CAIRN_BUNDLES": str(self.directory / "bundles"),
            "CAIRN_DRAIN_S": "1",
        }

    def _start(self, name: str, arguments: Sequence[str], environment: dict[str, str]) -> Supervised:
        user = name.partition("-")[0]
        surroundings = self._surroundings | self._kafka_of(user)
        authority = None
        # The health port of a worker is plain.
        if self._certificate is not None and user != "worker":
            authority = self._authority
            surroundings |= {
                "CAIRN_TLS_CERTIFICATE": str(self._certificate.certificate),
                "CAIRN_TLS_KEY": str(self._certificate.key),
            }
        address = self.directory / f"{name}.address"
        process = Supervised(name, arguments, self.directory, surroundings | environment, address, authority)
        self.processes[name] = process
        process.start()
        return process


def until(condition: Callable[[], bool], deadline_s: float, otherwise: str) -> None:
    give_up_s = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > give_up_s:
            raise ScenarioFailedError(otherwise)
        time.sleep(_POLL_S)


def chunks(events: Sequence[ingest_pb2.EventSubmission], size: int) -> Iterable[Sequence[ingest_pb2.EventSubmission]]:
    """Events in requests of a given size."""
    for start in range(0, len(events), size):
        yield events[start : start + size]
