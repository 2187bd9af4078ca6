"""From records of the log to what the domain reads: decoding and checking, nothing else."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable
from functools import lru_cache

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from cairn.v1 import catalog_pb2, events_pb2
from services.common.auth.identity import LEARNER_PATTERN, TENANT_PATTERN, event_fingerprint
from services.common.kafka.envelope import JSON, PROTOBUF, KeyInvalidError, content_type_of, split_key
from services.common.kafka.partitioner import partition_of
from services.recommender.domain.learner.events import (
    VOIDED,
    AssessmentEvent,
    CorrectionEvent,
    ErasureEvent,
    Grain,
    InteractionEvent,
    InteractionKind,
    LearnerEvent,
    PreferenceEvent,
)
from services.recommender.domain.learner.preferences import MOST_GOALS, MOST_INTERESTS, Pace

MOST_SKILLS = 16
LONGEST_ID = 256
LONGEST_TOPIC = 64

_LATEST_S = 2**32 - 1
_EXACT = frozenset((0.0, 1.0))
_PROTOBUF_HEADER = ("content-type", PROTOBUF.encode())
_FLOAT32 = struct.Struct("<f")
_INTERACTIONS = {
    events_pb2.INTERACTION_KIND_OPENED: InteractionKind.OPENED,
    events_pb2.INTERACTION_KIND_COMPLETED: InteractionKind.COMPLETED,
    events_pb2.INTERACTION_KIND_DISMISSED: InteractionKind.DISMISSED,
}
_FORMATS = frozenset(catalog_pb2.ResourceKind.values()) - {catalog_pb2.RESOURCE_KIND_UNSPECIFIED}
_PACES = frozenset(int(pace) for pace in Pace)
_GRAINS = {events_pb2.GRAIN_ITEM: Grain.ITEM, events_pb2.GRAIN_ACTIVITY: Grain.ACTIVITY}


class RecordInvalidError(ValueError):
    """A record of the log cannot be applied; the message says what is wrong with which field.

    Attributes:
        code: the same in one word, for counting: key, partition, encryption, content-type, value, identity, field or
            body.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def decode_event(
    key: bytes | None,
    value: bytes | None,
    headers: Collection[tuple[str, bytes]],
    partition: int,
    partitions: int,
) -> tuple[str, LearnerEvent]:
    """The tenant and the event of one record.

    Args:
        key: the record's key.
        value: its value.
        headers: its headers.
        partition: where it stands.
        partitions: how many the topic has; the key decides which one is right.

    Raises:
        RecordInvalidError: when it is on the wrong partition, cannot be decoded, or says what cannot be.
    """
    tenant, learner = _addressee(key, partition, partitions)
    message = _parse(value, headers)
    if message.tenant != tenant or message.learner != learner:
        raise RecordInvalidError("identity", "tenant and learner of the body are not those of the key")
    event_id, source = message.event_id, message.source
    if not event_id or not source:
        missing = "source" if event_id else "event_id"
        raise RecordInvalidError("field", f"{missing} is empty, so that a copy could not be told from another event")
    if not message.HasField("assessment"):
        return tenant, _other_event(message, event_fingerprint(source, event_id))
    body = message.assessment
    response = body.response
    # Also false for NaN.
    if not 0.0 <= response <= 1.0:
        raise RecordInvalidError("field", f"assessment.response is {response}, not in [0, 1]")
    grain = _GRAINS.get(body.grain)
    if grain is None:
        raise RecordInvalidError(
            "field", f"assessment.grain is {body.grain}, which is neither item (1) nor activity (2)"
        )
    item, activity, resource = body.item, body.activity, body.resource
    if not (activity if grain else item):
        raise RecordInvalidError("field", f"assessment.{'activity' if grain else 'item'} is empty though it was scored")
    skills = tuple(body.skills[:])  # A slice is copied at once, an iterator asks for each.
    for identifier in (item, activity, resource, *skills):
        if len(identifier) > LONGEST_ID or "\0" in identifier:
            raise _bad_id(identifier)
    return tenant, AssessmentEvent(
        event_fingerprint(source, event_id),
        response if response in _EXACT else _as_float32(response),
        _seconds(message),
        item,
        activity,
        _distinct(skills) if len(skills) > 1 or skills == ("",) else skills,
        grain,
        resource,
    )


def _other_event(message: events_pb2.LearnerEvent, fingerprint: bytes) -> LearnerEvent:
    match message.WhichOneof("body"):
        case "interaction":
            return _interaction(message, fingerprint)
        case "preference":
            return _preference(message.preference, fingerprint)
        case "correction":
            return _correction(message.correction, fingerprint)
        case "erasure":
            return ErasureEvent(fingerprint)
    raise RecordInvalidError("body", "no body that this program knows is set; a newer release may know it")


def _interaction(message: events_pb2.LearnerEvent, fingerprint: bytes) -> InteractionEvent:
    body = message.interaction
    kind = _INTERACTIONS.get(body.kind)
    if kind is None:
        raise RecordInvalidError(
            "field", f"interaction.kind is {body.kind}, which is neither opened (1), completed (2) nor dismissed (3)"
        )
    if not body.resource:
        raise RecordInvalidError("field", "interaction.resource is empty")
    _check_ids((body.resource,))
    return InteractionEvent(fingerprint, _seconds(message), body.resource, kind)


