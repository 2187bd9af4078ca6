"""Runs every policy with the same simulated learners, for each way of learning."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from services.recommender.domain.learner.events import LearnerEvent
from services.recommender.evaluation.closed_loop.answers import (
    SERVED,
    Answers,
    need_only,
    next_item_only,
    store,
    train,
)
from services.recommender.evaluation.closed_loop.classrooms import (
    DELAY_DAYS,
    STEPS_PER_SESSION,
    Assigned,
    Chooses,
    Pupil,
    RoughlyAssigned,
    day_of_session,
    draw_classrooms,
    draw_pupils,
)
from services.recommender.evaluation.closed_loop.course import GRADES, SKILLS_PER_GRADE, Course, draw_course
from services.recommender.evaluation.closed_loop.informed import Informed
from services.recommender.evaluation.closed_loop.policies import (
    Events,
    Oracle,
    Policy,
    Popular,
    Random,
    Unobserving,
)
from services.recommender.evaluation.closed_loop.simulated_learner import SimulatedLearner
from services.recommender.evaluation.intervals import Floats
from services.recommender.evaluation.results import SERVED as SERVED_NAME

RANDOM, INFORMED, ORACLE = "random", "informed", "oracle"

# Mondays, Unix seconds: 1 September 2025 and 31 August 2026.
_COHORT_BEGINS_S, _CLASSES_BEGIN_S = 1_756_684_800, 1_788_134_400
_COHORT_CLASSES_PER_GRADE = 2
_CLASSES_PER_GRADE = 2
# Steps that the teacher assigns before a policy decides: three sessions.
ASSIGNED_STEPS = 3 * STEPS_PER_SESSION

# One in each classroom.
LEARNERS_MIN = GRADES * _CLASSES_PER_GRADE

Advance = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class RunSettings:
    """The size of a run, and its seed.

    Attributes:
        learners: simulated learners for each way of learning, and as many in the earlier cohort that models learn from.
        steps: resources that a policy decides for each.
        seed: decides everything that is drawn.
        cohort_steps: resources that each learner of the earlier cohort worked on: by default a year's plan.
    """

    learners: int = 40
    steps: int = 42
    seed: int = 1
    cohort_steps: int = 7 * SKILLS_PER_GRADE


@dataclass(frozen=True)
class Outcome:
    """What came of one policy, by learner.

    Attributes:
        gained: mastery, summed over skills, above what the learner would have without any work.
        hours: spent, also those sat out.
        failures: wrong answers.
        sat_out: steps sat out.
    """

    gained: Floats
    hours: Floats
    failures: Floats
    sat_out: Floats


@dataclass(frozen=True)
class Simulation:
    """What came of every policy with one kind of learners.

    Attributes:
        learners: how they learn.
        classroom: the classroom of each learner.
        outcomes: by policy.
        learned: whether the ranker has trees; a small cohort is too little to grow them.
    """

    learners: str
    classroom: np.ndarray[tuple[int], np.dtype[np.int64]]
    outcomes: Mapping[str, Outcome]
    learned: bool = True


POLICIES = (SERVED_NAME, "untrained", "need", "next_item", "assigned", "popular", RANDOM, INFORMED, ORACLE)
STEPS_OF_PROGRESS = len(POLICIES) + 2


def simulate(
    kind: type[SimulatedLearner], settings: RunSettings, advance: Callable[[str], None] = lambda _step: None
) -> Simulation:
    """Run every policy with learners of one kind.

    Args:
        kind: how they learn.
        settings: the size of the run.
        advance: called with the name of each step as it starts.
    """
    course = draw_course(settings.seed)
    # The numbers that are computed at a time are few: synchronising threads would take longer than computing on one.
    with threadpool_limits(1), tempfile.TemporaryDirectory() as folder:
        advance("an earlier cohort")
        cohort = _cohort_of(course, kind, settings)
        advance("training on it")
        trained = Answers(course.catalog(), train(cohort.events, f"{folder}/bundles", settings.seed))
        learned = trained.learned
        untrained = Answers(course.catalog(), store(f"{folder}/none"))
        make: dict[str, Callable[[], Policy]] = {
            SERVED_NAME: lambda: trained.policy(SERVED),
            "untrained": lambda: untrained.policy(SERVED),
            "need": lambda: trained.policy(need_only),
            "next_item": lambda: trained.policy(next_item_only),
            "assigned": lambda: Unobserving(Assigned(course)),
            "popular": lambda: Unobserving(Popular(cohort.popularity)),
            RANDOM: lambda: Unobserving(Random(course, [settings.seed, 5])),
            INFORMED: lambda: Informed(
                course, _begin(course, kind, settings)[0], kind, _last_day(settings) + DELAY_DAYS, settings.seed
            ),
            ORACLE: lambda: Unobserving(Oracle(course, _last_day(settings) + DELAY_DAYS)),
        }
        outcomes = {}
        for name in POLICIES:
            advance(name)
            outcomes[name] = _outcome(course, kind, settings, make[name]())
    classrooms = [pupil.classroom.number for pupil in _begin(course, kind, settings)[0]]
    return Simulation(kind.name, np.array(classrooms, np.int64), outcomes, learned)


@dataclass(frozen=True)
class _Cohort:
    """What an earlier cohort did: its events, and how many learners worked on each resource."""

    events: Events
    popularity: Floats


def _cohort_of(course: Course, kind: type[SimulatedLearner], settings: RunSettings) -> _Cohort:
    classrooms = draw_classrooms(course, _COHORT_CLASSES_PER_GRADE, [settings.seed, 2])
    pupils = draw_pupils(course, classrooms, kind, settings.learners, _COHORT_BEGINS_S, [settings.seed, 3])
    events = _as_assigned(course, pupils, settings.cohort_steps, [settings.seed, 4])
    popularity = np.zeros(len(course))
    for pupil in pupils:
        popularity[list(pupil.done)] += 1
    # Learners of the cohort are others than those of the classes.
    return _Cohort({f"earlier-{learner}": of for learner, of in events.items()}, popularity)


def _begin(course: Course, kind: type[SimulatedLearner], settings: RunSettings) -> tuple[list[Pupil], Events]:
    """The learners of the classes after their first sessions, the same in every call, and what they did."""
    classrooms = draw_classrooms(course, _CLASSES_PER_GRADE, [settings.seed, 6])
    pupils = draw_pupils(course, classrooms, kind, settings.learners, _CLASSES_BEGIN_S, [settings.seed, 7])
    events = _as_assigned(course, pupils, ASSIGNED_STEPS, [settings.seed, 8])
    for pupil in pupils:
        pupil.minutes, pupil.failures, pupil.sat_out = 0.0, 0, 0
    return pupils, events


def _as_assigned(course: Course, pupils: Sequence[Pupil], steps: int, seed: Sequence[int]) -> Events:
    """Let learners work as their teachers assign, more or less, and return what they did."""
    chooses = RoughlyAssigned(course, np.random.default_rng(seed))
    events: dict[str, list[tuple[int, LearnerEvent]]] = {pupil.learner_id: [] for pupil in pupils}
    for _ in range(steps):
        for learner, new in _step(course, pupils, chooses).items():
            events[learner] += new
    return events


def _step(course: Course, pupils: Sequence[Pupil], chooses: Chooses) -> Events:
    """One step of every learner who works; what they did."""
    working = [pupil for pupil in pupils if pupil.step(course)]
    return {pupil.learner_id: pupil.work_on(course, chooses.choose(pupil)) for pupil in working}


def _last_day(settings: RunSettings) -> float:
    """The day of the last session."""
    return day_of_session((ASSIGNED_STEPS + settings.steps - 1) // STEPS_PER_SESSION)


def _outcome(course: Course, kind: type[SimulatedLearner], settings: RunSettings, policy: Policy) -> Outcome:
    pupils, events = _begin(course, kind, settings)
    policy.observe(events)
    for _ in range(settings.steps):
        policy.observe(_step(course, pupils, policy))
    idle, _ = _begin(course, kind, settings)
    last_day = _last_day(settings)
    gained = [
        float(pupil.test_later(last_day).sum() - without.test_later(last_day).sum())
        for pupil, without in zip(pupils, idle, strict=True)
    ]
    return Outcome(
        np.array(gained),
        np.array([pupil.minutes / 60 for pupil in pupils]),
        np.array([float(pupil.failures) for pupil in pupils]),
        np.array([float(pupil.sat_out) for pupil in pupils]),
    )
