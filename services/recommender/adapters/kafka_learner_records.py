"""The records of one learner in the log and among the dead letters."""

from __future__ import annotations

import asyncio

import aiokafka
from aiokafka.errors import KafkaError
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from cairn.v1 import events_pb2
from services.common.envelope import JSON, LEARNER_EVENTS, LEARNER_EVENTS_DLT, content_type_of
from services.common.kafka import (
    BrokerUnavailableError,
    KafkaConnection,
    new_consumer,
    topic_beginning_offsets,
    topic_end_offsets,
)
from services.common.learner_keys import ERASED, ValueUnreadableError
from services.recommender.application.personal_data import HeldRecord
from services.recommender.application.ports import ValueOpener

_POLL_MS = 200
_STALLED_S = 30.0


class KafkaLearnerRecords:
    """Implements LearnerRecords over the log and its dead letters."""

    def __init__(
        self,
        connection: KafkaConnection,
        opener: ValueOpener,
        *,
        topics: tuple[str, ...] = (LEARNER_EVENTS, LEARNER_EVENTS_DLT),
    ) -> None:
        """Args: the cluster, what opens encrypted values, and where to look."""
        self._connection = connection
        self._opener = opener
        self._topics = topics

    async def of(self, key: bytes) -> list[HeldRecord]:
        """Every record of the learner, in the order of topics, partitions and offsets.

        All partitions are looked through: a record may stand on a wrong one.

        Raises:
            BrokerUnavailableError: when the cluster cannot be reached, or stops answering.
            TopicMissingError: when a topic does not exist.
        """
        found: list[HeldRecord] = []
        for topic in self._topics:
            found += sorted(await self._in(topic, key), key=lambda record: (record.partition, record.offset))
        return found

    async def _in(self, topic: str, key: bytes) -> list[HeldRecord]:
        ends = await topic_end_offsets(self._connection, topic)
        begins = await topic_beginning_offsets(self._connection, topic)
        left = {
            aiokafka.TopicPartition(topic, partition): end for partition, end in ends.items() if end > begins[partition]
        }
        found: list[HeldRecord] = []
        if not left:
            return found
        consumer = new_consumer(self._connection)
        try:
            await consumer.start()
            consumer.assign(list(left))
            for partition in left:
                consumer.seek(partition, begins[partition.partition])
            while left:
                async with asyncio.timeout(_STALLED_S):
                    polled = await consumer.getmany(timeout_ms=_POLL_MS)
                mine = [record for records in polled.values() for record in records if record.key == key]
                await self._opener.determine(mine)
                found += [self._held(topic, record) for record in mine]
                for partition in [one for one, end in left.items() if await consumer.position(one) >= end]:
                    del left[partition]
                    consumer.pause(partition)
        except (KafkaError, TimeoutError) as error:
            raise BrokerUnavailableError(
                f"Kafka at {self._connection.bootstrap_servers} did not give the learner's records: {error!r}"
            ) from error
        finally:
            await consumer.stop()
        return found

    def _held(self, topic: str, record: aiokafka.ConsumerRecord) -> HeldRecord:
        headers: dict[str, object] = {name: value.decode(errors="replace") for name, value in record.headers}
        return HeldRecord(topic, record.partition, record.offset, headers, self._content(record))

    def _content(self, record: aiokafka.ConsumerRecord) -> object | None:
        try:
            value = self._opener.decrypt(record.key, record.value, record.headers)
        except ValueUnreadableError:
            return {"unreadable_bytes": (record.value or b"").hex()}
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
