"""Skills, resources and rules as the records of the compacted topics."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from cairn.v1 import catalog_pb2
from services.catalog.domain.model import Resource, Rule, Skill
from services.catalog.wire.resources import resource_from_proto, resource_to_proto
from services.catalog.wire.rules import rule_from_proto, rule_to_proto
from services.catalog.wire.skills import skill_from_proto, skill_to_proto
from services.common.kafka import envelope

Message = TypeVar("Message", catalog_pb2.Skill, catalog_pb2.Resource, catalog_pb2.Rule)
Record = TypeVar("Record", Skill, Resource, Rule)


class RecordInvalidError(ValueError):
    """A record of a catalog topic is not valid for its topic."""


def skill_from_record(identifier: str, value: bytes, content_type: str) -> Skill:
    """The skill in a record of `cairn.skills`.

    Args:
        identifier: the id in the record's key.
        value: the record's value, not None.
        content_type: its media type.

    Raises:
        RecordInvalidError: when the value cannot be decoded, is empty, or has another id.
    """
    return _from_record(identifier, value, content_type, catalog_pb2.Skill(), skill_from_proto)


def resource_from_record(identifier: str, value: bytes, content_type: str) -> Resource:
    """The resource in a record of `cairn.resources`; see `skill_from_record`."""
    return _from_record(identifier, value, content_type, catalog_pb2.Resource(), resource_from_proto)


def rule_from_record(identifier: str, value: bytes, content_type: str) -> Rule:
    """The rule in a record of `cairn.rules`; see `skill_from_record`."""
    return _from_record(identifier, value, content_type, catalog_pb2.Rule(), rule_from_proto)


def record_to_proto(record: Skill | Resource | Rule) -> catalog_pb2.Skill | catalog_pb2.Resource | catalog_pb2.Rule:
    """The message of any record."""
    if isinstance(record, Skill):
        return skill_to_proto(record)
    return resource_to_proto(record) if isinstance(record, Resource) else rule_to_proto(record)


def _from_record(
    identifier: str, value: bytes, content_type: str, message: Message, convert: Callable[[Message], Record]
) -> Record:
    if not value:
        raise RecordInvalidError("the value has no bytes; a removal is a null value")
    try:
        if content_type == envelope.JSON:
            json_format.Parse(value, message)
        elif content_type == envelope.PROTOBUF:
            message.ParseFromString(value)
        else:
            raise RecordInvalidError(
                f"the content-type {content_type!r} is not known; use {envelope.PROTOBUF} or {envelope.JSON}"
            )
    except (DecodeError, json_format.ParseError, UnicodeDecodeError) as error:
        raise RecordInvalidError(f"the value cannot be decoded as {content_type}: {error}") from error
    if message.id != identifier:
        raise RecordInvalidError(f"the value has the id {message.id[:80]!r}, its key {identifier[:80]!r}")
    return convert(message)
