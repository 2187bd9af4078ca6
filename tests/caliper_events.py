"""Events of Caliper 1.2 for tests, as a school's learning platform might send them."""

from __future__ import annotations

from typing import Any

CONTEXT = "http://purl.imsglobal.org/ctx/caliper/v1p2"
LEARNER = "https://lms.example.edu/people/7"
QUIZ = "https://lms.example.edu/quizzes/12"
ITEM = f"{QUIZ}/questions/4"
APP = "https://lms.example.edu"


def event(kind: str, action: str, **properties: Any) -> dict[str, Any]:
    """An event of the learner."""
    return {
        "@context": CONTEXT,
        "id": "urn:uuid:7b6f6b1e-2c52-4b7e-9d0e-2f6b7f7f0f11",
        "type": kind,
        "actor": {"id": LEARNER, "type": "Person", "name": "Ada Byron"},
        "action": action,
        "eventTime": "2026-03-03T10:30:00.000Z",
        "edApp": APP,
        **properties,
    }


def attempt(**properties: Any) -> dict[str, Any]:
    """The learner's second attempt of the item."""
    return {
        "id": f"{ITEM}/people/7/attempts/2",
        "type": "Attempt",
        "assignee": {"id": LEARNER, "type": "Person", "name": "Ada Byron"},
        "assignable": {"id": ITEM, "type": "AssessmentItem", "isPartOf": {"id": QUIZ, "type": "Assessment"}},
        "count": 2,
        "startedAtTime": "2026-03-03T10:20:00.000Z",
        "endedAtTime": "2026-03-03T10:20:30.500Z",
        **properties,
    }


def score(**properties: Any) -> dict[str, Any]:
    """3 of 4 points."""
    return {"id": f"{ITEM}/people/7/scores/2", "type": "Score", "scoreGiven": 3, "maxScore": 4.0, **properties}


def graded(**properties: Any) -> dict[str, Any]:
    """The learner's second attempt of the item was graded."""
    grader = {"id": f"{APP}/grader", "type": "SoftwareApplication"}
    return event("GradeEvent", "Graded", **{"actor": grader, "object": attempt(), "generated": score()} | properties)


def envelope(*data: Any, **properties: Any) -> dict[str, Any]:
    """An envelope of events and entities."""
    return {
        "sensor": f"{APP}/sensors/1",
        "sendTime": "2026-03-03T10:31:00.000Z",
        "dataVersion": CONTEXT,
        "data": list(data),
        **properties,
    }