def _preference(body: events_pb2.PreferenceEvent, fingerprint: bytes) -> PreferenceEvent:
    goals = tuple(dict.fromkeys(body.goals.skills)) if body.HasField("goals") else None
    interests = tuple(dict.fromkeys(body.interests.topics)) if body.HasField("interests") else None
    formats = tuple(dict.fromkeys(body.formats.kinds)) if body.HasField("formats") else None
    for field, values, most, longest in (
        ("goals.skills", goals, MOST_GOALS, LONGEST_ID),
        ("interests.topics", interests, MOST_INTERESTS, LONGEST_TOPIC),
    ):
        if values is None:
            continue
        if len(values) > most:
            raise RecordInvalidError("field", f"preference.{field} has {len(values)} entries, more than {most}")
        if "" in values:
            raise RecordInvalidError("field", f"preference.{field} holds an empty entry")
        _check_ids(values, longest)
    unknown = [kind for kind in formats or () if kind not in _FORMATS]
    if unknown:
        raise RecordInvalidError("field", f"preference.formats.kinds holds {unknown[0]}, which is no kind of resource")
    if body.pace not in _PACES:
        raise RecordInvalidError("field", f"preference.pace is {body.pace}, which is no pace")
    return PreferenceEvent(fingerprint, goals, interests, formats, int(body.pace))


def _correction(body: events_pb2.CorrectionEvent, fingerprint: bytes) -> CorrectionEvent:
    if not body.target_event_id or not body.target_source:
        missing = "target_source" if body.target_event_id else "target_event_id"
        raise RecordInvalidError("field", f"correction.{missing} is empty, so that nobody knows what was wrong")
    target = event_fingerprint(body.target_source, body.target_event_id)
    match body.WhichOneof("change"):
        case "voided":
            return CorrectionEvent(fingerprint, target, VOIDED)
        case "regrade":
            response = body.regrade.response
            # Also false for NaN.
            if not 0.0 <= response <= 1.0:
                raise RecordInvalidError("field", f"correction.regrade.response is {response}, not in [0, 1]")
            return CorrectionEvent(fingerprint, target, _as_float32(response))
    raise RecordInvalidError("field", "correction says neither void nor regrade")


@lru_cache(maxsize=200_000)
def _addressee(key: bytes | None, partition: int, partitions: int) -> tuple[str, str]:
    try:
        tenant, learner = split_key(key)
    except KeyInvalidError as error:
        raise RecordInvalidError("key", str(error)) from error
    if not TENANT_PATTERN.fullmatch(tenant) or not LEARNER_PATTERN.fullmatch(learner):
        raise RecordInvalidError(
            "key", f"the key is not tenant/learner with {TENANT_PATTERN.pattern} and {LEARNER_PATTERN.pattern}"
        )
    right = partition_of(key or b"", partitions)
    if right != partition:
        raise RecordInvalidError("partition", f"its key belongs on partition {right}, it stands on {partition}")
    return tenant, learner


def _parse(value: bytes | None, headers: Collection[tuple[str, bytes]]) -> events_pb2.LearnerEvent:
    if not value:
        raise RecordInvalidError("value", "the value is empty")
    # What ingest writes, found without looking at every header's name.
    content_type = PROTOBUF if _PROTOBUF_HEADER in headers else content_type_of(headers)
    try:
        if content_type == PROTOBUF:
            return events_pb2.LearnerEvent.FromString(value)
        if content_type == JSON:
            return json_format.Parse(value, events_pb2.LearnerEvent())
    except (DecodeError, json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise RecordInvalidError("value", f"the value is not a LearnerEvent in {content_type}: {error}") from error
    raise RecordInvalidError("content-type", f"content-type is {content_type[:80]!r}, not {PROTOBUF} or {JSON}")


def _seconds(message: events_pb2.LearnerEvent) -> int:
    # Absent reads as 0, which is what not known is here.
    seconds: int = message.occurred_at.seconds
    if not 0 <= seconds <= _LATEST_S:
        raise RecordInvalidError("field", f"occurred_at is {seconds} s from 1970, not between 1970 and 2106")
    return seconds


def _distinct(given: tuple[str, ...]) -> tuple[str, ...]:
    skills = tuple(dict.fromkeys(given))
    if len(skills) > MOST_SKILLS:
        raise RecordInvalidError("field", f"assessment.skills has {len(skills)} skills, more than {MOST_SKILLS}")
    if "" in skills:
        raise RecordInvalidError("field", "assessment.skills holds an empty skill")
    return skills


def _check_ids(identifiers: Iterable[str], longest: int = LONGEST_ID) -> None:
    for identifier in identifiers:
        if len(identifier) > longest or "\0" in identifier:
            raise _bad_id(identifier, longest)


def _bad_id(identifier: str, longest: int = LONGEST_ID) -> RecordInvalidError:
    if len(identifier) > longest:
        return RecordInvalidError("field", f"an id has {len(identifier)} characters, more than {longest}")
    return RecordInvalidError("field", f"the id {identifier[:40]!r} holds a NUL character")


def _as_float32(value: float) -> float:
    """The value in the precision that a journal keeps."""
    return float(_FLOAT32.unpack(_FLOAT32.pack(value))[0])
