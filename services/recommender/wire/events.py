"""Records of the log as the domain's events: decoding and checking."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from cairn.v1 import events_pb2
from services.common.auth.identity import LEARNER_PATTERN, TENANT_PATTERN, event_fingerprint
from services.common.kafka.envelope import JSON, PROTOBUF, KeyInvalidError, content_type_of, split_key
from services.common.kafka.partitioner import partition_of
from services.recommender.domain.learner.events import AssessmentEvent, ContentKind, Grain, LearnerEvent, content_of
from services.recommender.domain.learner.restamp import Restamp, RestampedEvents
from services.recommender.wire.event_kinds import KINDS
from services.recommender.wire.fields import (
    ID_CHARACTERS_MAX,
    WRONG_PARTITION,
    RecordInvalidError,
    as_float32,
    invalid_id,
    seconds_of,
)

SKILLS_MAX = 16

_PROTOBUF_HEADER = ("content-type", PROTOBUF.encode())
_FROM_CATALOG = frozenset((events_pb2.SKILLS_FROM_CATALOG, events_pb2.SKILLS_FROM_NONE))
# What an outcome adds to the time in a content: a multiple that no plausible change of the time adds.
_FRACTIONS, _SPREAD = 1 << 24, 0x9E3779B1
_EXACT = {response: int(response * _FRACTIONS) * _SPREAD & 0xFFFFFFFF for response in (0.0, 1.0)}
# Looked up once.
_tuple_of, _message_of = tuple.__new__, events_pb2.LearnerEvent.FromString
_ASSESSMENT = int(ContentKind.ASSESSMENT)
_GRAINS = {events_pb2.GRAIN_ITEM: Grain.ITEM, events_pb2.GRAIN_ACTIVITY: Grain.ACTIVITY}


def decode_event(
    key: bytes | None,
    value: bytes | None,
    headers: Collection[tuple[str, bytes]],
    partition: int,
    partitions: int,
    restamp: Restamp | None = None,
) -> tuple[str, LearnerEvent]:
    """The tenant and the event of one record.

    Args:
        key: the record's key.
        value: its value.
        headers: its headers.
        partition: the partition it is on.
        partitions: the number of partitions, which determines the right one for the key.
        restamp: stamps the event again, if it is one that takes its skills from the catalog; None: it stays as it is.

    Raises:
        RecordInvalidError: when it is on the wrong partition, cannot be decoded, or is invalid.
    """
    tenant, learner = _addressee(key, partition, partitions)
    message = parse_event(value, headers)
    if message.tenant != tenant or message.learner != learner:
        raise RecordInvalidError("identity", "tenant and learner of the body are not those of the key")
    event_id, source = message.event_id, message.source
    if not event_id or not source:
        missing = "source" if event_id else "event_id"
        raise RecordInvalidError("field", f"{missing} is empty, so duplicates of the event cannot be recognised")
    if not message.HasField("assessment"):
        kind = KINDS.get(message.WhichOneof("body") or "")
        if kind is None:
            raise RecordInvalidError("body", "no body that this program knows is set; a newer release may know it")
        return tenant, kind.decode(message, event_fingerprint(source, event_id))
    event = _assessment(message, source, event_id)
    return tenant, event if restamp is None else _restamped(event, restamp, message)


def _assessment(message: events_pb2.LearnerEvent, source: str, event_id: str) -> AssessmentEvent:
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
    skills = tuple(body.skills[:])  # Copying a slice is faster than iterating.
    ids = "\0".join((resource, item, activity, *skills))
    if len(ids) > ID_CHARACTERS_MAX or ids.count("\0") != 2 + len(skills):
        # One of them may be invalid; most events need only the comparison above.
        for identifier in (item, activity, resource, *skills):
            if len(identifier) > ID_CHARACTERS_MAX or "\0" in identifier:
                raise invalid_id(identifier)
    if len(skills) > 1 or skills == ("",):
        skills = _distinct(skills)
    outcome = _EXACT.get(response)
    if outcome is None:
        response = as_float32(response)
        outcome = int(response * _FRACTIONS) * _SPREAD
    at_s = seconds_of(message)
    said = f"\0{item}\0{activity}"
    # Not what ingest took from the catalog, which may have changed before an event was sent again.
    if body.skills_from not in _FROM_CATALOG:
        # Their order says nothing: exports of one act may list its skills in another one.
        said = "\0".join((said, *sorted(skills)))
    former_event_id = message.former_event_id
    # As AssessmentEvent(...), in half the time.
    return _tuple_of(
        AssessmentEvent,
        (
            event_fingerprint(source, event_id),
            response,
            at_s,
            item,
            activity,
            skills,
            grain,
            resource,
            content_of(_ASSESSMENT, said.encode(), (at_s + outcome ^ grain << 31) & 0xFFFFFFFF),
            message.revises,
            event_fingerprint(source, former_event_id) if former_event_id else b"",
        ),
    )


def _restamped(event: AssessmentEvent, restamp: Restamp, message: events_pb2.LearnerEvent) -> AssessmentEvent:
    if event.skills and restamp.events is not RestampedEvents.ALL:
        return event
    skills, resource = restamp.stamp(message.tenant, event.item, event.activity)
    if event.skills and message.assessment.skills_from not in _FROM_CATALOG:
        skills = event.skills
    return event._replace(skills=skills, resource=resource)


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
        raise RecordInvalidError(WRONG_PARTITION, f"its key belongs on partition {right}, it is on {partition}")
    return tenant, learner


def parse_event(value: bytes | None, headers: Collection[tuple[str, bytes]]) -> events_pb2.LearnerEvent:
    """The message of a record's value. Raises RecordInvalidError."""
    if not value:
        raise RecordInvalidError("value", "the value is empty")
    # The header that ingest writes, found without comparing every header's name.
    content_type = PROTOBUF if _PROTOBUF_HEADER in headers else content_type_of(headers)
    try:
        if content_type is PROTOBUF or content_type == PROTOBUF:
            return _message_of(value)
        if content_type == JSON:
            return json_format.Parse(value, events_pb2.LearnerEvent())
    except (DecodeError, json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise RecordInvalidError("value", f"the value is not a LearnerEvent in {content_type}: {error}") from error
    raise RecordInvalidError("content-type", f"content-type is {content_type[:80]!r}, not {PROTOBUF} or {JSON}")


def _distinct(given: tuple[str, ...]) -> tuple[str, ...]:
    skills = tuple(dict.fromkeys(given))
    if len(skills) > SKILLS_MAX:
        raise RecordInvalidError("field", f"assessment.skills has {len(skills)} skills, more than {SKILLS_MAX}")
    if "" in skills:
        raise RecordInvalidError("field", "assessment.skills holds an empty skill")
    return skills
