"""Messages survive the wire: golden records in binary and JSON, and a round trip of every message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cairn.v1 import catalog_pb2, events_pb2, ingest_pb2, recommender_pb2
from services.ingest.domain.kinds.assessment import Assessment, Grain, SkillsFrom, StampedAssessment
from services.ingest.domain.outcome import Score
from services.ingest.domain.submission import AcceptedEvent, Instant
from services.ingest.wire.records import learner_event_value

GOLDEN = Path(__file__).parent / "golden"
MESSAGES = [
    descriptor
    for module in (events_pb2, ingest_pb2, catalog_pb2, recommender_pb2)
    for descriptor in module.DESCRIPTOR.message_types_by_name.values()
]

FULL = AcceptedEvent(
    event_id="6f9619ff-8b86-d011-b42d-00cf4fc964ff",
    tenant="riverbend",
    learner="ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    source="https://gradebook.example/events",
    occurred_at=Instant(1_772_597_167, 250_000_000),
    received_at=Instant(1_772_597_170, 89_000),
    body=StampedAssessment(
        Assessment(
            item="item-1",
            activity="quiz-1",
            skills=("6.RP.A.3",),
            outcome=Score(3, 0, 4),
            attempt=2,
            hints=0,
            duration_ms=30_500,
            grain=Grain.ITEM,
        ),
        response=0.75,
        skills=("6.RP.A.3", "6.RP.A.1"),
        skills_from=SkillsFrom.CATALOG,
        resource="item-1",
    ),
)
SPARSE = AcceptedEvent(
    event_id="1",
    tenant="r",
    learner="A" * 26,
    source="assistments2009",
    occurred_at=None,
    received_at=Instant(1_772_597_170),
    body=StampedAssessment(
        Assessment(activity="84805", outcome=False), response=0.0, skills=(), skills_from=SkillsFrom.NONE, resource=""
    ),
)


@pytest.mark.parametrize(("name", "event"), [("learner_event_full", FULL), ("learner_event_sparse", SPARSE)])
class TestGoldenLearnerEvents:
    """Records of earlier versions stay readable, and current records are byte for byte the same.

    Never rewrite these files to make a test pass: they represent the records in everybody's logs.
    """

    def test_the_record_is_written_byte_for_byte_as_before(self, name: str, event: AcceptedEvent) -> None:
        assert learner_event_value(event) == (GOLDEN / f"{name}.binpb").read_bytes()

    def test_binary_and_json_are_equal(self, name: str, event: AcceptedEvent) -> None:
        from_binary = events_pb2.LearnerEvent.FromString((GOLDEN / f"{name}.binpb").read_bytes())
        from_json = json_format.Parse((GOLDEN / f"{name}.json").read_text(), events_pb2.LearnerEvent())
        assert from_binary == from_json

    def test_known_values_are_distinguished_from_unknown_ones(self, name: str, event: AcceptedEvent) -> None:
        record = events_pb2.LearnerEvent.FromString((GOLDEN / f"{name}.binpb").read_bytes())
        assert record.HasField("occurred_at") == (event.occurred_at is not None)
        assert isinstance(event.body, StampedAssessment)
        assert record.assessment.HasField("hints") == (event.body.assessment.hints is not None)
        assert record.assessment.WhichOneof("outcome") == ("score" if name.endswith("full") else "correct")


def _scalar(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    kinds = {
        FieldDescriptor.TYPE_STRING: st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
        FieldDescriptor.TYPE_BYTES: st.binary(max_size=20),
        FieldDescriptor.TYPE_BOOL: st.booleans(),
        FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False),
        FieldDescriptor.TYPE_UINT32: st.integers(0, 2**32 - 1),
        FieldDescriptor.TYPE_UINT64: st.integers(0, 2**64 - 1),
    }
    if field.type == FieldDescriptor.TYPE_ENUM:
        return st.sampled_from([value.number for value in field.enum_type.values])
    return kinds[field.type]


def _value(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    return messages(field.message_type) if field.type == FieldDescriptor.TYPE_MESSAGE else _scalar(field)


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor) -> Message:
    """Any message: each field set or not, at most one of a oneof."""
    message = GetMessageClass(descriptor)()
    if descriptor.full_name == "google.protobuf.Timestamp":
        message.seconds = draw(st.integers(0, 253_402_300_799))
        message.nanos = draw(st.integers(0, 999_999_999))
        return message
    for field in descriptor.fields:
        if field.containing_oneof and len(field.containing_oneof.fields) > 1:
            continue
        _fill(draw, message, field)
    for oneof in descriptor.oneofs:
        if len(oneof.fields) > 1 and (chosen := draw(st.none() | st.sampled_from(list(oneof.fields)))):
            _fill(draw, message, chosen, always=True)
    return message


def _fill(draw: st.DrawFn, message: Message, field: FieldDescriptor, *, always: bool = False) -> None:
    if field.is_repeated:
        values = draw(st.lists(_value(field), max_size=3))
        getattr(message, field.name).extend(values)
    elif always or draw(st.booleans()):
        value = draw(_value(field))
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            getattr(message, field.name).CopyFrom(value)
        else:
            setattr(message, field.name, value)


@pytest.mark.parametrize("descriptor", MESSAGES, ids=lambda descriptor: descriptor.name)
@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_every_message_survives_a_round_trip(descriptor: Descriptor, data: st.DataObject) -> None:
    message = data.draw(messages(descriptor))
    binary = message.SerializeToString(deterministic=True)
    again = type(message).FromString(binary)
    assert again == message
    assert again.SerializeToString(deterministic=True) == binary
    assert json_format.Parse(json_format.MessageToJson(message), type(message)()) == message
