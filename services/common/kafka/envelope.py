"""The form of a record: its topic, key, position and CloudEvents headers.

CloudEvents 1.0, Kafka protocol binding, binary content mode: attributes are headers, the value is the data.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

LEARNER_EVENTS = "cairn.learner-events"
LEARNER_EVENTS_DLT = "cairn.learner-events.dlt"
RESOURCES = "cairn.resources"
SKILLS = "cairn.skills"
LEARNER_KEYS = "cairn.learner-keys"
RULES = "cairn.rules"

PROTOBUF = "application/protobuf"
JSON = "application/json"

Headers = list[tuple[str, bytes]]
REVISES = ("ce_revises", b"true")
"""The header of an event that may change an earlier one of the same source and id."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """The position of a record in a topic."""

    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """A topic as created. A topic deleted and created again has another id: old offsets do not apply to it.

    Attributes:
        topic_id: the broker's UUID for the topic, 16 bytes.
        partitions: the number of partitions.
    """

    topic_id: bytes
    partitions: int

    def __str__(self) -> str:
        return f"{uuid.UUID(bytes=self.topic_id)}/{self.partitions}"

    @classmethod
    def parse(cls, text: str) -> LogIdentity:
        """The inverse of `str`."""
        topic_id, _, partitions = text.partition("/")
        return cls(uuid.UUID(topic_id).bytes, int(partitions))


class KeyInvalidError(ValueError):
    """A record key is not `tenant/id`."""


def record_key(tenant: str, identifier: str) -> bytes:
    """The key `tenant/id` of a record."""
    return f"{tenant}/{identifier}".encode()


def split_key(key: bytes | None) -> tuple[str, str]:
    """Tenant and id of a record key.

    Raises:
        KeyInvalidError: when there is no key, or it is not UTF-8 of the form `tenant/id`.
    """
    if key is None:
        raise KeyInvalidError("the record has no key; expected tenant/id")
    try:
        tenant, slash, identifier = key.decode().partition("/")
    except UnicodeDecodeError as error:
        raise KeyInvalidError(f"the key {key[:80]!r} is not UTF-8; expected tenant/id") from error
    if not (tenant and slash and identifier):
        raise KeyInvalidError(f"the key {key[:80]!r} is not of the form tenant/id")
    return tenant, identifier


def cloud_event_headers(
    *,
    event_id: str,
    source: str,
    event_type: str,
    time: datetime,
    content_type: str = PROTOBUF,
    traceparent: str | None = None,
    revises: bool = False,
) -> Headers:
    """The headers of one record.

    Args:
        event_id: identity within the source.
        source: URI reference of the producer.
        event_type: the kind of record, for example `cairn.v1.AssessmentEvent`.
        time: when the record was created; timezone-aware.
        content_type: media type of the value.
        traceparent: W3C trace context, where there is one.
        revises: whether the event may change an earlier one, so that readers find it without decoding it.
    """
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", event_type.encode()),
        # The last six characters of a UTC time are always its zone.
        ("ce_time", (time.astimezone(UTC).isoformat()[:-6] + "Z").encode()),
        ("content-type", content_type.encode()),
    ]
    if traceparent:
        headers.append(("traceparent", traceparent.encode()))
    if revises:
        headers.append(REVISES)
    return headers


def record_fingerprint(key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]) -> str:
    """Eight bytes, in hexadecimal, that differ between two records with another key, value or header."""
    digest = hashlib.blake2b(digest_size=8)
    named = [part for name, content in headers for part in (name.encode(), content)]
    for part in (key, value, *named):
        digest.update(b"-" if part is None else b"%d:%b" % (len(part), part))
    return digest.hexdigest()


def content_type_of(headers: Iterable[tuple[str, bytes]]) -> str:
    """Media type of a record's value, without parameters; Protobuf when the record has no such header."""
    for name, value in headers:
        if name == "content-type":
            return value.decode(errors="replace").partition(";")[0].strip().lower()
    return PROTOBUF


def positions_as_text(positions: Mapping[int, int]) -> str:
    """Positions by partition for people: `0:17 1:4`."""
    return " ".join(f"{partition}:{offset}" for partition, offset in sorted(positions.items()))
