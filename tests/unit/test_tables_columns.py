"""A column is found by its exact name, its number among equal ones, or its place; nothing else is guessed."""

import pytest

from services.common.tables import FileUnusableError, place_of

COLUMNS = ("Row", "KC (Default)", "Opportunity", "KC (Default)", "C#2", "", "#1")


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("Row", 0),
        ("  Row\t", 0),
        ("KC (Default)#1", 1),
        ("KC (Default)#2", 3),
        ("KC (Default) #2", 3),
        ("Opportunity#1", 2),
        ("#6", 5),
        ("C#2", 4),
        ("C#2#1", 4),
        # The name of a column comes before the place.
        ("#1", 6),
    ],
)
def test_a_column_is_addressed_by_name_number_or_place(name, place):
    assert place_of(COLUMNS, name) == place


def test_letters_are_compared_in_their_composed_form():
    assert place_of(("élève",), "e\u0301le\u0300ve") == 0


def test_a_repeated_name_needs_a_number():
    with pytest.raises(FileUnusableError, match=r"2 columns 'KC \(Default\)': .*#1 \(column 2\), .*#2 \(column 4\)"):
        place_of(COLUMNS, "KC (Default)")


@pytest.mark.parametrize("name", ["row", "KC (Default)#3", "#8", "#0", "Opportunity#2", "Rowe"])
def test_an_unknown_name_lists_what_there_is(name):
    with pytest.raises(
        FileUnusableError, match=r"there are Row, KC \(Default\)#1, Opportunity, KC \(Default\)#2, C#2, #6"
    ):
        place_of(("Row", "KC (Default)", "Opportunity", "KC (Default)", "C#2", "", "x"), name)


def test_names_that_are_close_are_suggested():
    with pytest.raises(FileUnusableError, match=r"did you mean 'Student ID'"):
        place_of(("Quiz", "Student ID"), "student_id")


def test_a_wide_table_lists_its_first_columns():
    with pytest.raises(FileUnusableError, match=r"c29 and 70 more$"):
        place_of(tuple(f"c{number}" for number in range(100)), "quiz")
