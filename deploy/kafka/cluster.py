"""Apache Kafka in KRaft mode on loopback, from Maven artifacts: one node or three, each with a data directory."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from deploy.kafka.access import ClusterAccess
from deploy.processes import LOOPBACK, Child, Command, StackError, accepts_connections, free_port
from services.common.kafka.connection import KafkaConnection

FETCH_WAIT_MS = 500

_POM = Path(__file__).with_name("pom.xml")
_READY_DEADLINE_S = 120.0
_HEAP = "-Xmx512m"
_OLDEST_JAVA = 17


def new_cluster_id(draw: Callable[[], bytes] = lambda: uuid.uuid4().bytes) -> str:
    """A random cluster id: 16 bytes in URL-safe Base64.

    One in 64 begins with `-`, which the storage tool takes for an option. Such an id is drawn again, as Kafka does.

    Args:
        draw: returns 16 random bytes.
    """
    while True:
        cluster_id = base64.urlsafe_b64encode(draw()).decode().rstrip("=")
        if not cluster_id.startswith("-"):
            return cluster_id


class JavaMissingError(StackError):
    """This machine lacks Java 17 or Maven, so a real broker cannot be started."""


class KafkaNode:
    """One broker and controller of a cluster. It keeps its data and ports across `kill` and `stop`."""

    def __init__(
        self,
        node_id: int,
        directory: Path,
        libraries: Path,
        port: int = 0,
        access: ClusterAccess | None = None,
        host: str = LOOPBACK,
    ) -> None:
        """Prepare it.

        Args:
            node_id: from 1.
            directory: its own.
            libraries: the jars.
            port: 0 for a free one.
            access: who may do what over TLS, if anybody.
            host: the address of the listener without TLS.
        """
        self.node_id = node_id
        self.host = host
        self.port = port or free_port()
        self.controller_port = free_port()
        # A second listener advertises `proxy_port` to clients, where a test can insert a proxy.
        self.proxy_port = free_port()
        self.behind_proxy_port = free_port()
        # Clients log in there, if `access` says who may.
        self.secured_port = free_port()
        self._access = access
        self._directory = directory
        self._libraries = libraries
        self._child: Child | None = None

    @property
    def running(self) -> bool:
        """Whether its process is running."""
        return self._child is not None and self._child.running

    @property
    def child(self) -> Child:
        """Its process."""
        if self._child is None:
            raise StackError(f"Kafka node {self.node_id} was not started")
        return self._child

    def format(self, cluster_id: str, voters: str, *, nodes: int) -> None:
        """Write its settings and format its data directory, which KRaft requires before the first start.

        Data of an earlier start are kept, with the id of their cluster.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        settings = {
            "process.roles": "broker,controller",
            "node.id": self.node_id,
            "listeners": f"PLAINTEXT://{self.host}:{self.port},PROXIED://{LOOPBACK}:{self.behind_proxy_port},"
            f"CONTROLLER://{LOOPBACK}:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.host}:{self.port},PROXIED://{LOOPBACK}:{self.proxy_port}",
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT",
            "controller.quorum.voters": voters,
            "log.dirs": self._data,
            "auto.create.topics.enable": "false",
            "default.replication.factor": nodes,
            "min.insync.replicas": max(1, nodes - 1),
            "offsets.topic.replication.factor": nodes,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": nodes,
            "transaction.state.log.min.isr": max(1, nodes - 1),
            "transaction.state.log.num.partitions": 2,
            "share.coordinator.state.topic.replication.factor": nodes,
            "share.coordinator.state.topic.min.isr": max(1, nodes - 1),
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1000,
            "controlled.shutdown.enable": "true",
        }
        if self._access is not None:
            settings = self._access.secured(settings, f"{LOOPBACK}:{self.secured_port}")
        self._settings.write_text("".join(f"{name}={value}\n" for name, value in settings.items()), encoding="utf-8")
        if (self._data / "meta.properties").exists():
            return
        formatted = subprocess.run(
            [
                *self._java("kafka.tools.StorageTool"),
                *("format", "-t", cluster_id, "-c", str(self._settings)),
                *(self._access.format_arguments if self._access else ()),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if formatted.returncode:
            raise StackError(f"Kafka node {self.node_id} could not format its storage: {formatted.stderr[-2000:]}")

    def largest_log_bytes(self, topic: str) -> int:
        """The size of the largest segment of a topic's partitions on this node."""
        # A deleted topic's folders stay for a minute, under another name.
        folders = [path for path in self._data.glob(f"{topic}-*") if path.name[len(topic) + 1 :].isdigit()]
        return max(path.stat().st_size for folder in folders for path in folder.glob("*.log"))

    def copy_data(self, to: Path) -> None:
        """Copy its data directory to a new one. Call only while it is stopped."""
        shutil.copytree(self._data, to)

    def restore_data(self, copy: Path) -> None:
        """Replace its data with an earlier copy, as when a disk is restored from a backup. Call only while stopped."""
        shutil.rmtree(self._data)
        shutil.copytree(copy, self._data)

    def wipe(self) -> None:
        """Remove its data and its log."""
        shutil.rmtree(self._directory)

    def start(self) -> None:
        """Start it without waiting."""
        arguments = [*self._java("kafka.Kafka", _HEAP), str(self._settings)]
        self._child = Child(Command("broker", arguments, self._directory / "broker.log", grace_s=20.0))

    def wait_ready(self) -> None:
        """Return once it accepts connections.

        Raises:
            ComponentFailedError: when it exits or takes too long.
        """
        self.child.wait_ready(lambda: accepts_connections(self.port, self.host), _READY_DEADLINE_S)

    def kill(self) -> None:
        """Kill it like a power cut: SIGKILL."""
        self.child.kill()

    def stop(self) -> None:
        """Stop it cleanly. Safe to call again."""
        if self._child is not None:
            self._child.stop()

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    @property
    def _settings(self) -> Path:
        return self._directory / "server.properties"

    def _java(self, main_class: str, *options: str) -> list[str]:
        # Reading jars takes most of the start-up time; the C1 compiler is fast enough for a test broker, but for TLS:
        # only C2 uses the processor's instructions for AES.
        compiler = () if self._access else ("-XX:TieredStopAtLevel=1",)
        return [_executable("java"), *compiler, "-XX:+UseSerialGC", *options, "-cp", f"{self._libraries}/*", main_class]


class KafkaCluster:
    """One node, or three with replication factor 3 and two in-sync replicas required."""

    def __init__(
        self,
        directory: Path,
        *,
        nodes: int = 1,
        cache: Path,
        port: int = 0,
        access: ClusterAccess | None = None,
        host: str = LOOPBACK,
    ) -> None:
        """Prepare the cluster; `start` starts it.

        Args:
            directory: a new directory for data and logs.
            nodes: number of nodes.
            cache: directory that keeps the jars between runs.
            port: port of the first node; 0 for a free one.
            access: who may do what over TLS; None: there is no listener with TLS.
            host: the address that clients without TLS reach it at.

        Raises:
            JavaMissingError: when Java or Maven is missing.
        """
        libraries = kafka_libraries(cache)
        ports = [port] + [0] * (nodes - 1)
        self.nodes = [
            KafkaNode(number, directory / f"node-{number}", libraries, port, access, host)
            for number, port in enumerate(ports, 1)
        ]
        self._access = access
        self._format()

    def wipe(self) -> None:
        """Turn it into a new, empty cluster, whose topics get other ids. Call only while stopped; the ports stay."""
        for node in self.nodes:
            node.wipe()
        self._format()

    def _format(self) -> None:
        nodes = len(self.nodes)
        cluster_id = new_cluster_id()
        voters = ",".join(f"{node.node_id}@{LOOPBACK}:{node.controller_port}" for node in self.nodes)
        for node in self.nodes:
            node.format(cluster_id, voters, nodes=nodes)

    @property
    def connection(self) -> KafkaConnection:
        """How to reach it."""
        return KafkaConnection(",".join(f"{node.host}:{node.port}" for node in self.nodes), FETCH_WAIT_MS)

    @property
    def proxied_connection(self) -> KafkaConnection:
        """How to reach it through the nodes' proxy ports."""
        return KafkaConnection(",".join(f"{LOOPBACK}:{node.proxy_port}" for node in self.nodes), FETCH_WAIT_MS)

    def secured_connection(self, user: str) -> KafkaConnection:
        """How a user of its `access` reaches it, over TLS."""
        if self._access is None:
            raise ValueError("this cluster has no listener with TLS: give it an access")
        return KafkaConnection(self.secured_servers, FETCH_WAIT_MS, self._access.security_of(user))

    @property
    def secured_servers(self) -> str:
        """The bootstrap servers of its listeners with TLS."""
        return ",".join(f"{LOOPBACK}:{node.secured_port}" for node in self.nodes)

    @property
    def replication_factor(self) -> int:
        """The number of replicas that each partition should have."""
        return len(self.nodes)

    def start(self) -> None:
        """Start the nodes that are not running and return once all accept connections."""
        for node in self.nodes:
            if not node.running:
                node.start()
        for node in self.nodes:
            node.wait_ready()

    def stop(self) -> None:
        """Stop every node. Safe to call again."""
        for node in self.nodes:
            if node.running:
                node.child.signal_stop()
        for node in self.nodes:
            node.stop()


def kafka_libraries(cache: Path) -> Path:
    """The broker's jars, downloaded by Maven once per version of `pom.xml`.

    Raises:
        JavaMissingError: when Java or Maven is missing.
        StackError: when Maven fails.
    """
    fingerprint = hashlib.sha256(_POM.read_bytes()).hexdigest()[:12]
    libraries = cache / f"kafka-{fingerprint}"
    if libraries.is_dir():
        return libraries
    arriving = cache / f"kafka-{fingerprint}.{uuid.uuid4().hex[:8]}"
    copy = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={arriving.resolve()}"]
    fetched = subprocess.run(
        [_executable("mvn"), "-q", "-B", "-f", str(_POM), *copy], capture_output=True, text=True, check=False
    )
    if fetched.returncode:
        raise StackError(f"Maven could not fetch Kafka: {(fetched.stdout + fetched.stderr)[-2000:]}")
    _executable("java")
    if not libraries.is_dir():
        arriving.rename(libraries)
    return libraries


def missing_tools() -> Sequence[str]:
    """Those of Java 17 and Maven that this machine lacks."""
    missing = [name for name in ("java", "mvn") if shutil.which(name) is None]
    if "java" not in missing and _java_version() < _OLDEST_JAVA:
        missing.append(f"Java {_OLDEST_JAVA}")
    return missing


def _java_version() -> int:
    """The major version of the Java on PATH; 0 if unknown."""
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    match = re.search(r'version "(\d+)', said)
    return int(match[1]) if match else 0


def _executable(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise JavaMissingError(f"a real Kafka needs Java 17 and Maven on PATH, and {name} is missing")
    return path
