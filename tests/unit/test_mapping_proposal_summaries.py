"""Proposing a mapping: rows that sum up the others."""

import pytest

from services.ingest.formats.mapping.model import OPEN
from tests.proposals import proposer


@pytest.fixture
def propose(tmp_path):
    return proposer(tmp_path)


class TestSummaryRows:
    @pytest.mark.parametrize(
        "words",
        ["Overall average", "Klassendurchschnitt:", "Moyenne de la classe", "Promedio", "Media", "Gemiddelde", "Média",
         "Średnia", "Gesamt", "Summe", "TOTAL", "Totaal", "Итого", "平均", "合計", "ค่าเฉลี่ย", "Total général", "Ø"],
    )  # fmt: skip
    def test_a_row_that_says_it_in_any_language_is_left_out(self, propose, words):
        table = f"Name,ID number,Q1 /5,Q2 /5\nAda Lovelace,1,2,3\nOmar Brisk,2,3,3\n{words},,2,3\n"
        text, mapping = propose(table)
        assert mapping["drop"] == [{"column": "Name", "is": [words]}]
        assert f"{words} is no learner" in text

    def test_also_below_more_rows_than_the_sample_has(self, propose):
        rows = "".join(f"{number},q,{number % 7}\n" for number in range(4_100))
        assert propose(f"ID number,Quiz,Score\n{rows}Gesamt,,12300\n")[1]["drop"] == [
            {"column": "ID number", "is": ["Gesamt"]}
        ]

    @pytest.mark.parametrize("column", ["Level", "Item"])
    def test_a_learners_row_is_kept_whose_level_or_lesson_is_called_average(self, propose, column):
        table = f"Student ID,{column},Score,Out Of\na,High,7,9\nb,Average,5,9\nc,Median,3,9\nd,Media,1,9\n"
        assert "drop" not in propose(table)[1]
        # A filter would leave out the learner, too.
        assert "drop" not in propose(f"{table},Average,4,9\n")[1]
        # The average learner has the mean.
        assert "drop" not in propose(f"{table}e,Average,4,9\n")[1]

    def test_totals_among_the_lessons_of_each_learner_are_left_out(self, propose):
        table = "Student ID,Item,Score,Out Of\na,q1,7,9\na,Total,7,9\nb,q1,5,9\nb,Total,5,9\n"
        assert propose(table)[1]["drop"] == [{"column": "Item", "is": ["Total"]}]

    @pytest.mark.parametrize(
        ("last", "said"),
        [
            ("Zusammen,,6.0,7.25", "its numbers are the mean of all others"),
            ("Zusammen,,24,29", "its numbers are the sum of all others"),
            ("Zusammen,n/a,6.0,7.25", "its numbers are the mean of all others"),
        ],
    )
    def test_a_row_of_no_learner_with_the_mean_or_the_sum_of_the_others_is_left_out(self, propose, last, said):
        table = f"Name,Student ID,Quiz /10,Test /10\nAda L,1,5,8\nBen M,2,7,8\nCleo N,3,4,4\nDan O,4,8,9\n{last}\n"
        text, mapping = propose(table)
        assert len(mapping["drop"]) == 1
        assert mapping["drop"][0]["is"] in (["Zusammen"], ["n/a"])
        assert said in text

    def test_an_average_above_a_total_is_compared_with_learners_only(self, propose):
        table = "Student ID,Quiz /10,Test /10\n1,5,8\n2,7,8\n3,4,4\n4,8,9\nmitte,6,7.25\nalles,24,29\n"
        assert propose(table)[1]["drop"] == [{"column": "Student ID", "is": ["alles", "mitte"]}]

    def test_whether_it_is_a_learner_with_just_these_numbers_is_a_question(self, propose):
        table = "Student,Quiz /10,Test /10\nada,5,8\nben,7,8\ncleo,4,4\ndan,8,9\n{0}\n"
        text, mapping = propose(table.format("zus,6,7.25"))
        assert mapping["drop"] == [{"column": "Student", "is": OPEN}]
        assert "zus may be no learner: its numbers are the mean of all others: give this text, or remove" in text
        # By chance, one number may be the mean.
        assert "drop" not in propose(table.format("zus,6,"))[1]
        assert "drop" not in propose(table.format("zus,6,9"))[1]
        assert "drop" not in propose(table.format("zus,6,7"))[1]
