"""The whole system on this machine: broker, Redis and services, on loopback, started and stopped together."""

from __future__ import annotations

import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import IO, NoReturn, Self

from deploy.envoy.config import SERVICES as BEHIND_THE_GATEWAY
from deploy.kafka.cluster import KafkaCluster
from deploy.local.access import StackAccess
from deploy.local.broker import Broker
from deploy.local.demo_tenant import create_demo_tenant
from deploy.local.gateway import GatewayServer, is_available
from deploy.local.redis import RedisServer
from deploy.local.serving import is_serving
from deploy.local.stop_signals import uninterrupted
from deploy.processes import LOOPBACK, Child, Command, StackError, claim_port, free_port, locked
from services.common.auth.api_keys import create_api_key
from services.common.auth.public_tenant import PUBLIC_TENANT
from services.common.auth.tenant import ALL_SCOPES
from services.common.kafka.connection import BrokerUnavailableError, KafkaConnection
from services.common.kafka.topics import TopicOutcome, ensure_topics, load_declarations

TOPICS = Path(__file__).parents[1] / "topics.yaml"

# Kept between runs, so that Maven downloads the broker's jars only once.
KAFKA_LIBRARIES = Path(".local/kafka")

INFRASTRUCTURE = {"broker", "redis"}
GATEWAY = "gateway"
_SERVICE_DEADLINE_S = 60.0
_DRAIN_S = 1.0
_CHECK_EVERY_S = 0.5
# A service that exits more often than this within a minute cannot run.
_RESTARTS_MOST = 5
_RESTARTS_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Service:
    """One process of Cairn.

    Attributes:
        name: its name for people.
        arguments: the program and its arguments.
        target: the environment variable with its address for clients.
        http_listen: the environment variable that makes it listen for HTTP too; empty: it has no HTTP.
        http_target: the environment variable with that address for clients.
    """

    name: str
    arguments: Sequence[str]
    target: str
    http_listen: str = ""
    http_target: str = ""


SERVICES = (
    Service("catalog", (sys.executable, "-m", "services.catalog"), "CAIRN_TARGET_CATALOG"),
    Service(
        "ingest",
        (sys.executable, "-m", "services.ingest"),
        "CAIRN_TARGET_INGEST",
        "CAIRN_INGEST_HTTP_LISTEN",
        "CAIRN_TARGET_INGEST_HTTP",
    ),
    Service("worker", (sys.executable, "-m", "services.recommender", "worker"), "CAIRN_TARGET_WORKER"),
    Service("server", (sys.executable, "-m", "services.recommender", "server"), "CAIRN_TARGET_RECOMMENDER"),
)


class BrokerKind(StrEnum):
    """A broker that a stack can start."""

    EMBEDDED = "embedded"
    KAFKA = "kafka"


@dataclass(frozen=True, slots=True)
class StackOptions:
    """What to start, and where.

    Attributes:
        directory: for logs, address files, tenants and bundles.
        tenant: the tenant that gets an API key.
        kafka: bootstrap servers of a running Kafka; empty: start one.
        broker: the broker to start: the embedded one, or Apache Kafka, which needs Java and Maven.
        kafka_fetch_wait_ms: how long that Kafka may hold an empty fetch.
        redis: URL of a running Redis; empty: start the embedded one.
        encryption: whether to encrypt the log's values about the tenant's learners.
        public: whether to create the demo's tenant instead, whose key and secret are public and the same in every run.
        ports: loopback ports by component name; a component that is not listed, or 0, gets a free port.
        services: the processes of Cairn, in start order.
    """

    directory: Path
    tenant: str = "riverbend"
    kafka: str = ""
    broker: BrokerKind = BrokerKind.EMBEDDED
    kafka_fetch_wait_ms: int = 500
    redis: str = ""
    encryption: bool = True
    public: bool = False
    ports: Mapping[str, int] = field(default_factory=dict)
    services: Sequence[Service] = SERVICES

    @property
    def keeps_its_log(self) -> bool:
        """Whether the log of its own broker outlives it. The embedded broker keeps nothing; a demo begins empty."""
        return self.broker is BrokerKind.KAFKA and not self.kafka and not self.public

    @property
    def data(self) -> Path:
        """Where the log, the tenants file and the bundles are, which belong together."""
        return self.directory / "kept" if self.keeps_its_log else self.directory


@dataclass(frozen=True, slots=True)
class Component:
    """A component that is ready.

    Attributes:
        name: its name for people.
        address: `host:port` or URL.
        pid: its process id; 0 if the stack did not start it.
        log: its log; None if the stack did not start it.
        ready_after_s: seconds until it was ready.
    """

    name: str
    address: str
    pid: int
    log: Path | None
    ready_after_s: float


Report = Callable[[Component], None]


