"""Corrections read ahead of a fold: later records of the log that change earlier ones."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing

import aiokafka

from services.common.encryption.values import ERASED, LOST, ValueUnreadableError
from services.common.kafka.connection import KafkaConnection, read_span
from services.common.kafka.envelope import LEARNER_EVENTS, REVISES
from services.recommender.application.ports.log import ValueDecryptor
from services.recommender.domain.learner.corrections import KnownCorrections
from services.recommender.domain.learner.events import AssessmentEvent, CorrectionEvent, LearnerEvent
from services.recommender.wire.events import decode_event
from services.recommender.wire.fields import RecordInvalidError

_TYPE_HEADER = "ce_type"
_CORRECTION = b"cairn.v1.CorrectionEvent"


class KafkaReadAhead:
    """Finds the corrections and revisions in a stretch of the log; implements ReadAhead.

    Headers hold the type of a record, and whether it revises; a record without them is decoded. Where there are
    any, the partition is read once more for the other events of the learners concerned.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        decryptor: ValueDecryptor,
        partitions: int,
        *,
        accept_lost_keys: bool = False,
        topic: str = LEARNER_EVENTS,
        stalled_s: float = 30.0,
    ) -> None:
        """Prepare.

        Args:
            connection: the cluster.
            decryptor: decrypts encrypted values.
            partitions: the number of the log's partitions.
            accept_lost_keys: go on without corrections whose keys are lost.
            topic: the log.
            stalled_s: how long to wait for a record before giving up.
        """
        self._connection = connection
        self._decryptor = decryptor
        self._partitions = partitions
        self._accept_lost_keys = accept_lost_keys
        self._topic = topic
        self._stalled_s = stalled_s

    async def read(self, spans: Mapping[int, tuple[int, int]]) -> KnownCorrections:
        """Every correction and revision from the first offset of each partition up to the second.

        Raises:
            BrokerUnavailableError: when the cluster cannot be reached, or stops answering.
            KeysMissingError: when the keys of corrections are lost, and that was not accepted.
        """
        concerned: dict[bytes, set[bytes]] = {}
        partitions = set()
        async with aclosing(self._events(spans, _may_change)) as events:
            async for record, event in events:
                if isinstance(event, CorrectionEvent) or (isinstance(event, AssessmentEvent) and event.revises):
                    partitions.add(record.partition)
                    concerned.setdefault(record.key, set()).update(_identities(event))
        # What they change depends on everything that came for these learners, and on nothing else.
        known = KnownCorrections()
        of_them = {partition: spans[partition] for partition in partitions}
        async with aclosing(self._events(of_them, lambda record: record.key in concerned)) as events:
            async for record, event in events:
                known.note(record.key, record.offset, event, concerned[record.key])
        known.finish()
        return known

    async def _events(
        self, spans: Mapping[int, tuple[int, int]], wanted: Callable[[aiokafka.ConsumerRecord], bool]
    ) -> AsyncGenerator[tuple[aiokafka.ConsumerRecord, LearnerEvent], None]:
        """The events of the wanted records that a fold would apply."""
        parts = read_span(self._connection, self._topic, spans, stalled_s=self._stalled_s)
        async with aclosing(parts):
            async for part in parts:
                records = [record for record in part.records if wanted(record)]
                await self._decryptor.load_keys(records)
                for record in records:
                    event = self._decoded(record)
                    if event is not None:
                        yield record, event

    def _decoded(self, record: aiokafka.ConsumerRecord) -> LearnerEvent | None:
        try:
            value = self._decryptor.decrypt(record.key, record.value, record.headers)
            if value is LOST and not self._accept_lost_keys:
                raise self._decryptor.missing_keys()
            if value is ERASED or value is LOST:
                return None
            return decode_event(record.key, value, record.headers, record.partition, self._partitions)[1]
        except (RecordInvalidError, ValueUnreadableError):
            # The fold reads it again and sends it to the dead letters.
            return None


def _may_change(record: aiokafka.ConsumerRecord) -> bool:
    """Whether a record may be a correction or a revision, as far as its headers say."""
    headers = record.headers
    return REVISES in headers or next((value == _CORRECTION for name, value in headers if name == _TYPE_HEADER), True)


def _identities(event: CorrectionEvent | AssessmentEvent) -> Iterator[bytes]:
    yield event.fingerprint
    if isinstance(event, CorrectionEvent):
        yield event.target
    elif event.former:
        yield event.former
