"""Times, durations and numbers in JSON from learning platforms, as ISO 8601 and JSON say."""

from __future__ import annotations

import pytest

from services.ingest.domain.submission import Instant
from services.ingest.formats.json_values import (
    decimal,
    duration_ms,
    instant,
    is_duration,
    is_integer,
    is_reference,
    shown,
)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("PT0S", 0),
        ("PT1.5S", 1_500),
        ("PT2M", 120_000),
        ("PT1H2M3S", 3_723_000),
        ("P1DT1S", 86_401_000),
        ("P2W", 1_209_600_000),
        ("PT4294967.295S", 4_294_967_295),
        # More than the log keeps, and of no certain length.
        ("PT4294967.296S", None),
        ("P1Y", None),
        ("P0Y1M", None),
        ("P0Y0M0DT0H1M5S", 65_000),
        ("P1M", None),
    ],
)
def test_a_duration_is_kept_in_milliseconds(text: str, milliseconds: int | None) -> None:
    assert is_duration(text)
    assert duration_ms(text) == milliseconds


@pytest.mark.parametrize(
    "text", ["", "P", "PT", "1H", "P1H", "PT1D", "-PT1S", "PT1S ", "P1DT", 60, None, "P" + "1" * 90 + "D"]
)
def test_what_is_no_duration_is_none(text: object) -> None:
    assert not is_duration(text)
    assert duration_ms(text) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1970-01-01T00:00:01Z", Instant(1)),
        ("1970-01-01T00:00Z", Instant(0)),
        ("1970-01-01T01:00:00.5+01:00", Instant(0, 500_000_000)),
        ("1970-01-01T00:00:00", None),
        ("1970-01-01", None),
        ("1970-02-30T00:00:00Z", None),
        ("0001-01-01T00:00:00+23:59", Instant(-62_135_683_140)),
        ("yesterday", None),
        (0, None),
    ],
)
def test_a_time_needs_an_offset(text: object, found: Instant | None) -> None:
    assert instant(text) == found


@pytest.mark.parametrize(
    ("value", "whole"), [(3, True), (3.0, True), (3.5, False), (True, False), ("3", False), (None, False)]
)
def test_whole_numbers_may_be_written_with_a_point(value: object, whole) -> None:
    assert is_integer(value) is whole


@pytest.mark.parametrize("value", [True, "3", None, float("nan"), float("inf"), 10**400, [3]])
def test_what_is_no_finite_number_is_none(value: object) -> None:
    assert decimal(value) is None


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        ("https://a.example/1", True),
        ("urn:uuid:1", True),
        ("_:b0", True),
        ("a b:c", False),
        ("a", False),
        (":a", False),
        (7, False),
    ],
)
def test_a_reference_is_an_iri_or_a_blank_node(value: object, is_one) -> None:
    assert is_reference(value) is is_one


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ({"name": "Ada"}, "an object"),
        (["Ada"], "a list"),
        (7, "7"),
        ("x" * 58, repr("x" * 58)),
        ("x" * 59, f"'{'x' * 59}..."),
    ],
)
def test_a_message_shows_little_of_a_value(value: object, text: str) -> None:
    assert shown(value) == text
