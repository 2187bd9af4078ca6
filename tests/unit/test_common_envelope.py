"""Keys and headers, as other Kafka clients see them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.kafka.envelope import (
    KeyInvalidError,
    cloud_event_headers,
    content_type_of,
    positions_as_text,
    record_key,
    split_key,
)


@given(st.from_regex(r"[a-z0-9-]{1,63}", fullmatch=True), st.text(min_size=1))
def test_a_key_splits_into_its_parts(tenant, identifier):
    assert split_key(record_key(tenant, identifier)) == (tenant, identifier)


@pytest.mark.parametrize("key", [None, b"", b"no-slash", b"/learner", b"tenant/", b"\xff/learner"])
def test_a_key_of_another_form_is_refused_with_the_form_expected(key):
    with pytest.raises(KeyInvalidError, match=r"tenant/id|UTF-8"):
        split_key(key)


def test_headers_follow_the_binary_mode_of_cloudevents():
    headers = dict(
        cloud_event_headers(
            event_id="e1",
            source="gradebook",
            event_type="cairn.v1.AssessmentEvent",
            time=datetime(2026, 3, 1, 9, 30, tzinfo=UTC),
            traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
        )
    )
    assert headers["ce_specversion"] == b"1.0"
    assert headers["ce_id"] == b"e1"
    assert headers["ce_source"] == b"gradebook"
    assert headers["ce_type"] == b"cairn.v1.AssessmentEvent"
    assert headers["ce_time"] == b"2026-03-01T09:30:00Z"
    assert headers["content-type"] == b"application/protobuf"
    assert headers["traceparent"].endswith(b"-01")


@pytest.mark.parametrize(
    ("headers", "content_type"),
    [
        ([], "application/protobuf"),
        ([("content-type", b"application/json; charset=utf-8")], "application/json"),
        ([("ce_id", b"1"), ("content-type", b"Application/Protobuf")], "application/protobuf"),
    ],
)
def test_the_content_type_is_read_without_parameters_and_defaults_to_protobuf(headers, content_type):
    assert content_type_of(headers) == content_type


def test_positions_are_listed_by_partition():
    assert positions_as_text({1: 4, 0: 17}) == "0:17 1:4"
