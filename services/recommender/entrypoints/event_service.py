"""The event service: reads the log of learner events in batches and folds each batch into one epoch.

A child service of the Faust app. A Faust agent would spend two tasks on each event and acknowledge an event whose
handling failed; this reads whole batches, and nothing counts as done before it is stored.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import aiokafka
import mode
import structlog
from aiokafka.errors import CommitFailedError, KafkaTimeoutError

from services.common.encryption.headers import is_encrypted
from services.common.encryption.values import ERASED, Erasure, ValueUnreadableError
from services.common.kafka.connection import BrokerUnavailableError, KafkaConnection, new_consumer
from services.common.kafka.envelope import LEARNER_EVENTS
from services.common.telemetry.traces import NO_TRACES, TRACEPARENT, Traces, is_sampled
from services.recommender.application.ports.learners import StateRefusedError, StateUnavailableError
from services.recommender.application.ports.log import DeadLetter, LogTruncatedError, ReadAhead, ValueDecryptor
from services.recommender.application.state.assignment import starting_offset
from services.recommender.application.state.fold_events import FoldEvents, FoldReport, PartitionBatch
from services.recommender.domain.learner.events import CorrectionEvent
from services.recommender.entrypoints.fold_metrics import FoldMetrics
from services.recommender.wire.events import decode_event
from services.recommender.wire.fields import RecordInvalidError

_log = structlog.get_logger(__name__)

_POLL_MS = 200
_KAFKA_COMMIT_EVERY_S = 1.0
# aiokafka would try for as long as the broker is away, and with it this worker could not be stopped.
_KAFKA_COMMIT_TIMEOUT_S = 5.0
_PAUSE_FIRST_S = 0.2
_PAUSE_LAST_S = 2.0
# Reasons of these sorts are about the record's key and headers.
_SAYS_NOTHING_OF_THE_VALUE = frozenset(("key", "partition", "content-type"))
_FETCH_BYTES_PER_PARTITION = 4 * 1024 * 1024


class Closable(Protocol):
    """Holds a connection."""

    async def close(self) -> None:
        """Let it go."""
        ...


@dataclass(frozen=True, slots=True)
class EventServiceOptions:
    """How an event service reads.

    Attributes:
        topic: the log.
        batch_records: most records of a batch.
        rewind_records: how many records before the position are read again on assignment. Learners that hold them
            drop them; one that a failing Redis forgot gets them back.
        session_timeout_ms: how long the group waits for a silent member. The embedded broker lets every join wait
            half of it.
        stuck_after_s: a partition with records to read that does not advance for so long is stuck.
    """

    topic: str = LEARNER_EVENTS
    batch_records: int = 20_000
    rewind_records: int = 1_000
    session_timeout_ms: int = 6_000
    stuck_after_s: float = 30.0


@dataclass(frozen=True, slots=True)
class _Fetched:
    """Consecutive decoded records of one partition, and the assignment generation they were fetched in."""

    first_offset: int
    records: int
    batch: PartitionBatch
    fetched_at_ns: int
    assignment_generation: int


class EventService(mode.Service):
    """Folds one epoch's events, as a member of a consumer group or over the whole log up to a goal.

    While Redis or the dead letters cannot be written to, it pauses: it acknowledges nothing, and takes its partitions
    anew once they can. Any other exception crashes the service, and with it the process: nothing is skipped, and what
    was not stored is read again by whoever takes over.
    """

    def __init__(
        self,
        epoch: int,
        fold: FoldEvents,
        connection: KafkaConnection,
        *,
        partitions: int,
        group: str | None,
        goal: Mapping[int, int] | None = None,
        options: EventServiceOptions | None = None,
        metrics: FoldMetrics | None = None,
        on_batch: Callable[[FoldReport], None] | None = None,
        on_acknowledged: Callable[[], None] | None = None,
        resources: Sequence[Closable] = (),
        clock_s: Callable[[], float] = time.monotonic,
        make_consumer: Callable[..., aiokafka.AIOKafkaConsumer] = new_consumer,
        traces: Traces = NO_TRACES,
        decryptor: ValueDecryptor | None = None,
        read_ahead: ReadAhead | None = None,
        known_to: Mapping[int, int] | None = None,
        **service_options: Any,
    ) -> None:
        """Prepare the service; starting it connects.

        Args:
            epoch: the epoch's number.
            fold: the use case, bound to the epoch's store.
            connection: the cluster.
            partitions: how many partitions the log has.
            group: consumer group; None: read every partition, alone.
            goal: where to stop, by partition; None: never.
            options: how to read.
            metrics: where to count.
            on_batch: called after each batch.
            on_acknowledged: called after offsets were committed to Kafka.
            resources: what to close at the end.
            clock_s: monotonic, for the pace of commits and for what counts as stuck.
            make_consumer: connects to Kafka, given the connection and the consumer's options.
            traces: what becomes of records that somebody traces.
            decryptor: opens encrypted values; None: nothing is encrypted.
            read_ahead: finds the corrections that are to be known before the fold meets them; None: none are.
            known_to: one past the last offset whose corrections are to be known, by partition.
            service_options: mode's own.
        """
        super().__init__(**service_options)
        self.epoch = epoch
        self._fold = fold
        self._connection = connection
        self._partitions = partitions
        self._group = group
        self._goal = goal
        self._options = options or EventServiceOptions()
        self._metrics = metrics
        self._on_batch = on_batch
        self._on_acknowledged = on_acknowledged
        self._resources = resources
        self._clock_s = clock_s
        self._make_consumer = make_consumer
        self._traces = traces
        self._decryptor = decryptor
        self._read_ahead = read_ahead
        self._known_to = known_to or {}
        self._known_of: set[int] = set()
        self._consumer: aiokafka.AIOKafkaConsumer | None = None
        # Where the next records of each partition held must begin; what begins elsewhere is not folded.
        self._expected: dict[int, int] = {}
        self._gaps: dict[int, tuple[int, int]] = {}
        self._assignment_generation = 0
        self._assigned = False
        self._rebalancing = False
        self._folding = asyncio.Lock()
        self._listener_failure: BaseException | None = None
        self._interruption: Exception | None = None
        self._kafka_committed_at_s = 0.0
        self._progressed_at_s: dict[int, float] = {}
        self._finished = asyncio.Event()

    @property
    def positions(self) -> dict[int, int]:
        """One past the last record dealt with, by partition held."""
        return self._fold.positions

    async def wait_finished(self) -> None:
        """Return once the goal is reached, or the service ended.

        Raises:
            Exception: what the service crashed with.
        """
        await self.wait(self._finished.wait())
        if self.crash_reason is not None:
            raise self.crash_reason

    @property
    def healthy(self) -> bool:
        """Whether there is an assignment, and each of its partitions advances or has nothing to read."""
        if not self._assigned or self.crashed or self._interruption is not None:
            return False
        now_s, lag = self._clock_s(), self.lag
        return all(
            lag.get(partition, 0) == 0 or now_s - since_s < self._options.stuck_after_s
            for partition, since_s in self._progressed_at_s.items()
        )

    @property
    def lag(self) -> dict[int, int]:
        """Records not dealt with, by partition held, as of the last fetch."""
        if self._consumer is None:
            return {}
        lag = {}
        for partition, position in self._fold.positions.items():
            topic_partition = self._topic_partition(partition)
            # Asking for the high watermark of a partition that was just revoked is an error.
            if topic_partition in self._consumer.assignment():
                end = self._consumer.highwater(topic_partition)
                lag[partition] = max(0, (end or 0) - position)
        return lag

    async def on_start(self) -> None:
        """Connect, and join the group or take every partition."""
        options: dict[str, object] = {"max_partition_fetch_bytes": _FETCH_BYTES_PER_PARTITION}
        if self._group is not None:
            options |= {
                "group_id": self._group,
                "session_timeout_ms": self._options.session_timeout_ms,
                "heartbeat_interval_ms": self._options.session_timeout_ms // 3,
            }
        consumer = self._make_consumer(self._connection, **options)
        self._consumer = consumer
        await consumer.start()
        if self._group is not None:
            consumer.subscribe([self._options.topic], listener=_Rebalance(self))
        else:
            everything = [self._topic_partition(number) for number in range(self._partitions)]
            consumer.assign(everything)
            await self.on_assigned(everything)

    async def on_stop(self) -> None:
        """Let the batch being folded finish, and fold no other."""
        async with self._folding:
            self._expected = {}

    async def on_shutdown(self) -> None:
        """Leave the group; where others go on is committed first."""
        if self._consumer is not None:
            if self._group is not None and not self.crashed:
                await self._commit_to_kafka()
            await self._consumer.stop()
        for resource in self._resources:
            await resource.close()

    @mode.Service.task
    async def _fold_the_log(self) -> None:
        # The next batch is read and decoded while Redis stores this one.
        fetching = asyncio.create_task(self._fetch())
        try:
            while not (self.should_stop or self._reached_goal()):
                fetched = await fetching
                fetching = asyncio.create_task(self._fetch())
                try:
                    async with self._folding:
                        await self._fold_fetched(fetched)
                except (StateUnavailableError, BrokerUnavailableError) as error:
                    if not self._passes(error):
                        raise
                    self._interrupt(error)
                await self._resume()
        finally:
            fetching.cancel()
            with suppress(asyncio.CancelledError):
                await fetching
        if self._reached_goal():
            self._finished.set()

    async def on_assigned(self, assigned: Sequence[aiokafka.TopicPartition]) -> None:
        """Take partitions over and seek to where this epoch is in them.

        Raises:
            LogTruncatedError: when the log no longer holds what was not dealt with.
            StateUnavailableError: when Redis does not say where that is.
            BrokerUnavailableError: when Kafka does not say where the log begins.
        """
        async with self._folding:
            self._rebalancing = False
            await self._assign(assigned)

    async def _assign(self, assigned: Sequence[aiokafka.TopicPartition]) -> None:
        consumer = self._require_consumer()
        beginnings = await self._beginnings(assigned)
        await self._fold.on_assigned({tp.partition: offset for tp, offset in beginnings.items()})
        starts = {}
        for topic_partition, beginning in beginnings.items():
            position = self._fold.positions[topic_partition.partition]
            self._check_beginning(topic_partition.partition, position, beginning)
            committed = None if self._group is None else await consumer.committed(topic_partition)
            starts[topic_partition] = starting_offset(
                position=position,
                committed=committed,
                beginning=beginning,
                rewind_records=self._options.rewind_records,
            )
        await self._know_corrections(starts, beginnings)
        for topic_partition, start in starts.items():
            consumer.seek(topic_partition, start)
        self._expected = {tp.partition: start for tp, start in starts.items()}
        self._gaps = {}
        self._assignment_generation += 1
        self._progressed_at_s = dict.fromkeys(self._expected, self._clock_s())
        self._assigned = True
        self._interruption = None
        _log.info("partitions assigned", epoch=self.epoch, positions=self._fold.positions)

    async def _know_corrections(
        self, starts: Mapping[aiokafka.TopicPartition, int], beginnings: Mapping[aiokafka.TopicPartition, int]
    ) -> None:
        """Where the epoch's own corrections may have targets still to be folded, read them ahead; once."""
        if self._read_ahead is None:
            return
        spans = {
            tp.partition: (beginnings[tp], end)
            for tp, start in starts.items()
            if tp.partition not in self._known_of and start < (end := self._known_to.get(tp.partition, 0))
        }
        if spans:
            self._fold.known.add(await self._read_ahead.read(spans))
            self._known_of.update(spans)
            _log.info("corrections known ahead", epoch=self.epoch, corrections=self._fold.known.count)

    async def on_revoked(self, revoked: Sequence[aiokafka.TopicPartition]) -> None:
        """Let partitions go: the batch being folded is finished first, what was read ahead is forgotten."""
        async with self._folding:
            # Until partitions are assigned, the consumer still names those it had, and may drop them at any moment.
            self._rebalancing = True
            if revoked:
                await self._commit_to_kafka()
            if self._metrics is not None:
                self._metrics.forget(self.epoch, self._lag_shown())
            self._fold.release(tp.partition for tp in revoked)
            self._expected = {}
            self._progressed_at_s = {}
            self._assigned = False

    def _interrupt(self, error: Exception) -> None:
        """Pause, because of an error that passes."""
        if self._interruption is None:
            _log.warning("paused: nothing can be stored now", epoch=self.epoch, reason=str(error))
        self._interruption = error
        # Until the partitions are taken anew, nothing that is read counts.
        self._expected = {}

    async def _resume(self) -> None:
        """After an interruption, return once the partitions held are taken anew: what was not stored is read again."""
        pause_s = _PAUSE_FIRST_S
        while self._interruption is not None and not self.should_stop:
            await self.sleep(pause_s)
            pause_s = min(pause_s * 2, _PAUSE_LAST_S)
            try:
                async with self._folding:
                    if self._interruption is not None and not self._rebalancing:
                        await self._assign(sorted(self._require_consumer().assignment()))
            except (StateUnavailableError, BrokerUnavailableError) as error:
                if not self._passes(error):
                    raise
                self._interrupt(error)

    def _passes(self, error: Exception) -> bool:
        """Whether to wait until an error passes. A replay does not: somebody waits for it, and it can be taken up."""
        passes = isinstance(error, (StateUnavailableError, BrokerUnavailableError))
        return passes and not isinstance(error, StateRefusedError) and self._group is not None

    def fail(self, error: Exception) -> None:
        """Pause or crash with what went wrong in a rebalance: aiokafka would log it and go on."""
        if self._passes(error):
            self._interrupt(error)
        else:
            self._listener_failure = error

    async def _fetch(self) -> list[_Fetched]:
        records = await self._require_consumer().getmany(timeout_ms=_POLL_MS, max_records=self._options.batch_records)
        assignment_generation, fetched_at_ns = self._assignment_generation, time.time_ns()
        if self._listener_failure is not None:
            raise self._listener_failure
        decryptor = None
        if self._decryptor is not None:
            sealed = [record for some in records.values() for record in some if is_encrypted(record.headers)]
            if sealed:
                decryptor = self._decryptor
                await decryptor.load_keys(sealed)
        fetched = []
        for topic_partition, some in records.items():
            batch = decode_batch(topic_partition.partition, some, self._partitions, decryptor)
            if self._traces.on:
                batch.traceparents = _traceparents(some)
            fetched.append(_Fetched(some[0].offset, len(some), batch, fetched_at_ns, assignment_generation))
        return fetched

    async def _fold_fetched(self, fetched: Sequence[_Fetched]) -> None:
        following = [one for one in fetched if await self._follows(one)]
        if following:
            report = await self._fold.fold([one.batch for one in following])
            self._trace(following)
            now_s = self._clock_s()
            for one in following:
                self._progressed_at_s[one.batch.partition] = now_s
            if self._metrics is not None:
                self._metrics.observe(self.epoch, sum(one.records for one in following), report)
            if self._on_batch is not None:
                self._on_batch(report)
        lag = self.lag
        if self._metrics is not None:
            self._metrics.lag(self.epoch, lag)
        now_s = self._clock_s()
        for partition, behind in lag.items():
            if not behind:
                self._progressed_at_s[partition] = now_s
        if self._group is not None and now_s - self._kafka_committed_at_s >= _KAFKA_COMMIT_EVERY_S:
            self._kafka_committed_at_s = now_s
            await self._commit_to_kafka()

    def _trace(self, folded: Sequence[_Fetched]) -> None:
        """Note that what somebody traces is stored now."""
        for one in folded:
            attributes = {
                "cairn.epoch": self.epoch,
                "cairn.partition": one.batch.partition,
                "cairn.records": one.records,
            }
            for traceparent in one.batch.traceparents.values():
                self._traces.record("fold", traceparent, began_ns=one.fetched_at_ns, attributes=attributes)

    async def _follows(self, fetched: _Fetched) -> bool:
        """Whether records begin where those before them ended.

        Records may still come from before a seek. They are dropped and what is expected is read again; only where that
        begins elsewhere too, the log has a gap there, as transactions leave them.

        Raises:
            LogTruncatedError: when the log no longer holds what is expected.
        """
        partition = fetched.batch.partition
        expected = self._expected.get(partition)
        # What was read ahead before partitions were taken says nothing of how the log goes on from where they begin.
        if expected is None or fetched.assignment_generation != self._assignment_generation:
            return False
        if fetched.first_offset != expected:
            consumer, topic_partition = self._require_consumer(), self._topic_partition(partition)
            if self._gaps.get(partition) != (expected, fetched.first_offset):
                self._gaps[partition] = (expected, fetched.first_offset)
                consumer.seek(topic_partition, expected)
                return False
            beginning = (await self._beginnings([topic_partition]))[topic_partition]
            self._check_beginning(partition, expected, max(beginning, 0))
            if fetched.first_offset < expected:
                raise LogTruncatedError(
                    f"partition {partition} gives offset {fetched.first_offset} where {expected} was asked for: the "
                    "topic was made anew while the worker ran. Start the worker again; it says what to do"
                )
        self._expected[partition] = fetched.batch.next_offset
        return True

    async def _beginnings(self, partitions: Sequence[aiokafka.TopicPartition]) -> dict[aiokafka.TopicPartition, int]:
        if not partitions:
            return {}
        try:
            offsets: dict[aiokafka.TopicPartition, int] = await self._require_consumer().beginning_offsets(partitions)
        except KafkaTimeoutError as error:
            raise BrokerUnavailableError(f"Kafka did not say where its log begins: {error}") from error
        return offsets

    def _check_beginning(self, partition: int, position: int, beginning: int) -> None:
        if position < beginning:
            raise LogTruncatedError(
                f"epoch {self.epoch} is at offset {position} of partition {partition}, but the log begins at "
                f"{beginning}: records were deleted before they were dealt with. Keep the log longer (retention.ms), "
                "and replay what is left into a new epoch"
            )

    async def _commit_to_kafka(self) -> None:
        consumer = self._require_consumer()
        held = consumer.assignment()
        offsets = {
            self._topic_partition(partition): position
            for partition, position in self._fold.positions.items()
            if self._topic_partition(partition) in held
        }
        if offsets:
            # Redis has the positions; these only tell Kafka's tools.
            try:
                async with asyncio.timeout(_KAFKA_COMMIT_TIMEOUT_S):
                    await consumer.commit(offsets)
            except CommitFailedError:
                _log.info("offsets were not committed, a rebalance has begun", epoch=self.epoch)
            except TimeoutError:
                _log.warning("offsets were not committed, Kafka does not answer", epoch=self.epoch)
            else:
                if self._on_acknowledged is not None:
                    self._on_acknowledged()

    def _reached_goal(self) -> bool:
        positions = self._fold.positions
        return self._goal is not None and all(
            positions.get(partition, 0) >= offset for partition, offset in self._goal.items()
        )

    def _lag_shown(self) -> dict[int, int]:
        return dict.fromkeys(self._progressed_at_s, 0)

    def _topic_partition(self, partition: int) -> aiokafka.TopicPartition:
        return aiokafka.TopicPartition(self._options.topic, partition)

    def _require_consumer(self) -> aiokafka.AIOKafkaConsumer:
        if self._consumer is None:
            raise AssertionError("the event service was not started")
        return self._consumer


