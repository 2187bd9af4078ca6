"""What events of Caliper mean, in the forms in which producers send them."""

from __future__ import annotations

from typing import Any

import pytest

from services.ingest.application.ports import FileRow, LeftOutRow, Row, UnreadableRow
from services.ingest.domain.kinds.assessment import Assessment, Grain
from services.ingest.domain.kinds.correction import Correction, Void
from services.ingest.domain.kinds.interaction import Interaction, InteractionKind
from services.ingest.domain.outcome import Score
from services.ingest.domain.submission import Instant, Submission
from services.ingest.formats.caliper import rows_of
from tests.caliper_events import APP, CONTEXT, ITEM, LEARNER, QUIZ, attempt, envelope, event, graded, score

HOMEWORK = "https://lms.example.edu/homework/3"


def read(document: object) -> FileRow:
    (row,) = rows_of(document, "caliper", 1)
    return row


def taken(document: object) -> Submission:
    row = read(document)
    assert isinstance(row, Row), row
    return row.submission


def outcome(document: object) -> Assessment:
    body = taken(document).body
    assert isinstance(body, Assessment)
    return body


def left_out(document: object) -> str:
    row = read(document)
    assert isinstance(row, LeftOutRow), row
    return row.reason


def fields(document: object) -> list[str]:
    row = read(document)
    assert isinstance(row, UnreadableRow), row
    return [problem.field for problem in row.problems]


def without(document: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in names}


def test_a_graded_item_is_an_outcome_of_the_assignee_on_the_item() -> None:
    submission = taken(graded())
    assert submission.learner_id == LEARNER
    assert submission.source == APP
    assert submission.occurred_at == Instant(1_772_533_230, 500_000_000)
    assert submission.body == Assessment(
        item=ITEM, activity=QUIZ, outcome=Score(3.0, 0.0, 4.0), attempt=2, duration_ms=30_500, grain=Grain.ITEM
    )


def test_a_graded_assessment_is_an_outcome_of_the_activity() -> None:
    body = outcome(graded(object=attempt(assignable={"id": QUIZ, "type": "Assessment"})))
    assert (body.item, body.activity, body.grain) == ("", QUIZ, Grain.ACTIVITY)


def test_no_name_and_no_attempt_with_the_learners_id_enters_an_event() -> None:
    submission = taken(graded())
    assert "Ada" not in repr(submission)
    assert repr(submission).count("people/7") == 1


def test_a_regrade_replaces_the_first_grade_and_the_next_attempt_does_not() -> None:
    first = taken(graded())
    again = taken(graded(id="urn:uuid:0d0f7f2e-3d0f-4c57-8d1c-5d1f0b9a6a55", generated=score(scoreGiven=4)))
    third = taken(graded(object=attempt(count=3, startedAtTime="2026-03-04T10:20:00.000Z")))
    assert first.revises
    assert first.event_id == again.event_id != third.event_id


def test_count_and_start_tell_attempts_apart_each_on_its_own() -> None:
    started = "2026-03-01T10:20:00.000Z"
    forms = [{}, {"count": 3}, {"startedAtTime": started}, {"count": None}, {"startedAtTime": None}]
    assert len({taken(graded(object=attempt(**form))).event_id for form in forms}) == len(forms)


def test_an_attempt_without_count_and_time_has_the_id_of_its_event() -> None:
    submission = taken(graded(object=without(attempt(), "count", "startedAtTime")))
    assert submission.event_id == "urn:uuid:7b6f6b1e-2c52-4b7e-9d0e-2f6b7f7f0f11"
    assert not submission.revises


def test_a_score_is_found_where_it_is_nested() -> None:
    assert outcome(graded(generated={"score": {"scoreGiven": 1, "maxScore": 2}})).outcome == Score(1.0, 0.0, 2.0)


def test_a_result_has_other_names_for_points() -> None:
    result = {"id": f"{QUIZ}/results/1", "type": "Result", "resultScore": 7.5, "maxResultScore": 10}
    assert outcome(graded(generated=result)).outcome == Score(7.5, 0.0, 10.0)


