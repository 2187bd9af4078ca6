"""The records of one learner in the log and among the dead letters."""

from __future__ import annotations

from contextlib import aclosing

import aiokafka
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from cairn.v1 import events_pb2
from services.common.encryption.values import ERASED, LOST, ValueUnreadableError
from services.common.kafka.connection import KafkaConnection, read_span, topic_span
from services.common.kafka.envelope import JSON, LEARNER_EVENTS, LEARNER_EVENTS_DLT, content_type_of
from services.recommender.application.operations.personal_data import HeldRecord
from services.recommender.application.ports.log import ValueDecryptor


class KafkaLearnerRecords:
    """Implements LearnerRecords over the log and its dead letters."""

    def __init__(
        self,
        connection: KafkaConnection,
        decryptor: ValueDecryptor,
        *,
        topics: tuple[str, ...] = (LEARNER_EVENTS, LEARNER_EVENTS_DLT),
        stalled_s: float = 30.0,
    ) -> None:
        """Args: the cluster, the decryptor of values, where to look, and how long Kafka may send nothing."""
        self._connection = connection
        self._decryptor = decryptor
        self._topics = topics
        self._stalled_s = stalled_s

    async def of(self, key: bytes) -> list[HeldRecord]:
        """Every record of the learner, in the order of topics, partitions and offsets.

        All partitions are read: a record may be on a wrong one.

        Raises:
            BrokerUnavailableError: when the cluster cannot be reached, or stops answering.
            TopicMissingError: when a topic does not exist.
        """
        found: list[HeldRecord] = []
        for topic in self._topics:
            found += sorted(await self._in(topic, key), key=lambda record: (record.partition, record.offset))
        return found

    async def _in(self, topic: str, key: bytes) -> list[HeldRecord]:
        found: list[HeldRecord] = []
        span = await topic_span(self._connection, topic)
        parts = read_span(self._connection, topic, span, stalled_s=self._stalled_s)
        async with aclosing(parts):
            async for part in parts:
                mine = [record for record in part.records if record.key == key]
                await self._decryptor.load_keys(mine)
                found += [self._held(topic, record) for record in mine]
        return found

    def _held(self, topic: str, record: aiokafka.ConsumerRecord) -> HeldRecord:
        headers: dict[str, object] = {name: value.decode(errors="replace") for name, value in record.headers}
        return HeldRecord(topic, record.partition, record.offset, headers, self._content(record))

    def _content(self, record: aiokafka.ConsumerRecord) -> object | None:
        try:
            value = self._decryptor.decrypt(record.key, record.value, record.headers)
        except ValueUnreadableError:
            return {"unreadable_bytes": (record.value or b"").hex()}
        if value is LOST:
            return {"key_lost": True, "unreadable_bytes": (record.value or b"").hex()}
        if value is ERASED or value is None:
            return None
        try:
            if content_type_of(record.headers) == JSON:
                message = json_format.Parse(value, events_pb2.LearnerEvent())
            else:
                message = events_pb2.LearnerEvent.FromString(value)
        except (DecodeError, json_format.ParseError, UnicodeDecodeError, RecursionError):
            return {"unreadable_bytes": value.hex()}
        content: object = json_format.MessageToDict(message, preserving_proto_field_name=True)
        return content
