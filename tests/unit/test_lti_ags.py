"""What results and scores of LTI Assignment and Grade Services mean."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.application.ports import LeftOutRow, Row, UnreadableRow
from services.ingest.domain.kinds.assessment import Assessment, Grain
from services.ingest.domain.outcome import Score
from services.ingest.domain.submission import Instant, Submission
from services.ingest.formats.lti_ags import rows_of

LINE_ITEM = "https://lms.example.edu/context/2923/lineitems/1"


def result(**fields: Any) -> dict[str, Any]:
    of_result = {"id": f"{LINE_ITEM}/results/532", "userId": "532", "scoreOf": LINE_ITEM}
    return of_result | {"resultScore": 0.83, "resultMaximum": 1} | fields


def score(**fields: Any) -> dict[str, Any]:
    of_score = {"userId": "532", "scoreOf": LINE_ITEM, "scoreGiven": 8, "scoreMaximum": 10}
    return of_score | {"activityProgress": "Completed", "gradingProgress": "FullyGraded"} | fields


def taken(document: object) -> Submission:
    (row,) = rows_of(document, "lti-ags", 1)
    assert isinstance(row, Row), row
    return row.submission


def test_a_result_is_an_outcome_of_the_user_on_the_line_item() -> None:
    submission = taken(result())
    assert submission.learner_id == "532"
    assert submission.body == Assessment(activity=LINE_ITEM, outcome=Score(0.83, 0, 1), grain=Grain.ACTIVITY)
    assert "532" not in submission.event_id


def test_the_next_result_of_a_learner_on_a_line_item_replaces_the_first() -> None:
    first, second = taken(result()), taken(score(timestamp="2026-03-14T10:30:00Z"))
    assert first.revises
    assert second.revises
    assert first.event_id == second.event_id != taken(result(scoreOf=f"{LINE_ITEM}1")).event_id


def test_a_score_happened_when_the_learner_submitted() -> None:
    scored = score(timestamp="2026-03-14T10:30:00Z", submission={"submittedAt": "2026-03-14T10:20:30.500+00:00"})
    assert taken(scored).occurred_at == Instant(1_773_483_630, 500_000_000)
    assert taken(score(timestamp="2026-03-14T10:30:00Z")).occurred_at == Instant(1_773_484_200)


@pytest.mark.parametrize(
    ("document", "outcome"),
    [
        (score(scoreGiven=12), Score(10, 0, 10)),
        (score(scoreGiven=-1), Score(0, 0, 10)),
        (result(resultScore=0.5, resultMaximum=None), Score(0.5, 0, 1)),
    ],
)
def test_points_have_a_scale(document: object, outcome: Score) -> None:
    body = taken(document).body
    assert isinstance(body, Assessment)
    assert body.outcome == outcome


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (score(gradingProgress="PendingManual"), "AGS: scores that are not final"),
        (score(scoreGiven=None), "AGS: results without a score"),
        (score(scoreMaximum=None), "AGS: scores without a maximum"),
        (score(scoreMaximum=0), "AGS: ungraded, the maximum is not above 0"),
    ],
)
def test_what_has_no_outcome_is_left_out_and_says_why(document: object, reason: str) -> None:
    assert list(rows_of(document, "lti-ags", 1)) == [LeftOutRow(1, reason)]


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (score(userId=None), "userId"),
        (score(scoreOf=""), "scoreOf"),
        (score(scoreGiven="8"), "scoreGiven"),
        (score(scoreMaximum=10**400), "scoreMaximum"),
        (score(timestamp="yesterday"), "timestamp"),
        (score(submission={"submittedAt": "2026-03-14T10:30:00"}), "submission.submittedAt"),
        (7, ""),
    ],
)
def test_what_cannot_be_read_names_the_path(document: object, field: str) -> None:
    (row,) = rows_of(document, "lti-ags", 1)
    assert isinstance(row, UnreadableRow)
    assert [problem.field for problem in row.problems] == [field]


def test_a_problem_names_the_value_and_the_remedy() -> None:
    (missing,) = rows_of(score(userId=None), "lti-ags", 1)
    (empty,) = rows_of(score(scoreOf=""), "lti-ags", 1)
    assert isinstance(missing, UnreadableRow)
    assert isinstance(empty, UnreadableRow)
    assert missing.problems[0].reason == "is missing: send the learner's id"
    assert empty.problems[0].reason == "is '': send the address of the line item"


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.just("submittedAt"), SCALARS)
DOCUMENTS = st.dictionaries(st.sampled_from([*result(), *score(), "timestamp", "submission"]), VALUES).map(
    score().__or__
)


@given(st.lists(DOCUMENTS, max_size=3) | DOCUMENTS | VALUES)
def test_any_json_gets_an_answer(document: object) -> None:
    for row in rows_of(document, "lti-ags", 1):
        assert not isinstance(row, UnreadableRow) or row.problems[0].reason
