"""The log of learner events read for training: assigned, without a group, from its beginning to the end seen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import aiokafka

from services.common.encryption.learner_keys import LearnerKeys
from services.common.encryption.values import ERASED, LOST, ValueUnreadableError
from services.common.kafka.connection import KafkaConnection, log_identity, read_span, topic_span
from services.common.kafka.envelope import LEARNER_EVENTS
from services.recommender.application.training.collect import ERASED as SKIPPED_ERASED
from services.recommender.application.training.collect import LOST as SKIPPED_LOST
from services.recommender.application.training.collect import LogBatch, LoggedEvent, LogSpan
from services.recommender.domain.learner.restamp import Restamp
from services.recommender.wire.events import decode_event
from services.recommender.wire.fields import RecordInvalidError

_ENCRYPTION = "encryption"


async def _as_stamped(_span: LogSpan) -> Restamp | None:
    return None


class KafkaTrainingLog:
    """Implements `TrainingLog` over the topic of learner events."""

    def __init__(
        self,
        connection: KafkaConnection,
        keys: LearnerKeys | None = None,
        *,
        accept_lost_keys: bool = False,
        restamp_of: Callable[[LogSpan], Awaitable[Restamp | None]] = _as_stamped,
        topic: str = LEARNER_EVENTS,
        stalled_s: float = 30.0,
    ) -> None:
        """Prepare.

        Args:
            connection: the cluster.
            keys: decrypt encrypted values; None: nothing is encrypted.
            accept_lost_keys: skip records whose keys are lost, instead of refusing to go on.
            restamp_of: how events of a span are stamped again; called before it is read.
            topic: the topic of learner events.
            stalled_s: how long to wait for a record before giving up.
        """
        self._connection = connection
        self._keys = keys
        self._accept_lost_keys = accept_lost_keys
        self._restamp_of = restamp_of
        self._topic = topic
        self._stalled_s = stalled_s

    async def span(self) -> LogSpan:
        """Everything in the topic now.

        Raises:
            BrokerUnavailableError: when the cluster cannot be reached.
            TopicMissingError: when the topic does not exist.
        """
        # First the call that fails at once when the broker is away.
        span = await topic_span(self._connection, self._topic)
        identity = await log_identity(self._connection, self._topic)
        begins = {partition: begin for partition, (begin, _) in span.items()}
        return LogSpan(str(identity), begins, {partition: end for partition, (_, end) in span.items()})

    async def batches(self, span: LogSpan) -> AsyncIterator[LogBatch]:
        """The records of a span, each once.

        Raises:
            BrokerUnavailableError: when the cluster cannot be reached, or stops answering.
            KeysMissingError: when keys are lost, and that was not accepted.

        Also raises what `restamp_of` raises.
        """
        restamp = await self._restamp_of(span)
        offsets = {partition: (span.begin_offsets[partition], end) for partition, end in span.end_offsets.items()}
        parts = read_span(self._connection, self._topic, offsets, stalled_s=self._stalled_s)
        try:
            async with aclosing(parts):
                async for part in parts:
                    if self._keys is not None:
                        await self._keys.load_keys(part.records)
                    events: list[LoggedEvent] = []
                    skipped: list[str] = []
                    for record in part.records:
                        self._decode(record, len(offsets), restamp, events, skipped)
                    yield LogBatch(events, skipped, part.done)
        finally:
            if self._keys is not None:
                await self._keys.close()

    def _decode(
        self,
        record: aiokafka.ConsumerRecord,
        partitions: int,
        restamp: Restamp | None,
        events: list[LoggedEvent],
        skipped: list[str],
    ) -> None:
        value = record.value
        again = None if restamp is None or record.offset >= restamp.before.get(record.partition, 0) else restamp
        try:
            if self._keys is not None:
                value = self._keys.decrypt(record.key, value, record.headers)
                if value is LOST and not self._accept_lost_keys:
                    raise self._keys.missing_keys()
            if value is ERASED or value is LOST:
                skipped.append(SKIPPED_ERASED if value is ERASED else SKIPPED_LOST)
                return
            tenant, event = decode_event(record.key, value, record.headers, record.partition, partitions, again)
        except ValueUnreadableError:
            skipped.append(_ENCRYPTION)
            return
        except RecordInvalidError as error:
            skipped.append(error.code)
            return
        events.append(LoggedEvent(tenant, record.key.decode().partition("/")[2], event))
