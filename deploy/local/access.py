"""How clients on this machine reach a running stack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from services.common.kafka.connection import KafkaConnection


@dataclass(frozen=True, slots=True)
class StackAccess:
    """A running stack as its clients see it.

    Attributes:
        directory: the directory of its files.
        environment: the environment of a client, including the API key.
        check_running: raises ComponentFailedError when a component has exited.
    """

    directory: Path
    environment: Mapping[str, str]
    check_running: Callable[[], None]

    @property
    def kafka(self) -> KafkaConnection:
        """Its broker."""
        return KafkaConnection(
            self.environment["CAIRN_KAFKA"], fetch_wait_ms=int(self.environment["CAIRN_KAFKA_FETCH_WAIT_MS"])
        )

    @property
    def redis(self) -> str:
        """URL of its Redis."""
        return self.environment["CAIRN_REDIS"]

    @property
    def api_key(self) -> str:
        """The tenant's API key."""
        return self.environment["CAIRN_API_KEY"]

    @property
    def ingest(self) -> str:
        """`host:port` of ingest."""
        return self.environment["CAIRN_TARGET_INGEST"]

    @property
    def catalog(self) -> str:
        """`host:port` of the catalog."""
        return self.environment["CAIRN_TARGET_CATALOG"]

    @property
    def server(self) -> str:
        """`host:port` of the recommender server."""
        return self.environment["CAIRN_TARGET_RECOMMENDER"]
