"""Values of foreign resources: lengths, grades, kinds, languages, topics."""

import pytest

from services.catalog.formats.resources.contents import (
    ResourceContents,
    grades_of_text,
    kind_of,
    minutes_of,
    topic_of,
)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        # ISO 8601-1:2019, 5.5.2: designators; lower case is common in pages.
        ("PT1H", 60),
        ("PT1H30M", 90),
        ("PT0.5H", 30),
        ("P1D", 1440),
        ("P1W", 10_080),
        ("pt45m", 45),
        ("PT20S", 1),
        # Clocks of media: minutes and seconds, or hours before them.
        ("03:12", 3),
        ("1:30:00", 90),
        # Words, as schema.org's own example has them.
        ("1 hour", 60),
        ("1 hour 30 minutes", 90),
        ("2 hrs", 120),
        ("45 min.", 45),
        ("Two class periods of 50 minutes", 50),
        ("", None),
        ("P", None),
        ("PT", None),
        ("soon", None),
        ("PT0S", None),
        ("P99999999W", None),
    ],
)
def test_a_length_in_any_of_its_forms_is_minutes(text, minutes):
    assert minutes_of(text) == minutes


def test_a_long_text_is_no_length_and_takes_no_time():
    assert minutes_of("1" * 1_000_000) is None


@pytest.mark.parametrize(
    ("text", "grades"),
    [
        ("3", ["3"]),
        ("03", ["3"]),
        ("Grade 3", ["3"]),
        ("3rd grade", ["3"]),
        ("Pre-K", ["PK"]),
        ("Kindergarten", ["K"]),
        ("KG", ["K"]),
        ("K-2", ["K", "1", "2"]),
        ("Grades 6 - 8", ["6", "7", "8"]),
        ("grade 9 through 12", ["9", "10", "11", "12"]),
        ("US grade 2", ["2"]),
        ("13", []),
        ("KS 3", []),
        ("Level 2", []),
        ("Year 3", []),
        ("undergraduate", []),
    ],
)
def test_a_level_is_a_grade_only_where_it_is_one_of_the_united_states(text, grades):
    assert list(grades_of_text(text)) == grades


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["lesson plan"], "lesson"),
        (["Activity", "Lesson Plan"], "lesson"),
        (["VideoObject"], "video"),
        (["Quizzes"], "assessment"),
        (["problem set"], "practice"),
        (["VideoGame"], "game"),
        (["learning activity"], "activity"),
        (["WebPage"], None),
        (["contest"], None),
    ],
)
def test_the_first_kind_that_a_word_names_counts(texts, kind):
    assert kind_of(texts) == kind


def test_values_that_have_no_place_are_counted_and_not_taken():
    contents = ResourceContents()
    assert contents.language("English", "r") == "en"
    assert contents.language("pt_BR", "r") == "pt-BR"
    assert contents.language("Klingon", "r") == ""
    assert contents.url("mailto:x@example.org", "r") == ""
    assert contents.title("a\n b\x00", "r") == "a b"
    assert contents.title("x" * 600, "r") == "x" * 512
    assert len(contents.topics([f"topic {n}" for n in range(40)], "r")) == 32
    assert sorted(each.reason for each in contents.values_left_out) == [
        "a language that is no BCP 47 tag",
        "an address that is no web address",
        "the end of a title of more than 512 characters",
        "topics beyond the first 32",
    ]


def test_a_topic_has_only_letters_digits_and_dashes():
    assert topic_of(" Outer space & Mars!") == "outer-space-mars"
    assert topic_of("—") == ""
    assert topic_of("a" * 63 + " b") == "a" * 63