@pytest.mark.parametrize(
    ("parts", "raw"),
    [
        ({"normalScore": 3, "penaltyScore": 1, "extraCreditScore": 0.5, "totalScore": 2.5}, 2.5),
        # A total that was never filled in.
        ({"normalScore": 3, "penaltyScore": 0, "totalScore": 0}, 3.0),
        ({"totalScore": 3.5}, 3.5),
    ],
)
def test_the_parts_of_a_score_of_1_0_are_added_up(parts: dict[str, float], raw: float) -> None:
    item = {"id": ITEM, "type": "AssessmentItem", "maxScore": 4}
    document = graded(object=attempt(assignable=item), generated={"type": "Result", "id": f"{ITEM}/r", **parts})
    assert outcome(document).outcome == Score(raw, 0.0, 4.0)


def test_the_maximum_of_what_was_assigned_counts_where_the_score_has_none() -> None:
    item = {"id": ITEM, "type": "AssessmentItem", "maxScore": 160}
    assert outcome(graded(object=attempt(assignable=item), generated=score(maxScore=0))).outcome == Score(3, 0, 160)


@pytest.mark.parametrize(("raw", "kept"), [(5, 4.0), (-1, 0.0)])
def test_points_beyond_the_scale_count_as_its_end(raw: float, kept: float) -> None:
    assert outcome(graded(generated=score(scoreGiven=raw))).outcome == Score(kept, 0.0, 4.0)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (graded(generated=score(maxScore=0)), "Caliper: ungraded, the maximum is not above 0"),
        (graded(generated=without(score(), "maxScore")), "Caliper: points without a maximum"),
        (graded(generated=without(score(), "scoreGiven")), "Caliper: graded without a score"),
        (without(graded(), "generated"), "Caliper: graded without a score"),
        (event("AssessmentItemEvent", "Completed", object=ITEM), "Caliper: items without a score"),
        (event("MediaEvent", "Paused", object="https://lms.example.edu/v/1"), "Caliper: video and audio"),
        (event("NavigationEvent", "NavigatedTo", object=QUIZ), "Caliper: navigation and views"),
        (event("ViewEvent", "Viewed", object=QUIZ), "Caliper: navigation and views"),
        (event("ToolUseEvent", "Used", object=APP), "Caliper: launches and uses of tools"),
        (event("AssessmentEvent", "Paused", object=QUIZ), "Caliper: other steps of an assignment"),
        (event("vendor:Snapshot", "Graded", object=QUIZ), "Caliper: events and entities of another vocabulary"),
        ({"@context": CONTEXT, "type": "Person", "id": LEARNER}, "Caliper: entities that are described"),
    ],
)  # fmt: skip
def test_what_has_no_outcome_is_left_out_and_says_why(document: object, reason: str) -> None:
    assert left_out(document) == reason


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("Started", InteractionKind.OPENED),
        ("Submitted", InteractionKind.COMPLETED),
        ("Completed", InteractionKind.COMPLETED),
    ],
)
@pytest.mark.parametrize("event_type", ["AssessmentEvent", "AssignableEvent"])
def test_work_on_an_assignment_is_an_interaction_with_it(event_type: str, action: str, kind: InteractionKind) -> None:
    submission = taken(event(event_type, action, object={"id": HOMEWORK, "type": "AssignableDigitalResource"}))
    assert submission.body == Interaction(HOMEWORK, kind)
    assert (submission.learner_id, submission.event_id) == (LEARNER, "urn:uuid:7b6f6b1e-2c52-4b7e-9d0e-2f6b7f7f0f11")


def test_an_attempt_stands_for_what_was_attempted() -> None:
    document = event("AssessmentEvent", "Submitted", object=attempt(assignable={"id": QUIZ, "type": "Assessment"}))
    assert taken(document).body == Interaction(QUIZ, InteractionKind.COMPLETED, duration_ms=30_500)


