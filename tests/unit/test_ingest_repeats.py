"""Recognising an event that comes again by what it said."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.auth.identity import EventIdentity
from services.ingest.domain.kinds.assessment import Assessment, Grain
from services.ingest.domain.kinds.correction import Correction, Void
from services.ingest.domain.kinds.interaction import Interaction
from services.ingest.domain.kinds.preference import Preference
from services.ingest.domain.outcome import Score
from services.ingest.domain.repeats import DIGEST_BYTES, ENTRY_BYTES, RecentLearner, content_of, entry_of
from services.ingest.domain.submission import Instant, Submission
from services.ingest.domain.validation import problems_of

NOW = Instant(1_800_000_000)
ASSESSMENT = Assessment("item-1", "quiz-1", ("a", "b"), Score(2, 0, 10), 1, 0, 900, Grain.ITEM)
INTERACTION = Interaction("video-1", 1, "r-1", 30)
PREFERENCE = Preference(("a",), ("space",), (2,), 1)
CORRECTION = Correction("e1", Score(1, 0, 4), "old")


def submission(body=ASSESSMENT, **fields):
    return Submission("ada", "gradebook", body, "e1", Instant(1_700_000_000), **fields)


def said(body=ASSESSMENT, **fields):
    return content_of(replace(submission(body), **fields))


CHANGES = [
    (ASSESSMENT, "assessment.item", {"item": "item-2"}),
    (ASSESSMENT, "assessment.activity", {"activity": ""}),
    (ASSESSMENT, "assessment.skills", {"skills": ("a",)}),
    (ASSESSMENT, "assessment.skills", {"skills": ("a, b",)}),
    (ASSESSMENT, "assessment.score", {"outcome": Score(9, 0, 10)}),
    (ASSESSMENT, "assessment.score", {"outcome": Score(2, 0, 20)}),
    (ASSESSMENT, "assessment.correct", {"outcome": False}),
    (ASSESSMENT, "assessment.attempt", {"attempt": 2}),
    (ASSESSMENT, "assessment.hints", {"hints": None}),
    (ASSESSMENT, "assessment.duration_ms", {"duration_ms": 901}),
    (replace(ASSESSMENT, item=""), "assessment.grain", {"grain": Grain.ACTIVITY}),
    (INTERACTION, "interaction.resource", {"resource": "video-2"}),
    (INTERACTION, "interaction.kind", {"kind": 2}),
    (INTERACTION, "interaction.recommendation_id", {"recommendation_id": ""}),
    (INTERACTION, "interaction.duration_ms", {"duration_ms": 31}),
    (PREFERENCE, "preference.goals", {"goals": ()}),
    (PREFERENCE, "preference.goals", {"goals": None}),
    (PREFERENCE, "preference.interests", {"interests": None}),
    (PREFERENCE, "preference.formats", {"formats": (3,)}),
    (PREFERENCE, "preference.pace", {"pace": 2}),
    (CORRECTION, "correction.target_source", {"target_source": ""}),
    (CORRECTION, "correction.target_event_id", {"target_event_id": "e2"}),
    (CORRECTION, "correction.change", {"change": Void()}),
    (CORRECTION, "correction.change", {"change": True}),
]


@pytest.mark.parametrize(
    ("body", "field", "change"), CHANGES, ids=[f"{field} {change}" for _, field, change in CHANGES]
)
def test_every_field_that_the_log_keeps_is_part_of_the_content_and_is_named_when_it_differs(body, field, change):
    before, after = said(body), said(replace(body, **change))
    assert before.digest != after.digest
    assert [problem.field for problem in after.differences(before.digest)] == [field]


@pytest.mark.parametrize(
    "body", [ASSESSMENT, INTERACTION, PREFERENCE, CORRECTION], ids=lambda body: type(body).__name__
)
def test_the_same_content_has_the_same_digest_and_at_most_nine_fields(body):
    assert said(body).digest == said(body, source_sequence="7", revises=True).digest
    assert len(said(body).digest) == DIGEST_BYTES
    assert len(body.content("gradebook")) <= 9


def test_a_default_is_the_same_as_the_value_it_stands_for():
    assert said(replace(ASSESSMENT, grain=Grain.UNSPECIFIED)).digest == said().digest
    assert (
        said(replace(CORRECTION, target_source="")).digest
        == said(replace(CORRECTION, target_source="gradebook")).digest
    )
    assert (
        said(replace(ASSESSMENT, outcome=Score(-0.0, 0, 1))).digest
        == said(replace(ASSESSMENT, outcome=Score(0.0, 0, 1))).digest
    )


def test_the_order_of_skills_says_nothing():
    assert said(replace(ASSESSMENT, skills=("b", "a"))).digest == said().digest


def test_a_time_is_part_of_the_content():
    (problem,) = said(occurred_at=None).differences(said().digest)
    assert (problem.field, problem.reason.partition(",")[0]) == ("occurred_at", "is not set")


def test_what_an_earlier_release_remembered_is_recognised_and_names_only_what_differs():
    # It compared points and fractions of a second as they were sent.
    remembered = bytes.fromhex("31279e6925fe0b868b0b00d58a4c583c")
    at = Instant(1_700_000_000, 500_000_000)
    assert said(occurred_at=at).digest != remembered
    assert said(occurred_at=at).is_said_by(remembered)
    another_try = said(replace(ASSESSMENT, attempt=2), occurred_at=at)
    assert not another_try.is_said_by(remembered)
    assert [problem.field for problem in another_try.differences(remembered)] == ["assessment.attempt"]


def test_another_kind_is_named_as_such():
    (problem,) = said(INTERACTION).differences(said().digest)
    assert (problem.field, problem.reason.partition(",")[0]) == ("body", "is 'interaction'")
    (problem,) = said().differences(said(INTERACTION).digest)
    assert problem.reason.endswith("was sent before: send another event_id"), "it cannot be revised"


def test_the_digests_of_two_kinds_tell_them_apart():
    bodies = [ASSESSMENT, INTERACTION, PREFERENCE, CORRECTION]
    kinds = [[said(one).is_of_the_kind_of(said(other).digest) for other in bodies] for one in bodies]
    assert kinds == [[one is other for other in bodies] for one in bodies]


def test_a_conflict_names_the_value_and_offers_a_revision_only_where_there_is_one():
    (score,) = said(replace(ASSESSMENT, outcome=Score(9, 0, 10))).differences(said().digest)
    assert score.reason == (
        "is '9.0 of 0.0 to 10.0', but was something else when an event with the same learner, source and event_id was "
        "sent before: send another event_id, or revises: true if this replaces it"
    )
    (pace,) = said(replace(PREFERENCE, pace=2)).differences(said(PREFERENCE).digest)
    assert pace.reason.endswith("was sent before: send another event_id")


@pytest.mark.parametrize("body", [INTERACTION, PREFERENCE, CORRECTION], ids=lambda body: type(body).__name__)
def test_only_an_assessment_can_be_revised(body):
    assert problems_of(submission(revises=True), NOW) == []
    (problem,) = problems_of(replace(submission(body, revises=True), event_id="e9"), NOW)
    assert problem.field == "revises"
    assert problem.reason.startswith("is true, but only an assessment can be revised: leave it out")


@given(st.lists(st.binary(min_size=ENTRY_BYTES, max_size=ENTRY_BYTES)), st.integers(0, 23))
def test_an_identity_is_found_only_at_the_start_of_an_entry(entries, shift):
    identity = EventIdentity("riverbend", "A" * 26, "gradebook", "e1")
    entry = entry_of(identity, b"d" * DIGEST_BYTES)
    # The entry's bytes, moved, look like it inside of others.
    shifted = bytes(shift) + entry + bytes(ENTRY_BYTES - shift)
    packed = b"".join(entries)
    expected = b"d" * DIGEST_BYTES if not shift else None
    assert RecentLearner(packed + shifted).digest_of(identity) == expected
    assert RecentLearner(entry + shifted).digest_of(identity) == b"d" * DIGEST_BYTES
