"""Corrections read ahead of a fold: later records of the log that change earlier ones."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing

import aiokafka

from services.common.encryption.values import ERASED, LOST, ValueUnreadableError
from services.common.kafka.connection import KafkaConnection, read_span
from services.common.kafka.envelope import LEARNER_EVENTS
from services.recommender.application.ports.log import ValueDecryptor
from services.recommender.domain.learner.corrections import KnownCorrections
from services.recommender.domain.learner.events import CorrectionEvent, ErasureEvent
from services.recommender.wire.events import decode_event
from services.recommender.wire.fields import RecordInvalidError

_TYPE_HEADER = "ce_type"
_TYPES = frozenset((b"cairn.v1.CorrectionEvent", b"cairn.v1.ErasureEvent"))


class KafkaReadAhead:
    """Finds the corrections and erasures in a stretch of the log; implements ReadAhead.

    A header holds the type of a record; a record without it is decoded.
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
        """Every correction and erasure from the first offset of each partition up to the second.

        Raises:
            BrokerUnavailableError: when the cluster cannot be reached, or stops answering.
            KeysMissingError: when the keys of corrections are lost, and that was not accepted.
        """
        known = KnownCorrections()
        parts = read_span(self._connection, self._topic, spans, stalled_s=self._stalled_s)
        async with aclosing(parts):
            async for part in parts:
                concerned = [record for record in part.records if _may_concern(record)]
                await self._decryptor.load_keys(concerned)
                for record in concerned:
                    self._note(known, record)
        return known

    def _note(self, known: KnownCorrections, record: aiokafka.ConsumerRecord) -> None:
        try:
            value = self._decryptor.decrypt(record.key, record.value, record.headers)
            if value is LOST and not self._accept_lost_keys:
                raise self._decryptor.missing_keys()
            if value is ERASED or value is LOST:
                return
            _, event = decode_event(record.key, value, record.headers, record.partition, self._partitions)
        except (RecordInvalidError, ValueUnreadableError):
            # The fold reads it again and sends it to the dead letters.
            return
        if isinstance(event, CorrectionEvent | ErasureEvent):
            known.note(record.key, record.offset, event)


def _may_concern(record: aiokafka.ConsumerRecord) -> bool:
    return next((value in _TYPES for name, value in record.headers if name == _TYPE_HEADER), True)
