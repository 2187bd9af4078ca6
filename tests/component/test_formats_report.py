"""Every payload of `../shared/fixtures` becomes what its specification says (`make formats-report`)."""

import pytest

from tests.formats.checks import FIXTURES, FileExpectation, all_expectations, differences, report_of
from tests.formats.readings import Reading


@pytest.mark.parametrize("expectations", all_expectations(), ids=lambda each: each.folder)
def test_every_payload_of_a_folder_becomes_what_its_specification_says(expectations):
    if not (FIXTURES / expectations.folder).is_dir():
        pytest.skip(f"there is no folder {FIXTURES / expectations.folder}")
    report = report_of(expectations)
    assert not report.problems
    assert report.checked


def test_a_reading_that_differs_is_told_by_count_field_and_value():
    reading = Reading([{"item": "q1", "correct": False}], rejected=[("actor.mbox", "verb")])
    expected = FileExpectation(taken=1, ignored=1, rejected=1, field="verb", events=({"item": "q1", "correct": True},))
    assert list(differences(expected, reading)) == [
        "ignored: 0, expected 1",
        "the first problem names actor.mbox, verb, expected verb",
        "event 1: correct is False, expected True",
    ]
