"""Which events the log accepts: every limit of the contract, and the errors for the rest."""

import dataclasses
import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.resource_kinds import ResourceKind
from services.ingest.domain.kinds.assessment import Assessment, Grain
from services.ingest.domain.kinds.correction import Correction, Void
from services.ingest.domain.kinds.interaction import Interaction, InteractionKind
from services.ingest.domain.kinds.preference import Pace, Preference
from services.ingest.domain.outcome import Score
from services.ingest.domain.problems import ProblemKind
from services.ingest.domain.submission import Instant, Submission
from services.ingest.domain.validation import problems_of

NOW = Instant(1_800_000_000, 500)
RIGHT = Submission("ada", "gradebook", Assessment(item="item-1", outcome=True), occurred_at=Instant(1_700_000_000))


def assessed(**changes):
    return dataclasses.replace(RIGHT, body=dataclasses.replace(RIGHT.body, **changes))


def submitted(**changes):
    return dataclasses.replace(RIGHT, **changes)


@pytest.mark.parametrize(
    "submission",
    [
        RIGHT,
        submitted(learner_id="ö" * 256, source="s" * 256, event_id="e" * 128, source_sequence="q" * 128),
        submitted(occurred_at=None),
        submitted(occurred_at=Instant(0)),
        submitted(occurred_at=Instant(NOW.seconds + 300, NOW.nanoseconds)),
        assessed(item="i" * 256, activity="a" * 256),
        assessed(item="", activity="quiz", grain=Grain.ACTIVITY),
        assessed(item="", activity="quiz"),
        assessed(skills=tuple(f"skill-{n}" for n in range(16))),
        assessed(outcome=Score(0, 0, 1)),
        assessed(outcome=Score(-1, -1, -0.5)),
        assessed(attempt=1, hints=0, duration_ms=0),
    ],
)
def test_values_within_the_limits_are_accepted(submission):
    assert problems_of(submission, NOW) == []


# Derived Property: Default_Ignorable_Code_Point, of DerivedCoreProperties.txt in version 14.0 of Unicode.
DERIVED_CORE_PROPERTIES = """
    00AD 034F 061C 115F..1160 17B4..17B5 180B..180D 180E 180F 200B..200F 202A..202E 2060..2064 2065 2066..206F 3164
    FE00..FE0F FEFF FFA0 FFF0..FFF8 1BCA0..1BCA3 1D173..1D17A E0000 E0001 E0002..E001F E0020..E007F E0080..E00FF
    E0100..E01EF E01F0..E0FFF
"""
IGNORABLE = [
    range(int(first, 16), int(last or first, 16) + 1)
    for first, _, last in (each.partition("..") for each in DERIVED_CORE_PROPERTIES.split())
]
# Visible in no font, and yet a symbol to Unicode.
BRAILLE_BLANK = 0x2800


@pytest.mark.parametrize("other", ["", "\u00a0"], ids=["printable", "not printable"])
def test_control_format_and_invisible_characters_are_refused_and_all_others_accepted(other):
    ends = {code + step for one in IGNORABLE for code in (one[0], one[-1]) for step in (-1, 0, 1)}
    for code in sorted({*range(0x3100), *ends, 0xD800, 0xDFFF, 0xE000, 0xFFFD, 0x1F600}):
        found = [problem.kind for problem in problems_of(submitted(learner_id=f"a{chr(code)}{other}"), NOW)]
        refused = (
            unicodedata.category(chr(code)) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
            or any(code in one for one in IGNORABLE)
            or code == BRAILLE_BLANK
        )
        assert found == [ProblemKind.CONTROL_CHARACTER] * refused, hex(code)


@pytest.mark.parametrize(
    ("character", "words"),
    [
        ("\u200b", "format character U+200B ZERO WIDTH SPACE at position 1: remove it"),
        ("\u202e", "format character U+202E RIGHT-TO-LEFT OVERRIDE"),
        ("\ufeff", "format character U+FEFF ZERO WIDTH NO-BREAK SPACE"),
        ("\ud83d", "lone surrogate U+D83D at"),
        ("\u2028", "line separator U+2028 LINE SEPARATOR"),
        ("\x00", "control character U+0000 at"),
        ("\u3164", "invisible character U+3164 HANGUL FILLER at position 1: remove it"),
        ("\ufe0f", "invisible character U+FE0F VARIATION SELECTOR-16"),
        ("\u2800", "invisible character U+2800 BRAILLE PATTERN BLANK"),
        ("\u2065", "invisible character U+2065 at"),
    ],
)
def test_a_character_that_nobody_sees_is_refused_by_its_name(character, words):
    for wrong in (submitted(learner_id=f"a{character}b"), submitted(event_id=f"a{character}b")):
        (problem,) = problems_of(wrong.normalised(), NOW)
        assert words in problem.reason