@pytest.mark.parametrize("role", ["Instructor", "http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor"])
def test_what_a_teacher_tries_out_is_left_out(role: str) -> None:
    membership = {"id": f"{APP}/m/1", "type": "Membership", "roles": [role]}
    document = event("AssessmentEvent", "Started", object=QUIZ, membership=membership)
    assert left_out(document) == "Caliper: work of somebody who is no learner"


def test_an_item_that_was_completed_with_a_score_is_an_outcome_of_the_actor() -> None:
    response = {"id": f"{ITEM}/responses/1", "type": "Response", "score": {"scoreGiven": 1, "maxScore": 1}}
    item = {"id": ITEM, "type": "AssessmentItem", "isPartOf": QUIZ}
    submission = taken(event("AssessmentItemEvent", "Completed", object=item, generated=response))
    assert submission.learner_id == LEARNER
    assert submission.body == Assessment(item=ITEM, activity=QUIZ, outcome=Score(1.0, 0.0, 1.0), grain=Grain.ITEM)


def test_a_score_of_an_activity_is_left_out_where_its_items_are_scored() -> None:
    whole = graded(id="urn:uuid:1", object=attempt(assignable={"id": QUIZ, "type": "Assessment"}))
    other = graded(
        id="urn:uuid:2", object=attempt(assignee=f"{APP}/people/8", assignable={"id": QUIZ, "type": "Assessment"})
    )
    rows = list(rows_of(envelope(graded(), whole, other), "caliper", 1))
    assert [type(row) for row in rows] == [Row, LeftOutRow, Row]


def test_a_deleted_attempt_voids_its_outcome() -> None:
    deleted = event("Event", "Deleted", object=attempt())
    submission = taken(deleted)
    assert submission.learner_id == LEARNER
    assert submission.body == Correction(taken(graded()).event_id, Void())


@pytest.mark.parametrize("kind", ["Score", "Result"])
def test_a_deleted_score_voids_the_outcome_of_its_attempt(kind: str) -> None:
    submission = taken(event("Event", "Deleted", object={"id": "urn:score", "type": kind, "attempt": attempt()}))
    assert submission.learner_id == LEARNER
    assert submission.body == Correction(taken(graded()).event_id, Void())


@pytest.mark.parametrize(
    "document",
    [
        event("Event", "Deleted", object={"id": QUIZ, "type": "Assessment"}),
        event("Event", "Modified", object=attempt()),
        event("Event", "Deleted", object={"id": "urn:x", "type": "Attempt"}),
        event("Event", "Deleted", object=without(attempt(), "count", "startedAtTime")),
    ],
)
def test_other_deletions_void_nothing(document: dict[str, Any]) -> None:
    assert left_out(document).startswith("Caliper: ")


def test_a_learner_whose_work_an_application_submits_is_the_assignee() -> None:
    bot = {"id": f"{APP}/bot", "type": "SoftwareApplication"}
    document = event("AssessmentEvent", "Submitted", object=QUIZ, actor=bot, generated=attempt())
    assert taken(document).learner_id == LEARNER
    teacher = {"id": f"{APP}/m/1", "type": "Membership", "roles": ["Instructor"]}
    assert taken(document | {"actor": f"{APP}/people/1", "membership": teacher}).learner_id == LEARNER
    assert left_out(document | {"actor": LEARNER, "membership": teacher})


def test_of_two_places_that_name_the_item_the_object_is_read() -> None:
    bare = graded(object=attempt(assignable=ITEM), generated=score(attempt=attempt()))
    assert taken(bare).body == taken(graded()).body


def test_a_bare_iri_is_looked_up_among_the_entities_of_the_envelope() -> None:
    item = {"id": ITEM, "type": "AssessmentItem", "isPartOf": QUIZ, "maxScore": 4}
    bare = graded(object=attempt(assignable=ITEM, assignee=LEARNER), generated=without(score(), "maxScore"))
    rows = list(rows_of(envelope(item, bare), "caliper", 1))
    assert isinstance(rows[1], Row)
    assert isinstance(rows[1].submission.body, Assessment)
    assert rows[1].submission.body.item == ITEM
    assert rows[1].submission.body.activity == QUIZ


