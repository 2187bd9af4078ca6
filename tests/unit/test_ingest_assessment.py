"""The content of an accepted event: its response on [0, 1], its skills and its id."""

import math

from hypothesis import assume, example, given
from hypothesis import strategies as st

from services.ingest.domain.kinds.assessment import Assessment, SkillsFrom, stamp
from services.ingest.domain.kinds.correction import Correction, Void
from services.ingest.domain.kinds.interaction import Interaction
from services.ingest.domain.kinds.preference import Preference
from services.ingest.domain.outcome import Score, normalised
from services.ingest.domain.submission import Instant, Submission, event_ids_of

FINITE = st.floats(allow_nan=False, allow_infinity=False)
CATALOG = {
    "item-1": ("fractions", "decimals"),
    "quiz-1": ("ratios",),
    "lesson-1": (),
    "broad": tuple(f"skill-{n:02}" for n in range(20)),
}


@st.composite
def scores(draw):
    low, raw, high = sorted((draw(FINITE), draw(FINITE), draw(FINITE)))
    assume(low < high)
    return Score(raw, low, high)


@given(scores())
@example(Score(0.0, -1.7e308, 1.7e308))
@example(Score(5e-324, 0.0, 5e-324))
@example(Score(-0.0, 0.0, 1.0))
def test_a_response_lies_between_0_and_1(score):
    response = normalised(score)
    assert 0 <= response <= 1
    assert math.copysign(1, response) == 1


@given(scores(), FINITE)
def test_more_points_never_give_a_lower_response(score, other):
    assume(score.min <= other <= score.max)
    less, more = sorted((score.raw, other))
    assert normalised(Score(less, score.min, score.max)) <= normalised(Score(more, score.min, score.max))


def test_the_minimum_middle_and_maximum_of_a_scale_are_0_a_half_and_1():
    assert [normalised(Score(raw, 1, 5)) for raw in (1, 3, 5)] == [0.0, 0.5, 1.0]
    assert [normalised(correct) for correct in (False, True)] == [0.0, 1.0]


def stamped(**fields):
    result = stamp(Assessment(**fields, outcome=True), CATALOG.get)
    return result.skills, result.skills_from, result.resource


def test_the_platforms_own_skills_come_first():
    assert stamped(item="item-1", skills=("algebra",)) == (("algebra",), SkillsFrom.EVENT, "item-1")


def test_without_skills_in_the_event_those_of_the_items_resource_are_used():
    assert stamped(item="item-1", activity="quiz-1") == (("fractions", "decimals"), SkillsFrom.CATALOG, "item-1")


def test_an_item_unknown_to_the_catalog_gets_the_skills_of_its_activity():
    assert stamped(item="item-9", activity="quiz-1") == (("ratios",), SkillsFrom.CATALOG, "quiz-1")


def test_an_item_whose_resource_assesses_nothing_gets_the_skills_of_its_activity():
    assert stamped(item="lesson-1", activity="quiz-1") == (("ratios",), SkillsFrom.CATALOG, "lesson-1")


def test_unknown_skills_are_marked():
    assert stamped(item="item-9") == ((), SkillsFrom.NONE, "")
    assert stamped(item="lesson-1") == ((), SkillsFrom.NONE, "lesson-1")


def test_only_the_16_heaviest_skills_of_a_resource_are_stamped():
    assert stamped(item="broad")[0] == CATALOG["broad"][:16]


def identified(event_id="", occurred_at=None, sequence="7", item="item-1", source="gradebook"):
    assessment = Assessment(item=item, outcome=True)
    submission = Submission("ada", source, assessment, event_id, occurred_at, sequence)
    return event_ids_of(submission, "riverbend", "A" * 26)[0]


def test_an_events_own_id_is_kept():
    assert identified(event_id="mine") == "mine"


def test_derived_ids_are_stable_so_that_a_file_can_be_reloaded_after_upgrades():
    assert identified() == "2981e470-dafe-54cf-a2cc-1104073995e3"


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3), st.none() | st.integers(0, 9)), max_size=6))
def test_derived_ids_are_equal_only_when_the_natural_keys_are(keys):
    ids = {
        identified(item=item, sequence=sequence, occurred_at=None if at is None else Instant(at))
        for item, sequence, at in keys
    }
    assert len(ids) == len(set(keys))


def test_an_unknown_time_differs_from_the_beginning_of_1970():
    assert identified(occurred_at=Instant(0)) != identified()


BODIES = (
    Assessment(item="1", activity="interaction", outcome=True),
    Assessment(item="interaction", activity="1", outcome=True),
    Interaction("1", 1),
    Interaction("1", 2),
    Preference(goals=()),
    Preference(interests=()),
    Preference(goals=("a",)),
    Preference(goals=("a", "1")),
    Preference(goals=("a",), interests=("1",)),
    Preference(formats=(1,)),
    Preference(pace=1),
    Correction("e1", Void()),
    Correction("e1", change=True),
    Correction("e1", change=False),
    Correction("e1", Score(1, 0, 2)),
    Correction("e1", Void(), "elsewhere"),
    Correction("e2", Void()),
)


def derived(body):
    return event_ids_of(Submission("ada", "gradebook", body, "", None, "7"), "riverbend", "A" * 26)[0]


def test_events_with_different_content_have_different_derived_ids():
    assert len({derived(body) for body in BODIES}) == len(BODIES)


def test_a_correction_that_names_its_own_source_equals_one_that_omits_it():
    assert derived(Correction("e1", Void(), "gradebook")) == derived(Correction("e1", Void()))


def test_the_derived_ids_of_other_kinds_are_stable_too():
    assert derived(Interaction("video-1", 2)) == "e7256188-4121-5ac1-b624-bf1c306c6385"
    assert derived(Preference(goals=("fractions",), pace=1)) == "8c8df50a-6e29-5d47-8759-8374152cf12f"
    assert derived(Correction("e1", Score(1, 0, 2))) == "1dc25ceb-ea62-53d6-8075-a8e6c8445ed9"


def both_ids(ordinal=0, former_id_taken=False, **changes):  # noqa: FBT002 - a field of the submission.
    body = Assessment(item="item-1", outcome=True, **changes)
    submission = Submission(
        "ada", "gradebook", body, source_sequence="7", ordinal=ordinal, former_id_taken=former_id_taken
    )
    return event_ids_of(submission, "riverbend", "A" * 26)


def test_skills_attempt_and_ordinal_tell_acts_apart_and_the_order_of_skills_does_not():
    acts = [{"skills": ("a",)}, {"skills": ("a", "b")}, {"attempt": 1}, {"attempt": 2}, {"ordinal": 1}, {"ordinal": 2}]
    assert len({both_ids(**act)[0] for act in [{}, *acts]}) == 7
    assert both_ids(skills=("a", "b")) == both_ids(skills=("b", "a"))


def test_an_event_whose_id_changed_carries_the_one_that_the_first_release_derived():
    former = "2981e470-dafe-54cf-a2cc-1104073995e3"
    assert both_ids() == (former, "")
    assert both_ids(skills=("a",))[1] == both_ids(attempt=2)[1] == former
    assert both_ids(skills=("a",), former_id_taken=True)[1] == ""
