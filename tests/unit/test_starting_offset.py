"""The offset at which a worker starts reading is never past the stored position."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recommender.application.state.assignment import starting_offset


@pytest.mark.parametrize(
    ("position", "committed", "beginning", "rewind", "start"),
    [
        (100, None, 0, 0, 100),
        (100, 100, 0, 10, 90),
        (100, 250, 0, 0, 100),
        (100, 40, 0, 0, 40),
        (100, 40, 60, 0, 60),
        (5, None, 0, 10, 0),
        (100, None, 95, 10, 95),
        (0, 0, 0, 0, 0),
    ],
    ids=[
        "a group that committed nothing",
        "rewound",
        "kafka ahead of the store",
        "kafka behind the store",
        "kafka before the log's beginning",
        "rewound before the first record",
        "rewound before the log's beginning",
        "an empty partition",
    ],
)
def test_reading_starts_at_or_before_the_stored_position(position, committed, beginning, rewind, start):
    assert starting_offset(position=position, committed=committed, beginning=beginning, rewind_records=rewind) == start


@given(st.integers(0, 50), st.none() | st.integers(0, 100), st.integers(0, 50), st.integers(0, 20))
def test_nothing_between_the_stored_position_and_the_end_is_skipped(dealt_with, committed, beginning, rewind):
    position = beginning + dealt_with
    start = starting_offset(position=position, committed=committed, beginning=beginning, rewind_records=rewind)
    assert beginning <= start <= position
