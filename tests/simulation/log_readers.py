"""What processes read from the log besides their consumer: its ends, corrections ahead, the records of learners."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Protocol, cast

from services.common.encryption.values import KeyGone
from services.recommender.application.ports.log import ValueDecryptor
from services.recommender.application.state.partition_batch import PartitionBatch
from services.recommender.domain.learner.corrections import KnownCorrections
from services.recommender.domain.learner.events import LearnerEvent
from services.recommender.entrypoints.record_decoding import decode_batch
from services.recommender.wire.events import decode_event
from services.recommender.wire.fields import RecordInvalidError
from tests.simulation.keys import SimulatedLearnerKeys
from tests.simulation.log import PARTITIONS, LogRecord, SimulatedLog
from tests.simulation.network import Process


class Decryptor(Protocol):
    """Decrypts values whose keys it has."""

    def decrypt(
        self, record_key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]
    ) -> bytes | KeyGone | None: ...


class SimulatedLogReader:
    """A worker's view of the log; implements LogReader."""

    def __init__(self, process: Process, log: SimulatedLog) -> None:
        self._process = process
        self._log = log

    async def identity(self) -> str:
        return await self._process.ask(self._log.server, [lambda: self._log.identity])

    async def end_offsets(self) -> dict[int, int]:
        return await self._process.ask(self._log.server, [self._log.ends])

    async def beginnings(self) -> dict[int, int]:
        return dict.fromkeys(range(PARTITIONS), 0)

    async def fingerprints(self, offsets: Mapping[int, Sequence[int]]) -> dict[tuple[int, int], str]:
        return await self._process.ask(self._log.server, [lambda: self._log.fingerprints(offsets)])


class LogAtOnce:
    """The log without a network between; implements LogReader."""

    def __init__(self, log: SimulatedLog) -> None:
        self._log = log

    async def identity(self) -> str:
        return self._log.identity

    async def end_offsets(self) -> dict[int, int]:
        return self._log.ends()

    async def beginnings(self) -> dict[int, int]:
        return dict.fromkeys(range(PARTITIONS), 0)

    async def fingerprints(self, offsets: Mapping[int, Sequence[int]]) -> dict[tuple[int, int], str]:
        return self._log.fingerprints(offsets)


class SimulatedReadAhead:
    """A worker's read-ahead of the log before it folds; implements ReadAhead."""

    def __init__(
        self, process: Process, log: SimulatedLog, keys: SimulatedLearnerKeys, *, accept_lost_keys: bool
    ) -> None:
        self._process = process
        self._log = log
        self._keys = keys
        self._accept_lost_keys = accept_lost_keys

    async def read(self, spans: Mapping[int, tuple[int, int]]) -> KnownCorrections:
        records = await self._process.ask(self._log.server, [lambda: records_in(self._log, spans)])
        await self._keys.load_keys(records)
        if not self._accept_lost_keys and any(map(self._keys.is_lost, records)):
            raise self._keys.missing_keys()
        return corrections_in(records, self._keys)


class SimulatedLearnerLog:
    """An operator's view of the log; implements LearnerLog."""

    def __init__(self, process: Process, log: SimulatedLog, keys: SimulatedLearnerKeys) -> None:
        self._process = process
        self._log = log
        self._keys = keys

    async def span(self, partition: int) -> tuple[int, int]:
        return 0, (await self._process.ask(self._log.server, [self._log.ends]))[partition]

    async def read(
        self, partition: int, begin: int, end: int, keys: Collection[bytes]
    ) -> AsyncIterator[PartitionBatch]:
        def mine() -> list[Any]:
            return [one for one in self._log.records[partition] if begin <= one.offset < end and one.key in keys]

        if records := await self._process.ask(self._log.server, [mine]):
            await self._keys.load_keys(records)
            yield decode_batch(partition, records, PARTITIONS, cast("ValueDecryptor", self._keys))


def records_in(log: SimulatedLog, spans: Mapping[int, tuple[int, int]]) -> list[LogRecord]:
    """The records in ranges of the log."""
    return [one for p, (begin, end) in sorted(spans.items()) for one in log.records[p] if begin <= one.offset < end]


def event_of(one: LogRecord, keys: Decryptor) -> LearnerEvent | None:
    """What a record says; None: it cannot be decoded, or its key is gone."""
    value = keys.decrypt(one.key, one.value, one.headers)
    return None if isinstance(value, KeyGone) else _decoded(one.key, value, one.headers, one.partition)


# Records are read ahead at every assignment, and resent.
@lru_cache(maxsize=10_000)
def _decoded(
    key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes], ...], partition: int
) -> LearnerEvent | None:
    with suppress(RecordInvalidError):
        return decode_event(key, value, headers, partition, PARTITIONS)[1]
    return None


def corrections_in(records: Iterable[LogRecord], keys: Decryptor) -> KnownCorrections:
    """Every correction and erasure of some records."""
    known = KnownCorrections()
    for one in records:
        event = event_of(one, keys)
        if event is not None and one.key is not None:
            known.note(one.key, one.offset, event)
    known.finish()
    return known
