"""What producers of Caliper bend is data, and is recognised by extensions."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.common.tables import FileUnusableError
from services.ingest.application.ports import LeftOutRow, Row
from services.ingest.domain.kinds.assessment import Assessment
from services.ingest.formats.caliper import load_profile, rows_of
from services.ingest.formats.caliper.profiles import GENERIC, Profile, profile_of, profiles
from tests.caliper_events import QUIZ, attempt, event, graded

WHOLE = {"id": QUIZ, "type": "Assessment"}


def profile(tmp_path: Path, text: str) -> Profile:
    path = tmp_path / "mapping.yaml"
    path.write_text(text, encoding="utf-8")
    return load_profile(path)


def test_an_event_without_extensions_is_read_as_the_specification_says() -> None:
    assert profile_of(graded()) is GENERIC
    assert profile_of(graded(extensions={"com.unknown.vendor": {}})) is GENERIC


@pytest.mark.parametrize("holder", ["event", "actor", "object", "generated", "assignee"])
def test_a_producer_is_recognised_by_an_extension_wherever_it_is(holder: str) -> None:
    extensions = {"extensions": {"com.instructure.canvas": {"entity_id": "1"}}}
    document = graded(**extensions) if holder == "event" else graded()
    if holder in {"actor", "object", "generated"}:
        document[holder] |= extensions
    if holder == "assignee":
        document["object"]["assignee"] |= extensions
    assert profile_of(document) in profiles()


def test_types_of_items_are_one_question(tmp_path: Path) -> None:
    (row,) = rows_of(
        graded(object=attempt(assignable=WHOLE)), "caliper", 1, profile=profile(tmp_path, "items: [Assessment]")
    )
    assert isinstance(row, Row)
    assert isinstance(row.submission.body, Assessment)
    assert row.submission.body.item == QUIZ


def test_the_newest_score_replaces_the_earlier_one_where_attempts_are_one(tmp_path: Path) -> None:
    bare = {"id": "urn:submission:1", "type": "Attempt", "assignee": "urn:user:1", "assignable": WHOLE}
    one = profile(tmp_path, "one_attempt: true")
    first, second = (
        next(rows_of(graded(id=name, object=bare), "caliper", 1, profile=one)) for name in ("urn:uuid:1", "urn:uuid:2")
    )
    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert first.submission.event_id == second.submission.event_id
    assert first.submission.revises


@pytest.mark.parametrize(
    ("rule", "is_left_out"),
    [
        ("event: AssessmentEvent", True),
        ("event: GradeEvent", False),
        ("action: Started", True),
        ("action: Submitted", False),
        ("assignable: Assessment", True),
        ("assignable: AssessmentItem", False),
        ("event: AssessmentEvent, action: Submitted", False),
    ],
)
def test_all_that_a_rule_gives_must_hold(tmp_path: Path, rule: str, is_left_out: bool) -> None:  # noqa: FBT001
    bent = profile(tmp_path, f"leave_out: [{{{rule}, reason: copies}}]")
    (row,) = rows_of(event("AssessmentEvent", "Started", object=WHOLE), "caliper", 1, profile=bent)
    assert (row == LeftOutRow(1, "copies")) is is_left_out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("item: [Assessment]", "item: Extra inputs"),
        ("recognised_by: ['(']", "is not a regular expression"),
        ("leave_out: [{event: GradeEvent}]", "reason: Field required"),
        ("[Assessment]", "does not hold keys and values"),
    ],
)
def test_a_profile_that_cannot_be_used_is_named_with_the_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(FileUnusableError, match=r"mapping\.yaml") as raised:
        profile(tmp_path, text)
    assert said in str(raised.value)
