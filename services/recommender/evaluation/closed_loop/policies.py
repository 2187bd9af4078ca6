"""The policies under comparison, apart from those that Cairn's answers decide (see `answers`).

A policy decides what a learner works on next, at every step, from the catalog, the events so far, and what an earlier
cohort did. Only the oracle sees what is true of the learner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from services.recommender.domain.learner.events import LearnerEvent
from services.recommender.domain.ranking.catalog import FloatColumn
from services.recommender.evaluation.closed_loop.classrooms import Chooses, Pupil
from services.recommender.evaluation.closed_loop.course import Course

Events = Mapping[str, Sequence[tuple[int, LearnerEvent]]]
"""New events by learner, each learner's in order with their offsets."""


class Policy(Chooses, Protocol):
    """Decides what learners work on next. Only the oracle may look at `pupil.learner`."""

    def observe(self, events: Events) -> None:
        """Take note of what learners did."""
        ...


class Unobserving:
    """A policy that does not depend on what learners answered."""

    def __init__(self, chooses: Chooses) -> None:
        """Args: `chooses`, which decides."""
        self._chooses = chooses

    def observe(self, events: Events) -> None:
        """Ignore them."""

    def choose(self, pupil: Pupil) -> int:
        """The next resource."""
        return self._chooses.choose(pupil)


class Random:
    """Any resource the learner has not worked on."""

    def __init__(self, course: Course, seed: Sequence[int]) -> None:
        """Args: `course`; `seed` of the choices."""
        self._size = len(course)
        self._rng = np.random.default_rng(seed)

    def choose(self, pupil: Pupil) -> int:
        """The next resource; any, once the learner has worked on everything."""
        new = np.ones(self._size, np.bool_)
        new[list(pupil.done)] = False
        return int(self._rng.choice(np.flatnonzero(new) if new.any() else self._size))


class Popular:
    """The resource that most learners of the earlier cohort worked on, of those the learner has not."""

    def __init__(self, popularity: FloatColumn) -> None:
        """Args: `popularity`, R; how many learners worked on each resource."""
        self._popularity = popularity

    def choose(self, pupil: Pupil) -> int:
        """The next resource; of equally popular ones the first, since the order of ids is random."""
        popularity = self._popularity.copy()
        popularity[list(pupil.done)] -= popularity.max() + 1.0
        return int(popularity.argmax())


class Oracle:
    """Sees what is true of the learner: the resource with the highest expected gain of mastery per minute.

    It is greedy, one step ahead, so a better policy may exist.
    """

    def __init__(self, course: Course, measured_on_day: float) -> None:
        """Args: `course`; `measured_on_day`, the day on which mastery is measured."""
        self._course = course
        self._measured_on_day = measured_on_day

    def choose(self, pupil: Pupil) -> int:
        """The next resource."""
        gains = pupil.learner.expected_gains(self._measured_on_day - pupil.day)
        return int((gains / self._course.minutes).argmax())
