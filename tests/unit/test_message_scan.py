"""A message is counted from its bytes as it would be decoded, and the count stops at the limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.v1 import catalog_pb2, ingest_pb2, recommender_pb2
from services.common.rpc import message_scan
from services.common.rpc.message_scan import (
    FIELDS_AT_ONCE_MAX,
    FIELDS_MAX,
    TEXT_BYTES_MAX,
    VALUES_MAX,
    VALUES_OF_RECORD_MAX,
    ManyFieldsError,
    MessageRefusedError,
    check_size_of,
)

EVENTS = ingest_pb2.PublishEventsRequest.DESCRIPTOR
BATCH = recommender_pb2.RecommendBatchRequest.DESCRIPTOR


def varint(value):
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def delimited(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def test_as_many_values_as_allowed_pass_and_one_more_is_refused():
    check_size_of(b"\x0a\x00" * VALUES_MAX, EVENTS)
    with pytest.raises(MessageRefusedError, match=r"50,000 values in all: cairn\.v1\.PublishEventsRequest\.events"):
        check_size_of(b"\x0a\x00" * (VALUES_MAX + 1), EVENTS)


def test_one_list_of_a_record_has_a_limit_of_its_own_and_all_together_have_the_limit_of_the_request():
    body = ingest_pb2.EventSubmission.DESCRIPTOR.fields_by_name["assessment"].number
    skills = ingest_pb2.AssessmentSubmission.DESCRIPTOR.fields_by_name["skills"].number

    def event(values):
        return delimited(1, delimited(body, delimited(skills, b"") * values))

    check_size_of(event(VALUES_OF_RECORD_MAX), EVENTS)
    with pytest.raises(MessageRefusedError, match=r"2,000 values: cairn\.v1\.AssessmentSubmission\.skills"):
        check_size_of(event(VALUES_OF_RECORD_MAX + 1), EVENTS)
    check_size_of(event(499) * 100, EVENTS)
    with pytest.raises(MessageRefusedError, match="50,000 values in all"):
        check_size_of(event(499) * 101, EVENTS)


def test_packed_numbers_count():
    number = BATCH.fields_by_name["filter"].number
    with pytest.raises(MessageRefusedError, match=r"ResourceFilter\.kinds"):
        check_size_of(delimited(number, delimited(1, b"\x01" * (VALUES_OF_RECORD_MAX + 1))), BATCH)


def test_a_message_in_many_parts_is_refused_because_no_part_shows_how_much_it_is():
    number = BATCH.fields_by_name["filter"].number
    with pytest.raises(MessageRefusedError, match=r"sets cairn\.v1\.RecommendBatchRequest\.filter more than once"):
        check_size_of(delimited(number, delimited(2, b"")) * 2, BATCH)


def test_a_message_with_many_fields_is_not_counted_at_once():
    check_size_of(b"\x0a\x00" * FIELDS_AT_ONCE_MAX, EVENTS, at_once=True)
    with pytest.raises(ManyFieldsError):
        check_size_of(b"\x0a\x00" * (FIELDS_AT_ONCE_MAX + 1), EVENTS, at_once=True)


def test_a_text_has_a_limit_that_unknown_fields_do_not_have():
    learners = BATCH.fields_by_name["learner_ids"].number
    check_size_of(delimited(learners, b"a" * TEXT_BYTES_MAX), BATCH)
    check_size_of(delimited(9_999, b"a" * (TEXT_BYTES_MAX + 1)), BATCH)
    with pytest.raises(MessageRefusedError, match=r"RecommendBatchRequest\.learner_ids has 262,145 bytes"):
        check_size_of(delimited(learners, b"a" * (TEXT_BYTES_MAX + 1)), BATCH)


def test_unknown_fields_are_bounded_too():
    with pytest.raises(MessageRefusedError, match="fields"):
        check_size_of(b"\x78\x00" * (FIELDS_MAX + 1), EVENTS)


@pytest.mark.parametrize("raw", [b"\x0a", b"\x0a\x05a", b"\x08", b"\x08" + b"\xff" * 11, b"\x0b\x0c", b"\x09abc"])
def test_bytes_that_are_no_message_are_refused(raw):
    with pytest.raises(MessageRefusedError):
        check_size_of(raw, EVENTS)


texts = st.lists(st.sampled_from(["", "a", "é" * 70]), max_size=4)


@given(
    st.lists(
        st.builds(
            catalog_pb2.Resource,
            id=st.sampled_from(["", "a", "é" * 150]),
            grades=texts,
            topics=texts,
            minutes=st.integers(0, 2**32 - 1),
            difficulty=st.sampled_from([0.0, 0.5]),
            teaches=st.lists(st.builds(catalog_pb2.SkillTag, skill=st.sampled_from(["", "a"])), max_size=4),
        ),
        max_size=6,
    )
)
def test_the_count_is_that_of_the_decoded_message(resources):
    request = catalog_pb2.ImportCatalogRequest(resources=resources)
    values = len(resources) + sum(len(each.grades) + len(each.topics) + len(each.teaches) for each in resources)
    raw = request.SerializeToString()
    with pytest.MonkeyPatch.context() as patch:
        # So that every part is counted, as in a large message.
        patch.setattr(message_scan, "PARTLY_SCANNED_BYTES_MAX", 0)
        patch.setattr(message_scan, "VALUES_MAX", values)
        check_size_of(raw, request.DESCRIPTOR)
        if values:
            patch.setattr(message_scan, "VALUES_MAX", values - 1)
            with pytest.raises(MessageRefusedError):
                check_size_of(raw, request.DESCRIPTOR)
