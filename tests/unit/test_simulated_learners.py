"""Simulated learners: what can and cannot happen to what they know."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.resource_kinds import ResourceKind
from services.recommender.evaluation.closed_loop.course import FORMS, GRADES, draw_course
from services.recommender.evaluation.closed_loop.learners import (
    GUESS,
    LEARNERS,
    SLIP,
    ForgettingLearner,
    GuessingLearner,
    PrerequisiteLearner,
    QuittingLearner,
)

COURSE = draw_course(3)
GRADUAL = [kind for kind in LEARNERS if kind is not GuessingLearner]
LESSON, EASY, MEDIUM, HARD, ASSESSMENT = range(len(FORMS))

kinds = st.sampled_from(LEARNERS)
seeds = st.integers(0, 2**32)
grades = st.integers(0, GRADES - 1)
works = st.lists(st.integers(0, len(COURSE) - 1), max_size=30)
days = st.floats(0.0, 60.0)


def drawn(kind, seed, grade=2):
    return kind.draw(COURSE, grade, np.random.default_rng(seed))


def knowing(kind, mastery, seed=1):
    """A learner of average pace."""
    known = np.array(mastery) >= 0.5 if kind is GuessingLearner else np.array(mastery, np.float64)
    return kind(COURSE, known, 1.0, np.random.default_rng(seed))


def built_on() -> int:
    """A skill with prerequisites."""
    return next(skill for skill, before in enumerate(COURSE.prerequisites) if before)


def resource(skill, form) -> int:
    return COURSE.resources_of(skill, form)[0]


@given(kinds, seeds, grades, works, days)
def test_mastery_stays_between_0_and_1_whatever_happens(kind, seed, grade, work, rest):
    learner = drawn(kind, seed, grade)
    for place, each in enumerate(work):
        learner.begin_session(rest if place % 3 == 0 else 0.0)
        learner.work_on(each)
        assert (learner.mastery >= 0.0).all()
        assert (learner.mastery <= 1.0).all()
    assert len(learner.mastery) == len(COURSE.skill_ids)


@given(st.sampled_from([kind for kind in LEARNERS if kind is not ForgettingLearner]), seeds, works)
def test_work_never_lowers_mastery_and_raises_only_the_skill_of_the_resource(kind, seed, work):
    learner = drawn(kind, seed)
    for each in work:
        before = learner.mastery
        learner.begin_session(3.0)
        learner.work_on(each)
        changed = np.flatnonzero(learner.mastery != before)
        assert (learner.mastery >= before).all()
        assert set(changed.tolist()) <= {int(COURSE.skill[each])}


@given(st.sampled_from(GRADUAL), st.floats(0.0, 1.0), st.sampled_from([EASY, MEDIUM, HARD, ASSESSMENT]), seeds)
def test_nobody_learns_from_items_far_too_hard(kind, known, form, seed):
    skill = built_on()
    mastery = np.ones(len(COURSE.skill_ids))
    # An item always fails .3 of mastery below its level, but for guesses.
    mastery[skill] = max(min(known, FORMS[form].level - 0.3), 0.0)
    learner = knowing(kind, mastery, seed)
    before, chance = learner.mastery[skill], learner.chances[resource(skill, form)]
    learner.work_on(resource(skill, form))
    if FORMS[form].level - before >= 0.3:
        assert learner.mastery[skill] == before
        assert chance == pytest.approx(GUESS)
    else:
        assert learner.mastery[skill] > before
        assert chance > GUESS


@given(kinds, st.integers(0, len(COURSE) - 1), seeds)
def test_nobody_learns_a_skill_without_any_of_its_prerequisites(kind, each, seed):
    skill = int(COURSE.skill[each])
    learner = knowing(kind, np.zeros(len(COURSE.skill_ids)), seed)
    # For those who quit it is negative: the session may be lost.
    assert learner.expected_gains(7.0)[each] < 1e-12 or not COURSE.prerequisites[skill]
    for _ in range(20):
        learner.begin_session(0.0)
        learner.work_on(each)
    if COURSE.prerequisites[skill]:
        assert (learner.mastery == 0.0).all()


@pytest.mark.parametrize("kind", GRADUAL)
@pytest.mark.parametrize(("weakest", "ceiling"), [(0.2, 0.0), (0.45, 0.5), (0.7, 1.0), (0.9, 1.0)])
def test_practice_raises_a_skill_only_as_far_as_its_weakest_prerequisite_allows(kind, weakest, ceiling):
    skill = built_on()
    mastery = np.ones(len(COURSE.skill_ids))
    mastery[COURSE.prerequisites[skill][0]] = weakest
    for start in (0.0, ceiling - 0.01):
        mastery[skill] = max(start, 0.0)
        learner = knowing(kind, mastery)
        for form, copy in itertools.product((LESSON, EASY, MEDIUM, HARD), (0, 1)):
            learner.begin_session(0.0)
            learner.work_on(COURSE.resources_of(skill, form)[copy])
        assert learner.mastery[skill] <= max(ceiling, start) + 1e-9
        assert learner.mastery[skill] > start or ceiling == 0.0


def test_a_learner_who_does_not_know_a_skill_may_learn_it_once_all_prerequisites_are_known():
    skill = next(skill for skill, before in enumerate(COURSE.prerequisites) if len(before) == 2)
    first, second = COURSE.prerequisites[skill]
    for known, learns in (((), False), ((first,), False), ((second,), False), ((first, second), True)):
        mastery = np.zeros(len(COURSE.skill_ids))
        mastery[list(known)] = 1.0
        gain = knowing(GuessingLearner, mastery).expected_gains(0.0)[resource(skill, LESSON)]
        assert (gain > 0) == learns


@given(seeds, st.floats(0.1, 60.0))
def test_forgetting_lowers_every_skill_that_is_known_the_more_the_longer(seed, rest):
    learner = drawn(ForgettingLearner, seed)
    before = learner.mastery
    learner.begin_session(rest)
    after = learner.mastery
    learner.begin_session(rest)
    known = before > 0
    assert (after[known] < before[known]).all()
    assert (learner.mastery[known] < after[known]).all()


def test_a_new_skill_is_half_forgotten_in_two_weeks_and_after_a_review_on_another_day_in_four():
    mastery = np.full(len(COURSE.skill_ids), 0.9)
    skill = built_on()
    mastery[skill] = 0.4
    learner = knowing(ForgettingLearner, mastery)
    learner.begin_session(14.0)
    assert learner.mastery[skill] == pytest.approx(0.2)
    learner.work_on(resource(skill, EASY))
    reviewed = learner.mastery[skill]
    assert reviewed > 0.2
    learner.begin_session(28.0)
    assert learner.mastery[skill] == pytest.approx(reviewed / 2)


def test_a_second_review_on_the_same_day_does_not_slow_forgetting():
    learner = knowing(ForgettingLearner, np.full(len(COURSE.skill_ids), 0.4))
    skill = built_on()
    learner.begin_session(14.0)
    learner.work_on(resource(skill, EASY))
    learner.work_on(COURSE.resources_of(skill, EASY)[1])
    once = learner.mastery[skill]
    learner.begin_session(28.0)
    assert learner.mastery[skill] == pytest.approx(once / 2)


def test_what_was_known_once_is_learned_again_faster_than_at_first():
    at_first, again = (knowing(ForgettingLearner, np.full(len(COURSE.skill_ids), 0.9)) for _ in range(2))
    skill = built_on()
    for learner, known in ((at_first, 0.3), (again, 0.6)):
        learner._mastery[skill], learner._peak[skill], learner._half_life[skill] = known, known, 14.0
    again.begin_session(14.0)
    at_first.work_on(resource(skill, MEDIUM))
    again.work_on(resource(skill, MEDIUM))
    # An item of a medium exercise succeeds in .5 + (.3 - .4) / .6 of all cases. The one learner gains that share of .8
    # of the way to .7; the other of the whole way back to .6, and of .8 of the way from there to .7.
    reach = 1 / 3
    assert at_first.mastery[skill] == pytest.approx(0.3 + reach * 0.8 * 0.4)
    assert again.mastery[skill] == pytest.approx(0.3 + reach * (0.3 + 0.8 * 0.1))
    assert again.mastery[skill] > at_first.mastery[skill]


@given(seeds, st.integers(0, len(COURSE) - 1), st.floats(0.0, 60.0))
def test_the_expected_gain_of_a_forgetting_learner_is_what_is_left_of_it_when_measured(seed, each, left):
    working, idle = drawn(ForgettingLearner, seed), drawn(ForgettingLearner, seed)
    expected = working.expected_gains(left)[each]
    working.work_on(each)
    for learner in (working, idle):
        learner.begin_session(left)
    assert working.mastery.sum() - idle.mastery.sum() == pytest.approx(expected, abs=1e-9)


@given(seeds, st.integers(0, len(COURSE) - 1))
def test_the_expected_gain_of_a_learner_with_prerequisites_is_what_they_gain(seed, each):
    learner = drawn(PrerequisiteLearner, seed)
    before, expected = learner.mastery.sum(), learner.expected_gains(0.0)[each]
    learner.work_on(each)
    assert learner.mastery.sum() - before == pytest.approx(expected, abs=1e-12)


def test_the_expected_gain_of_a_guessing_learner_is_how_often_they_learn():
    skill = built_on()
    mastery = np.ones(len(COURSE.skill_ids))
    mastery[skill] = 0.0
    each = resource(skill, LESSON)
    learned = 0.0
    for seed in range(2_000):
        learner = knowing(GuessingLearner, mastery, seed)
        expected = learner.expected_gains(0.0)[each]
        learner.work_on(each)
        learned += learner.mastery[skill] / 2_000
    assert learned == pytest.approx(expected, abs=3 * np.sqrt(0.25 / 2_000))


@given(kinds, seeds)
def test_the_same_resource_again_gives_less(kind, seed):
    skill = built_on()
    mastery = np.ones(len(COURSE.skill_ids))
    mastery[skill] = 0.3
    learner = knowing(kind, mastery, seed)
    each, other = COURSE.resources_of(skill, LESSON)
    learner.work_on(each)
    gains = learner.expected_gains(0.0)
    assert gains[each] < gains[other] or gains[other] <= 0


@given(st.sampled_from(GRADUAL), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_who_masters_more_answers_right_more_often_but_for_guesses_and_slips(kind, one, other):
    low, high = sorted((one, other))
    weaker, stronger = (knowing(kind, np.full(len(COURSE.skill_ids), each)) for each in (low, high))
    assert (weaker.chances <= stronger.chances).all()
    with_items = COURSE.items > 0
    for learner in (weaker, stronger):
        assert (learner.chances[with_items] >= GUESS - 1e-12).all()
        assert (learner.chances[with_items] <= 1 - SLIP + 1e-12).all()


def test_answers_are_right_as_often_as_the_chance_says():
    for kind in (PrerequisiteLearner, GuessingLearner):
        learner = knowing(kind, np.full(len(COURSE.skill_ids), 0.45))
        skill = built_on()
        right, count, chance = 0, 0, learner.chances[resource(skill, MEDIUM)]
        for seed in range(500):
            responses = knowing(kind, np.full(len(COURSE.skill_ids), 0.45), seed).work_on(resource(skill, MEDIUM))
            right, count = right + sum(responses.responses), count + len(responses.responses)
        assert right / count == pytest.approx(chance, abs=3 * np.sqrt(0.25 / count))


@given(seeds, works)
def test_a_learner_quits_after_a_number_of_wrong_answers_in_a_row_and_answers_no_more(seed, work):
    learner = drawn(QuittingLearner, seed)
    learner.begin_session(0.0)
    in_a_row, patience = 0, learner._patience
    for each in work:
        done = learner.work_on(each)
        for place, right in enumerate(done.responses):
            in_a_row = 0 if right else in_a_row + 1
            assert (in_a_row == patience) == (done.quits and place == len(done.responses) - 1)
        assert done.quits or len(done.responses) == COURSE.items[each]
        if done.quits:
            return


def test_a_learner_who_quit_has_less_patience_the_next_time_and_gets_it_back():
    learner = knowing(QuittingLearner, np.zeros(len(COURSE.skill_ids)), seed=4)
    hard, easy = resource(built_on(), HARD), resource(0, LESSON)
    learner.begin_session(0.0)
    at_first = learner._patience
    while not learner.work_on(hard).quits:
        pass
    learner.begin_session(2.0)
    assert learner._patience == max(at_first - 1, 2)
    learner.work_on(easy)
    learner.begin_session(2.0)
    assert learner._patience == at_first


@settings(max_examples=30)
@given(seeds, st.lists(st.booleans(), max_size=1))
def test_the_chance_to_quit_is_that_of_all_sequences_of_answers_with_enough_wrong_ones_in_a_row(seed, wrong):
    learner = drawn(QuittingLearner, seed)
    learner.begin_session(0.0)
    learner._in_a_row = len(wrong)
    computed, chances = learner._chance_to_quit(), learner.chances
    for each in (resource(built_on(), form) for form in (LESSON, EASY, HARD, ASSESSMENT)):
        total = 0.0
        for answers in itertools.product((True, False), repeat=int(COURSE.items[each])):
            in_a_row, quits = len(wrong), False
            for right in answers:
                in_a_row = 0 if right else in_a_row + 1
                quits = quits or in_a_row == learner._patience
            rights = sum(answers)
            total += quits * chances[each] ** rights * (1 - chances[each]) ** (len(answers) - rights)
        assert computed[each] == pytest.approx(total, abs=1e-12)


@given(kinds, seeds, grades)
def test_of_later_grades_nothing_is_known_and_of_earlier_ones_more_than_of_the_own(kind, seed, grade):
    mastery = np.mean([drawn(kind, (seed, number), grade).mastery for number in range(40)], axis=0)
    assert (mastery[COURSE.grades > grade] == 0).all()
    if grade:
        assert mastery[COURSE.grades < grade].mean() > mastery[COURSE.grades == grade].mean() + 0.3


@pytest.mark.parametrize("kind", LEARNERS)
def test_the_same_seed_gives_the_same_learner_and_the_same_answers(kind):
    one, other = drawn(kind, 9), drawn(kind, 9)
    assert (one.mastery == other.mastery).all()
    practice = np.flatnonzero(COURSE.kind == ResourceKind.PRACTICE)[:20].tolist()
    assert [one.work_on(each) for each in practice] == [other.work_on(each) for each in practice]
    assert (one.mastery == other.mastery).all()