def test_a_part_of_an_attempt_is_an_item_also_where_its_type_is_not_sent() -> None:
    whole = {"id": f"{QUIZ}/a/1", "type": "Attempt", "assignable": QUIZ}
    body = outcome(graded(object=attempt(assignable=ITEM, isPartOf=whole)))
    assert (body.item, body.activity) == (ITEM, QUIZ)


def test_the_attempt_is_read_where_it_is_an_object() -> None:
    document = graded(object=attempt()["id"], generated=score(attempt=attempt()))
    assert taken(document).body == taken(graded()).body


def test_parts_of_an_attempt_may_be_in_its_extensions() -> None:
    bent = without(attempt(), "assignee", "assignable", "count")
    bent["extensions"] = {name: attempt()[name] for name in ("assignee", "assignable", "count")}
    assert taken(graded(object=bent)).body == taken(graded()).body


@pytest.mark.parametrize(
    "context",
    [
        CONTEXT,
        [CONTEXT, "https://vendor.example/context"],
        ["https://vendor.example/context", CONTEXT],
        {"@vocab": "http://purl.imsglobal.org/caliper/"},
        [{"vendor": "https://vendor.example/terms/"}, CONTEXT],
        f"{CONTEXT}/ToolLaunchProfile-extension",
        "http://purl.imsglobal.org/ctx/caliper/v1p1",
    ],
)
def test_the_context_has_several_shapes(context: object) -> None:
    assert taken(graded(**{"@context": context})).learner_id == LEARNER


def test_version_1_0_has_other_spellings_and_no_ids_of_events() -> None:
    place = "http://purl.imsglobal.org/caliper/v1"
    document = {
        "@context": "http://purl.imsglobal.org/ctx/caliper/v1/Context",
        "@type": f"{place}/OutcomeEvent",
        "actor": {"@id": f"{APP}/people/1", "@type": f"{place}/lis/Person"},
        "action": "http://purl.imsglobal.org/vocab/caliper/v1/action#Graded",
        "object": {"@id": f"{QUIZ}/a/1", "@type": f"{place}/Attempt", "actor": LEARNER, "count": 1, "duration": None,
                   "assignable": {"@id": QUIZ, "@type": f"{place}/Assessment", "maxScore": 20.0}},
        "generated": {"@id": f"{QUIZ}/r/1", "@type": f"{place}/Result", "actor": LEARNER, "normalScore": 15.0},
        "eventTime": "2016-11-15T10:15:00.000Z",
        "edApp": {"@id": APP, "@type": f"{place}/SoftwareApplication"},
    }  # fmt: skip
    submission = taken({"sensor": "s", "sendTime": "2016-11-15T10:15:00.000Z", "data": [document]})
    assert (submission.learner_id, submission.source) == (LEARNER, APP)
    assert submission.body == Assessment(activity=QUIZ, outcome=Score(15, 0, 20), attempt=1, grain=Grain.ACTIVITY)


def test_a_missing_time_of_1_0_is_the_scores_or_unknown() -> None:
    bent = graded(object=without(attempt(), "endedAtTime"), generated=score(dateCreated="2026-03-03T10:25:00.000Z"))
    bent["@context"] = "http://purl.imsglobal.org/ctx/caliper/v1/Context"
    assert taken(without(bent, "eventTime")).occurred_at == Instant(1_772_533_500)
    assert taken(without(bent, "eventTime") | {"generated": score()}).occurred_at is None


def test_other_spellings_of_an_action_are_the_same() -> None:
    assert isinstance(taken(graded() | {"action": "graded"}).body, Assessment)
    assert isinstance(taken(graded() | {"action": "http://purl.imsglobal.org/caliper/actions/Graded"}).body, Assessment)