NFD, NFC = "Jose\u0301", "Jos\u00e9"


def test_ids_that_look_the_same_are_the_same():
    def all_ids(one, body):
        return Submission(one, one, body, event_id=one, source_sequence=one).normalised()

    for sent in (NFD, f" {NFC}\n", f"\u00a0{NFD}\u3000"):
        for body_of in (
            lambda one: Assessment(item=one, activity=one, skills=(one,), outcome=True),
            lambda one: Interaction(one, 1, one),
            lambda one: Correction(one, Void(), one),
            lambda one: Preference(goals=(one,)),
        ):
            assert all_ids(sent, body_of(sent)) == all_ids(NFC, body_of(NFC))


def test_an_event_whose_ids_need_no_change_is_not_copied():
    submission = submitted(body=Assessment(item="i", activity=NFC, skills=("s", "t"), outcome=True), event_id="e")
    assert submission.normalised() is submission


def test_an_id_of_nothing_but_white_space_is_named_and_not_taken_for_absent():
    (problem,) = problems_of(submitted(event_id=" \t").normalised(), NOW)
    assert "U+0009" in problem.reason
    (problem,) = problems_of(submitted(event_id="\u3000").normalised(), NOW)
    assert "only white space" in problem.reason


@pytest.mark.parametrize(
    ("submission", "field", "kind", "words"),
    [
        (submitted(learner_id=""), "learner_id", ProblemKind.MISSING, "send the platform's id"),
        (submitted(learner_id=" \u00a0"), "learner_id", ProblemKind.MISSING, "white space"),
        (submitted(learner_id="l" * 257), "learner_id", ProblemKind.TOO_LONG, "257"),
        (submitted(learner_id="a\nb"), "learner_id", ProblemKind.CONTROL_CHARACTER, "U+000A at position 1"),
        (submitted(source=""), "source", ProblemKind.MISSING, "send the name"),
        (submitted(source="s" * 257), "source", ProblemKind.TOO_LONG, "257"),
        (submitted(source="s\x7f"), "source", ProblemKind.CONTROL_CHARACTER, "U+007F"),
        (submitted(event_id="e" * 129), "event_id", ProblemKind.TOO_LONG, "at most 128"),
        (submitted(event_id="\x00"), "event_id", ProblemKind.CONTROL_CHARACTER, "U+0000"),
        (submitted(source_sequence="q" * 129), "source_sequence", ProblemKind.TOO_LONG, "at most 128"),
        (submitted(occurred_at=Instant(-1)), "occurred_at", ProblemKind.OUT_OF_RANGE, "1 s before 1970"),
        (submitted(occurred_at=Instant(5, -1)), "occurred_at", ProblemKind.OUT_OF_RANGE, "-1 ns"),
        (submitted(occurred_at=Instant(5, 10**9)), "occurred_at", ProblemKind.OUT_OF_RANGE, "1000000000 ns"),
        (submitted(occurred_at=Instant(2**62)), "occurred_at", ProblemKind.OUT_OF_RANGE, "year 9999"),
        (
            submitted(occurred_at=Instant(NOW.seconds + 300, NOW.nanoseconds + 1)),
            "occurred_at",
            ProblemKind.FROM_THE_FUTURE,
            "300 s ahead",
        ),
        (submitted(body=None), "body", ProblemKind.MISSING, "say what happened"),
        (assessed(item=""), "assessment.item", ProblemKind.MISSING, "name the item"),
        (assessed(item="", grain=Grain.ACTIVITY), "assessment.activity", ProblemKind.MISSING, "the activity"),
        (assessed(item="", activity="q", grain=Grain.ITEM), "assessment.item", ProblemKind.MISSING, "GRAIN_ACTIVITY"),
        (assessed(grain=Grain.ACTIVITY), "assessment.activity", ProblemKind.MISSING, "GRAIN_ITEM"),
        (
            assessed(activity="q", grain=Grain.ACTIVITY),
            "assessment.item",
            ProblemKind.CONTRADICTORY,
            "'item-1' but the grain is an activity",
        ),
        (assessed(grain=7), "assessment.grain", ProblemKind.UNKNOWN, "is 7"),
        (assessed(item="i" * 257), "assessment.item", ProblemKind.TOO_LONG, "257"),
        (assessed(activity="a\t"), "assessment.activity", ProblemKind.CONTROL_CHARACTER, "U+0009"),
        (assessed(skills=tuple(map(str, range(17)))), "assessment.skills", ProblemKind.TOO_MANY, "17"),
        (assessed(skills=("a", "")), "assessment.skills[1]", ProblemKind.MISSING, "a skill's id"),
        (assessed(skills=("a", "b", "a")), "assessment.skills[2]", ProblemKind.REPEATED, "skills[0]"),
        (assessed(skills=("a", "b\r")), "assessment.skills[1]", ProblemKind.CONTROL_CHARACTER, "U+000D"),
        (assessed(skills=("s" * 257,)), "assessment.skills[0]", ProblemKind.TOO_LONG, "257"),
        (assessed(outcome=None), "assessment.outcome", ProblemKind.MISSING, "correct, or score"),
        (assessed(outcome=Score(math.nan, 0, 1)), "assessment.score.raw", ProblemKind.NOT_FINITE, "is nan"),
        (assessed(outcome=Score(1, -math.inf, 1)), "assessment.score.min", ProblemKind.NOT_FINITE, "is -inf"),
        (assessed(outcome=Score(1, 0, math.inf)), "assessment.score.max", ProblemKind.NOT_FINITE, "is inf"),
        (assessed(outcome=Score(1, 1, 1)), "assessment.score.max", ProblemKind.OUT_OF_RANGE, "not above min 1"),
        (assessed(outcome=Score(0, 1, 0)), "assessment.score.max", ProblemKind.OUT_OF_RANGE, "is 0"),
        (assessed(outcome=Score(10.5, 0, 10)), "assessment.score.raw", ProblemKind.OUT_OF_RANGE, "10.5"),
        (assessed(outcome=Score(-0.5, 0, 10)), "assessment.score.raw", ProblemKind.OUT_OF_RANGE, "-0.5"),
        (assessed(attempt=0), "assessment.attempt", ProblemKind.OUT_OF_RANGE, "from 1"),
    ],
)
def test_a_problem_names_the_field_the_value_and_the_remedy(submission, field, kind, words):
    (problem,) = problems_of(submission, NOW)
    assert (problem.field, problem.kind) == (field, kind)
    assert words in problem.reason
    assert ": " in problem.reason or problem.kind is ProblemKind.TOO_LONG


