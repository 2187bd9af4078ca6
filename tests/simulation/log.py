"""A Kafka topic, its consumer groups, and the client that the worker reads it with."""

from __future__ import annotations

import asyncio
import random
import uuid
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import aiokafka
from aiokafka.errors import CommitFailedError

from services.common.kafka.connection import BrokerUnavailableError
from services.common.kafka.envelope import record_fingerprint
from tests.simulation.keys import SimulatedKeyTopic
from tests.simulation.network import Process, Server

PARTITIONS = 3


class LogRecord(NamedTuple):
    """A record as the client returns it."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    partition: int = 0


class SimulatedLog:
    """The topic of learner events; implements LogReader for callers that do not wait."""

    def __init__(self, rng: random.Random, on_commit: Callable[[str, Mapping[int, int]], None]) -> None:
        """Args: `on_commit` sees every commit of offsets: the group's name, and offsets by partition."""
        self.server = Server(lambda: BrokerUnavailableError("the simulated broker is away"))
        self._on_commit = on_commit
        self._rng = rng
        self._number = 0
        self.groups: dict[str, Group] = {}
        # Learners, by record key, of whom records were lost.
        self.keys_of_lost: set[bytes | None] = set()
        self.keys = SimulatedKeyTopic()
        self.recreate()

    def recreate(self) -> None:
        """Delete the topic and create it again under the same name."""
        self._number += 1
        self.identity = f"{uuid.UUID(int=self._number)}/{PARTITIONS}"
        self.records: list[list[LogRecord]] = [[] for _ in range(PARTITIONS)]

    def append(
        self, partition: int, key: bytes | None, value: bytes | None, headers: Any, *, skip: int = 0
    ) -> LogRecord:
        """Append a record `skip` offsets after the end; transactions leave such gaps."""
        record = LogRecord(self.end(partition) + skip, key, value, tuple(headers), partition)
        self.records[partition].append(record)
        return record

    def shrink(self, partition: int, records: int) -> None:
        """Lose the last records of a partition, as after an unclean leader election."""
        kept = max(len(self.records[partition]) - records, 0)
        self.keys_of_lost.update(record.key for record in self.records[partition][kept:])
        del self.records[partition][kept:]
        for group in self.groups.values():
            # The broker resets offsets beyond the end.
            if group.committed.get(partition, 0) > self.end(partition):
                group.committed.pop(partition)

    def end(self, partition: int) -> int:
        """One past the last record."""
        records = self.records[partition]
        return records[-1].offset + 1 if records else 0

    def ends(self) -> dict[int, int]:
        """One past the last record, by partition."""
        return {partition: self.end(partition) for partition in range(PARTITIONS)}

    def read(self, partition: int, offset: int, most: int) -> Sequence[LogRecord]:
        """The records from an offset on."""
        records = self.records[partition]
        first = bisect_left(records, offset, key=lambda record: record.offset)
        return records[first : first + most]

    def fingerprints(self, offsets: Mapping[int, Sequence[int]]) -> dict[tuple[int, int], str]:
        """The fingerprints of records, by partition and offset."""
        return {
            (partition, offset): record_fingerprint(one.key, one.value, one.headers)
            for partition, some in offsets.items()
            for offset in some
            for one in self.read(partition, offset, 1)
            if one.offset == offset
        }

    def group(self, name: str) -> Group:
        """A consumer group, created when it is first named."""
        if name not in self.groups:
            self.groups[name] = Group(self._rng, partial(self._on_commit, name))
        return self.groups[name]


class _Member:
    def __init__(self, now_s: float, session_s: float) -> None:
        self.seen_s = now_s
        self.session_s = session_s
        self.joined = True
        self.partitions: list[int] = []


