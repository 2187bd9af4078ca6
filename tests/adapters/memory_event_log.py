"""The ports of ingest, in memory."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence

from services.common.kafka.envelope import LogIdentity, Position, record_key
from services.common.kafka.partitioner import partition_of
from services.ingest.application.ports import Confirmation, LogOverloadedError, LogUnavailableError
from services.ingest.domain.submission import AcceptedEvent


class MemoryEventLog:
    """A log that lasts as long as the process.

    Attributes:
        partitions: the events by partition.
        reachable: set to False to have `append` fail as it does without a broker.
    """

    def __init__(self, *, partitions: int = 4, events_in_flight_max: int = 100_000) -> None:
        self.partitions: list[list[AcceptedEvent]] = [[] for _ in range(partitions)]
        self.reachable = True
        self._identity = LogIdentity(uuid.uuid4().bytes, partitions)
        self._events_in_flight_max = events_in_flight_max

    @property
    def identity(self) -> LogIdentity:
        """As the port says."""
        return self._identity

    async def append(self, events: Sequence[AcceptedEvent]) -> list[Position]:
        """As the port says."""
        if not self.reachable:
            raise LogUnavailableError("the log is switched off")
        if len(events) > self._events_in_flight_max:
            raise LogOverloadedError(f"{len(events)} events, room for {self._events_in_flight_max}")
        positions = []
        for event in events:
            number = partition_of(record_key(event.tenant, event.learner), len(self.partitions))
            positions.append(Position(number, len(self.partitions[number])))
            self.partitions[number].append(event)
        return positions

    async def submit(self, events: Sequence[AcceptedEvent], *, wait_for_room: bool = False) -> Confirmation:
        """As the port says; what it raises, it raises here."""
        confirmed: asyncio.Future[list[Position]] = asyncio.get_running_loop().create_future()
        confirmed.set_result(await self.append(events))
        return confirmed


class MemoryLearnerKeys:
    """Remembers which learners' keys were destroyed.

    Attributes:
        destroyed: (tenant, learner) of each, in order.
        reachable: set to False to have `destroy` fail as it does without a broker.
    """

    def __init__(self, *, encrypted: bool = True) -> None:
        """Args: `encrypted`, whether tenants have an encryption key."""
        self.destroyed: list[tuple[str, str]] = []
        self.reachable = True
        self._encrypted = encrypted

    async def destroy(self, tenant: str, learner: str) -> bool:
        """As the port says."""
        if not self.reachable:
            raise LogUnavailableError("the keys are switched off")
        if self._encrypted:
            self.destroyed.append((tenant, learner))
        return self._encrypted


class MemorySkillTags:
    """A catalog given at the start."""

    def __init__(
        self, assessed: Mapping[tuple[str, str], Mapping[str, float]] | None = None, *, ready: bool = True
    ) -> None:
        """Args: `assessed`, weights of the skills assessed by (tenant, resource), and whether the catalog is read."""
        self._assessed = {
            key: tuple(sorted(weights, key=lambda skill: (-weights[skill], skill)))
            for key, weights in (assessed or {}).items()
        }
        self.ready = ready

    def assessed_skills(self, tenant: str, resource: str) -> tuple[str, ...] | None:
        """As the port says."""
        return self._assessed.get((tenant, resource))
