"""Puts what a release left behind, as `record.py` recorded it, into a new Kafka and a new Redis."""

from __future__ import annotations

import base64
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiokafka
import redis

from services.common.kafka.connection import KafkaConnection, aiokafka_options, log_identity
from services.common.kafka.envelope import LEARNER_EVENTS
from services.common.kafka.topics import ensure_topics, load_declarations
from services.recommender.adapters.redis.epoch_fields import decode_meta, encode_meta

TOPICS = Path(__file__).parents[2] / "deploy" / "topics.yaml"

# Partition, offset, time in ms, key, value and headers, in Base64 where they are bytes.
TopicRecords = Mapping[str, Sequence[Sequence[Any]]]


class Archive:
    """An archive of a release.

    Attributes:
        directory: where it was unpacked: `tenants.yaml` and `bundles/`.
        topics: the records of all topics.
        facts: the release's digest and answers.
    """

    def __init__(self, file: Path, directory: Path) -> None:
        """Args: `file` of the archive, and an empty `directory` to unpack it to."""
        self.directory = directory
        with tarfile.open(file) as tar:
            tar.extractall(directory, filter="data")
        (directory / "tenants.yaml").chmod(0o600)
        self.topics: TopicRecords = json.loads((directory / "topics.json").read_text())
        self.facts: dict[str, Any] = json.loads((directory / "facts.json").read_text())

    async def restore_redis(self, url: str, connection: KafkaConnection) -> None:
        """Write the keys of Redis; its epochs then belong to the log that the topics were written to."""
        identity = str(await log_identity(connection, LEARNER_EVENTS))
        with redis.Redis.from_url(url) as client:
            for name, kind, value in json.loads((self.directory / "redis.json").read_text()):
                key = _bytes(name)
                if kind == "string":
                    client.set(key, _bytes(value))
                elif kind == "hash":
                    fields = {_bytes(field): _bytes(held) for field, held in value}
                    client.hset(key, mapping=_of_log(fields, identity) if key.endswith(b":meta") else fields)
                elif kind == "set":
                    client.sadd(key, *map(_bytes, value))
                else:
                    client.rpush(key, *map(_bytes, value))


async def write_topics(topics: TopicRecords, connection: KafkaConnection) -> None:
    """Create the topics and write records to them, each on its partition with its key, value, headers and time."""
    ensure_topics(connection, load_declarations(TOPICS))
    producer = aiokafka.AIOKafkaProducer(**aiokafka_options(connection))
    await producer.start()
    try:
        for topic, records in topics.items():
            for partition, offset, time_ms, key, value, headers in records:
                written = await producer.send_and_wait(
                    topic,
                    value=None if value is None else _bytes(value),
                    key=None if key is None else _bytes(key),
                    partition=partition,
                    timestamp_ms=time_ms,
                    headers=[(name, _bytes(held)) for name, held in headers],
                )
                if topic == LEARNER_EVENTS:
                    # Positions in Redis are offsets.
                    assert written.offset == offset
    finally:
        await producer.stop()


def _of_log(fields: dict[bytes, bytes], identity: str) -> dict[bytes, bytes]:
    """The fields of an epoch, of the log with this identity; what the release did not write is still missing."""
    meta = decode_meta(1, fields | {b"log_identity": identity.encode()})
    known = {name.encode(): held for name, held in encode_meta(meta).items()}
    return {name: known[name] if name in {b"log_identity", b"fold_id"} else held for name, held in fields.items()}


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)