class Group:
    """The group coordinator's state. Members that are silent for a session timeout lose their partitions."""

    def __init__(self, rng: random.Random, on_commit: Callable[[Mapping[int, int]], None]) -> None:
        self.committed: dict[int, int] = {}
        self._on_commit = on_commit
        self._rng = rng
        self._members: dict[int, _Member] = {}
        self._generation = 0
        self._number = 0
        self._joining_since_s: float | None = None

    def join(self, member: int | None, now_s: float, session_s: float) -> int:
        """Start a rebalance, or join the current one; return the member's id."""
        if member is None or member not in self._members:
            self._number += 1
            member = self._number
            self._members[member] = _Member(now_s, session_s)
        self._rebalance(now_s)
        self._members[member].joined = True
        self._members[member].seen_s = now_s
        return member

    def sync(self, member: int, now_s: float) -> tuple[int, list[int]] | None:
        """Generation and partitions once all members have joined; None: not yet. Raises LookupError when expelled."""
        self._hear(member, now_s)
        if self._joining_since_s is not None:
            self._members[member].joined = True
            if not all(one.joined for one in self._members.values()):
                return None
            self._assign()
        return self._generation, self._members[member].partitions

    def heartbeat(self, member: int, generation: int, now_s: float) -> bool:
        """Whether the member's assignment is still valid. Raises LookupError when expelled."""
        self._hear(member, now_s)
        return self._joining_since_s is None and generation == self._generation

    def leave(self, member: int, now_s: float) -> None:
        """A member goes."""
        if self._members.pop(member, None) is not None and self._members:
            self._rebalance(now_s)

    def commit(self, member: int | None, generation: int, offsets: Mapping[int, int], now_s: float) -> bool:
        """Commit offsets; False: they belong to a past generation."""
        self._expire(now_s)
        if member not in self._members or generation != self._generation:
            return False
        self._on_commit(offsets)
        self.committed |= offsets
        return True

    def _hear(self, member: int, now_s: float) -> None:
        self._expire(now_s)
        if member not in self._members:
            raise LookupError("unknown member")
        self._members[member].seen_s = now_s

    def _expire(self, now_s: float) -> None:
        silent = [number for number, one in self._members.items() if now_s - one.seen_s > one.session_s]
        for number in silent:
            del self._members[number]
        if silent and self._members:
            self._rebalance(now_s)

    def _rebalance(self, now_s: float) -> None:
        if self._joining_since_s is None:
            self._joining_since_s = now_s
            for one in self._members.values():
                one.joined = False

    def _assign(self) -> None:
        self._joining_since_s = None
        self._generation += 1
        members = list(self._members.values())
        self._rng.shuffle(members)
        for index, one in enumerate(members):
            one.partitions = list(range(index, PARTITIONS, len(members)))


