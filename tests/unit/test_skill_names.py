"""A skill's name in sentences is short, and never cut in the middle of a phrase."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recommender.domain.ranking.skill_names import NAME_CHARACTERS, name_for_people
from services.recommender.evaluation.reason_case import names_of
from services.recommender.evaluation.reason_facts import SkillFacts

LONG = "and much more that makes the statement of this skill too long to be a short name in a sentence about a learner"
REST = f"{LONG} {LONG} {LONG}"


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("Adding  fractions", "Adding fractions"),
        (f"Count to 120. In this range, read numerals {REST}", "Count to 120"),
        (f"Understand fractions; represent them {REST}", "Understand fractions"),
        (f"Solve problems about percents: tax, tips {REST}", "Solve problems about percents"),
        (f"Compare two fractions, {REST}", "Compare two fractions"),
        (f"Add within 100, using drawings {REST}", "Add within 100"),
        # A series, a bracket, an abbreviation and a phrase that goes on are not cut.
        (f"Add, subtract, and multiply {REST}", "3.NF.1"),
        (f"Tell shapes (triangles. squares) apart {REST}", "3.NF.1"),
        (f"Interpret products, e.g. of whole numbers {REST}", "3.NF.1"),
        (f"Relate a function to its graph and, where it applies, {REST}", "3.NF.1"),
        (f"Interpret 5 &times; 7 as groups {REST}", "3.NF.1"),
        ("", "3.NF.1"),
    ],
)
def test_a_name_is_the_statement_or_its_first_thought_or_the_code(statement, name):
    assert name_for_people("id", statement, "3.NF.1") == name


@pytest.mark.parametrize("code", ["", "3.NF.1"])
def test_a_statement_or_first_sentence_that_is_not_short_is_a_better_name_than_a_code(code):
    assert name_for_people("id", f"Know {LONG}", code) == f"Know {LONG}"
    assert name_for_people("id", f"Know {LONG}. Explain {REST}", code) == f"Know {LONG}"


def test_a_very_long_statement_without_a_code_is_named_by_its_id():
    assert name_for_people("id", "word " * 100, "") == "id"
    assert name_for_people("an  id ", "", "") == "an id"


@given(st.text(st.sampled_from("ab ,.;:()e.g-"), max_size=300), st.sampled_from(["", "3.NF.1"]))
def test_every_name_is_one_that_the_checker_allows(statement, code):
    name = name_for_people("id", statement, code)
    assert name in names_of(SkillFacts("id", statement, code)) | {""}
    if name not in (" ".join(statement.split()), code, "id"):
        assert len(name) <= NAME_CHARACTERS
