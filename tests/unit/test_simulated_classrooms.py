"""The simulated course, its classrooms, and the policies that Cairn does not decide."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.learner.events import AssessmentEvent, Grain, InteractionEvent, InteractionKind
from services.recommender.evaluation.closed_loop.classrooms import (
    STEPS_PER_SESSION,
    Assigned,
    Classroom,
    Pupil,
    RoughlyAssigned,
    draw_classrooms,
    draw_pupils,
)
from services.recommender.evaluation.closed_loop.course import FORMS, GRADES, SKILLS_PER_GRADE, draw_course
from services.recommender.evaluation.closed_loop.informed import SUPPOSED, Informed
from services.recommender.evaluation.closed_loop.learners import LEARNERS, PrerequisiteLearner
from services.recommender.evaluation.closed_loop.policies import Oracle, Popular, Random
from services.recommender.evaluation.closed_loop.simulated_learner import Work

COURSE = draw_course(3)
MONDAY_S = int(datetime(2026, 8, 31, tzinfo=UTC).timestamp())
LESSON = COURSE.resources_of(0, 0)[0]
EASY = COURSE.resources_of(0, 1)[0]

seeds = st.integers(0, 2**32)


@dataclass
class FakeLearner:
    """Answers as it is told."""

    answers: list[Work] = field(default_factory=list)
    sessions: list[float] = field(default_factory=list)
    gains: np.ndarray | None = None

    def begin_session(self, days):
        self.sessions.append(days)

    def work_on(self, resource):
        return self.answers.pop(0) if self.answers else Work((True,) * int(COURSE.items[resource]))

    def expected_gains(self, days_left):
        return self.gains * days_left

    @property
    def mastery(self):
        return np.zeros(len(COURSE.skill_ids))


def pupil(*answers, plan=(), **known) -> Pupil:
    return Pupil("ada", Classroom(0, 0, plan), FakeLearner(list(answers), **known), MONDAY_S)


@settings(max_examples=20)
@given(seeds)
def test_a_skill_builds_only_on_earlier_skills_of_its_grade_and_of_the_grade_before(seed):
    course = draw_course(seed)
    assert Counter(course.grades.tolist()) == dict.fromkeys(range(GRADES), SKILLS_PER_GRADE)
    for skill, before in enumerate(course.prerequisites):
        grade = course.grades[skill]
        assert all(each < skill and course.grades[each] in {grade, grade - 1} for each in before)
        assert before or grade == 0
        assert len(set(before)) == len(before) <= 2


def test_the_same_seed_gives_the_same_course_and_another_one_another():
    assert draw_course(3).prerequisites == COURSE.prerequisites
    assert draw_course(3).skill.tolist() == COURSE.skill.tolist()
    assert draw_course(4).prerequisites != COURSE.prerequisites
    assert draw_course(4).skill.tolist() != COURSE.skill.tolist()


def test_every_skill_is_taught_practised_at_three_levels_and_assessed():
    for skill in range(len(COURSE.skill_ids)):
        about = np.flatnonzero(COURSE.skill == skill)
        kinds = Counter(COURSE.kind[about].tolist())
        assert kinds == {ResourceKind.LESSON: 2, ResourceKind.PRACTICE: 6, ResourceKind.ASSESSMENT: 2}
        practice = about[COURSE.kind[about] == ResourceKind.PRACTICE]
        assert len(set(COURSE.level[practice].tolist())) == 3


def test_the_catalog_has_the_resources_of_the_course_in_its_order_with_grades_and_prerequisites():
    catalog = COURSE.catalog()
    assert catalog.resource_ids == COURSE.resource_ids
    assert catalog.kinds.tolist() == COURSE.kind.tolist()
    assert catalog.minutes.tolist() == COURSE.minutes.tolist()
    for row in range(len(COURSE)):
        skill = int(COURSE.skill[row])
        (slot,) = catalog.tags.row(row).tolist()
        assert catalog.skill_ids[slot] == COURSE.skill_ids[skill]
        named = {catalog.skill_ids[each] for each in catalog.skill_prerequisites.row(slot).tolist()}
        assert named == {COURSE.skill_ids[each] for each in COURSE.prerequisites[skill]}
        assert row in catalog.grades.rows[str(3 + int(COURSE.grades[skill]))]
    assessed = catalog.tag_assesses.tolist()
    assert assessed == (COURSE.kind != ResourceKind.LESSON).tolist()
    assert catalog.tag_teaches.tolist() == (COURSE.kind != ResourceKind.ASSESSMENT).tolist()


def test_the_order_of_ids_says_nothing_about_skill_or_form():
    numbers = np.arange(len(COURSE))
    for column in (COURSE.skill, COURSE.form):
        assert abs(np.corrcoef(numbers, column)[0, 1]) < 3 / np.sqrt(len(COURSE))


def test_a_class_is_assigned_its_grades_skills_in_order_lessons_first_and_assessments_last():
    for classroom in draw_classrooms(COURSE, 2, [1]):
        skills = [int(COURSE.skill[each]) for each in classroom.plan]
        assert list(dict.fromkeys(skills)) == COURSE.skills_of(classroom.grade)
        assert len(set(classroom.plan)) == len(classroom.plan) == 7 * SKILLS_PER_GRADE
        for skill in set(skills):
            of_skill = [each for each in classroom.plan if COURSE.skill[each] == skill]
            assert [FORMS[COURSE.form[each]].kind for each in (of_skill[0], of_skill[-1])] == [
                ResourceKind.LESSON,
                ResourceKind.ASSESSMENT,
            ]


def test_classes_of_a_grade_have_plans_of_their_own():
    one, other = (each for each in draw_classrooms(COURSE, 2, [1]) if each.grade == 1)
    assert one.plan != other.plan


def test_what_is_assigned_depends_on_the_plan_and_not_on_the_answers():
    plan = draw_classrooms(COURSE, 1, [1])[0].plan
    for right in (True, False):
        learner = pupil(*(Work((right,) * int(COURSE.items[each])) for each in plan), plan=plan)
        chosen = []
        for _ in plan:
            chosen.append(Assigned(COURSE).choose(learner))
            learner.step(COURSE)
            learner.work_on(COURSE, chosen[-1])
        assert chosen == list(plan)


def test_the_teacher_goes_on_after_work_of_the_learners_own_and_starts_again_after_the_last():
    learner = pupil(plan=(LESSON, EASY))
    learner.work_on(COURSE, LESSON)
    assert [Assigned(COURSE).choose(learner) for _ in range(3)] == [EASY, LESSON, EASY]


def test_most_of_what_learners_of_a_cohort_do_is_assigned_and_some_is_not():
    classrooms = draw_classrooms(COURSE, 1, [1])
    chooses = RoughlyAssigned(COURSE, np.random.default_rng(1))
    share = []
    for each in draw_pupils(COURSE, classrooms, PrerequisiteLearner, 50, MONDAY_S, [1]):
        for step in range(30):
            each.step(COURSE)
            chosen = chooses.choose(each)
            share.append(chosen == each.classroom.plan[each.assigned - 1] and each.assigned > 0)
            assert COURSE.grades[COURSE.skill[chosen]] == each.classroom.grade
            each.work_on(COURSE, chosen)
            assert each.steps == step + 1
    assert 0.8 < np.mean(share) < 0.95


def test_sessions_are_on_mondays_wednesdays_and_fridays_at_nine():
    learner = pupil()
    begun = []
    for step in range(4 * STEPS_PER_SESSION):
        learner.step(COURSE)
        if step % STEPS_PER_SESSION == 0:
            begun.append(datetime.fromtimestamp(learner.now_s, UTC))
        learner.work_on(COURSE, EASY)
    assert [(each.strftime("%a"), each.hour) for each in begun] == [("Mon", 9), ("Wed", 9), ("Fri", 9), ("Mon", 9)]
    assert learner.learner.sessions == [0.0, 2.0, 2.0, 3.0]


def test_mastery_is_measured_a_week_after_the_last_session():
    learner = pupil()
    learner.step(COURSE)
    learner.test_later(11.0)
    assert learner.learner.sessions == [0.0, 18.0]


def test_a_learner_who_quits_sits_out_the_rest_of_the_session_which_takes_time():
    learner = pupil(Work((False, False), quits=True))
    assert learner.step(COURSE)
    learner.work_on(COURSE, EASY)
    worked = COURSE.minutes[EASY] * 2 / 4
    assert learner.minutes == pytest.approx(worked)
    assert [learner.step(COURSE) for _ in range(STEPS_PER_SESSION - 1)] == [False] * (STEPS_PER_SESSION - 1)
    assert learner.minutes == pytest.approx(worked + (STEPS_PER_SESSION - 1) * COURSE.minutes.mean())
    assert (learner.failures, learner.sat_out) == (2, STEPS_PER_SESSION - 1)
    assert learner.step(COURSE)


def test_each_answer_is_an_event_with_the_skill_of_the_resource_and_a_lesson_is_completed():
    learner = pupil(Work(()), Work((True, False)))
    learner.step(COURSE)
    lesson = learner.work_on(COURSE, LESSON)
    answers = learner.work_on(COURSE, EASY)
    assert [offset for offset, _ in [*lesson, *answers]] == [0, 1, 2]
    (_, completed), (_, right), (_, wrong) = [*lesson, *answers]
    assert isinstance(completed, InteractionEvent)
    assert (completed.resource, completed.kind) == (COURSE.resource_ids[LESSON], InteractionKind.COMPLETED)
    assert isinstance(right, AssessmentEvent)
    assert (right.response, wrong.response) == (1.0, 0.0)
    assert right.resource == right.activity == COURSE.resource_ids[EASY]
    assert right.item != wrong.item
    assert right.skills == (COURSE.skill_ids[0],)
    assert right.grain is Grain.ITEM
    assert right.at_s == learner.now_s > completed.at_s
    assert len({event.fingerprint for event in (completed, right, wrong)}) == 3


def test_random_takes_everything_once_before_it_repeats_anything():
    learner, policy = pupil(), Random(COURSE, [1])
    for _ in range(len(COURSE)):
        learner.work_on(COURSE, policy.choose(learner))
    assert set(learner.done.values()) == {1}
    assert policy.choose(learner) in range(len(COURSE))


def test_popular_takes_what_most_learners_worked_on_and_the_learner_has_not():
    popularity = np.zeros(len(COURSE))
    popularity[[7, 8, 9]] = 3, 5, 4
    learner, chosen = pupil(), []
    for _ in range(3):
        chosen.append(Popular(popularity).choose(learner))
        learner.work_on(COURSE, chosen[-1])
    assert chosen == [8, 9, 7]


def test_the_oracle_takes_the_highest_expected_gain_per_minute():
    gains = np.zeros(len(COURSE))
    gains[LESSON], gains[EASY] = 1.0, 0.6
    # A lesson takes 12 minutes, an easy exercise 7.
    assert Oracle(COURSE, 5.0).choose(pupil(gains=gains)) == EASY
    gains[EASY] = 0.58
    assert Oracle(COURSE, 5.0).choose(pupil(gains=gains)) == LESSON


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(LEARNERS), seeds)
def test_learners_of_the_oracle_gain_more_than_those_of_random(kind, seed):
    gained = []
    for policy in (Oracle(COURSE, 28.0), Random(COURSE, [seed])):
        learners = draw_pupils(COURSE, draw_classrooms(COURSE, 1, [1]), kind, 10, MONDAY_S, [seed])
        before = sum(each.learner.mastery.sum() for each in learners)
        for _ in range(30):
            for each in learners:
                if each.step(COURSE):
                    each.work_on(COURSE, policy.choose(each))
        gained.append(sum(each.test_later(21.0).sum() for each in learners) - before)
    assert gained[0] > gained[1]


class Hidden:
    """A learner that nobody may look at."""

    def __getattr__(self, name):
        raise AssertionError(f"a policy looked at what is true of the learner: {name}")


def informed(kind, learners, seed=1):
    return Informed(COURSE, learners, kind, 28.0, seed)


def history(learners, policy, steps):
    """Let learners work as a policy decides; return their events."""
    events = {each.learner_id: [] for each in learners}
    for _ in range(steps):
        for each in learners:
            if each.step(COURSE):
                events[each.learner_id] += each.work_on(COURSE, policy.choose(each))
    return events


@pytest.mark.parametrize("kind", LEARNERS)
def test_the_informed_policy_does_not_look_at_what_is_true_of_learners(kind):
    learners = draw_pupils(COURSE, draw_classrooms(COURSE, 1, [1]), kind, 5, MONDAY_S, [2])
    events = history(learners, Random(COURSE, [1]), 12)
    for each in learners:
        each.learner = Hidden()
    policy = informed(kind, learners)
    policy.observe(events)
    assert all(0 <= policy.choose(each) < len(COURSE) for each in learners)


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(LEARNERS), seeds)
def test_the_informed_policy_decides_as_the_oracle_when_what_it_supposes_is_true(kind, seed):
    learners = draw_pupils(COURSE, draw_classrooms(COURSE, 1, [1]), kind, 5, MONDAY_S, [seed])
    history(learners, Random(COURSE, [seed]), 5)
    policy = informed(kind, learners)
    for each in learners:
        policy._supposed[each.learner_id]._learners = [each.learner] * SUPPOSED
        assert policy.choose(each) == Oracle(COURSE, 28.0).choose(each)


@pytest.mark.parametrize("kind", LEARNERS)
def test_the_informed_policy_weighs_supposed_learners_by_how_likely_the_answers_were(kind):
    (learner,) = draw_pupils(COURSE, draw_classrooms(COURSE, 1, [1]), kind, 1, MONDAY_S, [2])
    policy = informed(kind, [learner])
    supposed = policy._supposed[learner.learner_id]
    chances = [each.chances[EASY] for each in supposed._learners]
    learner.learner = FakeLearner([Work((True, False, True, True))])
    learner.step(COURSE)
    events = learner.work_on(COURSE, EASY)
    supposed._resample = lambda: None
    policy.observe({learner.learner_id: events})
    likely = np.array([chance**3 * (1 - chance) for chance in chances])
    assert supposed._weights == pytest.approx(likely / likely.sum())


def test_the_informed_policy_draws_supposed_learners_again_as_often_as_they_weigh():
    (learner,) = draw_pupils(COURSE, draw_classrooms(COURSE, 1, [1]), LEARNERS[0], 1, MONDAY_S, [2])
    supposed = informed(LEARNERS[0], [learner])._supposed[learner.learner_id]
    likely = supposed._learners[7]
    supposed._weights = np.full(SUPPOSED, 0.1 / (SUPPOSED - 1))
    supposed._weights[7] = 0.9
    known = likely.mastery
    supposed._resample()
    assert supposed._weights.tolist() == [1 / SUPPOSED] * SUPPOSED
    near = [np.abs(each.mastery - known).max() < 0.2 for each in supposed._learners]
    assert 0.7 < np.mean(near) <= 1.0
    # All but the first of them were changed a little, and none is another's object.
    assert len({each.mastery.tobytes() for each in supposed._learners}) == SUPPOSED
    assert likely.mastery.tolist() == known.tolist()


def test_the_informed_policy_goes_through_lessons_and_answers_day_by_day():
    learner = pupil(Work(()), Work((True, False)), Work((True, True, False)))
    seen = []

    class Recorder:
        def advance(self, day):
            seen.append(day)

        def update(self, resource, responses):
            seen.append((resource, responses))

    policy = informed(LEARNERS[0], [learner])
    policy._supposed[learner.learner_id] = Recorder()
    events = []
    for step in range(STEPS_PER_SESSION + 1):
        learner.step(COURSE)
        if step in {0, 1, STEPS_PER_SESSION}:
            events += learner.work_on(COURSE, LESSON if step == 0 else EASY)
    policy.observe({learner.learner_id: events})
    assert seen == [0.0, (LESSON, []), 0.0, (EASY, [True, False]), 2.0, (EASY, [True, True, False])]


def test_the_informed_policy_lets_supposed_learners_rest_between_sessions():
    learner = pupil()
    supposed = informed(LEARNERS[0], [learner])._supposed[learner.learner_id]
    supposed._learners = [FakeLearner(), FakeLearner()]
    for day in (0.0, 2.0, 2.0, 7.0):
        supposed.advance(day)
    assert [each.sessions for each in supposed._learners] == [[2.0, 5.0]] * 2
