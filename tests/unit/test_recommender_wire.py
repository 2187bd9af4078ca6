"""Conditions for applying a record of the log."""

from __future__ import annotations

import math

import pytest
from google.protobuf import json_format

from cairn.v1 import events_pb2
from services.common.auth.identity import event_fingerprint
from services.common.kafka.envelope import PROTOBUF
from services.recommender.domain.learner.events import ContentKind, Grain, kind_of
from services.recommender.wire.events import decode_event
from services.recommender.wire.fields import RecordInvalidError
from tests.learner_events import PARTITIONS, WHEN, Record, message, record


def decode(one: Record, *, partition: int | None = None):
    where = one.right_partition if partition is None else partition
    return decode_event(one.key, one.value, one.headers, where, PARTITIONS)


def code_of(one: Record, *, partition: int | None = None) -> str:
    with pytest.raises(RecordInvalidError) as caught:
        decode(one, partition=partition)
    assert str(caught.value)
    return caught.value.code


def test_an_event_is_read_as_ingest_wrote_it():
    tenant, event = decode(record(message(1, item="i", activity="a", skills=["s", "t"], resource="a", response=0.1)))
    assert tenant == "riverbend"
    assert event.fingerprint == event_fingerprint("tests", "event-1")
    assert event.response == pytest.approx(0.1)
    assert event.response != 0.1, "kept in the precision of the journal"
    assert (event.item, event.activity, event.skills, event.resource) == ("i", "a", ("s", "t"), "a")
    assert event.at_s == int(WHEN.timestamp())
    assert event.grain is Grain.ITEM


def test_protobuf_json_is_read_the_same_way():
    event = message(1)
    as_json = record(
        event, value=json_format.MessageToJson(event).encode(), headers=[("content-type", b"application/json")]
    )
    assert decode(as_json) == decode(record(event))


def test_a_record_without_headers_is_protobuf():
    assert decode(record(message(1), headers=[])) == decode(record(message(1)))


def test_an_event_without_a_time_has_none():
    event = message(1)
    event.ClearField("occurred_at")
    assert decode(record(event))[1].at_s == 0


def content_with(**changes: object) -> bytes:
    body = {"item": "i", "activity": "a", "skills": ["s"], "skills_from": events_pb2.SKILLS_FROM_EVENT, "response": 0.5}
    event = decode(record(message(1, **body | changes)))[1]
    assert kind_of(event.content) is ContentKind.ASSESSMENT
    return event.content


@pytest.mark.parametrize(
    "changes",
    [
        {"item": "j"},
        {"activity": "b"},
        {"skills": ["t"]},
        {"skills": []},
        {"response": 0.25},
        {"response": 0.5 + 2**-20},
        {"grain": events_pb2.GRAIN_ACTIVITY},
    ],
    ids=str,
)
def test_an_event_that_says_something_else_has_another_content(changes):
    assert content_with(**changes) != content_with()


def test_the_order_of_skills_and_one_that_is_named_twice_say_nothing():
    assert content_with(skills=["a", "b"]) == content_with(skills=["b", "a"])
    assert content_with(skills=["a", "b"]) == content_with(skills=["a", "b", "a"])
    assert content_with(skills=["a", "b"]) != content_with(skills=["a", "c"])


def test_another_time_is_another_content_and_another_try_to_send_it_is_not():
    event, later, again = message(1), message(1), message(1)
    later.occurred_at.seconds += 1
    again.received_at.seconds += 60
    contents = [decode(record(one))[1].content for one in (event, later, again)]
    assert contents[0] != contents[1]
    assert contents[0] == contents[2]


def test_what_ingest_took_from_the_catalog_is_not_what_the_sender_said():
    catalog = {"skills_from": events_pb2.SKILLS_FROM_CATALOG}
    before = content_with(**catalog, skills=["s"], resource="i")
    assert before == content_with(**catalog, skills=["t", "u"], resource="a")
    assert before == content_with(skills_from=events_pb2.SKILLS_FROM_NONE, skills=[])


def test_an_event_says_whether_it_revises_and_under_which_id_it_came_formerly():
    event = message(1)
    assert decode(record(event))[1][-2:] == (False, b"")
    event.revises, event.former_event_id = True, "event-0"
    assert decode(record(event))[1][-2:] == (True, event_fingerprint("tests", "event-0"))


def test_a_skill_named_twice_counts_once():
    assert decode(record(message(1, skills=["s", "t", "s"])))[1].skills == ("s", "t")


@pytest.mark.parametrize("response", [math.nan, math.inf, -0.01, 1.01])
def test_a_response_outside_its_range_is_refused(response):
    assert code_of(record(message(1, response=response))) == "field"


@pytest.mark.parametrize(
    "changes",
    [
        {"item": ""},
        {"grain": events_pb2.GRAIN_ACTIVITY, "item": "", "activity": ""},
        {"grain": events_pb2.GRAIN_UNSPECIFIED},
        {"grain": 99},
        {"skills": [f"s{n}" for n in range(17)]},
        {"skills": [""]},
        {"skills": ["s", ""]},
        {"item": "i" * 257},
        {"skills": ["nul\0"]},
        {"resource": "nul\0"},
        {"activity": "nul\0"},
    ],
    ids=str,
)
def test_an_invalid_field_is_refused(changes):
    assert code_of(record(message(1, **changes))) == "field"


@pytest.mark.parametrize("field", ["event_id", "source"])
def test_an_event_without_an_identity_is_refused(field):
    event = message(1)
    event.ClearField(field)
    assert code_of(record(event)) == "field"


def test_a_time_before_1970_is_refused():
    event = message(1)
    event.occurred_at.seconds = -1
    assert code_of(record(event)) == "field"


def test_an_event_without_a_known_body_is_refused():
    event = message(1)
    event.ClearField("assessment")
    assert code_of(record(event)) == "body"


@pytest.mark.parametrize("value", [None, b"", b"\xff\xff\xff\xff", b"not protobuf at all"])
def test_bytes_that_are_not_an_event_are_refused(value):
    assert code_of(record(message(1), value=value)) in {"value", "identity"}


@pytest.mark.parametrize("value", [b"{", b'{"unknown": 1}', b"\xff", b"[" * 100_000, b'{"tenant": "\\ud800"}'])
def test_json_that_is_not_an_event_is_refused(value):
    headers = [("content-type", b"application/json; charset=utf-8")]
    assert code_of(record(message(1), value=value, headers=headers)) == "value"


def test_an_unknown_content_type_is_refused():
    assert code_of(record(message(1), headers=[("content-type", b"application/avro")])) == "content-type"


def test_a_record_on_a_partition_that_is_not_its_keys_is_refused():
    good = record(message(1))
    assert code_of(good, partition=(good.right_partition + 1) % PARTITIONS) == "partition"


@pytest.mark.parametrize(
    "key", [None, b"", b"riverbend", b"riverbend/", b"/ADA", b"\xff\xff/x", b"River/" + b"A" * 26, b"riverbend/ada"]
)
def test_a_key_that_is_not_tenant_and_learner_is_refused(key):
    assert code_of(record(message(1), key=key, partition=0)) == "key"


def test_a_body_of_another_learner_or_tenant_than_the_key_is_refused():
    assert code_of(record(message(1), key=record(message(1, "alan")).key)) == "identity"
    other = message(1, tenant="lakeside")
    assert code_of(record(other, key=record(message(1)).key)) == "identity"


def test_the_content_type_is_found_at_any_position():
    good = record(message(1))
    good.headers = [("content-type", PROTOBUF.encode()), ("x", b"y")]
    assert decode(good)[0] == "riverbend"
