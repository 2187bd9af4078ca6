"""Messages of Open edX's event bus: CloudEvents in Avro. A second implementation writes them here, byte by byte."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.application.ports import LeftOutRow, Row, UnreadableRow
from services.ingest.domain.kinds.assessment import Assessment
from services.ingest.formats.openedx.bus import rows_of_message

_TYPE = b"org.openedx.analytics.tracking.event.emitted.v1"
_HEADERS = {"ce_type": _TYPE, "content-type": b"application/avro"}
_DATA = json.dumps({"problem_id": "p1", "grade": 0, "max_grade": 1})
_CONTEXT = json.dumps({"user_id": 7, "event_source": "server"})


def _avro(*texts: str) -> bytes:
    """Strings in Avro: each a length, as a zig-zag number of 7 bits a byte, and the bytes."""
    written = b""
    for text in texts:
        content = text.encode()
        length = 2 * len(content)
        while length > 127:
            written += bytes([length & 127 | 128])
            length >>= 7
        written += bytes([length]) + content
    return written


_ANSWER = _avro("problem_check", "2026-03-04T09:15:00+00:00", _DATA, _CONTEXT)


@pytest.mark.parametrize("prefix", [b"", b"\x00\x00\x00\x01\x02"], ids=["plain", "of-a-schema-registry"])
@pytest.mark.parametrize("headers", [_HEADERS, {"ce_type": _TYPE}], ids=["all-headers", "type-alone"])
def test_a_tracking_event_on_the_bus_is_read_as_in_a_log(prefix: bytes, headers: dict[str, bytes]) -> None:
    (row,) = rows_of_message(headers, prefix + _ANSWER, "openedx", 5)
    assert isinstance(row, Row)
    assert (row.line, row.submission.learner_id) == (5, "7")
    assert isinstance(row.submission.body, Assessment)
    assert row.submission.body.item == "p1"


@pytest.mark.parametrize(
    ("headers", "value", "field"),
    [
        ({}, _ANSWER, "ce_type"),
        (_HEADERS | {"content-type": b"application/json"}, _ANSWER, "content-type"),
        (_HEADERS, None, "value"),
        (_HEADERS, b"", "value"),
        (_HEADERS, _ANSWER[:-1], "value"),
        (_HEADERS, _ANSWER + b"\x00", "value"),
        (_HEADERS, b"\x00", "value"),
        (_HEADERS, _avro("problem_check", "soon", _DATA, _CONTEXT), "timestamp"),
        (_HEADERS, _avro("problem_check", "", "{}", _CONTEXT), "data.problem_id"),
    ],
)
def test_a_message_that_is_no_tracking_event_names_what_is_wrong(
    headers: dict[str, bytes], value: bytes | None, field: str
) -> None:
    (row,) = rows_of_message(headers, value, "openedx", 5)
    assert isinstance(row, UnreadableRow)
    assert row.problems[0].field == field


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (
            b"org.openedx.learning.course.persistent_grade_summary.changed.v1",
            "a grade of a subsection or course, which its problems have",
        ),
        (b"org.openedx.learning.auth.session.login.completed.v1", "a message of another type, without an outcome"),
    ],
)
def test_messages_of_other_types_are_left_out_without_a_look_at_their_values(kind: bytes, reason: str) -> None:
    assert list(rows_of_message({"ce_type": kind}, b"anything", "openedx", 5)) == [LeftOutRow(5, reason)]


@given(
    st.binary(max_size=40)
    | st.builds(lambda cut, rest: _ANSWER[:cut] + rest, st.integers(0, 90), st.binary(max_size=9))
)
def test_any_bytes_get_an_answer(value: bytes) -> None:
    assert list(rows_of_message(_HEADERS, value, "openedx", 1))
