"""Records of events that are not responses: what is read and what is refused."""

from __future__ import annotations

import pytest

from cairn.v1 import catalog_pb2, events_pb2
from services.common.auth.identity import event_fingerprint
from services.recommender.domain.learner.events import (
    CONTENT_UNKNOWN,
    VOIDED,
    CorrectionEvent,
    ErasureEvent,
    InteractionEvent,
    InteractionKind,
    LearnerEvent,
    PreferenceEvent,
)
from services.recommender.wire.events import decode_event
from services.recommender.wire.fields import RecordInvalidError
from tests.learner_events import PARTITIONS, WHEN, message, record

FINGERPRINT = event_fingerprint("tests", "event-1")


def with_body(**body: object) -> events_pb2.LearnerEvent:
    event = message(1)
    event.ClearField("assessment")
    event.MergeFrom(events_pb2.LearnerEvent(**body))
    return event


def decode(event: events_pb2.LearnerEvent) -> LearnerEvent:
    one = record(event)
    tenant, decoded = decode_event(one.key, one.value, one.headers, one.right_partition, PARTITIONS)
    assert tenant == "riverbend"
    assert decoded.content != CONTENT_UNKNOWN
    return decoded._replace(content=CONTENT_UNKNOWN)


def test_an_interaction_is_read_without_the_fields_that_state_does_not_keep():
    event = with_body(
        interaction=events_pb2.InteractionEvent(
            resource="r1", kind=events_pb2.INTERACTION_KIND_COMPLETED, recommendation_id="x", duration_ms=7
        )
    )
    at_s = int(WHEN.timestamp())
    assert decode(event) == InteractionEvent(FINGERPRINT, at_s, "r1", InteractionKind.COMPLETED)


def test_a_preference_distinguishes_unset_from_empty():
    event = with_body(
        preference=events_pb2.PreferenceEvent(
            goals=events_pb2.GoalSkills(skills=["b", "a", "b"]),
            interests=events_pb2.InterestTopics(),
            pace=events_pb2.PACE_BRISK,
        )
    )
    assert decode(event) == PreferenceEvent(FINGERPRINT, ("b", "a"), (), None, 3)


def test_a_correction_names_its_target_by_fingerprint():
    target = {"target_source": "lms", "target_event_id": "e7"}
    voided = with_body(correction=events_pb2.CorrectionEvent(voided=events_pb2.Void(), **target))
    regraded = with_body(correction=events_pb2.CorrectionEvent(regrade=events_pb2.Regrade(response=0.1), **target))
    of = event_fingerprint("lms", "e7")
    assert decode(voided) == CorrectionEvent(FINGERPRINT, of, VOIDED)
    response = decode(regraded).response
    assert response == pytest.approx(0.1)
    assert response != 0.1, "kept in the precision of the journal"


def test_an_erasure_is_read():
    assert decode(with_body(erasure=events_pb2.ErasureEvent())) == ErasureEvent(FINGERPRINT)


OPENED = events_pb2.INTERACTION_KIND_OPENED
TARGET = {"target_source": "lms", "target_event_id": "e7"}


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"interaction": events_pb2.InteractionEvent(resource="r")}, "interaction.kind"),
        ({"interaction": events_pb2.InteractionEvent(resource="r", kind=9)}, "interaction.kind"),
        ({"interaction": events_pb2.InteractionEvent(kind=OPENED)}, "interaction.resource"),
        ({"interaction": events_pb2.InteractionEvent(resource="r\0", kind=OPENED)}, "NUL"),
        ({"interaction": events_pb2.InteractionEvent(resource="r" * 257, kind=OPENED)}, "257"),
        (
            {
                "preference": events_pb2.PreferenceEvent(
                    goals=events_pb2.GoalSkills(skills=[f"s{n}" for n in range(17)])
                )
            },
            "goals.skills",
        ),
        ({"preference": events_pb2.PreferenceEvent(goals=events_pb2.GoalSkills(skills=["a", ""]))}, "goals.skills"),
        (
            {"preference": events_pb2.PreferenceEvent(interests=events_pb2.InterestTopics(topics=["t" * 65]))},
            "65",
        ),
        (
            {
                "preference": events_pb2.PreferenceEvent(
                    formats=events_pb2.PreferredKinds(kinds=[catalog_pb2.RESOURCE_KIND_UNSPECIFIED])
                )
            },
            "formats.kinds",
        ),
        ({"preference": events_pb2.PreferenceEvent(pace=9)}, "preference.pace"),
        ({"correction": events_pb2.CorrectionEvent(**TARGET)}, "neither void nor regrade"),
        (
            {"correction": events_pb2.CorrectionEvent(target_event_id="e", voided=events_pb2.Void())},
            "correction.target_source",
        ),
        (
            {"correction": events_pb2.CorrectionEvent(target_source="e", voided=events_pb2.Void())},
            "correction.target_event_id",
        ),
        (
            {"correction": events_pb2.CorrectionEvent(regrade=events_pb2.Regrade(response=float("nan")), **TARGET)},
            "correction.regrade.response",
        ),
    ],
)
def test_an_inapplicable_event_is_refused_with_the_field(body, named):
    with pytest.raises(RecordInvalidError, match=named) as caught:
        decode(with_body(**body))
    assert caught.value.code == "field"


def test_a_body_of_a_newer_release_is_refused_as_such():
    event = message(1)
    event.ClearField("assessment")
    with pytest.raises(RecordInvalidError) as caught:
        decode(event)
    assert caught.value.code == "body"
