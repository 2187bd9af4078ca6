"""Reading the assigned partitions of the log from the epoch's positions on; no record is left out or repeated."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from services.common.kafka.connection import BrokerUnavailableError
from services.recommender.application.ports.log import LogTruncatedError
from services.recommender.application.state.assignment import starting_offset
from services.recommender.application.state.epochs import check_log
from services.recommender.application.state.fold_events import FoldEvents
from services.recommender.application.state.log_marks import check_log_holds, check_not_deleted
from services.recommender.application.state.partition_batch import PartitionBatch
from services.recommender.entrypoints.batch_budget import BatchBudget
from services.recommender.entrypoints.event_service_options import EventServiceOptions, EventSource, FoldTask
from services.recommender.wire.fields import WRONG_PARTITION

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Fetched:
    """Consecutive decoded records of one partition, and the assignment generation in which they were fetched."""

    first_offset: int
    records: int
    batch: PartitionBatch
    fetched_at_ns: int
    assignment_generation: int


class AssignedLog:
    """The assigned partitions of the log, and the offset at which the next records of each must start.

    Attributes:
        budget: what the next batch may cost.
    """

    def __init__(self, task: FoldTask, fold: FoldEvents, source: EventSource, options: EventServiceOptions) -> None:
        """Args: what to fold; the use case that knows the positions; what reads the log; how much to read at once."""
        self._task = task
        self.budget = BatchBudget(options.batch_records)
        self._epoch = task.epoch
        self._known_to = task.known_to
        self._fold = fold
        self._source = source
        self._consumer = source.consumer
        self._options = options
        self._known_of: set[int] = set()
        # Records of partitions that are not here are not folded.
        self._expected: dict[int, int] = {}
        self._gaps: dict[int, tuple[int, int]] = {}
        self._assignment_generation = 0

    async def take(self, assigned: Sequence[int]) -> None:
        """Take partitions over and seek to the positions of this epoch.

        Raises:
            LogTruncatedError: when the log no longer holds records that were not processed, or that were.
            StateUnavailableError: when Redis does not return the positions.
            BrokerUnavailableError: when Kafka does not return the beginning of the log.
        """
        beginnings = await self._consumer.beginnings(assigned)
        # Not where the log begins now: what was deleted since the epoch was begun is missing.
        await self._fold.on_assigned({one: self._task.begin_positions.get(one, 0) for one in assigned})
        await self._compare()
        starts = {}
        for partition, beginning in beginnings.items():
            position = self._fold.positions[partition]
            check_not_deleted(self._epoch, {partition: position}, {partition: beginning})
            starts[partition] = starting_offset(
                position=position,
                committed=await self._consumer.committed(partition),
                beginning=beginning,
                rewind_records=self._options.rewind_records,
            )
        await self._know_corrections(starts, beginnings)
        for partition, start in starts.items():
            self._consumer.seek(partition, start)
        self._expected = starts
        self._gaps = {}
        self._assignment_generation += 1

    async def compare(self) -> None:
        """Compare the log with what was folded from it; later, if Kafka is away.

        Raises:
            LogTruncatedError: when the log no longer holds records that were folded, or that a replay is to fold.
            EpochUnusableError: when it is another log.
        """
        try:
            await self._compare()
        except BrokerUnavailableError as error:
            _log.info("the log was not compared with what was folded", epoch=self._epoch, reason=str(error))

    async def _compare(self) -> None:
        log, task, progress = self._source.log, self._task, self._fold.progress
        if log is None:
            return
        ends = {partition: task.known_to[partition] for partition in progress if partition in task.known_to}
        await check_log_holds(log, task.epoch, task.log_identity, progress, ends)
        self._fold.confirm(progress)

    async def check_partitions(self, fetched: Sequence[Fetched]) -> None:
        """Where records are on the wrong partition, check that there are as many partitions as the epoch knows.

        Raises:
            EpochUnusableError: when partitions were added; then others write to the right ones.
            BrokerUnavailableError: when Kafka does not return how many there are.
        """
        log, folded_from = self._source.log, self._task.log_identity
        astray = any(letter.code == WRONG_PARTITION for one in fetched for letter in one.batch.dead)
        if astray and log is not None and folded_from:
            check_log(self._epoch, folded_from, await log.identity())

    def drop(self) -> None:
        """Until partitions are taken over again, no record that is read counts."""
        self._expected = {}

    async def fetch(self) -> list[Fetched]:
        """Return the next records, decoded, as many as the budget allows; none if none arrive within 0.2 s."""
        records = await self._consumer.fetch(self._options.batch_records)
        assignment_generation, fetched_at_ns = self._assignment_generation, time.time_ns()
        sent_at_s = {partition: self._consumer.sent_at_s(partition) for partition in records}
        fetched = []
        for batch in await self._source.decoder.decode(records, self.budget.cost_max):
            batch.sent_at_s = sent_at_s[batch.partition]
            first_offset = records[batch.partition][0].offset
            fetched.append(Fetched(first_offset, batch.records, batch, fetched_at_ns, assignment_generation))
        # After an assignment, all partitions are read from another offset.
        if assignment_generation == self._assignment_generation:
            taken = {one.batch.partition: one.records for one in fetched}
            # The last batch may be cut short; its partition comes after those that have no batch.
            for partition in sorted(records, key=taken.__contains__):
                rest = records[partition][taken.get(partition, 0) :]
                if rest:
                    self._consumer.hold(partition, rest)
        return fetched

    async def follows(self, fetched: Fetched) -> bool:
        """Whether the records follow directly on the ones before them.

        Records fetched before a seek may still arrive. They are dropped, and the expected offset is read again. If the
        records start elsewhere again, the log has a gap there, such as transactions leave behind.

        Raises:
            LogTruncatedError: when the log no longer holds the expected offset.
        """
        partition = fetched.batch.partition
        expected = self._expected.get(partition)
        # Records fetched before the assignment do not show what follows the starting position in the log.
        if expected is None or fetched.assignment_generation != self._assignment_generation:
            return False
        if fetched.first_offset != expected:
            if self._gaps.get(partition) != (expected, fetched.first_offset):
                self._gaps[partition] = (expected, fetched.first_offset)
                self._consumer.seek(partition, expected)
                return False
            beginning = (await self._consumer.beginnings([partition]))[partition]
            check_not_deleted(self._epoch, {partition: expected}, {partition: beginning})
            if fetched.first_offset < expected:
                raise LogTruncatedError(
                    f"partition {partition} gives offset {fetched.first_offset} where {expected} was asked for: the "
                    "topic was recreated, or lost records, while the worker ran. Start the worker again; it says what "
                    "to do"
                )
        self._expected[partition] = fetched.batch.next_offset
        return True

    async def _know_corrections(self, starts: Mapping[int, int], beginnings: Mapping[int, int]) -> None:
        """Read the epoch's corrections ahead, once, if any of their targets may still have to be folded."""
        read_ahead = self._source.read_ahead
        if read_ahead is None:
            return
        spans = {
            partition: (beginnings[partition], end)
            for partition, start in starts.items()
            if partition not in self._known_of and start < (end := self._known_to.get(partition, 0))
        }
        if spans:
            self._fold.known.add(await read_ahead.read(spans))
            self._known_of.update(spans)
            _log.info("corrections known ahead", epoch=self._epoch, corrections=self._fold.known.count)
