"""A cluster that scenarios share; each begins with an empty log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from kafka.admin import KafkaAdminClient

from deploy.kafka.access import ClusterAccess, grant
from deploy.kafka.cluster import KafkaCluster
from services.common.kafka.topics import ensure_topics, load_declarations
from tests.faults.results import Row
from tests.faults.scene import Scene, until

_USERS = ("ingest", "catalog", "worker", "server", "operator")
_TOPICS = Path(__file__).parents[2] / "deploy" / "topics.yaml"


class Bench:
    """A running cluster that scenarios share; each recreates the topics."""

    def __init__(self, directory: Path, *, nodes: int, cache: Path, secured: bool) -> None:
        """Prepare the cluster.

        Args:
            directory: a new one.
            nodes: of the cluster.
            cache: for the broker's jars.
            secured: whether it also has a listener with TLS, users and ACLs.
        """
        self.directory = directory
        self.nodes = nodes
        self.access = ClusterAccess(directory / "access", _USERS) if secured else None
        self.cluster = KafkaCluster(directory / "kafka", nodes=nodes, cache=cache, access=self.access)
        self._runs = 0

    def __enter__(self) -> Self:
        try:
            self.cluster.start()
            if self.access is not None:
                grant(self.cluster.connection)
        except BaseException:
            self.cluster.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.cluster.stop()

    @contextmanager
    def scene(self, name: str, seed: int) -> Iterator[Scene]:
        """A scene with an empty log and an empty Redis, not started yet."""
        self._runs += 1
        self._empty_log()
        scene = Scene(self, self.directory / f"{self._runs:03d}-{name}", Row(name, self.nodes, seed))
        try:
            yield scene
        except BaseException:
            scene.row.logs = {process.name: process.last_lines() for process in scene.processes.values()}
            raise
        finally:
            scene.close()

    def _empty_log(self) -> None:
        # The others may still list a killed node as missing.
        self.cluster.start()
        declarations = load_declarations(_TOPICS)
        admin = KafkaAdminClient(bootstrap_servers=self.cluster.connection.bootstrap_servers.split(","))
        try:
            # Also the copies that scenarios keep; the broker's own begin with underscores.
            existing = {topic for topic in admin.list_topics() if not topic.startswith("__")}
            if existing:
                admin.delete_topics(sorted(existing))
                until(lambda: not set(admin.list_topics()) & existing, 20.0, "topics were not deleted")
        finally:
            admin.close()

        def created() -> bool:
            try:
                ensure_topics(self.cluster.connection, declarations, replication_factor=self.nodes)
            except ConnectionError:
                return False
            return True

        until(created, 30.0, "topics were not created")