@pytest.mark.parametrize(
    ("document", "first"),
    [
        (without(graded(), "id"), "id"),
        (without(graded(), "type"), "type"),
        (without(graded(), "action"), "action"),
        (without(graded(), "actor"), "actor"),
        (without(graded(), "object"), "object"),
        (without(graded(), "eventTime"), "eventTime"),
        (graded(eventTime="yesterday"), "eventTime"),
        (event("AssessmentEvent", "Started", object={"type": "Assessment"}), "object.id"),
        (event("ToolLaunchEvent", "Launched", object=APP), "federatedSession"),
        (graded(eventTime="2026-03-03T10:30:00"), "eventTime"),
        (graded(type="MarkEvent"), "type"),
        (graded(**{"@context": "http://purl.imsglobal.org/ctx/caliper/v2p0"}), "@context"),
        (graded(object=without(attempt(), "assignee")), "object.assignee"),
        (graded(object=without(attempt(), "assignable")), "object.assignable"),
        (graded(object=attempt(count="second")), "object.count"),
        (graded(object=attempt(count=-1)), "object.count"),
        (graded(generated=score(scoreGiven="3")), "generated.scoreGiven"),
        (graded(generated=score(scoreGiven=10**400)), "generated.scoreGiven"),
        (graded(generated={"score": {"scoreGiven": True, "maxScore": 1}}), "generated.score.scoreGiven"),
        (graded(generated=score(attempt=attempt(assignee=f"{APP}/people/8"))), "object.assignee"),
        (graded(edApp={"id": LEARNER, "type": "Person"}), "edApp"),
        (envelope(graded(), graded(object=7)), "data[1].object"),
        (envelope(graded(), dataVersion="http://purl.imsglobal.org/ctx/caliper/v3p0"), "dataVersion"),
        (without(envelope(graded()), "dataVersion"), "dataVersion"),
        (without(envelope(graded()), "sensor"), "sensor"),
        (envelope(graded(), sendTime=None), "sendTime"),
        (envelope(), "data"),
        (envelope(7), "data[0]"),
        ("a text", ""),
        (None, ""),
    ],
)
def test_what_cannot_be_read_names_the_path(document: object, first: str) -> None:
    rows = [row for row in rows_of(document, "caliper", 1) if isinstance(row, UnreadableRow)]
    assert rows[0].problems[0].field == first
    assert rows[0].problems[0].reason


def nested(document: dict[str, Any], times: int) -> dict[str, Any]:
    return nested(document | {"isPartOf": document}, times - 1) if times else document


def test_entities_in_entities_are_checked_to_a_limit() -> None:
    assert left_out(nested({"@context": CONTEXT, "id": QUIZ, "type": "Assessment"}, 20))
    deep = nested({"@context": CONTEXT, "id": QUIZ, "type": "Assessment"}, 200)
    assert fields(deep)[0].startswith("isPartOf.isPartOf.")


@pytest.mark.parametrize(
    ("entity", "first"),
    [
        ({"id": "no IRI", "type": "Person"}, "id"),
        ({"type": "Person"}, "id"),
        ({"@context": "https://vendor.example/context", "id": LEARNER, "type": "Person"}, "@context"),
        ({"id": LEARNER, "type": "Person", "name": 7}, "name"),
        ({"id": f"{ITEM}/s", "type": "Score", "attempt": None}, "attempt"),
        ({"type": "TextPositionSelector", "id": "no IRI", "start": 1, "end": 2}, "id"),
        ({"id": LEARNER, "type": "Membership", "roles": ["Learner#Learner", "Pupil"]}, "roles"),
        ({"id": QUIZ, "type": "Assessment", "items": [{"id": ITEM, "type": "Page"}]}, "items[0]"),
        ({"id": QUIZ, "type": "Assessment", "items": ITEM}, "items"),
        (
            {"id": QUIZ, "type": "Assessment", "isPartOf": {"id": QUIZ, "type": "Page", "version": 1}},
            "isPartOf.version",
        ),
    ],
)
def test_what_is_wrong_with_an_entity_that_is_described_is_named(entity: dict[str, Any], first: str) -> None:
    assert fields(entity)[0] == first


