"""Every process on this machine, with metrics, a Prometheus, and the traffic of a platform that also makes mistakes."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import grpc
import redis

from cairn.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    ingest_pb2,
    ingest_pb2_grpc,
    recommender_pb2,
    recommender_pb2_grpc,
)
from deploy.local.stack import Stack, StackOptions
from deploy.processes import Child, Command, free_port
from tests.benchmarks.synthetic import catalog, submission
from tests.learner_events import Record, publish
from tests.monitoring.prometheus import Prometheus

_LEARNERS = 40
_RESOURCES = 60
_EVENTS_MAX = 500
_REDIS_LIMIT = 256 * 1024 * 1024


@dataclass(frozen=True)
class System:
    """What runs.

    Attributes:
        prometheus: scrapes every process.
        traffic: is sent round by round.
        worker: the worker's process.
    """

    prometheus: Prometheus
    traffic: Traffic
    worker: Child


class Traffic:
    """Events and requests of one platform."""

    def __init__(self, stack: Stack, closing: ExitStack) -> None:
        """Args: the `stack`, and what ends with it: `closing` ends the traffic first."""
        self._kafka = stack.kafka
        self._environment = stack.environment
        self._metadata = (("authorization", f"Bearer {stack.api_key}"),)
        self._numbers = itertools.count()
        channels = {name: closing.enter_context(grpc.insecure_channel(stack.address(name))) for name in _STUBS}
        stubs = {name: stub(channels[name]) for name, stub in _STUBS.items()}
        self._catalog, self._ingest, self._server = stubs["catalog"], stubs["ingest"], stubs["server"]
        skills, resources = catalog(_RESOURCES, skills=8)
        pieces = iter([catalog_pb2.ImportCatalogRequest(skills=skills, resources=resources)])
        self._catalog.ImportCatalog(pieces, metadata=self._metadata, timeout=30)
        watched = self._subscription(["learner-0", "learner-1"])
        closing.callback(watched.cancel)
        threading.Thread(target=_read, args=[watched], daemon=True).start()

    def round(self, *, mistakes: bool = True) -> None:
        """Send some events and requests; with `mistakes`, some that are refused too."""
        numbers = [next(self._numbers) for _ in range(12)]
        self._publish([_response(number) for number in numbers])
        everybody = [f"learner-{number}" for number in range(_LEARNERS)]
        for learner in everybody[numbers[0] % _LEARNERS :][:4]:
            self._ask("Recommend", recommender_pb2.RecommendRequest(learner_id=learner))
        self._post("CAIRN_TARGET_REST", "/v1/learners/learner-0:recommend", b"{}")
        self._ask("GetLearner", recommender_pb2.GetLearnerRequest(learner_id="learner-0"))
        self._ask("RecommendBatch", recommender_pb2.RecommendBatchRequest(learner_ids=everybody[:10]))
        if mistakes:
            self._make_mistakes(numbers[0])

    def _make_mistakes(self, sent_before: int) -> None:
        # A repeated event, one that says something else under the same id, and one without an item.
        repeated, conflicting, invalid = (_response(sent_before) for _ in range(3))
        conflicting.assessment.correct = not conflicting.assessment.correct
        invalid.assessment.item = ""
        self._publish([repeated, conflicting, invalid])
        too_many = ingest_pb2.PublishEventsRequest(events=[ingest_pb2.EventSubmission()] * (_EVENTS_MAX + 1))
        stranger = (("authorization", "Bearer nobody"),)
        # To ingest an event that is none, and to the gateway an unknown field.
        self._post("CAIRN_TARGET_INGEST_HTTP", "/v1/events:batch", b"[")
        self._post("CAIRN_TARGET_REST", "/v1/learners/learner-0:recommend", b'{"limt": 3}')
        for request, metadata in ((too_many, self._metadata), (ingest_pb2.PublishEventsRequest(), stranger)):
            with suppress(grpc.RpcError):
                self._ingest.PublishEvents(request, metadata=metadata, timeout=20)
        # A reader that comes and goes.
        leaving = self._subscription(["learner-2"])
        next(leaving)
        leaving.cancel()
        asyncio.run(publish(self._kafka, [Record(b"riverbend/" + b"A" * 26, b"\xff garbage", [])]))

    def _publish(self, events: list[ingest_pb2.EventSubmission]) -> None:
        request = ingest_pb2.PublishEventsRequest(events=events)
        self._ingest.PublishEvents(request, metadata=self._metadata, timeout=30)

    def _post(self, target: str, path: str, body: bytes) -> None:
        address = self._environment.get(target)
        # There may be no Envoy for this machine.
        if address is None:
            return
        connection = HTTPConnection(address, timeout=20)
        connection.request("POST", path, body, dict(self._metadata) | {"Content-Type": "application/json"})
        connection.getresponse().read()
        connection.close()

    def _ask(self, method: str, request: object) -> None:
        getattr(self._server, method)(request, metadata=self._metadata, timeout=30)

    def _subscription(self, learners: list[str]) -> grpc.Call:
        return self._server.Subscribe(recommender_pb2.SubscribeRequest(learner_ids=learners), metadata=self._metadata)


_STUBS = {
    "catalog": catalog_pb2_grpc.CatalogServiceStub,
    "ingest": ingest_pb2_grpc.IngestServiceStub,
    "server": recommender_pb2_grpc.RecommendationServiceStub,
}


@contextmanager
def monitored_system(directory: Path) -> Iterator[System]:
    """Start everything; stop everything at the end."""
    with ExitStack() as closing:
        stack = closing.enter_context(Stack(StackOptions(directory / "stack"), lambda _: None))
        with redis.Redis.from_url(stack.redis) as client:
            client.config_set("maxmemory", _REDIS_LIMIT)
        children = {child.name: child for child in stack._children}
        ports = {
            name: int(child.command.environment["CAIRN_METRICS_PORT"])
            for name, child in children.items()
            if "CAIRN_METRICS_PORT" in child.command.environment
        }
        ports["lag"] = free_port()
        if "gateway" in children:
            ports["gateway"] = _gateway_metrics_port(children["gateway"])
        closing.callback(_lag_exporter(directory, stack, ports["lag"]).stop)
        prometheus = Prometheus(directory / "prometheus", ports)
        closing.callback(prometheus.stop)
        prometheus.start()
        yield System(prometheus, Traffic(stack, closing), children["worker"])


def _gateway_metrics_port(gateway: Child) -> int:
    arguments = gateway.command.arguments
    config = json.loads(Path(arguments[arguments.index("--config-path") + 1]).read_text(encoding="utf-8"))
    (listener,) = (each for each in config["static_resources"]["listeners"] if each["name"] == "metrics")
    return int(listener["address"]["socket_address"]["port_value"])


def _lag_exporter(directory: Path, stack: Stack, port: int) -> Child:
    environment = stack.environment | {"CAIRN_METRICS_PORT": str(port), "CAIRN_LAG_EVERY_S": "1"}
    command = [sys.executable, "-m", "services.recommender", "lag"]
    return Child(Command("lag", command, directory / "lag.log", environment))


def _response(number: int) -> ingest_pb2.EventSubmission:
    return submission(
        number % _LEARNERS, number * 7 % _RESOURCES, correct=number % 3 > 0, event_id=f"monitored-{number}"
    )


def _read(updates: grpc.Call) -> None:
    with suppress(grpc.RpcError):
        for _ in updates:
            pass
