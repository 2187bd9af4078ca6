"""The last records of the log of learner events."""

from __future__ import annotations

from contextlib import aclosing

import aiokafka

from services.common.kafka.connection import KafkaConnection, read_span, topic_span


async def last_records(connection: KafkaConnection, topic: str, *, per_partition: int) -> list[aiokafka.ConsumerRecord]:
    """The last records of each partition of a topic.

    Raises:
        BrokerUnavailableError: when the cluster cannot be reached, or stops answering.
        TopicMissingError: when the topic does not exist.
    """
    log = await topic_span(connection, topic)
    spans = {partition: (max(begin, end - per_partition), end) for partition, (begin, end) in log.items()}
    records: list[aiokafka.ConsumerRecord] = []
    async with aclosing(read_span(connection, topic, spans)) as parts:
        async for part in parts:
            records += part.records
    return records
