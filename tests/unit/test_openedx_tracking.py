"""Tracking events of Open edX as events of learners: https://docs.openedx.org, Tracking Logs reference."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.application.check import CheckingPublisher
from services.ingest.application.ports import FieldReason, FileRow, LeftOutRow, Row, UnreadableRow
from services.ingest.domain.kinds.assessment import Assessment, Grain
from services.ingest.domain.kinds.interaction import Interaction, InteractionKind
from services.ingest.domain.outcome import Score
from services.ingest.domain.submission import Instant, Submission
from services.ingest.formats.openedx import rows_of

_COURSE = "course-v1:edX+DemoX+2026"
_PROBLEM = "block-v1:edX+DemoX+2026+type@problem+block@p1"
_RIGHT = {"correctness": "correct", "npoints": None, "queuestate": None}
_WRONG = {"correctness": "incorrect", "npoints": None, "queuestate": None}
_PARTLY = {"correctness": "partially-correct", "npoints": 0.5, "queuestate": None}

_NO_OUTCOME = "a hint, reset, saved or refused answer, without an outcome"
_COARSER = "a grade of a subsection or course, which its problems have"
_SAME_ACT = "a copy of an answer that problem_check has"
_BROWSER = "a copy by the browser of what the server logs"
_ANONYMOUS = "of a visitor who is not signed in"
_SAME_CHANGE = "a copy of a change by staff that edx.grades has"


def _logged(payload: object, name: str = "problem_check", **changes: Any) -> dict[str, Any]:
    """As in a tracking log."""
    return {
        "name": name,
        "event_type": name,
        "event_source": "server",
        "username": "ada.lovelace",
        "ip": "192.0.2.1",
        "context": {"user_id": 7, "course_id": _COURSE},
        "time": "2026-03-04T09:15:00.250000+00:00",
        "event": payload,
    } | changes


def _check(**changes: Any) -> dict[str, Any]:
    return {
        "problem_id": _PROBLEM,
        "grade": 1,
        "max_grade": 2,
        "success": "incorrect",
        "attempts": 3,
        "answers": {"p1_2_1": "my own words"},
        "correct_map": {"p1_2_1": _RIGHT},
    } | changes


def _rows(document: object) -> list[FileRow]:
    return list(rows_of(document, "campus", 4))


def _submission(document: object) -> Submission:
    (row,) = _rows(document)
    assert isinstance(row, Row), row
    return row.submission


def _outcomes(document: object) -> list[tuple[str, object]]:
    found = []
    for row in _rows(document):
        assert isinstance(row, Row), row
        assert isinstance(row.submission.body, Assessment)
        found.append((row.submission.body.item, row.submission.body.outcome))
    return found


def _left_out(document: object) -> str:
    (row,) = _rows(document)
    assert isinstance(row, LeftOutRow), row
    return row.reason


def _problem(document: object) -> FieldReason:
    (row,) = _rows(document)
    assert isinstance(row, UnreadableRow), row
    assert row.line == 4
    return row.problems[0]


def test_an_answer_becomes_an_assessment_of_the_problem_by_the_users_number() -> None:
    assert replace(_submission(_logged(_check())), event_id="") == Submission(
        learner_id="7",
        source="campus",
        body=Assessment(_PROBLEM, outcome=Score(1.0, 0.0, 2.0), attempt=3, grain=Grain.ITEM),
        occurred_at=Instant(1772615700, 250_000_000),
    )


def test_an_answer_has_an_id_of_its_item_attempt_and_time() -> None:
    marks = {"p1_2_1": _RIGHT, "p1_3_1": _WRONG}
    several = [row.submission for row in _rows(_logged(_check(correct_map=marks))) if isinstance(row, Row)]
    later = _logged(_check(), time="2026-03-04T09:15:00.250001+00:00")
    answers = [*several, *map(_submission, (_logged(_check()), _logged(_check(attempts=4)), later))]
    assert len({each.event_id for each in answers}) == 5
    assert _submission(_logged(_check(), context={"user_id": 8})).event_id == _submission(_logged(_check())).event_id
    assert not _submission(_logged(_check(), time=None)).event_id


def test_names_addresses_and_answers_are_in_no_event() -> None:
    text = repr(_submission(_logged(_check())))
    assert not [word for word in ("ada", "192.0.2.1", "my own words") if word in text]


@pytest.mark.parametrize(
    "document",
    [
        {
            "name": "problem_check",
            "timestamp": "2026-03-04T09:15:00.250000Z",
            "data": _check(),
            "context": {"user_id": "7", "event_source": "server"},
        },
        {
            "name": "problem_check",
            "timestamp": "2026-03-04T09:15:00.250000",
            "data": json.dumps(_check()),
            "context": json.dumps({"user_id": 7}),
        },
        _logged(_check(), "save_problem_check"),
        {key: value for key, value in _logged(_check()).items() if key != "name"},
    ],
    ids=["passed-on", "texts-of-the-event-bus", "name-before-2013", "without-a-name"],
)
def test_every_form_of_the_same_event_becomes_the_same_submission(document: dict[str, Any]) -> None:
    assert _submission(document) == _submission(_logged(_check()))


def test_a_problem_with_several_inputs_counts_input_by_input() -> None:
    marks = {"p1_2_1": _RIGHT, "p1_3_1": _WRONG, "p1_4_1": _PARTLY}
    document = _logged(_check(correct_map=marks, max_grade=3))
    assert _outcomes(document) == [
        (f"{_PROBLEM}/p1_2_1", True),
        (f"{_PROBLEM}/p1_3_1", False),
        (f"{_PROBLEM}/p1_4_1", Score(0.5, 0.0, 1.0)),
    ]
    bodies = [row.submission.body for row in _rows(document) if isinstance(row, Row)]
    assert {(body.activity, body.attempt) for body in bodies if isinstance(body, Assessment)} == {(_PROBLEM, 3)}


@pytest.mark.parametrize(
    ("marks", "most"),
    [
        ({"p1_2_1": _RIGHT, "p1_3_1": _PARTLY}, 5),
        ({"p1_2_1": _RIGHT, "p1_3_1": {"correctness": "unknown"}}, 2),
        ({"p1_2_1": _PARTLY}, 5),
        ({}, 5),
        (None, 5),
    ],
    ids=["points-of-unknown-maximum", "unknown-mark", "one-input", "no-input", "no-map"],
)
def test_a_problem_whose_inputs_cannot_be_told_counts_as_one_item(marks: object, most: int) -> None:
    document = _logged(_check(correct_map=marks, max_grade=most))
    assert _outcomes(document) == [(_PROBLEM, Score(1.0, 0.0, float(most)))]


@pytest.mark.parametrize(("success", "right"), [("correct", True), ("incorrect", False)])
def test_success_counts_where_there_are_no_points(success: str, right: bool) -> None:  # noqa: FBT001
    assert _outcomes(_logged(_check(grade=None, success=success))) == [(_PROBLEM, right)]


def test_an_answer_without_a_count_of_attempts_has_no_attempt() -> None:
    for attempts in (None, 0):
        body = _submission(_logged(_check(attempts=attempts))).body
        assert isinstance(body, Assessment)
        assert body.attempt is None


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (_logged(_check(max_grade=0, grade=0)), "ungraded: the maximum is 0"),
        (
            _logged(_check(correct_map={"a": {"correctness": "incomplete", "queuestate": {"key": "k"}}})),
            "an answer that awaits its grade",
        ),
        (_logged(_check(), context={"user_id": None}), _ANONYMOUS),
        (_logged(_check(), context={"user_id": ""}), _ANONYMOUS),
        (_logged(_check(), context={}), _ANONYMOUS),
        (_logged("input_p1_2_1=choice_0", event_source="browser"), _BROWSER),
        (_logged(json.dumps({}), event_source="browser"), _BROWSER),
        (
            {"name": "problem_check", "data": "input_p1_2_1=choice_0", "context": {"user_id": 7}},
            _BROWSER,
        ),
        (_logged({}, "problem_check_fail"), _NO_OUTCOME),
        (_logged({}, "problem_reset"), _NO_OUTCOME),
        (_logged({}, "edx.problem.hint.demandhint_displayed"), _NO_OUTCOME),
        (_logged({}, "problem_rescore"), _SAME_CHANGE),
        (_logged({}, "problem_delete_state"), _SAME_CHANGE),
        (_logged({}, "reset_problem"), _NO_OUTCOME),
        (_logged({}, "edx.grades.subsection.score_overridden"), _COARSER),
        (_logged({}, "edx.grades.subsection.grade_calculated"), _COARSER),
        (_logged({}, "edx.problem.completed"), _SAME_ACT),
        (_logged({}, "edx.special_exam.timed.attempt.submitted"), "an attempt at an exam, without an outcome"),
        (_logged("{}", "/courses/course-v1:edX/progress"), "navigation"),
        (_logged({}, "seek_video"), "video"),
        (_logged({}, "edx.forum.thread.viewed"), "discussion"),
        (_logged({}, "edx.course.enrollment.mode_changed"), "enrollment"),
        (_logged({}, "edx.team.created"), "another event without an outcome"),
    ],
)
def test_what_is_no_evidence_is_left_out_with_the_reason(document: object, reason: str) -> None:
    assert _left_out(document) == reason


def _grade(block_type: str, **changes: Any) -> dict[str, Any]:
    fields = {"weighted_earned": 3, "weighted_possible": 4, "user_id": "9"} | changes
    block = f"block-v1:edX+DemoX+2026+type@{block_type}+block@b"
    return _logged({"problem_id": block} | fields, "edx.grades.problem.submitted")


def test_the_grade_of_a_block_that_is_no_problem_is_evidence_of_the_user_that_it_names() -> None:
    submission = _submission(_grade("lti_consumer"))
    item = "block-v1:edX+DemoX+2026+type@lti_consumer+block@b"
    assert (submission.learner_id, submission.body) == (
        "9",
        Assessment(item, outcome=Score(3.0, 0.0, 4.0), grain=Grain.ITEM),
    )


def test_the_grade_of_a_problem_repeats_its_answer() -> None:
    assert _left_out(_grade("problem")) == _SAME_ACT
    legacy = _logged({"problem_id": "i4x://edX/DemoX/problem/p1"}, "edx.grades.problem.submitted")
    assert _left_out(legacy) == _SAME_ACT
    assert _left_out(_grade("drag-and-drop-v2")) == "a grade that grows with each step of one answer"
    assert _left_out(_grade("lti_consumer", weighted_possible=None)) == "ungraded: the maximum is 0"
    assert _left_out(_grade("lti_consumer", weighted_possible=0, weighted_earned=0)) == "ungraded: the maximum is 0"


def test_the_later_grade_of_an_external_grader_is_the_outcome_of_the_answer_that_awaited_it() -> None:
    path = "/courses/course-v1:edX+DemoX+2026/xqueue/9/block-v1:edX+DemoX+2026+type@problem+block@b/score_update"
    submission = _submission(_grade("problem") | {"context": {"user_id": "", "path": path}})
    item = "block-v1:edX+DemoX+2026+type@problem+block@b"
    assert (submission.learner_id, submission.body) == (
        "9",
        Assessment(item, outcome=Score(3.0, 0.0, 4.0), grain=Grain.ITEM),
    )
    check = "/courses/course-v1:edX+DemoX+2026/xblock/b/handler/xmodule_handler/problem_check"
    assert _left_out(_grade("problem") | {"context": {"user_id": 9, "path": check}}) == _SAME_ACT


def _completed(block_type: str, completion: object = 1.0) -> dict[str, Any]:
    block = f"block-v1:edX+DemoX+2026+type@{block_type}+block@b"
    fields = {"block_id": block, "block_type": block_type, "completion": completion}
    return _logged(fields, "edx.completion.block_completion.changed")


def test_a_completed_block_is_an_interaction_and_a_completed_problem_repeats_its_answer() -> None:
    submission = _submission(_completed("html"))
    resource = "block-v1:edX+DemoX+2026+type@html+block@b"
    assert (submission.learner_id, submission.body) == ("7", Interaction(resource, InteractionKind.COMPLETED))
    assert _left_out(_completed("problem")) == _SAME_ACT
    assert _left_out(_completed("html", 0.5)) == "a completion that is not complete"


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ([], ""),
        ("problem_check", ""),
        ({"event": {}}, "name"),
        (_logged({}, name=7), "name"),
        (_logged(None), "event"),
        (_logged({}), "event.problem_id"),
        (_logged(_check(problem_id=5)), "event.problem_id"),
        (_logged(_check(attempts=-1)), "event.attempts"),
        (_logged(_check(attempts=2**32)), "event.attempts"),
        (_logged(_check(attempts="3")), "event.attempts"),
        (_logged(_check(correct_map=[])), "event.correct_map"),
        (_logged(_check(correct_map={"a": 1})), "event.correct_map"),
        (_logged(_check(grade="1")), "event.grade"),
        (_logged(_check(max_grade=[])), "event.max_grade"),
        (_logged(_check(grade=None, success="maybe")), "event.grade"),
        (_logged(_check(), context={"user_id": 7.5}), "context.user_id"),
        (_logged(_check(), context={"user_id": True}), "context.user_id"),
        (_logged(_check(), time="yesterday"), "time"),
        (_logged(_check(), time=1772615700), "time"),
        ({"name": "problem_check", "data": {}, "context": {"user_id": 7, "event_source": "server"}}, "data.problem_id"),
        (_completed("html", "all"), "event.completion"),
    ],
)
def test_a_wrong_field_is_named_with_its_path_and_a_remedy(document: object, field: str) -> None:
    problem = _problem(document)
    assert problem.field == field
    assert ": " in problem.reason


_KEYS = st.sampled_from(
    [
        "name",
        "event_type",
        "event_source",
        "context",
        "user_id",
        "time",
        "timestamp",
        "event",
        "data",
        "problem_id",
        "grade",
        "max_grade",
        "success",
        "attempts",
        "correct_map",
        "correctness",
        "npoints",
        "queuestate",
        "completion",
        "block_id",
        "weighted_earned",
        "weighted_possible",
    ]
)
_VALUES = st.sampled_from(
    [
        "problem_check",
        "server",
        "edx.grades.problem.submitted",
        "edx.completion.block_completion.changed",
        "correct",
        "{}",
        "block-v1:a+b+c+type@lti+block@d",
        "2026-03-04T09:15:00Z",
        "9999-12-31T23:59:59-12:00",
    ]
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | _VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS | st.text(max_size=5), inner, max_size=8),
    max_leaves=20,
)


def _publish(rows: list[FileRow]) -> None:
    submissions = [row.submission for row in rows if isinstance(row, Row)]
    asyncio.run(CheckingPublisher(lambda: datetime(2027, 1, 1, tzinfo=UTC)).publish(submissions))


@given(_json)
def test_any_json_gets_an_answer(document: object) -> None:
    rows = _rows(document)
    assert rows
    _publish(rows)


@given(st.dictionaries(_KEYS, _json, max_size=8), _KEYS.flatmap(lambda key: st.tuples(st.just(key), _json)))
def test_any_change_of_an_answer_gets_an_answer(changes: dict[str, object], top: tuple[str, object]) -> None:
    rows = _rows(_logged(_check() | changes) | dict([top]))
    assert all(isinstance(row, Row | LeftOutRow | UnreadableRow) for row in rows)
    _publish(rows)