class Stack:
    """A context manager that starts everything on entry and stops everything on exit.

    If entering fails half-way, everything is stopped too. Enter it on the main thread.
    """

    def __init__(self, options: StackOptions, report: Report) -> None:
        """Args: `options`, and `report`, called with each component once it is ready."""
        self._options = options
        self._report = report
        self._children: list[Child] = []
        self._addresses: dict[str, str] = {}
        # By the environment variable with the address.
        self._http_addresses: dict[str, str] = {}
        self._lock: IO[bytes] | None = None
        self._kafka = KafkaConnection(options.kafka, options.kafka_fetch_wait_ms)
        self._redis = options.redis
        self._api_key = ""
        self._restarts: dict[str, deque[float]] = {}

    @property
    def kafka(self) -> KafkaConnection:
        """The broker in use."""
        return self._kafka

    @property
    def redis(self) -> str:
        """URL of the Redis in use."""
        return self._redis

    @property
    def tenant(self) -> str:
        """The tenant that has an API key."""
        return PUBLIC_TENANT if self._options.public else self._options.tenant

    @property
    def api_key(self) -> str:
        """The tenant's API key."""
        return self._api_key

    @property
    def directory(self) -> Path:
        """The directory of its files."""
        return self._options.directory

    def address(self, service: str) -> str:
        """`host:port` of a service by its name."""
        return self._addresses[service]

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a client of the stack, including the API key."""
        data = self._options.data.resolve()
        targets = {service.target: self._addresses.get(service.name, "") for service in self._options.services}
        return {
            "CAIRN_KAFKA": self._kafka.bootstrap_servers,
            "CAIRN_KAFKA_FETCH_WAIT_MS": str(self._kafka.fetch_wait_ms),
            "CAIRN_REDIS": self._redis,
            "CAIRN_TENANTS": str(data / "tenants.yaml"),
            "CAIRN_BUNDLES": str(data / "bundles"),
            "CAIRN_TENANT": self.tenant,
            "CAIRN_API_KEY": self._api_key,
        } | {target: address for target, address in (targets | self._http_addresses).items() if address}

    @property
    def access(self) -> StackAccess:
        """The stack as its clients see it."""
        return StackAccess(self.directory, self.environment, self.check_running)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def check_running(self) -> None:
        """Raise ComponentFailedError when a component has exited."""
        for child in self._children:
            child.check_running()

    def keep_running(self, restarted: Callable[[Component], None]) -> NoReturn:
        """Never return: start services again that exit, as an orchestrator would.

        Args:
            restarted: called with each service that was started again; it may not be ready yet.

        Raises:
            ComponentFailedError: once the broker or Redis has exited, or a service exits again and again.
        """
        while True:
            for child in self._children:
                if not child.running:
                    restarted(self._restarted(child))
            time.sleep(_CHECK_EVERY_S)

    def _restarted(self, child: Child) -> Component:
        begun = time.monotonic()
        restarts = self._restarts.setdefault(child.name, deque(maxlen=_RESTARTS_MOST))
        often = len(restarts) == _RESTARTS_MOST and begun - restarts[0] < _RESTARTS_WITHIN_S
        if child.name in INFRASTRUCTURE or often:
            raise child.failure()
        restarts.append(begun)
        # What it started may have outlived it.
        child.stop()
        # Clients know its address.
        environment = {**child.command.environment, "CAIRN_LISTEN": self._addresses[child.name]}
        again = Child(replace(child.command, environment=environment))
        self._children[self._children.index(child)] = again
        return _component(again, self._addresses[child.name], begun)

    def stop(self) -> None:
        """Stop every component in reverse start order. Ctrl-C does not interrupt this."""
        with uninterrupted():
            services = [child for child in reversed(self._children) if child.name not in INFRASTRUCTURE]
            for child in services:
                child.signal_stop()
            for child in (*services, *reversed(self._children)):
                child.stop()
            self._children.clear()
            if self._lock is not None:
                self._lock.close()

    def _start(self) -> None:
        self._options.data.mkdir(parents=True, exist_ok=True)
        self._lock = locked(self._options.directory)
        self._remove_leftovers()
        ports = self._claim_ports()
        self._start_broker(ports["broker"])
        self._start_redis(ports["redis"])
        self._create_topics()
        self._create_key()
        self._start_services(ports)
        self._start_gateway(ports)

    def _remove_leftovers(self) -> None:
        directory = self._options.directory
        for log in directory.glob("*.log"):
            log.unlink()
        if not self._options.kafka and not self._options.keeps_its_log:
            # The stack's own broker starts empty: nothing derived from another log may be used with this one.
            shutil.rmtree(directory / "kafka", ignore_errors=True)
            (directory / "tenants.yaml").unlink(missing_ok=True)
            shutil.rmtree(directory / "bundles", ignore_errors=True)

    def _claim_ports(self) -> dict[str, int]:
        services = self._options.services
        http = [f"{service.name}-http" for service in services if service.http_listen]
        names = ["broker", "redis", *(service.name for service in services), *http, GATEWAY]
        asked = {name: self._options.ports.get(name, 0) for name in names}
        return {
            name: claim_port(port, component=name, option=f"--{name}-port") if port else 0
            for name, port in asked.items()
        }

    def _start_broker(self, port: int) -> None:
        begun = time.monotonic()
        if self._options.kafka:
            # Creating the topics shows whether it answers.
            self._report(Component("broker", self._options.kafka, 0, None, 0.0))
            return
        child, self._kafka = self._started_broker(port)
        self._children.append(child)
        self._report(_component(child, self._kafka.bootstrap_servers, begun))

    def _started_broker(self, port: int) -> tuple[Child, KafkaConnection]:
        if self._options.broker is BrokerKind.EMBEDDED:
            broker = Broker(self._log("broker"), port)
            broker.start()
            return broker.child, broker.connection
        cluster = KafkaCluster(self._options.data / "kafka", cache=KAFKA_LIBRARIES, port=port)
        try:
            cluster.start()
        except BaseException:
            cluster.stop()
            raise
        return cluster.nodes[0].child, cluster.connection

    def _start_redis(self, port: int) -> None:
        begun = time.monotonic()
        if self._options.redis:
            self._report(Component("redis", self._options.redis, 0, None, 0.0))
            return
        server = RedisServer(self._log("redis"), port)
        server.start()
        self._children.append(server.child)
        self._redis = server.url
        self._report(_component(server.child, server.url, begun))

    def _create_topics(self) -> None:
        begun = time.monotonic()
        declarations = load_declarations(TOPICS)
        try:
            reports = ensure_topics(self._kafka, declarations)
        except BrokerUnavailableError as error:
            self.check_running()
            raise StackError(f"{error}; start it, or unset CAIRN_KAFKA to use the embedded broker") from error
        for report in reports:
            if report.outcome is TopicOutcome.DIFFERS:
                raise StackError(f"the topic {report.topic} {report.detail}")
        created = sum(report.outcome is TopicOutcome.CREATED for report in reports)
        what = f"{created} created, {len(reports) - created} as declared"
        self._report(Component("topics", what, 0, None, time.monotonic() - begun))

    def _create_key(self) -> None:
        tenants = self._options.data / "tenants.yaml"
        if self._options.public:
            self._api_key = create_demo_tenant(tenants)
        else:
            self._api_key = create_api_key(
                tenants, self.tenant, "laptop", ALL_SCOPES, encryption=self._options.encryption
            )
        what = "a public API key, for loopback only" if self._options.public else "an API key"
        self._report(Component("tenant", f"{self.tenant}, with {what}", 0, None, 0.0))

    def _start_services(self, ports: Mapping[str, int]) -> None:
        """Start all of them, then wait for each, so that their imports run in parallel."""
        begun = time.monotonic()
        started = [(service, self._start_service(service, ports[service.name])) for service in self._options.services]
        for service, child in started:
            child.wait_ready(lambda service=service: self._is_serving(service), _SERVICE_DEADLINE_S)  # type: ignore[misc]  # mypy cannot infer a defaulted lambda.
            self._report(_component(child, self._addresses[service.name], begun))

    def _start_gateway(self, ports: Mapping[str, int]) -> None:
        if not self._addresses.keys() >= BEHIND_THE_GATEWAY.keys():
            return
        if not is_available():
            self._report(Component(GATEWAY, "left out: there is no Envoy for this machine", 0, None, 0.0))
            return
        begun = time.monotonic()
        upstreams = {name: self._addresses[name] for name in BEHIND_THE_GATEWAY}
        gateway = GatewayServer(self._options.directory, upstreams, ports[GATEWAY])
        gateway.start()
        self._children.append(gateway.child)
        self._addresses[GATEWAY] = self._http_addresses["CAIRN_TARGET_REST"] = gateway.address
        self._report(_component(gateway.child, gateway.address, begun))

    def _start_service(self, service: Service, port: int) -> Child:
        address_file = self._address_file(service)
        address_file.unlink(missing_ok=True)
        environment = self.environment | {
            "CAIRN_LISTEN": f"{LOOPBACK}:{port}",
            "CAIRN_ADDRESS_FILE": str(address_file.resolve()),
            "CAIRN_METRICS_PORT": str(free_port()),
            "CAIRN_REFLECTION": "true",
            "CAIRN_DRAIN_S": str(_DRAIN_S),
        }
        del environment["CAIRN_API_KEY"]
        if service.http_listen:
            http = self._options.ports.get(f"{service.name}-http", 0) or free_port()
            self._http_addresses[service.http_target] = environment[service.http_listen] = f"{LOOPBACK}:{http}"
        child = Child(Command(service.name, service.arguments, self._log(service.name), environment))
        self._children.append(child)
        return child

    def _is_serving(self, service: Service) -> bool:
        # This one may be waiting for another component that has exited.
        self.check_running()
        address_file = self._address_file(service)
        if not address_file.is_file():
            return False
        address = address_file.read_text(encoding="utf-8")
        if not is_serving(address):
            return False
        self._addresses[service.name] = address
        return True

    def _address_file(self, service: Service) -> Path:
        return self._options.directory / f"{service.name}.address"

    def _log(self, name: str) -> Path:
        return self._options.directory / f"{name}.log"


def _component(child: Child, address: str, begun: float) -> Component:
    return Component(child.name, address, child.pid, child.command.log, time.monotonic() - begun)
