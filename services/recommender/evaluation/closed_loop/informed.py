"""A policy that knows how simulated learners learn, but sees only what they answered: how far answers can lead.

It supposes many learners, drawn as the real ones are, and keeps those who would have answered alike: a particle filter
(Gordon, Salmond, Smith: Novel approach to nonlinear/non-Gaussian Bayesian state estimation, IEE Proceedings F 140(2),
1993). No deployed system knows how its learners learn, so this is a reference and no competitor.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np

from services.recommender.domain.learner.events import AssessmentEvent, InteractionEvent, LearnerEvent
from services.recommender.domain.ranking.catalog import FloatColumn
from services.recommender.evaluation.closed_loop.classrooms import Pupil, day_of, item_number
from services.recommender.evaluation.closed_loop.course import Course
from services.recommender.evaluation.closed_loop.policies import Events
from services.recommender.evaluation.closed_loop.simulated_learner import SimulatedLearner

SUPPOSED = 40
# Below this share of learners who count effectively, they are drawn again.
_RESAMPLE_BELOW = 0.7


class Informed:
    """Takes the resource with the highest gain per minute that is expected of the supposed learners."""

    def __init__(
        self, course: Course, pupils: Sequence[Pupil], kind: type[SimulatedLearner], measured_on_day: float, seed: int
    ) -> None:
        """Suppose learners for each learner.

        Args:
            course: the course.
            pupils: the learners; only their ids, grades and first days are used.
            kind: how they learn.
            measured_on_day: the day on which mastery is measured.
            seed: of the supposed learners.
        """
        self._course = course
        self._measured_on_day = measured_on_day
        self._row = {resource: row for row, resource in enumerate(course.resource_ids)}
        self._monday_s = {pupil.learner_id: pupil.monday_s for pupil in pupils}
        self._supposed = {
            pupil.learner_id: _Supposed(course, kind, pupil.classroom.grade, np.random.default_rng([seed, number]))
            for number, pupil in enumerate(pupils)
        }

    def observe(self, events: Events) -> None:
        """Take note of what learners did."""
        for learner, new in events.items():
            supposed, monday_s = self._supposed[learner], self._monday_s[learner]
            for first, responses in _acts([event for _, event in new]):
                supposed.advance(day_of(first.at_s, monday_s))
                supposed.update(self._row[first.resource], responses)

    def choose(self, pupil: Pupil) -> int:
        """The next resource."""
        supposed = self._supposed[pupil.learner_id]
        supposed.advance(pupil.day)
        return int((supposed.expected_gains(self._measured_on_day - pupil.day) / self._course.minutes).argmax())


class _Supposed:
    """Learners that one learner may be like, and how likely each is."""

    def __init__(self, course: Course, kind: type[SimulatedLearner], grade: int, rng: np.random.Generator) -> None:
        self._learners = [kind.draw(course, grade, rng) for _ in range(SUPPOSED)]
        self._weights = np.full(SUPPOSED, 1.0 / SUPPOSED)
        self._rng = rng
        self._day = 0.0

    def advance(self, day: float) -> None:
        """Begin the session of a day, if it is a later one."""
        if day > self._day:
            for learner in self._learners:
                learner.begin_session(day - self._day)
            self._day = day

    def update(self, resource: int, responses: Sequence[bool]) -> None:
        """Weigh the learners by how likely the answers were, and let them learn."""
        if responses:
            chances = np.array([learner.chances[resource] for learner in self._learners])
            right = sum(responses)
            self._weights *= chances**right * (1.0 - chances) ** (len(responses) - right)
            self._weights /= self._weights.sum()
            if 1.0 / (self._weights**2).sum() < _RESAMPLE_BELOW * SUPPOSED:
                self._resample()
        for learner in self._learners:
            learner.learn_from(resource, responses)

    def expected_gains(self, days_left: float) -> FloatColumn:
        """R; what working on each resource now is expected to add."""
        gains: FloatColumn = self._weights @ np.array([each.expected_gains(days_left) for each in self._learners])
        return gains

    def _resample(self) -> None:
        drawn = np.sort(self._rng.choice(SUPPOSED, SUPPOSED, p=self._weights)).tolist()
        learners = [_copied(self._learners[place]) for place in drawn]
        for place, (before, now) in enumerate(zip([-1, *drawn], drawn, strict=False)):
            if before == now:
                # Who is there twice would stay the same learner for ever.
                learners[place].roughen(self._rng)
        self._learners, self._weights = learners, np.full(SUPPOSED, 1.0 / SUPPOSED)


def _copied(learner: SimulatedLearner) -> SimulatedLearner:
    """A learner with arrays of its own."""
    twin = copy.copy(learner)
    for name, value in vars(learner).items():
        if isinstance(value, np.ndarray):
            setattr(twin, name, value.copy())
    return twin


def _acts(events: Sequence[LearnerEvent]) -> Iterator[tuple[AssessmentEvent | InteractionEvent, list[bool]]]:
    """The resources worked on, in order: the first event of each, and the answers."""
    first: AssessmentEvent | InteractionEvent | None = None
    responses: list[bool] = []
    for event in events:
        if isinstance(event, AssessmentEvent) and item_number(event.item) > 1:
            responses.append(event.response > 0)
            continue
        if first is not None:
            yield first, responses
        if isinstance(event, AssessmentEvent | InteractionEvent):
            first, responses = event, [event.response > 0] if isinstance(event, AssessmentEvent) else []
    if first is not None:
        yield first, responses
