"""How a mapping reads times."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.tables import FileUnusableError
from services.ingest.domain.submission import Instant
from services.ingest.formats import Format, read_events
from services.ingest.formats.mapping.cells import CellError, Numbers
from services.ingest.formats.mapping.model import FileMapping
from services.ingest.formats.mapping.moments import Moments, RepeatedTime
from tests.mapped_tables import mapped, problems, submissions

COLUMNS = {"learner_id": "who", "item": "quiz", "correct": "got", "occurred_at": "at"}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def at(submission):
    return datetime.fromtimestamp(submission.occurred_at.seconds, UTC)


@pytest.fixture
def read(tmp_path):
    """Reads rows of a learner, an item and a time."""

    def read(rows, **keys):
        content = "who,quiz,got,at\n" + "".join(f'{who},{quiz},1,"{when}"\n' for who, quiz, when in rows)
        return mapped(tmp_path, content, {"columns": COLUMNS} | keys)

    return read


@pytest.mark.parametrize(
    ("date_format", "cell", "expected"),
    [
        ("excel", "46083.59375", datetime(2026, 3, 2, 14, 15, tzinfo=UTC)),
        ("excel", "46083", datetime(2026, 3, 2, tzinfo=UTC)),
        ("excel", "61", datetime(1900, 3, 1, tzinfo=UTC)),
        (["excel", "%m/%d/%y"], "3/2/26", datetime(2026, 3, 2, tzinfo=UTC)),
        (["%d.%m.%Y", "iso"], "2026-03-02", datetime(2026, 3, 2, tzinfo=UTC)),
        ("%m/%d/%y %I:%M %p", "3/2/26 2:15 PM", datetime(2026, 3, 2, 14, 15, tzinfo=UTC)),
        ("%d %B %Y %I:%M %p", "4 March 2026  9:15 AM", datetime(2026, 3, 4, 9, 15, tzinfo=UTC)),
        ("%Y/%m/%d %H:%M %Z", "2026/03/02 14:15 utc", datetime(2026, 3, 2, 14, 15, tzinfo=UTC)),
    ],
)
def test_times_are_read_in_one_of_the_formats(read, date_format, cell, expected):
    (submission,) = submissions(read([("a", "q", cell)], date_format=date_format, time_zone="UTC"))
    assert at(submission) == expected


@pytest.mark.parametrize(
    ("cell", "utc"),
    [
        ("2026/03/02 2:15:07 PM EST", "2026-03-02T19:15:07+00:00"),
        ("2026/07/02 2:15:07 PM EDT", "2026-07-02T18:15:07+00:00"),
        ("2025/11/02 1:30:00 AM EDT", "2025-11-02T05:30:00+00:00"),
        ("2025/11/02 1:30:00 AM EST", "2025-11-02T06:30:00+00:00"),
        ("2025/11/02 1:30:00 AM GMT", "2025-11-02T01:30:00+00:00"),
    ],
)
def test_an_abbreviation_of_the_zone_decides_the_pass(read, cell, utc):
    keys = {"date_format": "%Y/%m/%d %I:%M:%S %p %Z", "time_zone": "America/New_York"}
    (submission,) = submissions(read([("a", "q", cell)], **keys))
    assert at(submission) == datetime.fromisoformat(utc)


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("2026/03/02 14:15 CET", "without one of the zones EST, EDT, UTC, GMT for %Z"),
        ("2026/07/02 14:15 EST", "America/New_York has no such time in EST"),
        ("2026/03/08 02:30 EST", "America/New_York has no such time in EST"),
    ],
)
def test_another_abbreviation_is_a_problem(read, cell, words):
    keys = {"date_format": "%Y/%m/%d %H:%M %Z", "time_zone": "America/New_York"}
    ((_, column, reason),) = problems(read([("a", "q", cell)], **keys))
    assert column == "at"
    assert words in reason


def test_a_time_that_does_not_exist_is_a_problem_that_says_so(read):
    rows = read([("a", "q", "2026-03-08 02:30"), ("a", "q", "2026-03-08 03:00")], time_zone="America/Chicago")
    ((line, column, reason),) = problems(rows)
    assert (line, column) == (2, "at")
    assert "a time that America/Chicago skipped when clocks were set forward" in reason


def test_a_day_starts_where_clocks_skip_midnight(read):
    # Beirut's clocks went from 00:00 to 01:00 on that day; a date has no time.
    (submission,) = submissions(read([("a", "q", "2025-03-30")], time_zone="Asia/Beirut"))
    assert at(submission) == datetime(2025, 3, 29, 22, tzinfo=UTC)


class TestRepeatedHour:
    """On 2 November 2025, Chicago's clocks went from 01:59 back to 01:00: 01:30 is 06:30 and 07:30 UTC."""

    def hours(self, read, rows):
        rows = [(who, quiz, f"2025-11-02 {when}") for who, quiz, when in rows]
        return [at(each).strftime("%H:%M") for each in submissions(read(rows, time_zone="America/Chicago"))]

    def test_the_same_time_of_the_same_act_is_in_the_second_pass(self, read):
        assert self.hours(read, [("a", "q", "01:30"), ("a", "q", "01:30")]) == ["06:30", "07:30"]

    def test_a_time_that_goes_back_is_in_the_second_pass_and_so_are_the_next_ones(self, read):
        rows = [("a", "q1", "01:50"), ("a", "q2", "01:10"), ("a", "q3", "01:20"), ("a", "q4", "01:55")]
        assert self.hours(read, rows) == ["06:50", "07:10", "07:20", "07:55"]

    def test_the_same_time_of_another_act_is_in_the_same_pass(self, read):
        assert self.hours(read, [("a", "q1", "01:30"), ("a", "q2", "01:30")]) == ["06:30", "06:30"]

    def test_learners_have_their_own_passes(self, read):
        assert self.hours(read, [("a", "q", "01:50"), ("b", "q", "01:10")]) == ["06:50", "06:10"]

    def test_times_outside_that_hour_are_what_they_are(self, read):
        assert self.hours(read, [("a", "q", "02:10"), ("a", "q", "00:50")]) == ["08:10", "05:50"]

    def test_the_events_of_one_row_are_in_one_pass(self, tmp_path):
        mapping = {
            "columns": {"learner_id": "who", "activity": "test", "occurred_at": "at"},
            "unpivot": [{"columns": "^goal ."}],
            "scale": "percent",
            "time_zone": "America/Chicago",
        }
        content = "who,test,at,goal a,goal b\n" + "a,t,2025-11-02 01:30,1,2\n" * 2
        found = [at(each).strftime("%H:%M") for each in submissions(mapped(tmp_path, content, mapping))]
        assert found == ["06:30", "06:30", "07:30", "07:30"]