class SimulatedConsumer:
    """The part of aiokafka's consumer that the worker uses, including its awkward behaviour.

    Between an assignment and the seek that follows it, records come from the committed offset. Records fetched before
    a seek are returned after it. An offset that the log does not contain is silently reset to the beginning.
    """

    def __init__(
        self,
        process: Process,
        log: SimulatedLog,
        rng: random.Random,
        *,
        group_id: str | None = None,
        session_timeout_ms: int = 0,
        heartbeat_interval_ms: int = 0,
        **_: object,
    ) -> None:
        self._process = process
        self._log = log
        self._rng = rng
        self._group = None if group_id is None else log.group(group_id)
        self._session_s = session_timeout_ms / 1_000
        self._heartbeat_s = heartbeat_interval_ms / 1_000
        self._topic = ""
        self._positions: dict[int, int] = {}
        self._highwater: dict[int, int] = {}
        self._sent_at_ms: dict[int, int] = {}
        self._member: int | None = None
        self._generation = -1
        self._coordination: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._ask(lambda: None)

    async def stop(self) -> None:
        if self._coordination is not None:
            self._coordination.cancel()
            with suppress(asyncio.CancelledError):
                await self._coordination
        group, member = self._group, self._member
        if group is not None and member is not None:
            with suppress(BrokerUnavailableError):
                await self._ask(lambda: group.leave(member, self._now_s))

    def subscribe(self, topics: Sequence[str], listener: aiokafka.ConsumerRebalanceListener) -> None:
        (self._topic,) = topics
        self._coordination = asyncio.create_task(self._coordinate(listener))

    def assign(self, partitions: Iterable[aiokafka.TopicPartition]) -> None:
        for one in partitions:
            self._topic = one.topic
            self._positions[one.partition] = 0

    def assignment(self) -> frozenset[aiokafka.TopicPartition]:
        return frozenset(map(self._named, self._positions))

    def seek(self, partition: aiokafka.TopicPartition, offset: int) -> None:
        assert partition.partition in self._positions, "seek in a partition that is not assigned"
        self._positions[partition.partition] = offset

    def highwater(self, partition: aiokafka.TopicPartition) -> int | None:
        assert partition.partition in self._positions, "request for a partition that is not assigned"
        return self._highwater.get(partition.partition)

    def last_poll_timestamp(self, partition: aiokafka.TopicPartition) -> int | None:
        return self._sent_at_ms.get(partition.partition)

    async def beginning_offsets(
        self, partitions: Sequence[aiokafka.TopicPartition]
    ) -> dict[aiokafka.TopicPartition, int]:
        return await self._ask(lambda: dict.fromkeys(partitions, 0))

    async def committed(self, partition: aiokafka.TopicPartition) -> int | None:
        group = self._require_group()
        return await self._ask(lambda: group.committed.get(partition.partition))

    async def commit(self, offsets: Mapping[aiokafka.TopicPartition, int]) -> None:
        group, member, generation = self._require_group(), self._member, self._generation
        plain = {one.partition: offset for one, offset in offsets.items()}
        try:
            committed = await self._ask(lambda: group.commit(member, generation, plain, self._now_s))
        except BrokerUnavailableError as error:
            raise CommitFailedError from error
        if not committed:
            raise CommitFailedError

    async def getmany(
        self, *asked: aiokafka.TopicPartition, timeout_ms: int, max_records: int
    ) -> dict[aiokafka.TopicPartition, Sequence[LogRecord]]:
        deadline_s = self._now_s + timeout_ms / 1_000
        while True:
            fetched = {}
            with suppress(BrokerUnavailableError):
                fetched = await self._ask(lambda: self._fetch(asked, max_records))
            if fetched or self._now_s >= deadline_s:
                return fetched
            await asyncio.sleep(deadline_s - self._now_s)

    def _fetch(
        self, asked: Sequence[aiokafka.TopicPartition], most: int
    ) -> dict[aiokafka.TopicPartition, Sequence[LogRecord]]:
        fetched = {}
        named = {one.partition for one in asked}
        partitions = [partition for partition in self._positions if not named or partition in named]
        self._rng.shuffle(partitions)
        for partition in partitions:
            end = self._log.end(partition)
            self._highwater[partition] = end
            self._sent_at_ms[partition] = int(self._now_s * 1_000)
            if self._positions[partition] > end:
                self._positions[partition] = 0
            # A fetch may return any part of the available records, and some partitions before others.
            count = self._rng.randrange(most + 1)
            records = self._log.read(partition, self._positions[partition], count)
            if records:
                self._positions[partition] = records[-1].offset + 1
                most -= len(records)
                fetched[self._named(partition)] = records
        return fetched

    async def _coordinate(self, listener: aiokafka.ConsumerRebalanceListener) -> None:
        group = self._require_group()
        while True:
            await listener.on_partitions_revoked({self._named(partition) for partition in self._positions})
            partitions = await self._join(group)
            committed = await self._ask_until_answered(lambda: dict(group.committed))
            self._positions = {partition: committed.get(partition, 0) for partition in partitions}
            self._highwater = {}
            await listener.on_partitions_assigned({self._named(partition) for partition in partitions})
            stands = True
            while stands:
                await asyncio.sleep(self._heartbeat_s)
                with suppress(LookupError):
                    stands = False
                    stands = await self._ask_until_answered(
                        lambda: group.heartbeat(self._member, self._generation, self._now_s)
                    )

    async def _join(self, group: Group) -> list[int]:
        while True:
            self._member = await self._ask_until_answered(
                lambda: group.join(self._member, self._now_s, self._session_s)
            )
            with suppress(LookupError):
                while True:
                    assigned = await self._ask_until_answered(lambda: group.sync(self._member, self._now_s))
                    if assigned is not None:
                        self._generation, partitions = assigned
                        return partitions
                    await asyncio.sleep(self._heartbeat_s / 4)

    async def _ask_until_answered(self, step: Any) -> Any:
        """As the client does for its group: it tries again while the broker is away."""
        while True:
            with suppress(BrokerUnavailableError):
                return await self._ask(step)
            await asyncio.sleep(0.1)

    async def _ask(self, step: Any) -> Any:
        return await self._process.ask(self._log.server, [step])

    def _named(self, partition: int) -> aiokafka.TopicPartition:
        return aiokafka.TopicPartition(self._topic, partition)

    def _require_group(self) -> Group:
        assert self._group is not None, "the consumer is in no group"
        return self._group

    @property
    def _now_s(self) -> float:
        return self._process.network.clock.now_s
