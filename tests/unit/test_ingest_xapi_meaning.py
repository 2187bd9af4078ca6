"""What statements mean. The rules are those of docs/formats.md."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.application.ports import LeftOutRow, Row, UnreadableRow
from services.ingest.formats.xapi import meaning, rows_of
from tests.formats.readings import event_of

ADL = "http://adlnet.gov/expapi"
QUESTION = {"id": "http://example.com/q/1", "definition": {"interactionType": "numeric"}}
LESSON = {"id": "http://example.com/lessons/1"}


def statement(verb="answered", target=QUESTION, result=None, parents=(), **more):
    """A statement of one learner."""
    verb = verb if ":" in verb else f"{ADL}/verbs/{verb}"
    content = {"actor": {"mbox": "mailto:ada@example.com"}, "verb": {"id": verb}, "object": target} | more
    if result is not None:
        content["result"] = result
    if parents:
        content["context"] = {"contextActivities": {"parent": list(parents)}}
    return content


def the_row(document):
    (row,) = rows_of(document, "lms", 7)
    assert row.line == 7
    return row


def event(document):
    row = the_row(document)
    assert isinstance(row, Row), row
    return event_of(row.submission)


def reason(document):
    row = the_row(document)
    assert isinstance(row, LeftOutRow), row
    return row.reason


def test_work_that_was_waived_is_no_outcome():
    waived = statement("https://w3id.org/xapi/adl/verbs/waived", LESSON, {"success": True, "completion": True})
    assert reason(waived) == meaning.WAIVED


@pytest.mark.parametrize(
    "opinion",
    [
        statement("http://id.tincanapi.com/verb/rated", LESSON, {"score": {"raw": 4, "min": 1, "max": 5}}),
        statement("http://activitystrea.ms/schema/1.0/like", LESSON, {"success": True}),
        statement(
            "answered", {"id": "http://example.com/q/2", "definition": {"interactionType": "likert"}}, {"success": True}
        ),
    ],
    ids=["rated", "liked", "on-a-scale"],
)
def test_an_opinion_is_neither_right_nor_wrong(opinion):
    assert reason(opinion) == meaning.OPINION


def test_an_answer_on_a_scale_that_has_a_right_one_is_an_outcome():
    definition = {"interactionType": "likert", "correctResponsesPattern": ["likert_3"]}
    question = {"id": "http://example.com/q/2", "definition": definition}
    assert event(statement("answered", question, {"success": True}))["correct"] is True


@pytest.mark.parametrize("verb", ["progressed", "suspended"])
def test_how_far_unfinished_work_is_is_no_outcome(verb):
    assert reason(statement(verb, LESSON, {"score": {"scaled": 0.4}, "success": False})) == meaning.OTHER


def test_work_that_begins_has_no_outcome_yet():
    assert "correct" not in event(statement("initialized", LESSON, {"success": False}))


@pytest.mark.parametrize(
    ("written", "milliseconds"), [("P0Y0M0DT0H1M5.5S", 65_500), ("P0,0Y0M1D", 86_400_000), ("P0Y1M", None)]
)
def test_a_duration_of_no_years_and_no_months_has_a_length(written, milliseconds):
    assert event(statement(result={"success": True, "duration": written})).get("duration_ms") == milliseconds


OUTCOMES = [
    ({"score": {"raw": 1, "min": 0, "max": 4, "scaled": -0.5}, "success": True}, {"score": [1, 0, 4]}),
    ({"score": {"raw": 3, "max": 4}}, {"score": [3, 0, 4]}),
    ({"score": {"raw": -1, "min": -2, "max": 2}}, {"score": [-1, -2, 2]}),
    ({"score": {"scaled": 0.75}}, {"score": [0.75, 0, 1]}),
    ({"score": {"scaled": -0.5}}, {"score": [-0.5, -1, 1]}),
    ({"score": {"raw": 12, "scaled": 0.6}}, {"score": [0.6, 0, 1]}),
    ({"score": {"raw": 12}, "success": False}, {"correct": False}),
    ({"success": True, "response": "42"}, {"correct": True}),
]


@pytest.mark.parametrize(("result", "outcome"), OUTCOMES, ids=str)
def test_the_outcome_is_the_score_on_its_scale_else_scaled_else_success(result, outcome):
    assert outcome.items() <= event(statement(result=result)).items()


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ({"score": {"raw": 0, "min": 0, "max": 0, "scaled": 0}}, meaning.UNGRADED),
        ({"score": {"raw": 0, "max": 0}, "success": True}, meaning.UNGRADED),
        ({"score": {"raw": 3}}, meaning.NOT_PLACED),
        ({"response": "42"}, meaning.NO_OUTCOME),
        (None, meaning.NO_OUTCOME),
    ],
    ids=str,
)
def test_an_answer_without_an_outcome_is_left_out(result, why):
    assert reason(statement(result=result)) == why


LEARNERS = [
    ({"mbox": "mailto:ada@example.com"}, "mailto:ada@example.com"),
    ({"mbox_sha1sum": "AB" * 20}, "mbox_sha1sum:" + "ab" * 20),
    ({"openid": "http://ada.example.com/"}, "http://ada.example.com/"),
    ({"account": {"homePage": "http://lms.example.com", "name": "42"}, "name": "Ada"}, "http://lms.example.com|42"),
]


@pytest.mark.parametrize(("actor", "learner"), LEARNERS, ids=lambda each: str(each)[:40])
def test_the_learner_is_the_one_identifier_of_the_actor(actor, learner):
    got = event(statement(result={"success": True}, actor=actor))
    assert got["learner_id"] == learner


def test_an_answer_is_of_its_item_and_the_first_parent_that_is_neither_an_attempt_nor_a_course():
    parents = [
        {"id": "urn:attempt:1", "definition": {"type": f"{ADL}/activities/attempt"}},
        {"id": "urn:course:1", "definition": {"type": f"{ADL}/activities/course"}},
        {"id": "urn:quiz:1"},
    ]
    got = event(
        statement(
            result={"success": False, "duration": "PT1M30.5S"},
            parents=parents,
            timestamp="2026-03-01T09:30:00.9+01:00",
            id="AA97B177-9383-4934-8543-0F91A7A02836",
        )
    )
    assert got == {
        "learner_id": "mailto:ada@example.com",
        "source": "lms",
        "event_id": "aa97b177-9383-4934-8543-0f91a7a02836",
        "occurred_at": "2026-03-01T08:30:00Z",
        "item": QUESTION["id"],
        "activity": "urn:quiz:1",
        "correct": False,
        "duration_ms": 90_500,
    }


def test_a_score_on_anything_else_is_on_the_whole_activity():
    got = event(statement("completed", LESSON, {"score": {"scaled": 0.5}, "completion": True}))
    assert (got["activity"], got["grain"], got["score"]) == (LESSON["id"], "activity", [0.5, 0, 1])
    assert "item" not in got


def test_a_score_of_an_attempt_is_on_its_parent():
    attempt = {"id": "urn:attempt:1", "definition": {"type": f"{ADL}/activities/attempt"}}
    assert event(statement("completed", attempt, {"success": True}, [LESSON]))["activity"] == LESSON["id"]


@pytest.mark.parametrize(("verb", "correct"), [("passed", True), ("mastered", True), ("failed", False)])
def test_the_verbs_of_success_are_an_outcome_where_the_result_has_none(verb, correct):
    assert event(statement(verb, LESSON))["correct"] is correct
    assert event(statement(verb, LESSON, {"success": not correct}))["correct"] is not correct


@pytest.mark.parametrize(
    ("verb", "interaction"),
    [
        ("launched", "opened"),
        ("initialized", "opened"),
        ("experienced", "opened"),
        ("http://id.tincanapi.com/verb/viewed", "opened"),
        ("completed", "completed"),
    ],
)
def test_opening_and_completing_without_an_outcome_are_interactions(verb, interaction):
    got = event(statement(verb, LESSON, {"duration": "PT2S"}))
    assert (got["resource"], got["interaction"], got["duration_ms"]) == (LESSON["id"], interaction, 2000)


def test_other_statements_are_left_out_with_the_reason():
    video = {"id": "urn:v:1", "definition": {"type": "https://w3id.org/xapi/video/activity-type/video"}}
    group = {"objectType": "Group", "mbox": "mailto:class@example.com"}
    agent = {"objectType": "Agent", "mbox": "mailto:ben@example.com"}
    assert reason(statement("commented", LESSON)) == meaning.OTHER
    assert reason(statement("completed", video)) == meaning.VIDEO
    assert reason(statement(result={"success": True}, actor=group)) == meaning.GROUP
    assert reason(statement("followed", agent)) == meaning.NO_ACTIVITY
    planned = statement("planned", {"objectType": "SubStatement", **statement()})
    assert reason(planned) == meaning.SUBSTATEMENT


def test_voiding_corrects_the_statement_that_it_names():
    target = {"objectType": "StatementRef", "id": "AA97B177-9383-4934-8543-0F91A7A02836"}
    got = event(statement("voided", target))
    assert got["corrects"] == "aa97b177-9383-4934-8543-0f91a7a02836"
    assert got["void"] is True


def test_a_score_that_sums_up_answers_of_the_same_document_is_left_out():
    quiz = {"id": "urn:quiz:1"}
    scored = statement("completed", quiz, {"score": {"scaled": 0.5}})
    answered = statement(result={"success": True}, parents=[quiz])
    other = answered | {"actor": {"mbox": "mailto:ben@example.com"}}
    first, second = rows_of([scored, answered], "lms", 1)
    assert isinstance(first, LeftOutRow)
    assert first.reason == meaning.SUMS_UP
    assert isinstance(second, Row)
    assert (first.line, second.line) == (1, 2)
    assert all(isinstance(row, Row) for row in rows_of([scored, other], "lms", 1))
    assert [type(row) for row in rows_of({"statements": [scored, answered], "more": ""}, "lms", 1)] == [LeftOutRow, Row]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
WHOLE = statement(
    result={"score": {"raw": 1, "min": 0, "max": 2}, "duration": "PT1S"},
    parents=[LESSON],
    timestamp="2026-03-01T09:30:00Z",
    id="6690e6c9-3ef0-4ed3-8b37-7f3964730bee",
)


def _places(part, path=()):
    yield path
    entries = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for key, inner in entries:
        yield from _places(inner, (*path, key))


@given(JSON)
def test_any_json_gets_an_answer(document):
    for row in rows_of(document, "lms", 1):
        assert isinstance(row, Row | LeftOutRow | UnreadableRow)


@given(st.sampled_from([place for place in _places(WHOLE) if place]), JSON)
def test_a_statement_with_any_json_in_any_place_gets_an_answer(place, value):
    document = json.loads(json.dumps(WHOLE))
    part = document
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    (row,) = rows_of(document, "lms", 1)
    assert isinstance(row, Row | LeftOutRow | UnreadableRow)
    if isinstance(row, UnreadableRow):
        assert all(problem.reason for problem in row.problems)