class _Rebalance(aiokafka.ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types.
    """Tells the service what it holds. aiokafka swallows what a listener raises, so the service is told that too."""

    def __init__(self, service: EventService) -> None:
        self._service = service

    async def on_partitions_revoked(self, revoked: Iterable[aiokafka.TopicPartition]) -> None:
        try:
            await self._service.on_revoked(sorted(revoked))
        except Exception as error:  # noqa: BLE001 - handed to the service, which crashes with it.
            self._service.fail(error)

    async def on_partitions_assigned(self, assigned: Iterable[aiokafka.TopicPartition]) -> None:
        try:
            await self._service.on_assigned(sorted(assigned))
        except Exception as error:  # noqa: BLE001 - handed to the service, which crashes with it.
            self._service.fail(error)


def _traceparents(records: Iterable[aiokafka.ConsumerRecord]) -> dict[bytes, str]:
    """The trace of each learner's last record that somebody traces, by record key."""
    found = {}
    for record in records:
        for name, value in record.headers:
            if name == TRACEPARENT and is_sampled(traceparent := value.decode("ascii", "replace")):
                found[record.key] = traceparent
    return found


def decode_batch(
    partition: int, records: Sequence[aiokafka.ConsumerRecord], partitions: int, decryptor: ValueDecryptor | None = None
) -> PartitionBatch:
    """Records of one partition, in order, grouped by learner; those that cannot be applied set apart.

    Args:
        partition: where they stand.
        records: the records; `decryptor` has determined their keys.
        partitions: how many the topic has.
        decryptor: opens encrypted values; None: nothing is encrypted.
    """
    batch = PartitionBatch(partition, records[-1].offset + 1)
    learners, dead = batch.learners, batch.dead
    for record in records:
        key, value = record.key, record.value
        try:
            if decryptor is not None:
                value = opened(decryptor, record)
                if value is ERASED:
                    batch.erased.append(record.offset)
                    continue
            tenant, event = decode_event(key, value, record.headers, partition, partitions)
        except RecordInvalidError as error:
            reason = str(error)
            if value is not record.value and error.code not in _SAYS_NOTHING_OF_THE_VALUE:
                # It may quote what was encrypted, and the reason stays readable when the learner's key is destroyed.
                reason = (
                    "what its encrypted value says cannot be applied; for what is wrong with it run "
                    f"cairn dlt replay {partition} {record.offset} --dry-run"
                )
            dead.append(DeadLetter(partition, record.offset, key, record.value, record.headers, error.code, reason))
            continue
        mine = learners.get(key)
        if mine is None:
            mine = learners[key] = (tenant, [])
        mine[1].append((record.offset, event))
        if type(event) is CorrectionEvent:
            batch.corrections[record.offset] = DeadLetter(
                partition, record.offset, key, record.value, record.headers, "", ""
            )
    return batch


def opened(decryptor: ValueDecryptor, record: aiokafka.ConsumerRecord) -> bytes | Erasure | None:
    """A record's value as it was before encryption.

    Raises:
        RecordInvalidError: when it does not open.
    """
    try:
        return decryptor.decrypt(record.key, record.value, record.headers)
    except ValueUnreadableError as error:
        raise RecordInvalidError("encryption", str(error)) from error