def test_all_problems_of_an_event_are_named_at_once():
    wrong = Submission("", "", Assessment(outcome=Score(2, 0, 1), attempt=0), occurred_at=Instant(-5))
    fields = [problem.field for problem in problems_of(wrong, NOW)]
    assert fields == [
        "learner_id",
        "source",
        "occurred_at",
        "assessment.item",
        "assessment.score.raw",
        "assessment.attempt",
    ]


@given(st.text(min_size=300, max_size=5_000))
def test_the_message_about_a_long_value_stays_short(value):
    for problem in problems_of(submitted(source=value), NOW):
        assert len(problem.reason) < 600


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (Score(1.0000000000000002, 0, 1), 1.0),
        (Score(-1e-12, 0, 1), 0.0),
        (Score(100.00000000000001, 0, 100), 100.0),
        (Score(99.99999999999999, 0, 100), 100.0),
        (Score(-1e308 * (1 + 1e-10), -1e308, 1e308), -1e308),
    ],
)
def test_points_that_arithmetic_left_near_a_bound_are_the_bound(sent, meant):
    for body in (Assessment(item="i", outcome=sent), Correction("e1", sent)):
        normal = submitted(body=body).normalised()
        assert problems_of(normal, NOW) == []
        outcome = normal.body.outcome if isinstance(body, Assessment) else normal.body.change
        assert outcome.raw == meant


@pytest.mark.parametrize("score", [Score(1 + 2e-9, 0, 1), Score(-2e-9, 0, 1), Score(0, 0, math.inf), Score(2, 1, 1)])
def test_points_further_beyond_a_bound_stay_what_they_are_and_are_refused(score):
    normal = assessed(outcome=score).normalised()
    assert normal.body.outcome is score
    assert len(problems_of(normal, NOW)) == 1


INTERACTION = Interaction("video-1", InteractionKind.COMPLETED)
CORRECTION = Correction("e1", Void())


