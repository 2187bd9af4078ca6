"""Simulated classrooms: learners of a grade, the order in which their teacher assigns resources, and their work."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from services.recommender.domain.learner.events import (
    AssessmentEvent,
    Grain,
    InteractionEvent,
    InteractionKind,
    LearnerEvent,
)
from services.recommender.domain.ranking.catalog import FloatColumn
from services.recommender.evaluation.closed_loop.course import FORMS, GRADES, Course
from services.recommender.evaluation.closed_loop.simulated_learner import SimulatedLearner

STEPS_PER_SESSION = 6
# Days of the week, from Monday, with a session.
_SESSION_DAYS = (0, 2, 4)
_DAYS_PER_WEEK = 7
DELAY_DAYS = 7
"""Mastery is measured this long after the last session, as a delayed test does."""

# What a teacher assigns of each skill, as indices into FORMS, one resource of each: of all but one form both copies.
_ASSIGNED_FORMS = (0, 1, 1, 2, 2, 3, 4)
# Learners work on something else than what was assigned this often: earlier work, or anything of their grade.
_EARLIER, _ELSEWHERE = 0.1, 0.05

_DAY_S = 86_400
# Between the resource and the number in the id of an item.
_ITEM = "/q"
_SCHOOL_BEGINS_S = 9 * 3_600


@dataclass(frozen=True)
class Classroom:
    """A class.

    Attributes:
        number: its number.
        grade: its grade, 0 for the lowest.
        plan: the resources its teacher assigns, in order: skill by skill, prerequisites first.
    """

    number: int
    grade: int
    plan: tuple[int, ...]


@dataclass
class Pupil:
    """A learner of a classroom at work, and what their work came to. Days are counted from the first session.

    Attributes:
        learner_id: the learner's pseudonym.
        classroom: their class.
        learner: what they know; hidden from policies.
        monday_s: midnight before the first session, Unix seconds.
        done: the resources worked on, by how often.
        assigned: how far they are in the class's plan.
        steps: steps taken, also those sat out.
        events: number of events so far.
        minutes: spent at work, or sat out.
        failures: wrong answers.
        sat_out: steps sat out.
    """

    learner_id: str
    classroom: Classroom
    learner: SimulatedLearner
    monday_s: int
    done: dict[int, int] = field(default_factory=dict)
    assigned: int = 0
    steps: int = 0
    events: int = 0
    minutes: float = 0.0
    failures: int = 0
    sat_out: int = 0
    _day: float = 0.0
    _session_minutes: float = 0.0
    _quit: bool = False

    @property
    def day(self) -> float:
        """The day of the current session."""
        return self._day

    @property
    def now_s(self) -> int:
        """The time, Unix seconds."""
        return self.monday_s + int(self._day * _DAY_S + _SCHOOL_BEGINS_S + 60 * self._session_minutes)

    def step(self, course: Course) -> bool:
        """Begin the next step; return whether the learner works. They sit it out after quitting the session."""
        if self.steps % STEPS_PER_SESSION == 0:
            day = day_of_session(self.steps // STEPS_PER_SESSION)
            self.learner.begin_session(day - self._day)
            self._day, self._session_minutes, self._quit = day, 0.0, False
        self.steps += 1
        if self._quit:
            self.minutes += course.minutes_of_a_step
            self.sat_out += 1
        return not self._quit

    def work_on(self, course: Course, resource: int) -> list[tuple[int, LearnerEvent]]:
        """Work on a resource; return the events that a platform would send, each with its offset."""
        work = self.learner.work_on(resource)
        items = int(course.items[resource])
        minutes = float(course.minutes[resource]) * (len(work.responses) / items if items else 1.0)
        self.minutes += minutes
        self._session_minutes += minutes
        self.failures += work.responses.count(False)
        self.done[resource] = self.done.get(resource, 0) + 1
        self._quit = work.quits
        return list(self._events(course, resource, work.responses))

    def test_later(self, last_day: float) -> FloatColumn:
        """S; their mastery when it is measured, DELAY_DAYS after the day of the last session. Call it last."""
        self.learner.begin_session(last_day + DELAY_DAYS - self._day)
        return self.learner.mastery

    def _events(self, course: Course, resource: int, responses: Sequence[bool]) -> Iterator[tuple[int, LearnerEvent]]:
        resource_id = course.resource_ids[resource]
        if not responses:
            yield self.events, InteractionEvent(self._next_id(), self.now_s, resource_id, InteractionKind.COMPLETED)
        skills = (course.skill_ids[course.skill[resource]],)
        for number, right in enumerate(responses, 1):
            item = f"{resource_id}{_ITEM}{number}"
            yield (
                self.events,
                AssessmentEvent(
                    self._next_id(), float(right), self.now_s, item, resource_id, skills, Grain.ITEM, resource_id
                ),
            )

    def _next_id(self) -> bytes:
        self.events += 1
        return struct.pack("<Q", self.events)


class Chooses(Protocol):
    """Decides what learners work on next."""

    def choose(self, pupil: Pupil) -> int:
        """The next resource."""
        ...


def item_number(item: str) -> int:
    """The number of an item in its resource, from 1."""
    return int(item.rpartition(_ITEM)[2])


def day_of(at_s: int, monday_s: int) -> float:
    """The day of a moment, counted from midnight before the first session."""
    return float((at_s - monday_s) // _DAY_S)


def day_of_session(session: int) -> float:
    """The day of a session, from 0: three in a week."""
    week, place = divmod(session, len(_SESSION_DAYS))
    return float(_DAYS_PER_WEEK * week + _SESSION_DAYS[place])


class Assigned:
    """What the teacher of a class assigns next. It is the same for every learner of a class, whatever they answered."""

    def __init__(self, course: Course) -> None:
        """Args: `course`."""
        self._course = course

    def choose(self, pupil: Pupil) -> int:
        """The next resource of the plan that the learner has not worked on; after the last, the plan again."""
        plan = pupil.classroom.plan
        for place in range(pupil.assigned, len(plan)):
            if plan[place] not in pupil.done:
                pupil.assigned = place + 1
                return plan[place]
        resource = plan[pupil.assigned % len(plan)]
        pupil.assigned += 1
        return resource


class RoughlyAssigned(Assigned):
    """What learners of a class really do: mostly what is assigned, now and then something else."""

    def __init__(self, course: Course, rng: np.random.Generator) -> None:
        """Args: `course`; `rng` of what learners do instead."""
        super().__init__(course)
        self._rng = rng

    def choose(self, pupil: Pupil) -> int:
        """The next resource."""
        drawn = self._rng.random()
        if drawn < _EARLIER and pupil.done:
            return int(self._rng.choice(list(pupil.done)))
        if drawn < _EARLIER + _ELSEWHERE:
            of_grade = np.flatnonzero(self._course.grades[self._course.skill] == pupil.classroom.grade)
            return int(self._rng.choice(of_grade))
        return super().choose(pupil)


def draw_classrooms(course: Course, per_grade: int, seed: Sequence[int]) -> list[Classroom]:
    """Some classrooms of every grade, each with its own plan.

    Args:
        course: the course.
        per_grade: classrooms of each grade.
        seed: decides the plans.
    """
    rng = np.random.default_rng(seed)
    return [
        Classroom(number, number % GRADES, _draw_plan(course, number % GRADES, rng))
        for number in range(GRADES * per_grade)
    ]


def _draw_plan(course: Course, grade: int, rng: np.random.Generator) -> tuple[int, ...]:
    plan: list[int] = []
    for skill in course.skills_of(grade):
        drawn = {form: rng.permutation(course.resources_of(skill, form)).tolist() for form in range(len(FORMS))}
        plan += [drawn[form].pop() for form in _ASSIGNED_FORMS]
    return tuple(plan)


def draw_pupils(
    course: Course,
    classrooms: Sequence[Classroom],
    kind: type[SimulatedLearner],
    learners: int,
    monday_s: int,
    seed: Sequence[int],
) -> list[Pupil]:
    """The learners of some classrooms, spread evenly over them.

    Args:
        course: the course.
        classrooms: their classes.
        kind: how they learn.
        learners: number of learners.
        monday_s: midnight before their first session, Unix seconds.
        seed: with the number of a learner, decides who they are and what happens to them.
    """
    pupils = []
    for number in range(learners):
        classroom = classrooms[number % len(classrooms)]
        learner = kind.draw(course, classroom.grade, np.random.default_rng([*seed, number]))
        # The order of ids must not say who is in which class.
        pupils.append(Pupil(f"learner-{number:05d}", classroom, learner, monday_s))
    return pupils
