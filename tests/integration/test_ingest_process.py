"""The ingest service as a process, and files loaded through it with `cairn ingest load`."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import orjson
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from kafka import KafkaProducer

from cairn.v1 import catalog_pb2, events_pb2, ingest_pb2, ingest_pb2_grpc
from deploy.local.broker import Broker
from deploy.processes import free_port
from services.common.auth.api_keys import create_api_key
from services.common.auth.tenant import ALL_SCOPES
from services.common.auth.tenants_file import load_tenants
from services.common.kafka.envelope import LEARNER_EVENTS, RESOURCES, record_key
from services.common.kafka.topics import ensure_topics, load_declarations
from services.common.rpc.statuses import retry_after_s_of
from tests.conftest import TOPICS
from tests.integration.test_ingest_kafka import records_of

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING

# kafka-python leaves the sockets of refused connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _collect_sockets_here():
    yield
    gc.collect()


# Tests that share a process have a tenant each.
TENANTS = ("riverbend", "hilltop", "lakeside")


class Ingest:
    """One ingest process."""

    def __init__(self, directory: Path, kafka: str, **environment: str) -> None:
        self.directory = directory
        self.tenants_file = directory / "tenants.yaml"
        self.api_keys = {name: create_api_key(self.tenants_file, name, "test", ALL_SCOPES) for name in TENANTS}
        self.tenant = TENANTS[0]
        self.log = directory / "ingest.log"
        self.metrics_port = free_port()
        self._address_file = directory / "address"
        self._environment = os.environ | {
            "CAIRN_KAFKA": kafka,
            "CAIRN_KAFKA_FETCH_WAIT_MS": "10",
            "CAIRN_TENANTS": str(self.tenants_file),
            "CAIRN_ADDRESS_FILE": str(self._address_file),
            "CAIRN_METRICS_PORT": str(self.metrics_port),
            "CAIRN_INGEST_DELIVERY_TIMEOUT_S": "1.5",
            "CAIRN_REDIS": "",
            **environment,
        }

    def start(self) -> None:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.ingest"], env=self._environment, stdout=log, stderr=log
            )

    def wait_address(self, deadline_s: float = 30.0) -> str:
        give_up_at = time.monotonic() + deadline_s
        while not self._address_file.exists():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < give_up_at, self.log.read_text()
            time.sleep(0.02)
        return self._address_file.read_text()

    def wait_health(self, status: int, deadline_s: float = 30.0) -> None:
        with grpc.insecure_channel(self.wait_address()) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            for reply in stub.Watch(health_pb2.HealthCheckRequest(), timeout=deadline_s):
                if reply.status == status:
                    return

    def publish(self, *submissions: ingest_pb2.EventSubmission) -> ingest_pb2.PublishEventsResponse:
        with grpc.insecure_channel(self.wait_address()) as channel:
            stub = ingest_pb2_grpc.IngestServiceStub(channel)
            metadata = (("authorization", f"Bearer {self.api_keys[self.tenant]}"),)
            return stub.PublishEvents(
                ingest_pb2.PublishEventsRequest(events=submissions), metadata=metadata, timeout=15
            )

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as reply:
            return reply.read().decode()

    def load(self, file: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from services.cli import main; main()", "ingest", "load", str(file)]
        key = {"CAIRN_API_KEY": self.api_keys[self.tenant], "PYTHONPATH": f"{Path.cwd()}:{Path.cwd() / 'protos'}"}
        return subprocess.run(
            [*command, "--target", self.wait_address(), *options],
            env=self._environment | key | environment,
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@contextmanager
def running(directory: Path, broker: Broker, **environment: str) -> Iterator[Ingest]:
    ingest = Ingest(directory, broker.connection.bootstrap_servers, **environment)
    ingest.broker = broker
    ingest.start()
    try:
        ingest.wait_health(SERVING)
        yield ingest
    finally:
        if ingest.process.poll() is None:
            ingest.process.kill()
            ingest.process.wait()


@pytest.fixture(scope="module")
def shared_ingest(tmp_path_factory):
    directory = tmp_path_factory.mktemp("ingest")
    broker = Broker(directory / "broker.log")
    broker.start()
    try:
        ensure_topics(broker.connection, load_declarations(TOPICS))
        with running(directory, broker) as ingest:
            yield ingest
            assert ingest.stop() == 0, ingest.log.read_text()
    finally:
        broker.stop()


@pytest.fixture
def ingest(tmp_path, fresh_kafka_broker):
    with running(tmp_path, fresh_kafka_broker) as ingest:
        yield ingest


def submission(number: int, learner: str = "ada", item: str = "item-1") -> ingest_pb2.EventSubmission:
    return ingest_pb2.EventSubmission(
        learner_id=learner,
        source="gradebook",
        source_sequence=str(number),
        assessment=ingest_pb2.AssessmentSubmission(item=item, correct=True),
    )


def stored(ingest: Ingest) -> list[events_pb2.LearnerEvent]:
    records = asyncio.run(records_of(ingest.broker.connection, LEARNER_EVENTS))
    events = [events_pb2.LearnerEvent.FromString(record.value) for record in records]
    return [event for event in events if event.tenant == ingest.tenant]


def test_a_resource_of_the_catalog_stamps_the_events_that_come_after_it(shared_ingest):
    ingest = shared_ingest
    ingest.tenant = "riverbend"
    resource = catalog_pb2.Resource(id="item-1", assesses=[catalog_pb2.SkillTag(skill="ratios", weight=1)])
    producer = KafkaProducer(bootstrap_servers=ingest.broker.connection.bootstrap_servers)
    producer.send(RESOURCES, key=record_key("riverbend", "item-1"), value=resource.SerializeToString()).get(10)
    producer.close()
    give_up_at = time.monotonic() + 20
    while "cairn_ingest_catalog_resources 1.0" not in ingest.metrics():
        assert time.monotonic() < give_up_at
    (result,) = ingest.publish(submission(1)).results
    assert result.status == ingest_pb2.EVENT_STATUS_ACCEPTED
    (event,) = stored(ingest)
    assert (list(event.assessment.skills), event.assessment.resource) == (["ratios"], "item-1")


def test_a_file_is_loaded_in_each_learners_order_and_its_bad_rows_are_set_aside(shared_ingest, tmp_path):
    ingest = shared_ingest
    ingest.tenant = "hilltop"
    lines = [
        {"learner_id": f"learner-{n % 7}", "item": f"item-{n}", "correct": n % 2 == 0, "source_sequence": str(n)}
        for n in range(1_700)
    ]
    lines[10]["score"] = {"raw": 11, "min": 0, "max": 10}
    del lines[10]["correct"]
    lines[20]["colour"] = "red"
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"\n".join(map(orjson.dumps, lines)))
    done = ingest.load(file, "--format", "ndjson", "--source", "gradebook", "--json", str(tmp_path / "summary.json"))
    assert done.returncode == 1, done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert {name: summary[name] for name in ("read", "new", "unchanged", "rejected")} == {
        "read": 1_700,
        "new": 1_698,
        "unchanged": 0,
        "rejected": 2,
    }
    assert "new" in done.stdout
    assert "1,698" in done.stdout
    # The file is in another folder, of which the name has a mark.
    (rejected,) = ingest.directory.glob("events.ndjson.*.rejected.ndjson")
    assert stat.S_IMODE(rejected.stat().st_mode) == 0o600
    rows = sorted((orjson.loads(line) for line in rejected.read_bytes().splitlines()), key=lambda row: row["line"])
    assert [(row["line"], row["reasons"][0]["field"]) for row in rows] == [(11, "assessment.score.raw"), (21, "colour")]
    assert orjson.loads(rows[0]["row"])["score"]["raw"] == 11
    events = stored(ingest)
    assert len(events) == 1_698
    items = {}
    for event in events:
        items.setdefault(event.learner, []).append(int(event.assessment.item.removeprefix("item-")))
    assert len(items) == 7
    assert all(numbers == sorted(numbers) for numbers in items.values())
    tenant = load_tenants(ingest.tenants_file).get(ingest.tenant)
    assert set(items) == {tenant.pseudonym(f"learner-{n}") for n in range(7)}
    metrics = ingest.metrics()
    assert 'cairn_ingest_events_total{outcome="rejected"} 1.0' in metrics
    assert 'cairn_ingest_problems_total{kind="out_of_range"} 1.0' in metrics


def test_a_log_loaded_twice_has_the_same_ids(shared_ingest, tmp_path):
    ingest = shared_ingest
    ingest.tenant = "lakeside"
    file = tmp_path / "interactions.csv"
    rows = [f"{learner},{seq},{seq // 2},1,skill-{seq % 2},1,1" for learner in range(3) for seq in range(20)]
    file.write_text("user_id,seq,problem_id,skill_id,skill_name,correct,fold\n" + "\n".join(rows))
    for _ in range(2):
        done = ingest.load(file, "--format", "assistments")
        assert done.returncode == 0, done.stderr
    assert not list(ingest.directory.glob("interactions.csv*.rejected.ndjson"))
    ids = [event.event_id for event in stored(ingest)]
    assert len(ids) == 60
    assert len(set(ids)) == 30


@pytest.mark.parametrize(
    ("content", "options", "environment", "words"),
    [
        ("nothing\n", [], {}, "lacks the columns"),
        (None, [], {}, "No such file"),
        ("", [], {"CAIRN_API_KEY": ""}, "set CAIRN_API_KEY"),
        ("", ["--api-key-file", "none"], {}, "cannot be read"),
        ("", ["--rejected", "no/such/folder"], {}, "no/such/folder cannot be used: No such file"),
    ],
)
def test_unusable_input_is_named_and_exits_with_2(tmp_path, content, options, environment, words):
    ingest = Ingest(tmp_path, "127.0.0.1:1")
    (tmp_path / "address").write_text("127.0.0.1:1")
    file = tmp_path / "events.csv"
    if content is not None:
        file.write_text(content)
    done = ingest.load(file, "--format", "assistments", *options, **environment)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unreachable_service_ends_the_load_with_3_and_the_remedy(tmp_path):
    ingest = Ingest(tmp_path, "127.0.0.1:1")
    (tmp_path / "address").write_text(f"127.0.0.1:{free_port()}")
    file = tmp_path / "events.ndjson"
    file.write_text('{"learner_id":"a","item":"i","correct":true}')
    done = ingest.load(file, "--format", "ndjson", "--source", "s", "--patience-s", "0.5")
    assert done.returncode == 3
    assert "ingest did not accept the events for 0.5 s (UNAVAILABLE" in done.stderr
    assert "load the file again, with --resume to continue where it stopped: nothing is counted twice" in done.stderr


def test_without_its_broker_the_service_is_unavailable_and_gives_a_retry_delay(ingest):
    assert ingest.publish(submission(1)).results[0].status == ingest_pb2.EVENT_STATUS_ACCEPTED
    ingest.broker.stop()
    for number in range(3):
        with pytest.raises(grpc.RpcError) as error:
            ingest.publish(submission(2 + number))
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        assert retry_after_s_of(error.value) == 1.0
    ingest.wait_health(NOT_SERVING)
    assert 'reason="log_unavailable"} 3.0' in ingest.metrics()
    assert ingest.stop() == 0


def test_without_its_redis_the_service_goes_on_and_says_that_it_compares_no_repeats(
    tmp_path, fresh_kafka_broker, fresh_redis_server
):
    with running(tmp_path, fresh_kafka_broker, CAIRN_REDIS=fresh_redis_server.url) as ingest:
        assert ingest.publish(submission(1)).results[0].status == ingest_pb2.EVENT_STATUS_ACCEPTED
        assert ingest.publish(submission(1)).results[0].status == ingest_pb2.EVENT_STATUS_DUPLICATE
        assert "cairn_ingest_comparing 1.0" in ingest.metrics()
        fresh_redis_server.stop()
        for _ in range(3):
            reply = ingest.publish(submission(1))
            assert (reply.results[0].status, reply.not_compared) == (ingest_pb2.EVENT_STATUS_ACCEPTED, True)
        assert "cairn_ingest_comparing 0.0" in ingest.metrics()
        assert ingest.log.read_text().count("repeats are not compared") == 1
        assert ingest.stop() == 0


def test_a_broker_that_returns_without_its_log_ends_the_service_with_an_error_message(ingest):
    ingest.publish(submission(1))
    ingest.broker.stop()
    ingest.wait_health(NOT_SERVING)
    ingest.broker.start()
    ensure_topics(ingest.broker.connection, load_declarations(TOPICS))
    assert ingest.process.wait(30) == 1
    assert "the topic cairn.learner-events was recreated" in ingest.log.read_text().splitlines()[-1]


@pytest.mark.parametrize(
    ("environment", "code", "words"),
    [
        ({"CAIRN_INGEST_EVENTS_IN_FLIGHT_MAX": "1"}, 2, "CAIRN_INGEST_EVENTS_IN_FLIGHT_MAX='1'"),
        ({"CAIRN_LISTEN": "0.0.0.0:0"}, 1, "CAIRN_INSECURE=true"),
        ({"CAIRN_REDIS": "nowhere"}, 2, "CAIRN_REDIS='nowhere' is not the URL of a Redis"),
        ({"CAIRN_REDIS": "redis://u:p@host", "CAIRN_REDIS_PASSWORD_FILE": __file__}, 2, "it has a password already"),
        (
            {"CAIRN_TLS_CERTIFICATE": __file__, "CAIRN_TLS_KEY": __file__},
            2,
            f"CAIRN_TLS_CERTIFICATE={__file__} holds no certificate",
        ),
        ({"CAIRN_TENANTS": "/nowhere.yaml"}, 1, "cairn keys create"),
    ],
)
def test_a_setting_that_cannot_be_used_is_the_last_line(tmp_path, environment, code, words):
    ingest = Ingest(tmp_path, "127.0.0.1:1", **environment)
    ingest.start()
    assert ingest.process.wait(30) == code
    assert words in ingest.log.read_text().splitlines()[-1]


def test_without_a_broker_the_start_ends_with_an_error_message(tmp_path):
    ingest = Ingest(tmp_path, f"127.0.0.1:{free_port()}")
    ingest.start()
    assert ingest.process.wait(40) == 1
    # The Kafka client may log another attempt after it.
    assert "cannot be reached" in ingest.log.read_text()
