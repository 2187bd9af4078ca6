"""What a simulated learner is, to classrooms and to policies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import numpy as np

from services.recommender.domain.ranking.catalog import FloatColumn
from services.recommender.evaluation.closed_loop.course import Course


@dataclass(frozen=True, slots=True)
class Work:
    """What a learner did with a resource.

    Attributes:
        responses: the outcome of each item answered, in order.
        quits: whether the learner then stopped working for this session.
    """

    responses: tuple[bool, ...]
    quits: bool = False


class SimulatedLearner(Protocol):
    """One learner. What is true of them is hidden from every policy but the oracle.

    Attributes:
        name: how they learn, in a word.
    """

    name: ClassVar[str]

    @classmethod
    def draw(cls, course: Course, grade: int, rng: np.random.Generator) -> Self:
        """A learner at the start of a school year.

        Args:
            course: the course.
            grade: the grade of their class, 0 for the lowest.
            rng: decides who they are, and everything that happens to them.
        """
        ...

    @property
    def mastery(self) -> FloatColumn:
        """S; how well each skill is mastered now, from 0 to 1."""
        ...

    def begin_session(self, days: float) -> None:
        """Begin to work, some days after the last session began."""
        ...

    @property
    def chances(self) -> FloatColumn:
        """R; the chance that an item of each resource is answered right."""
        ...

    def work_on(self, resource: int) -> Work:
        """Work on a resource, and learn from it."""
        ...

    def learn_from(self, resource: int, responses: Sequence[bool]) -> None:
        """Learn from having worked on a resource with these answers; fewer than it has items when the learner quit."""
        ...

    def expected_gains(self, days_left: float) -> FloatColumn:
        """R; how much working on each resource now is expected to add to mastery, summed over skills.

        Args:
            days_left: until mastery is measured.
        """
        ...

    def roughen(self, rng: np.random.Generator) -> None:
        """Change what is known a little, at random: for those who only suppose what it is."""
        ...
