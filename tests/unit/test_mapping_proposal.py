import csv
from datetime import UTC, datetime
from io import StringIO
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from services.common.tables import FileUnusableError
from services.ingest.domain.outcome import Score
from services.ingest.domain.submission import Instant
from services.ingest.formats.mapping import read_table
from services.ingest.formats.mapping.model import OPEN, parse_mapping
from services.ingest.formats.proposal import propose_mapping
from services.ingest.formats.proposal.profile import sampled
from services.ingest.formats.proposal.times import time_format_of
from tests.proposals import proposer, questions, unused

_FROM, _TO = datetime(1990, 1, 1), datetime(2060, 1, 1)  # noqa: DTZ001 - times as a file has them.


@pytest.fixture
def propose(tmp_path):
    return proposer(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
def test_a_proposed_mapping_reads_its_own_table(propose, tmp_path, encoding):
    table = (
        "Student ID\tQuestion\tStandards\tScore\tPoints Possible\tSubmitted At\tSchool\n"
        "Zoë\tq1\ta;b\t3\t4\t03/04/2026 05:06 PM\tWest\nBen\tq2\ta\t4\t4\t12/31/2026 05:06 AM\tWest\n"
    )
    text, mapping = propose(table, encoding=encoding)
    assert list(unused(text)) == ["School"]
    mapping["time_zone"] = "UTC"
    rows = list(read_table(tmp_path / "table.csv", parse_mapping(mapping, tmp_path), "s"))
    assert [row.submission.body.outcome for row in rows] == [Score(3.0, 0.0, 4.0), Score(4.0, 0.0, 4.0)]
    assert rows[0].submission.learner_id == "Zoë"
    assert rows[0].submission.body.skills == ("a", "b")
    assert rows[0].submission.occurred_at == Instant(int(datetime(2026, 3, 4, 17, 6, tzinfo=UTC).timestamp()))


def test_a_mapping_with_an_open_question_is_refused(propose, tmp_path):
    _, mapping = propose("Student ID,Quiz,Grade\na,q,B+\nb,q,A\n", source="")
    with pytest.raises(
        FileUnusableError, match=rf"replace {OPEN} at levels\.B\+, levels\.A, score_max, constants\.source"
    ):
        parse_mapping(mapping, tmp_path)


class TestLearners:
    def test_an_id_comes_before_a_name_and_an_address(self, propose):
        text, mapping = propose("Student,Email,SIS ID,Quiz,Score,Out Of\nLovelace Ada,ada@x.org,s-1,q,1,2\n")
        assert mapping["columns"]["learner_id"] == "SIS ID"
        assert unused(text) == {"Student": "seems to hold names of people", "Email": "holds e-mail addresses"}

    def test_an_address_is_the_id_only_where_there_is_no_other(self, propose):
        _, mapping = propose("Email,District Student ID,Quiz,Score,Out Of\na@x.org,0042,q,1,2\nb@x.org,0043,q,1,2\n")
        assert mapping["columns"]["learner_id"] == "District Student ID"
        _, mapping = propose("Email,Quiz,Score,Out Of\na@x.org,q,1,2\nb@x.org,q,1,2\n")
        assert mapping["columns"]["learner_id"] == "Email"

    def test_names_of_people_are_never_taken_for_ids(self, propose):
        text, mapping = propose('Student,Quiz,Score,Max\n"Lovelace, Ada",q,1,2\n"Byron, Ben",q,2,2\n')
        assert mapping["columns"]["learner_id"] == OPEN
        assert "Student seems to hold names" in questions(text)["learner_id"]

    def test_ids_that_a_spreadsheet_rewrote_are_named(self, propose):
        _, mapping = propose("Student ID,Item,Correct\n1.00234E+05,q,1\n100236.0,q,0\n")
        assert mapping["id_form"] == "spreadsheet"

    def test_whether_zeros_were_cut_off_is_a_question(self, propose):
        text, _ = propose("Student ID,Item,Correct\n0071,q,1\n71,q,0\n")
        assert questions(text)["learner_id"].startswith("is 0071 the same learner as 71?")


class TestOutcomes:
    def test_a_school_year_is_no_score(self, propose):
        text, mapping = propose("Student ID,Grade,Quiz,Points,Max Points\nk-1,3,area,18,20\nk-2,4,area,11,20\n")
        assert mapping["columns"]["score"] == "Points"
        assert unused(text) == {"Grade": "seems to be the school year"}

    def test_a_grade_that_may_be_a_school_year_is_a_question(self, propose):
        text, mapping = propose("Student ID,Grade,Quiz\nk-1,3,area\nk-2,4,area\n")
        assert mapping["columns"]["score"] == OPEN
        assert "is Grade the outcome, or the school year?" in questions(text)["score"]

    def test_grades_beyond_school_years_are_scores(self, propose):
        _, mapping = propose("Student ID,Grade,Quiz\nk-1,78,area\nk-2,93,area\n")
        assert mapping["columns"]["score"] == "Grade"

    def test_right_and_wrong_are_told_from_points_by_the_cells(self, propose):
        assert propose("user,item,result\na,q,1\n")[1]["columns"]["correct"] == "result"
        assert propose("user,item,result\na,q,87\n")[1]["columns"]["score"] == "result"

    def test_the_highest_score_seen_is_not_taken_for_the_maximum(self, propose):
        text, mapping = propose("Student ID,Quiz,Score\na,q,17\nb,q,12\n")
        assert mapping["score_max"] == OPEN
        assert questions(text)["score_max"].endswith("the highest in the sample is 17")

    @pytest.mark.parametrize("header", ["Score /20", "Score (out of 20)", "Score (20 pts)"])
    def test_the_maximum_is_read_from_the_name(self, propose, header):
        _, mapping = propose(f"Student ID,Quiz,{header}\na,q,17\n")
        assert (mapping["columns"]["score"], mapping["score_max"]) == (header, 20)

    @pytest.mark.parametrize(
        ("cells", "scale"),
        [
            (["80%", "92.5 %"], "percent"),
            (["7 / 10", "9 / 10"], "fraction"),
            (["85%", "17/20"], ["percent", "fraction"]),
        ],
    )
    def test_a_scale_that_cells_name_is_proposed(self, propose, cells, scale):
        _, mapping = propose("Student ID,Quiz,Score\n" + "".join(f"a,q,{cell}\n" for cell in cells))
        assert mapping["scale"] == scale

    def test_letters_need_points_from_a_person(self, propose):
        text, mapping = propose("Student ID,Quiz,Grade\na,q,B+\nb,q,A\nc,q,B+\n")
        assert mapping["levels"] == {"B+": OPEN, "A": OPEN}
        assert set(questions(text)) == {"levels", "score_max"}

    def test_who_asks_for_a_hint_has_not_answered_right(self, propose):
        _, mapping = propose("Anon Student Id\tStep Name\tOutcome\na\ts\tCORRECT\na\tt\tHINT\na\tu\tINCORRECT\n")
        assert mapping["columns"]["correct"] == "Outcome"
        assert mapping["wrong"] == ["incorrect", "hint"]

    def test_a_decimal_comma_is_recognised(self, propose):
        _, mapping = propose("Student ID;Quiz;Score;Max\na;q;3,5;4\nb;q;4;4\n")
        assert mapping["decimal"] == ","

    def test_a_comma_that_may_separate_thousands_or_decimals_is_a_question(self, propose):
        text, mapping = propose('Student ID,Quiz,Score,Max\na,q,"1,250","2,000"\nb,q,900,"2,000"\n')
        assert mapping["decimal"] == OPEN
        assert questions(text)["decimal"].startswith("does 1,250 mean 1250 ")

    @pytest.mark.parametrize(
        ("cell", "found"), [("1,250.5", {"thousands": ","}), ("1.250,5", {"decimal": ","}), ("12,5", {"decimal": ","})]
    )
    def test_a_number_with_both_signs_or_another_group_tells_thousands_from_decimals(self, propose, cell, found):
        _, mapping = propose(f'Student ID,Quiz,Score,Max\na,q,"1,250","2,000"\nb,q,"{cell}","2,000"\n')
        assert {key: mapping[key] for key in ("decimal", "thousands") if key in mapping} == found

    def test_percentages_of_which_none_is_over_one_are_a_question(self, propose):
        text, mapping = propose("Student ID,Quiz,Percent\na,q,0.85\nb,q,1\nc,q,-\n")
        assert mapping["scale"] == OPEN
        assert questions(text)["scale"].startswith("does 0.85 mean 85 % ")
        assert propose("Student ID,Quiz,Percent\na,q,0.85\nb,q,71\n")[1]["scale"] == "percent"

    def test_a_column_that_is_called_a_score_and_holds_other_cells_is_named(self, propose):
        text, _ = propose("Student ID,Quiz,Score,Max\na,q,absent,4\nb,q,late,4\nc,q,3,4\n")
        assert unused(text) == {"Score": "is called like outcomes, but not all cells are: absent, late, 3"}

    def test_the_least_of_a_scaled_score_is_a_question(self, propose):
        text, _ = propose("Student ID,Test,Scale Score,Max Score\na,t,201,350\n")
        assert "rarely starts at 0" in questions(text)["score_min"]

    def test_marks_are_a_question(self, propose):
        text, _ = propose("Student ID,Quiz,Score,Max\na,q,*90,100\nb,q,80,100\n")
        assert questions(text)["marks"] == "what does *90 mean? list the signs that mean nothing: *"

    def test_work_that_nobody_scored_does_not_hide_the_scores(self, propose):
        _, mapping = propose("Student ID,Quiz,Score,Max\na,q,EX,4\nb,q,-,4\nc,q,3,4\n")
        assert mapping["columns"]["score"] == "Score"


class TestTimes:
    @pytest.mark.parametrize(
        ("cells", "written"),
        [
            (["2026-03-02T09:00:00Z"], "iso"),
            (["13/04/2026", "05/04/2026"], "%d/%m/%Y"),
            (["04/13/2026 10:15", "04/05/2026 09:00"], "%m/%d/%Y %H:%M"),
            (["02.03.2026 9:15"], "%d.%m.%Y %H:%M"),
            (["4 March 2026 9:15 AM"], "%d %B %Y %I:%M %p"),
            (["2026/03/02 2:15:07 PM EST"], "%Y/%m/%d %I:%M:%S %p %Z"),
            (["1772441700"], "unix"),
            (["46083.59375", "46084"], "excel"),
        ],
    )
    def test_the_one_format_that_reads_every_cell_is_found(self, cells, written):
        found = time_format_of(cells)
        assert (found.formats, found.other) == ((written,), "")

    def test_a_day_that_may_be_a_month_is_a_question(self, propose):
        text, mapping = propose("Student ID,Item,Correct,Date\na,q,1,03/04/2026\nb,q,0,05/04/2026\n")
        assert mapping["date_format"] == OPEN
        assert '["%m/%d/%Y"] or ["%d/%m/%Y"]' in questions(text)["date_format"]

    def test_the_short_form_of_american_english_is_taken_as_it_is(self):
        assert time_format_of(["3/2/26 2:15 PM"]).formats == ("%m/%d/%y %I:%M %p",)

    def test_days_as_numbers_among_dates_are_read_as_days(self):
        assert time_format_of(["46083.59375", "13/2/26"]).formats == ("excel", "%d/%m/%y")

    @given(
        st.datetimes(_FROM, _TO),
        st.sampled_from(["%m/%d/%Y %H:%M", "%d.%m.%Y", "%d %b %Y"]),
    )
    def test_whatever_is_proposed_reads_the_cells(self, moment, written):
        cell = moment.strftime(written)
        found = time_format_of([cell])
        assert written in (*found.formats, found.other)

    def test_a_place_is_asked_for_where_times_have_no_zone(self, propose):
        text, _ = propose("Student ID,Item,Correct,Date\na,q,1,2026-03-02T09:00:00\n")
        assert "time_zone" in questions(text)
        text, _ = propose("Student ID,Item,Correct,Date\na,q,1,2026-03-02T09:00:00Z\n")
        assert "time_zone" not in questions(text)

    def test_a_column_of_zones_says_where_times_were_recorded(self, propose):
        table = "Student ID,Item,Correct,Date,Time Zone\na,q,1,2026-03-02 09:00:00,US/Eastern\n"
        text, mapping = propose(table)
        assert mapping["columns"]["time_zone"] == "Time Zone"
        assert "time_zone" not in questions(text)
        assert "time_zone" in questions(propose(table.replace("US/Eastern", "local"))[0])

    @pytest.mark.parametrize("name", ["Due Date", "Date of Birth", "DOB", "Last login"])
    def test_a_time_at_which_nobody_answered_is_not_taken(self, propose, name):
        text, mapping = propose(f"Student ID,Item,Correct,{name}\na,q,1,2026-03-02\n")
        assert "occurred_at" not in mapping["columns"]
        assert unused(text) == {name: "holds times, but by its name not those when the learner acted"}

    def test_a_column_that_is_called_a_time_and_holds_others_is_named(self, propose):
        text, _ = propose("Student ID,Item,Correct,Date\na,q,1,2026-02-30T00:00:00Z\n")
        assert unused(text) == {"Date": "is called like times, but not all cells are: 2026-02-30T00:00:00Z"}

    def test_the_abbreviation_of_a_zone_does_not_say_which_zone_it_is(self, propose):
        text, mapping = propose("Student ID,Item,Correct,Date\na,q,1,2026/03/02 2:15:07 PM EST\n")
        assert mapping["date_format"] == "%Y/%m/%d %I:%M:%S %p %Z"
        assert "time_zone" in questions(text)

    def test_another_column_of_times_is_named(self, propose):
        text, _ = propose(
            "Student ID,Item,Correct,Started,Completed\na,q,1,2026-03-02T09:00:00Z,2026-03-02T09:05:00Z\n"
        )
        assert unused(text) == {"Started": "holds times: is it when the learner acted?"}


class TestColumns:
    def test_a_column_whose_name_is_there_twice_is_named_with_its_number(self, propose):
        _, mapping = propose("Student ID,Item,Correct,KC,KC\na,q,1,add,carry\n")
        assert mapping["columns"]["skills"] == "KC#1"

    def test_a_column_that_is_called_like_a_question_is_named_by_its_place(self, propose, tmp_path):
        _, mapping = propose(f"Student ID,Quiz,Score,Out Of,{OPEN}\na,q,1,2,\nb,q,1,2,deleted\n")
        assert mapping["drop"] == [{"column": "#5", "is": ["deleted"]}]
        parse_mapping(mapping, tmp_path)

    def test_the_most_exact_name_wins(self, propose):
        _, mapping = propose("studentSourcedId,lineItemSourcedId,score,outOf\na,li,3,4\n")
        assert mapping["columns"] == {
            "learner_id": "studentSourcedId",
            "score": "score",
            "score_max": "outOf",
            "activity": "lineItemSourcedId",
        }

    def test_typed_cells_are_read_as_they_are(self, tmp_path):
        path = tmp_path / "a.parquet"
        pq.write_table(pa.table({"student_id": ["a"], "problem": ["q"], "correct": [True], "at": [_FROM]}), path)
        mapping = yaml.safe_load(propose_mapping(path, "s"))
        assert mapping["columns"] == {
            "learner_id": "student_id",
            "occurred_at": "at",
            "correct": "correct",
            "item": "problem",
        }
        assert "date_format" not in mapping

    def test_the_source_is_a_question_where_it_is_not_given(self, propose):
        text, _ = propose("Student ID,Item,Correct\na,q,1\n", source="")
        assert set(questions(text)) == {"constants"}

    def test_what_is_missing_is_asked_for(self, propose):
        text, _ = propose("colour,size\nred,1\n")
        assert set(questions(text)) == {"learner_id", "score", "score_max", "activity"}

    def test_rows_that_cannot_be_read_are_counted_and_the_first_is_named(self, propose):
        text, _ = propose("Student ID,Item,Correct\na,q,1\nb,q\nc,q,0,x,y\n")
        assert "# rows that cannot be read with this layout: 2; the first: line 3 has 2 columns" in text
        with pytest.raises(
            FileUnusableError, match="has no row below its header that can be read: line 2 has 2 columns"
        ):
            propose("Student ID,Item,Correct\na,q\n")

    def test_ids_of_events_that_come_twice_are_not_taken_for_such(self, propose):
        text, mapping = propose("Response ID,Student ID,Item,Correct\nr1,a,q,1\nr1,b,q,0\n")
        assert "event_id" not in mapping["columns"]
        assert unused(text) == {"Response ID": "is called like an id of each row, but is not another one in every row"}

    def test_a_table_without_rows_is_refused(self, propose):
        with pytest.raises(FileUnusableError, match="has no rows below its header"):
            propose("Student ID,Item,Correct\n")


@given(
    st.integers(1, 6).flatmap(
        lambda width: st.lists(
            st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=width, max_size=width),
            min_size=2,
            max_size=6,
        )
    )
)
def test_whatever_is_in_the_cells_a_proposal_is_a_mapping_in_yaml(tmp_path_factory, rows):
    written = StringIO()
    csv.writer(written).writerows(rows)
    path = tmp_path_factory.mktemp("tables") / "table.csv"
    path.write_text(written.getvalue(), encoding="utf-8", newline="")
    try:
        text = propose_mapping(path)
    except FileUnusableError:
        return
    content = yaml.safe_load(text)
    assert "learner_id" in content["columns"]


@given(st.integers(0, 3_000), st.integers(2, 50))
def test_a_sample_is_spread_over_all_rows(rows, size):
    places = [row[0] for row in sampled(([place] for place in range(rows)), size)]
    if rows <= size:
        assert places == list(range(rows))
        return
    assert size / 2 <= len(places) <= size
    steps = {later - earlier for earlier, later in pairwise(places)}
    assert places[0] == 0
    assert len(steps) == 1
    assert rows - places[-1] <= steps.pop()
