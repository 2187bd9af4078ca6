"""Deleting and creating single topics, and what is needed to create one like another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError, UnknownTopicOrPartitionError

from services.common.kafka.connection import (
    BrokerUnavailableError,
    KafkaConnection,
    admin_client,
    unavailable,
)
from services.common.kafka.topics import await_leaders

_DEADLINE_S = 30.0
_AGAIN_S = 0.1


@dataclass(frozen=True, slots=True)
class TopicShape:
    """A topic without its records.

    Attributes:
        partitions: the number of partitions.
        replicas: copies of each partition.
        config: settings that differ from the broker's; empty where the broker does not return them.
    """

    partitions: int
    replicas: int
    config: Mapping[str, str]


async def topic_shape(connection: KafkaConnection, topic: str) -> TopicShape:
    """The shape of an existing topic. Raises BrokerUnavailableError."""
    return await asyncio.to_thread(_topic_shape, connection, topic)


async def create_topic(connection: KafkaConnection, topic: str, shape: TopicShape) -> None:
    """Create a topic, once one of that name is deleted; return when every partition has a leader.

    Raises:
        BrokerUnavailableError: when the cluster cannot be reached or refuses.
    """
    await asyncio.to_thread(_create_topic, connection, topic, shape)


async def delete_topic(connection: KafkaConnection, topic: str) -> None:
    """Delete a topic, if there is one; return when it is gone. Raises BrokerUnavailableError."""
    await asyncio.to_thread(_delete_topic, connection, topic)


def _topic_shape(connection: KafkaConnection, topic: str) -> TopicShape:
    with _admin(connection) as admin:
        (described,) = admin.describe_topics([topic])
    replicas = min(len(partition["replica_nodes"]) for partition in described["partitions"])
    return TopicShape(len(described["partitions"]), replicas, _config(connection, topic))


def _config(connection: KafkaConnection, topic: str) -> dict[str, str]:
    # The embedded broker closes the connection on this request, so it uses a separate one.
    try:
        with _admin(connection) as admin:
            described: Any = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    except BrokerUnavailableError:
        return {}
    return {
        key: str(entry["value"])
        for by_name in described.values()
        for values in by_name.values()
        for key, entry in values.items()
        if not entry.get("is_sensitive")
    }


def _create_topic(connection: KafkaConnection, topic: str, shape: TopicShape) -> None:
    until_s = time.monotonic() + _DEADLINE_S
    with _admin(connection) as admin:
        while True:
            try:
                admin.create_topics(
                    [NewTopic(topic, shape.partitions, shape.replicas, topic_configs=dict(shape.config))]
                )
                break
            except TopicAlreadyExistsError:
                # One that was deleted may still be on its way out.
                if time.monotonic() > until_s:
                    raise
                time.sleep(_AGAIN_S)
        await_leaders(admin, [topic])


def _delete_topic(connection: KafkaConnection, topic: str) -> None:
    until_s = time.monotonic() + _DEADLINE_S
    with _admin(connection) as admin:
        if topic not in set(admin.list_topics()):
            return
        try:
            admin.delete_topics([topic])
        except UnknownTopicOrPartitionError:
            return
        while topic in set(admin.list_topics()):
            if time.monotonic() > until_s:
                raise BrokerUnavailableError(f"Kafka did not delete the topic {topic} within {_DEADLINE_S:g} s")
            time.sleep(_AGAIN_S)


@contextmanager
def _admin(connection: KafkaConnection) -> Iterator[KafkaAdminClient]:
    admin = admin_client(connection)
    try:
        yield admin
    except KafkaError as error:
        raise unavailable(connection, error, "did not create, delete or describe a topic") from error
    finally:
        admin.close()