ZONES = ["America/Chicago", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "Africa/Casablanca", "UTC"]


@given(st.sampled_from(ZONES), st.datetimes(datetime(1975, 1, 1), datetime(2037, 12, 31)))  # noqa: DTZ001 - local times.
def test_local_times_are_those_of_the_zone(zone, local):
    # The other direction, from UTC, has no gaps and no doubles.
    passes = {local.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC) for fold in (0, 1)}
    real = sorted(each for each in passes if each.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0) == local)
    expected = [(each - EPOCH) // timedelta(seconds=1) for each in real]
    mapping = FileMapping.model_validate({"columns": COLUMNS, "time_zone": zone})
    try:
        found = Moments(mapping, Numbers(mapping)).moment(local.isoformat(" "))
    except CellError:
        assert not expected
        return
    if isinstance(found, RepeatedTime):
        assert [found.first.seconds, found.second.seconds] == expected
    elif local.time() == time():
        # A day without a time: its first instant.
        assert not expected or found.seconds == expected[0]
    else:
        assert [found.seconds] == expected


@pytest.mark.parametrize(
    ("day", "clock", "keys"),
    [
        ("03/02/2026", "14:15", {"date_format": "%m/%d/%Y %H:%M"}),
        ("46083", "0.59375", {"date_format": "excel"}),
    ],
)
def test_a_date_and_a_time_of_two_columns_are_one(tmp_path, day, clock, keys):
    mapping = {"columns": COLUMNS | {"occurred_at": ["day", "clock"]}, "time_zone": "UTC"} | keys
    content = f"who,quiz,got,day,clock\na,q,1,{day},{clock}\na,q,1,{day},\na,q,1,,\n"
    rows = mapped(tmp_path, content, mapping)
    assert at(rows[0].submission) == datetime(2026, 3, 2, 14, 15, tzinfo=UTC)
    assert problems(rows) == [(3, "clock", "is empty, but is a part of occurred_at: fill it, or map other columns")]
    assert rows[2].submission.occurred_at is None


def test_dates_and_times_that_a_file_stores_as_such_are_combined(tmp_path):
    path = tmp_path / "table.parquet"
    columns = {"who": ["a"], "quiz": ["q"], "got": [1], "day": [date(2026, 3, 2)], "clock": [time(14, 15)]}
    pq.write_table(pa.table(columns), path)
    mapping = FileMapping.model_validate({"columns": COLUMNS | {"occurred_at": ["day", "clock"]}, "time_zone": "UTC"})
    (row,) = read_events(path, Format.PARQUET, mapping=mapping)
    assert row.submission.occurred_at == Instant(int(datetime(2026, 3, 2, 14, 15, tzinfo=UTC).timestamp()))


@pytest.mark.parametrize(
    ("keys", "cell", "words"),
    [
        ({"date_format": "excel"}, "3/2/26", "it must be a number"),
        ({"date_format": "excel"}, "5", "a number of days from 61 on"),
        ({"date_format": ["excel", "iso"]}, "3/2/26", "not in any of the formats excel, iso: set date_format"),
        ({}, "0001-01-01T00:00+10:00", "out of range"),
    ],
)
def test_a_time_in_another_format_is_a_problem(read, keys, cell, words):
    ((_, _, reason),) = problems(read([("a", "q", cell)], time_zone="UTC", **keys))
    assert words in reason


@pytest.mark.parametrize("date_format", ["isoo", "%d/%d/%Y", "%q", "100%", []])
def test_a_format_that_reads_nothing_is_refused(read, date_format):
    with pytest.raises(FileUnusableError, match="date_format"):
        read([], date_format=date_format)