@pytest.mark.parametrize(
    "body",
    [
        *(Interaction("r" * 256, kind, "r" * 64, 0) for kind in (1, 2, 3)),
        Preference(goals=()),
        Preference(
            goals=tuple(f"skill-{n}" for n in range(16)),
            interests=tuple(f"topic-{n}" for n in range(32)),
            formats=tuple(kind for kind in ResourceKind if kind),
            pace=Pace.BRISK,
        ),
        CORRECTION,
        Correction("e" * 128, change=False, target_source="s" * 256),
        Correction("e1", Score(1, 0, 2)),
    ],
)
def test_other_kinds_within_their_limits_enter(body):
    assert problems_of(submitted(body=body), NOW) == []


@pytest.mark.parametrize(
    ("body", "field", "kind", "words"),
    [
        (Interaction("", 1), "interaction.resource", ProblemKind.MISSING, "id in the catalog"),
        (Interaction("r" * 257, 1), "interaction.resource", ProblemKind.TOO_LONG, "257"),
        (Interaction("r\n", 1), "interaction.resource", ProblemKind.CONTROL_CHARACTER, "U+000A"),
        (Interaction("r", 0), "interaction.kind", ProblemKind.MISSING, "INTERACTION_KIND_OPENED (1)"),
        (Interaction("r", 4), "interaction.kind", ProblemKind.UNKNOWN, "is 4"),
        (Interaction("r", 1, "x" * 65), "interaction.recommendation_id", ProblemKind.TOO_LONG, "at most 64"),
        (Preference(), "preference", ProblemKind.MISSING, "set goals"),
        (Preference(goals=("a", "a")), "preference.goals.skills[1]", ProblemKind.REPEATED, "skills[0]"),
        (Preference(goals=("",)), "preference.goals.skills[0]", ProblemKind.MISSING, "a skill's id"),
        (Preference(goals=tuple("abcdefghijklmnopq")), "preference.goals.skills", ProblemKind.TOO_MANY, "17"),
        (Preference(interests=("Dogs",)), "preference.interests.topics[0]", ProblemKind.UNKNOWN, "'Dogs'"),
        (Preference(interests=("a", "a")), "preference.interests.topics[1]", ProblemKind.REPEATED, "topics[0]"),
        (
            Preference(interests=tuple(map(str, range(33)))),
            "preference.interests.topics",
            ProblemKind.TOO_MANY,
            "at most 32",
        ),
        (Preference(formats=(7,)), "preference.formats.kinds[0]", ProblemKind.UNKNOWN, "LESSON (1)"),
        (Preference(formats=(0,)), "preference.formats.kinds[0]", ProblemKind.UNKNOWN, "is 0"),
        (Preference(formats=(1, 1)), "preference.formats.kinds[1]", ProblemKind.REPEATED, "kinds[0]"),
        (Preference(pace=4), "preference.pace", ProblemKind.UNKNOWN, "PACE_GENTLE (1)"),
        (Correction("", Void()), "correction.target_event_id", ProblemKind.MISSING, "PublishEvents derived it"),
        (Correction("e" * 129, Void()), "correction.target_event_id", ProblemKind.TOO_LONG, "at most 128"),
        (Correction("e1", Void(), "s" * 257), "correction.target_source", ProblemKind.TOO_LONG, "257"),
        (Correction("e1", None), "correction.change", ProblemKind.MISSING, "send voided"),
        (Correction("e1", Score(3, 0, 2)), "correction.score.raw", ProblemKind.OUT_OF_RANGE, "outside min 0 to max 2"),
        (Correction("e1", Score(math.nan, 0, 2)), "correction.score.raw", ProblemKind.NOT_FINITE, "is nan"),
    ],
)
def test_problems_of_other_kinds_of_events_are_reported_the_same_way(body, field, kind, words):
    (problem,) = problems_of(submitted(body=body), NOW)
    assert (problem.field, problem.kind) == (field, kind)
    assert words in problem.reason
    assert ": " in problem.reason


@pytest.mark.parametrize("target_source", ["", "gradebook"])
def test_a_correction_cannot_be_about_itself(target_source):
    (problem,) = problems_of(submitted(event_id="e1", body=Correction("e1", Void(), target_source)), NOW)
    assert (problem.field, problem.kind) == ("correction.target_event_id", ProblemKind.CONTRADICTORY)
    assert not problems_of(submitted(event_id="e1", body=Correction("e1", Void(), "elsewhere")), NOW)