@pytest.mark.parametrize(
    "entity",
    [
        {"id": f"{ITEM}/s", "type": "Score", "scoreGiven": 3},
        {"type": "TextPositionSelector", "start": 1, "end": 2},
        {"id": LEARNER, "type": "Membership", "roles": ["Instructor#Grader", "https://vendor.example/roles/Pupil"]},
        {"id": LEARNER, "type": "Membership", "roles": ["http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"]},
        {"@type": "http://purl.imsglobal.org/caliper/v1/VideoObject", "@id": "no IRI", "duration": 1420},
    ],
)
def test_an_entity_that_is_described_is_left_out(entity: dict[str, Any]) -> None:
    assert left_out(entity) == "Caliper: entities that are described"


def test_what_an_endpoint_says_about_itself_is_no_event() -> None:
    assert left_out({"caliper_supported_versions": [CONTEXT]}) == "Caliper: what an endpoint says about itself"
    assert fields({"caliper_supported_versions": [CONTEXT], "type": "Endpoint"}) == ["type"]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (without(graded(), "id"), "is missing: send the id of the event"),
        (graded(id=7), "is 7: send the id of the event"),
        (graded() | {"action": "Viewed"}, "is 'Viewed', which is not an action of this event: send Graded"),
        (graded() | {"action": "Sung"}, "is 'Sung', which is not an action of Caliper: send Graded"),
        (graded() | {"action": 7}, "is 7, which is not an action of Caliper: send Graded"),
        (graded(object={"id": LEARNER, "type": "Person"}), "is a Person: send the Attempt, or its IRI"),
        (graded(object="attempt 2"), "is 'attempt 2': send the Attempt, or its IRI"),
    ],
)
def test_a_problem_names_the_value_and_the_remedy(document: object, reason: str) -> None:
    row = read(document)
    assert isinstance(row, UnreadableRow)
    assert row.problems[0].reason.startswith(reason)


def test_what_an_application_did_is_work_of_nobody_who_learns() -> None:
    bot = {"id": f"{APP}/bot", "type": "SoftwareApplication"}
    assert left_out(event("AssessmentEvent", "Started", object=QUIZ, actor=bot)) == (
        "Caliper: work of somebody who is no learner"
    )
    assert left_out(event("AssessmentEvent", "Started", object=QUIZ, actor={"type": "Person"})) == (
        "Caliper: work of somebody who is no learner"
    )


def test_an_assignee_without_an_id_does_not_stand_for_another_learner() -> None:
    document = graded(generated=score(attempt=attempt(assignee={"type": "Person"})))
    assert taken(document).learner_id == LEARNER


def test_the_assignee_of_a_bare_attempt_may_be_the_scores_own() -> None:
    of_score = score(assignee=LEARNER, assignable={"id": QUIZ, "type": "Assessment"})
    assert taken(graded(object=f"{QUIZ}/attempts/2", generated=of_score)).learner_id == LEARNER


def test_entities_of_an_event_that_say_nothing_about_its_outcome_may_hold_anything() -> None:
    membership = {"id": f"{APP}/m/1", "type": "Membership", "roles": ["Learner", "Pupil"], "status": "Away", "name": 7}
    application = {"id": APP, "type": "SoftwareApplication", "version": 2}
    item = {
        "id": ITEM,
        "type": "AssessmentItem",
        "keywords": "fractions",
        "isPartOf": {"type": "Assessment", "id": QUIZ},
    }
    document = graded(edApp=application, membership=membership, object=attempt(assignable=item))
    assert taken(document).body == taken(graded()).body
    assert left_out(event("ViewEvent", "Viewed", object={"type": "Page"})) == "Caliper: navigation and views"
