"""What staff changed of answers in Open edX: https://docs.openedx.org, Tracking Logs reference, grading events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.application.ports import FileRow, LeftOutRow, Row, UnreadableRow
from services.ingest.domain.kinds.assessment import Assessment
from services.ingest.domain.kinds.correction import Correction, Void
from services.ingest.domain.outcome import Score
from services.ingest.formats.openedx import CHANGE_MARKS, changes_in, rows_of

_PROBLEM = "block-v1:edX+DemoX+2026+type@problem+block@p1"
_OTHER = "block-v1:edX+DemoX+2026+type@problem+block@p2"
_ONE = f"{_PROBLEM}/p1_2_1"
_TWO = f"{_PROBLEM}/p1_3_1"
_NOT_LOADED = "a change by staff of an answer that is not loaded with it: load both, or send a correction"


def _event(name: str, minute: int, payload: dict[str, Any], user: int = 2) -> dict[str, Any]:
    time = f"2026-03-04T09:{minute:02}:00.5+00:00"
    return {"name": name, "event_source": "server", "context": {"user_id": user}, "time": time, "event": payload}


def _answer(
    minute: int, grade: float, *, attempt: int = 1, learner: int = 7, problem: str = _PROBLEM
) -> dict[str, Any]:
    payload = {"problem_id": problem, "grade": grade, "max_grade": 2, "success": "incorrect", "attempts": attempt}
    return _event("problem_check", minute, payload, learner)


def _inputs(minute: int) -> dict[str, Any]:
    marks = {"p1_2_1": {"correctness": "correct"}, "p1_3_1": {"correctness": "incorrect"}}
    payload = {"problem_id": _PROBLEM, "grade": 1, "max_grade": 2, "attempts": 1, "correct_map": marks}
    return _event("problem_check", minute, payload, 7)


def _rescored(minute: int, earned: float, name: str = "rescored", most: float | None = 2) -> dict[str, Any]:
    payload = {"user_id": "7", "problem_id": _PROBLEM, "instructor_id": "2", "only_if_higher": False}
    scores = {"new_weighted_earned": earned, "new_weighted_possible": most}
    return _event(f"edx.grades.problem.{name}", minute, payload | scores)


def _deleted(minute: int) -> dict[str, Any]:
    payload = {"user_id": "7", "problem_id": _PROBLEM, "instructor_id": "2"}
    return _event("edx.grades.problem.state_deleted", minute, payload)


def _rows(documents: Sequence[object]) -> list[FileRow]:
    changes = changes_in(documents, documents, "campus")
    return [row for document in documents for row in changes.applied(document, rows_of(document, "campus", 1))]


def _outcomes(documents: Sequence[object]) -> dict[tuple[str, str, int | None], object]:
    """What holds in the end, as the log says it: the last correction of an event in it counts (decision 16)."""
    submissions = [row.submission for row in _rows(documents) if isinstance(row, Row)]
    corrected = {}
    for each in submissions:
        if isinstance(each.body, Correction):
            corrected[each.learner_id, each.body.target_event_id] = each.body.change
    found: dict[tuple[str, str, int | None], object] = {}
    for each in submissions:
        if isinstance(body := each.body, Assessment):
            outcome = corrected.get((each.learner_id, each.event_id), body.outcome)
            if not isinstance(outcome, Void):
                found[each.learner_id, body.item, body.attempt] = outcome
    return found


@pytest.mark.parametrize("name", ["rescored", "score_overridden"])
def test_a_new_grade_is_of_the_last_answer_before_it(name: str) -> None:
    documents = [
        _answer(1, 0),
        _answer(2, 1, attempt=2),
        _rescored(3, 1.5, name),
        _answer(4, 0, attempt=3),
        _answer(2, 0, learner=8),
        _answer(2, 0, problem=_OTHER),
    ]
    assert _outcomes(documents) == {
        ("7", _PROBLEM, 1): Score(0.0, 0.0, 2.0),
        ("7", _PROBLEM, 2): Score(1.5, 0.0, 2.0),
        ("7", _PROBLEM, 3): Score(0.0, 0.0, 2.0),
        ("8", _PROBLEM, 1): Score(0.0, 0.0, 2.0),
        ("7", _OTHER, 1): Score(0.0, 0.0, 2.0),
    }


def test_deleted_answers_never_happened_and_those_after_the_deletion_did() -> None:
    documents = [_answer(1, 0), _answer(2, 1, attempt=2), _deleted(3), _answer(4, 2), _answer(1, 0, learner=8)]
    assert _outcomes(documents) == {
        ("7", _PROBLEM, 1): Score(2.0, 0.0, 2.0),
        ("8", _PROBLEM, 1): Score(0.0, 0.0, 2.0),
    }
    assert _outcomes([_inputs(1), _deleted(2)]) == {}


def test_a_new_grade_after_a_deletion_is_of_no_deleted_answer() -> None:
    documents = [_answer(1, 0), _deleted(2), _rescored(3, 2)]
    assert _outcomes(documents) == {}
    assert [row.reason for row in _rows(documents) if isinstance(row, LeftOutRow)] == [_NOT_LOADED]


@pytest.mark.parametrize(
    ("earned", "outcomes"),
    [
        (2, {("7", _ONE, 1): True, ("7", _TWO, 1): True}),
        (0, {("7", _ONE, 1): False, ("7", _TWO, 1): False}),
        (1.5, {("7", _PROBLEM, 1): Score(1.5, 0.0, 2.0)}),
    ],
    ids=["all", "none", "some"],
)
def test_a_new_grade_of_several_inputs_is_of_each_where_it_can_be_told_and_else_of_the_problem(
    earned: float, outcomes: dict[tuple[str, str, int | None], object]
) -> None:
    assert _outcomes([_inputs(1), _rescored(2, earned)]) == outcomes


@pytest.mark.parametrize(("earned", "most"), [(1, 2), (5, 10)], ids=["the-same-points", "another-weight"])
def test_a_new_grade_that_is_the_old_one_leaves_each_input_as_it_was(earned: float, most: float) -> None:
    for changes in ([], [_rescored(2, 2)]):
        outcomes = _outcomes([_inputs(1), *changes, _rescored(3, earned, most=most)])
        assert outcomes == {("7", _ONE, 1): True, ("7", _TWO, 1): False}


def test_the_last_of_several_new_grades_counts() -> None:
    assert _outcomes([_answer(1, 0), _rescored(2, 1), _rescored(3, 2)]) == {("7", _PROBLEM, 1): Score(2.0, 0.0, 2.0)}
    assert _outcomes([_inputs(1), _rescored(2, 1.5), _rescored(3, 0.5)]) == {("7", _PROBLEM, 1): Score(0.5, 0.0, 2.0)}


@given(st.permutations([_answer(1, 0), _inputs(2), _rescored(3, 1.5), _deleted(4), _answer(5, 1), _rescored(6, 2)]))
def test_the_order_of_the_documents_makes_no_difference(documents: list[dict[str, Any]]) -> None:
    assert _outcomes(documents) == {("7", _PROBLEM, 1): Score(2.0, 0.0, 2.0)}


@given(st.permutations([_answer(1, 0), _rescored(2, 2), _deleted(3)]))
def test_a_new_grade_that_is_read_after_a_later_deletion_does_not_take_it_back(documents: list[dict[str, Any]]) -> None:
    assert _outcomes(documents) == {}
    reasons = [row.reason for row in _rows(documents) if isinstance(row, LeftOutRow)]
    assert reasons == ["a change by staff that a later one of the same answer replaces"]


@given(st.permutations([_answer(1, 0), _rescored(2, 2), _rescored(3, 1), _inputs(0)]))
def test_the_latest_new_grade_counts_wherever_it_is_read(documents: list[dict[str, Any]]) -> None:
    assert _outcomes(documents)["7", _PROBLEM, 1] == Score(1.0, 0.0, 2.0)


def test_a_change_without_an_answer_is_counted() -> None:
    for change in (_rescored(2, 1), _deleted(2)):
        for documents in ([change], [_answer(3, 0), change], [_answer(1, 0, learner=8), change]):
            rows = _rows(documents)
            assert [row.reason for row in rows if isinstance(row, LeftOutRow)] == [_NOT_LOADED]


def test_a_correction_is_of_the_source_and_time_of_the_change_and_has_the_same_id_again() -> None:
    documents = [_answer(1, 0), _rescored(3, 1), _rescored(3, 1)]
    corrections = [row.submission for row in _rows(documents) if isinstance(row, Row)][1:]
    assert len({each.event_id for each in corrections}) == 1
    assert {(each.source, each.occurred_at and each.occurred_at.seconds) for each in corrections} == {
        ("campus", 1772615220 - 240)
    }


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (_rescored(2, 1) | {"event": {"user_id": "7"}}, "event.problem_id"),
        (_rescored(2, "many"), "event.new_weighted_earned"),  # type: ignore[arg-type]
        (_deleted(2) | {"time": None}, "time"),
        (_deleted(2) | {"event": "text"}, "event"),
    ],
)
def test_a_wrong_field_of_a_change_is_named(change: object, field: str) -> None:
    _, row = _rows([_answer(1, 0), change])
    assert isinstance(row, UnreadableRow)
    assert row.problems[0].field == field


def test_a_change_to_an_ungraded_problem_is_left_out() -> None:
    _, row = _rows([_answer(1, 0), _rescored(2, 0, most=0)])
    assert isinstance(row, LeftOutRow)
    assert row.reason == "ungraded: the maximum is 0"


def test_a_file_with_a_change_has_one_of_the_marks() -> None:
    for change in (_rescored(2, 1), _rescored(2, 1, "score_overridden"), _deleted(2)):
        assert any(mark.decode() == change["name"] for mark in CHANGE_MARKS)
