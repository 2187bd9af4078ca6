"""Proposals for tables with a column for each quiz or question."""

import re

import pytest

from services.ingest.application.ports import LeftOutRow
from services.ingest.formats.mapping import read_table
from services.ingest.formats.mapping.model import parse_mapping
from tests.proposals import proposer, questions, unused


@pytest.fixture
def propose(tmp_path):
    return proposer(tmp_path)


class TestWide:
    def test_questions_with_their_maximum_become_rows(self, propose):
        _, mapping = propose('ID number,Grade/10.00,"Q. 1 /5.00","Q. 2 /5.00"\n1,7.50,5.00,2.50\n2,-,-,-\n')
        (entry,) = mapping["unpivot"]
        found = [re.search(entry["columns"], name) for name in ("Q. 1 /5.00", "Q. 2 /5.00", "Grade/10.00")]
        assert [match and match.groupdict() for match in found] == [
            {"item": "Q. 1", "score_max": "5"},
            {"item": "Q. 2", "score_max": "5"},
            None,
        ]
        assert entry["value"] == "score"

    def test_of_points_and_percentages_those_that_say_their_scale_are_taken(self, propose):
        text, mapping = propose("ID number,Test A (Real),Test A (Percentage),Course total (Real)\n1,8.50,85.00 %,8.5\n")
        (entry,) = mapping["unpivot"]
        assert re.search(entry["columns"], "Test A (Percentage)")["activity"] == "Test A"
        assert mapping["scale"] == "percent"
        assert "Course total (Real)" in unused(text)

    def test_a_score_next_to_its_skill_becomes_a_row(self, propose):
        table = "pupil,test,goal_a,goal_a_pct,goal_b,goal_b_pct\ng,t,fractions,80,algebra,20\n"
        _, mapping = propose(table)
        (entry,) = mapping["unpivot"]
        about = re.search(entry["columns"], "goal_b_pct").groupdict()
        assert {field: name.format(**about) for field, name in entry["with"].items()} == {"skills": "goal_b"}
        assert mapping["scale"] == "percent"

    def test_columns_of_numbers_become_rows_where_none_is_called_score(self, propose):
        text, mapping = propose("Student ID,Week 1,Week 2,Average\na,3,4,3.5\nb,1,2,1.5\n")
        (entry,) = mapping["unpivot"]
        assert [bool(re.search(entry["columns"], name)) for name in ("Week 1", "Week 2", "Average")] == [
            True,
            True,
            False,
        ]
        assert "Average" in unused(text)

    def test_quizzes_with_their_maximum_are_columns_of_points_also_with_a_decimal_comma(self, propose):
        _, mapping = propose("Student ID;Quiz 1 /10;Quiz 2 /20\na;7,5;EX\nb;10;12,5\n")
        (entry,) = mapping["unpivot"]
        assert [bool(re.search(entry["columns"], name)) for name in ("Quiz 1 /10", "Quiz 2 /20")] == [True, True]
        assert (mapping["decimal"], "activity" in mapping["columns"]) == (",", False)

    def test_each_column_of_a_wide_table_is_used_or_named(self, propose):
        names = ["Quiz 1", "Quiz 2 (25)", "Test: Area", "School ID", "YOG", "Homework 3", "Term avg"]
        cells = ["3", "20", "4.5", "7001", "2030", "5", "88"]
        text, mapping = propose(f"Student ID,{','.join(names)}\na,{','.join(cells)}\nb,{','.join(cells)}\n")
        (entry,) = mapping["unpivot"]
        rows = [name for name in names if re.search(entry["columns"], name)]
        assert rows == ["Quiz 1", "Quiz 2 (25)", "Test: Area", "Homework 3"]
        assert list(unused(text)) == ["School ID", "YOG", "Term avg"]
        assert questions(text)["score_max"].endswith("the highest in the sample is 20")

    def test_percentages_and_numbers_are_not_read_in_one_scale(self, propose):
        text, mapping = propose("Student ID,Fractions,Topics,Area\na,75%,10,90%\nb,25%,4,50%\n")
        (entry,) = mapping["unpivot"]
        assert [bool(re.search(entry["columns"], name)) for name in ("Fractions", "Topics", "Area")] == [
            True,
            False,
            True,
        ]
        assert list(unused(text)) == ["Topics"]

    def test_a_maximum_before_the_name_of_a_term_is_found(self, propose):
        _, mapping = propose("Student ID,Area (10 pts) - Term 1\na,7\n")
        (entry,) = mapping["unpivot"]
        assert re.search(entry["columns"], "Area (10 pts) - Term 1").groupdict() == {
            "activity": "Area",
            "score_max": "10",
        }

    def test_a_number_of_an_activity_is_no_column_of_points(self, propose):
        _, mapping = propose("student_id,assignment_id,problem_id,correct\na,101,55,1\n")
        assert (mapping["columns"]["activity"], mapping["columns"]["item"]) == ("assignment_id", "problem_id")

    def test_a_row_of_maximums_is_taken_as_such(self, propose):
        table = "Student;ID;Work (4471);Work (4472)\nPoints Possible;;10;20\nAda Lovelace;1;9,5;18\n"
        _, mapping = propose(table)
        assert mapping["decimal"] == ","
        assert mapping["maximum_row"] == {"column": "Student", "is": ["Points Possible"]}
        assert {"score_max", "drop"} & mapping.keys() == set()

    def test_rows_that_are_no_learners_work_are_left_out(self, propose):
        _, mapping = propose("Name,ID number,Q1 /5,Q2 /5\nAda Lovelace,1,2,3\nOverall average,,2,3\n")
        assert mapping["drop"] == [{"column": "Name", "is": ["Overall average"]}]

    def test_a_header_that_comes_again_is_left_out_and_hides_nothing(self, propose, tmp_path):
        header = "Student ID,Quiz,Points,Max\n"
        _, mapping = propose(f"{header}a,q,3,4\n{header}b,q,2,4\n")
        read = [
            row.reason if isinstance(row, LeftOutRow) else row.submission.body.outcome.raw
            for row in read_table(tmp_path / "table.csv", parse_mapping(mapping, tmp_path), "s")
        ]
        assert read == [3.0, "drop 1 (Student ID)", 2.0]

    @pytest.mark.parametrize("about", ["", "goal"])
    def test_a_score_next_to_a_name_that_is_no_columns_alone_becomes_none(self, propose, about):
        table = f"Student ID,Question,{about} Score,{about} Score,{about},{about}\na,q,1,2,x,y\n"
        assert "with" not in str(propose(table)[1].get("unpivot"))

    @pytest.mark.parametrize(
        ("first", "second", "cells", "found", "decimal"),
        [
            ("Q. 1 /5,00", "Q. 2 /2,50", "4;1", ["5", "2,5"], ","),
            ("Q. 1 /5.00", "Q. 2 /2.50", "4;1", ["5", "2.5"], None),
            ("Q. 1 /5.00", "Q. 2 /2.00", "4,5;1", ["5", "2"], ","),
        ],
    )
    def test_a_maximum_in_a_name_has_the_decimal_sign_of_the_mapping(
        self, propose, first, second, cells, found, decimal
    ):
        _, mapping = propose(f"Student ID;{first};{second}\na;{cells}\nb;{cells}\n")
        pattern = mapping["unpivot"][0]["columns"]
        assert [re.search(pattern, name)["score_max"] for name in (first, second)] == found
        assert mapping.get("decimal") == decimal

    def test_a_decimal_comma_in_any_column_counts_and_one_of_thousands_does_not(self, propose):
        _, mapping = propose("Student ID;Essay (4471);Quiz (4472)\na;7;7,5\nb;8;\nc;8;\n")
        assert (mapping["decimal"], [entry["value"] for entry in mapping["unpivot"]]) == (",", ["score"])
        _, mapping = propose("Student ID;Quiz;Score\na;q;85,5 %\nb;q;90 %\n")
        assert (mapping["decimal"], mapping["scale"]) == (",", "percent")
        _, mapping = propose("Student ID;Quiz;Score\na;q;1,234\nb;q;90.5\n")
        assert "decimal" not in mapping

    def test_a_column_of_maximums_is_taken_where_nothing_else_says_them(self, propose):
        table = "Student ID,Quiz 1 (4471),Quiz 2 (4472),Out Of\na,{0},{0},10\nb,{0},{0},10\n"
        assert propose(table.format("7"))[1]["columns"]["score_max"] == "Out Of"
        _, mapping = propose(table.format("70 %"))
        assert ("score_max" in mapping["columns"], mapping["scale"]) == (False, "percent")
