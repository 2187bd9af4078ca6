"""Simulated learners: what they know, how they answer, and how they learn. None learns as Cairn's own model assumes.

All figures here were chosen from the literature named in each class and by plausibility, before any policy was run, and
are not to be tuned to favour one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.ranking.catalog import BoolColumn, FloatColumn
from services.recommender.evaluation.closed_loop.course import Course
from services.recommender.evaluation.closed_loop.simulated_learner import SimulatedLearner, Work

# A wrong answer of somebody who could, and a right one of somebody who could not.
SLIP, GUESS = 0.05, 0.2
# From an item that always fails to one that always succeeds, in mastery.
_WIDTH = 0.6
# Mastery of the weakest prerequisite up to which a skill cannot be raised at all, and from which it can be fully.
_NOT_READY, _READY = 0.2, 0.7
# Being taught leads this far, practice this far above the level of the items.
_TAUGHT_UP_TO, _PRACTISED_ABOVE = 0.4, 0.3
# The share of what there is to learn from a resource that one pass gives.
_TAUGHT, _PRACTISED, _ASSESSED = 0.5, 0.8, 0.2
# The same resource again gives this share of what it gave the time before.
_AGAIN = 0.5
# Standard deviation of `roughen`, in mastery.
_ROUGHNESS = 0.03


class PrerequisiteLearner:
    """Mastery grows by being taught and by practice, only as far as prerequisites allow, and is never lost.

    A skill can reach 1.5 times the mastery of its weakest prerequisite. A lesson leads a share of the way to that
    ceiling, or to .6. An exercise leads a share of the way to that ceiling, or to a little above the level of its
    items, in proportion to how far the learner can do them: from items far too hard nobody learns (the zone of proximal
    development: Vygotsky 1978; prerequisites: Gagné 1968), and easy ones do not lead far.
    """

    name: ClassVar[str] = "prerequisites"

    def __init__(self, course: Course, mastery: FloatColumn, pace: float, rng: np.random.Generator) -> None:
        """Args: `course`; `mastery` of each skill; `pace` of learning, 1 on average; `rng` of what happens."""
        self._course = course
        self._mastery = mastery
        self._times = np.zeros(len(course))
        self._rng = rng
        lesson = course.kind == ResourceKind.LESSON
        self._rate = np.where(lesson, _TAUGHT, np.where(course.kind == ResourceKind.PRACTICE, _PRACTISED, _ASSESSED))
        self._rate = np.minimum(pace * self._rate, 1.0)
        self._lesson = lesson
        self._leads_to = np.where(lesson, _TAUGHT_UP_TO, np.minimum(course.level + _PRACTISED_ABOVE, 1.0))

    @classmethod
    def draw(cls, course: Course, grade: int, rng: np.random.Generator) -> Self:
        """As the protocol says.

        Skills of earlier grades are mastered well, older ones better; one in seven has a gap that nobody closed. Of the
        class's own grade little is known yet, of later ones nothing.
        """
        strength, pace = rng.normal(0.0, 0.1), rng.lognormal(0.0, 0.3)
        mastery = np.zeros(len(course.skill_ids))
        for skill, years_ago in enumerate((grade - course.grades).tolist()):
            noise, gap = rng.normal(0.0, 0.1), rng.random() < 0.1
            if years_ago > 0:
                known = (0.3 if gap else 1.0) * (0.8 + 0.05 * years_ago + strength + noise)
            else:
                known = 0.1 + 0.5 * (strength + noise) if years_ago == 0 else 0.0
            # Without the prerequisites, half of it was learned nevertheless.
            known = min(known, max(float(_ceilings(course, mastery)[skill]), known / 2))
            mastery[skill] = min(max(known, 0.0), 1.0)
        return cls(course, mastery, pace, rng)

    @property
    def mastery(self) -> FloatColumn:
        """As the protocol says."""
        return self._mastery.copy()

    @property
    def chances(self) -> FloatColumn:
        """R; the chance that an item of each resource is answered right."""
        return GUESS + (1.0 - GUESS - SLIP) * self._within_reach

    @property
    def _within_reach(self) -> FloatColumn:
        """R; how far the learner can do the items, from 0 to 1; 1 for lessons."""
        distance = self._mastery[self._course.skill] - self._course.level
        reach: FloatColumn = np.where(self._lesson, 1.0, (0.5 + distance / _WIDTH).clip(0.0, 1.0))
        return reach

    @property
    def _gains(self) -> FloatColumn:
        """R; how much working through each resource adds to the mastery of its skill."""
        return self._gains_above(self._mastery[self._course.skill])

    def _gains_above(self, known: FloatColumn) -> FloatColumn:
        """R; how much each adds to what is `known` of its skill."""
        leads_to = np.minimum(self._leads_to, _ceilings(self._course, self._mastery)[self._course.skill])
        share = self._rate * self._within_reach * _AGAIN**self._times
        gains: FloatColumn = share * np.maximum(leads_to - known, 0.0)
        return gains

    def begin_session(self, days: float) -> None:
        """As the protocol says: nothing is forgotten."""

    def work_on(self, resource: int) -> Work:
        """As the protocol says."""
        responses = _answers(self, self._course, resource, self._rng)
        self.learn_from(resource, responses)
        return Work(responses)

    def learn_from(self, resource: int, responses: Sequence[bool]) -> None:  # noqa: ARG002 - of the protocol.
        """As the protocol says: it makes no difference whether answers were right."""
        self._learn(resource, 1.0)

    def roughen(self, rng: np.random.Generator) -> None:
        """As the protocol says."""
        known = self._mastery > 0.0
        self._mastery[known] = (self._mastery + rng.normal(0.0, _ROUGHNESS, len(known))).clip(0.0, 1.0)[known]

    def expected_gains(self, days_left: float) -> FloatColumn:  # noqa: ARG002 - of the protocol.
        """As the protocol says."""
        return self._gains

    def _learn(self, resource: int, share: float) -> None:
        """Learn from having worked through a share of a resource."""
        self._mastery[self._course.skill[resource]] += share * self._gains[resource]
        self._times[resource] += share


class ForgettingLearner(PrerequisiteLearner):
    """Learns like a `PrerequisiteLearner`, and forgets: mastery halves in a time that grows with every review.

    Half-lives as in half-life regression (Settles and Meeder 2016). Working on a skill again on a later day doubles its
    half-life (the spacing effect: Cepeda et al. 2006). What was forgotten is learned again faster than it was at first
    (savings: Ebbinghaus 1885): the whole way back, and nothing is lost by using the same resource.
    """

    name: ClassVar[str] = "forgetting"

    _NEW_HALF_LIFE_DAYS = 14.0
    _HALF_LIFE_MAX_DAYS = 365.0

    def __init__(self, course: Course, mastery: FloatColumn, pace: float, rng: np.random.Generator) -> None:
        """Args: as of `PrerequisiteLearner`."""
        super().__init__(course, mastery, pace, rng)
        # What was mastered before this year was practised for long.
        old = mastery > 0.5
        self._half_life = np.where(old, self._HALF_LIFE_MAX_DAYS / 2, self._NEW_HALF_LIFE_DAYS)
        self._peak = mastery.copy()
        self._rested = np.ones(len(mastery), np.bool_)

    def begin_session(self, days: float) -> None:
        """As the protocol says."""
        self._mastery *= 0.5 ** (days / self._half_life)
        if days >= 1.0:
            self._rested[:] = True

    @property
    def _gains(self) -> FloatColumn:
        known, peak = self._mastery[self._course.skill], self._peak[self._course.skill]
        lost = np.maximum(np.minimum(self._leads_to, peak) - known, 0.0)
        gains: FloatColumn = self._within_reach * lost + self._gains_above(np.maximum(known, peak))
        return gains

    def expected_gains(self, days_left: float) -> FloatColumn:
        """As the protocol says."""
        skill = self._course.skill
        with_work = (self._mastery[skill] + self._gains) * 0.5 ** (days_left / self._later_half_life[skill])
        without = self._mastery[skill] * 0.5 ** (days_left / self._half_life[skill])
        difference: FloatColumn = with_work - without
        return difference

    @property
    def _later_half_life(self) -> FloatColumn:
        """S; the half-life after working on each skill."""
        grown = np.minimum(2.0 * self._half_life, self._HALF_LIFE_MAX_DAYS)
        return np.where(self._rested, grown, self._half_life)

    def _learn(self, resource: int, share: float) -> None:
        skill = self._course.skill[resource]
        later = self._later_half_life[skill]
        super()._learn(resource, share)
        self._peak[skill] = max(self._peak[skill], self._mastery[skill])
        self._half_life[skill], self._rested[skill] = later, False


class QuittingLearner(PrerequisiteLearner):
    """Learns like a `PrerequisiteLearner`, and stops for the session after some wrong answers in a row.

    After a session that ended so, the learner begins the next one with less patience; after one that did not, it is
    restored (repeated failure lowers expectancy and effort: Bandura 1977).
    """

    name: ClassVar[str] = "quitting"

    _LEAST, _MOST = 2, 5

    def __init__(self, course: Course, mastery: FloatColumn, pace: float, rng: np.random.Generator) -> None:
        """Args: as of `PrerequisiteLearner`."""
        super().__init__(course, mastery, pace, rng)
        self._patience_at_best = int(rng.integers(self._LEAST + 1, self._MOST + 1))
        self._patience = self._patience_at_best
        self._in_a_row = 0
        self._quit = False

    def begin_session(self, days: float) -> None:  # noqa: ARG002 - of the protocol.
        """As the protocol says."""
        self._patience = max(self._patience - 1, self._LEAST) if self._quit else self._patience_at_best
        self._in_a_row, self._quit = 0, False

    def work_on(self, resource: int) -> Work:
        """As the protocol says; items after the last wrong answer are not worked on."""
        responses = _answers(self, self._course, resource, self._rng)
        in_a_row, answered = self._in_a_row, 0
        while answered < len(responses) and in_a_row < self._patience:
            in_a_row = 0 if responses[answered] else in_a_row + 1
            answered += 1
        self.learn_from(resource, responses[:answered])
        return Work(responses[:answered], self._quit)

    def learn_from(self, resource: int, responses: Sequence[bool]) -> None:
        """As the protocol says."""
        for right in responses:
            self._in_a_row = 0 if right else self._in_a_row + 1
        self._quit = self._in_a_row >= self._patience
        items = int(self._course.items[resource])
        self._learn(resource, len(responses) / items if items else 1.0)

    def expected_gains(self, days_left: float) -> FloatColumn:  # noqa: ARG002 - of the protocol.
        """As the protocol says, less what quitting costs: a step in which the best resource could have been used."""
        if self._quit:
            return np.zeros(len(self._course))
        gains = self._gains
        value: FloatColumn = gains - self._chance_to_quit() * gains.max(initial=0.0)
        return value

    def _chance_to_quit(self) -> FloatColumn:
        """R; the chance that the learner quits while working on each resource."""
        chances, left = self.chances, self._patience - self._in_a_row
        # (R, patience): how likely each number of wrong answers in a row is; who quits is in none of them.
        run = np.zeros((len(chances), self._patience))
        run[:, self._patience - left] = 1.0
        for item in range(int(self._course.items.max())):
            answered = np.column_stack([run.sum(axis=1) * chances, run[:, :-1] * (1.0 - chances)[:, None]])
            run = np.where((item < self._course.items)[:, None], answered, run)
        still_working: FloatColumn = run.sum(axis=1)
        return 1.0 - still_working


class GuessingLearner:
    """Knows a skill or does not; guesses and slips; learns a skill at once, and only when its prerequisites are known.

    Bayesian knowledge tracing (Corbett and Anderson 1995) over a knowledge space (Doignon and Falmagne 1985): what can
    be learned next is what all prerequisites are known of.
    """

    name: ClassVar[str] = "guessing"

    # By level of the items, from 0 to 1: harder ones are guessed less often, and slips are more likely.
    _GUESS, _GUESS_LESS = 0.3, 0.2
    _SLIP, _SLIP_MORE = 0.05, 0.15
    _TAUGHT, _PRACTISED, _ASSESSED = 0.45, 0.2, 0.05

    def __init__(self, course: Course, known: BoolColumn, pace: float, rng: np.random.Generator) -> None:
        """Args: `course`; `known`, S, the skills known; `pace` of learning, 1 on average; `rng` of what happens."""
        self._course = course
        self._known = known
        self._times = np.zeros(len(course))
        self._rng = rng
        kinds = (course.kind == ResourceKind.LESSON, course.kind == ResourceKind.PRACTICE)
        self._rate = np.minimum(pace * np.select(kinds, (self._TAUGHT, self._PRACTISED), self._ASSESSED), 1.0)

    @classmethod
    def draw(cls, course: Course, grade: int, rng: np.random.Generator) -> Self:
        """As the protocol says.

        A skill of an earlier grade whose prerequisites are known is known to 19 in 20 learners, one of the class's
        own grade to one in ten; without the prerequisites, to a fifth of these.
        """
        strength, pace = rng.normal(0.0, 0.05), rng.lognormal(0.0, 0.3)
        known = np.zeros(len(course.skill_ids), np.bool_)
        for skill, years_ago in enumerate((grade - course.grades).tolist()):
            share = 0.95 if years_ago > 0 else 0.1 if years_ago == 0 else 0.0
            if years_ago >= 0:
                share = max(share + strength, 0.0)
            missing = any(not known[before] for before in course.prerequisites[skill])
            known[skill] = rng.random() < share * (0.5 if missing else 1.0)
        return cls(course, known, pace, rng)

    @property
    def mastery(self) -> FloatColumn:
        """As the protocol says: 1 where the skill is known, else 0."""
        return self._known.astype(np.float64)

    @property
    def chances(self) -> FloatColumn:
        """R; the chance that an item of each resource is answered right."""
        level = self._course.level
        slips, guesses = self._SLIP + self._SLIP_MORE * level, self._GUESS - self._GUESS_LESS * level
        right: FloatColumn = np.where(self._known[self._course.skill], 1.0 - slips, guesses)
        return right

    def begin_session(self, days: float) -> None:
        """As the protocol says: nothing is forgotten."""

    def work_on(self, resource: int) -> Work:
        """As the protocol says."""
        responses = _answers(self, self._course, resource, self._rng)
        self.learn_from(resource, responses)
        return Work(responses)

    def learn_from(self, resource: int, responses: Sequence[bool]) -> None:  # noqa: ARG002 - of the protocol.
        """As the protocol says: it makes no difference whether answers were right."""
        if self._rng.random() < self._gains[resource]:
            self._known[self._course.skill[resource]] = True
        self._times[resource] += 1.0

    def roughen(self, rng: np.random.Generator) -> None:
        """As the protocol says: some skill that is known may not be, and the other way round."""
        if rng.random() < 0.5:
            self._known[rng.integers(len(self._known))] ^= True

    def expected_gains(self, days_left: float) -> FloatColumn:  # noqa: ARG002 - of the protocol.
        """As the protocol says."""
        return self._gains

    @property
    def _gains(self) -> FloatColumn:
        """R; the chance to learn the skill of each resource from it."""
        learnable = ~self._known & (self._course.weakest_prerequisite(self.mastery) == 1.0)
        chances: FloatColumn = self._rate * learnable[self._course.skill] * _AGAIN**self._times
        return chances


def _answers(learner: SimulatedLearner, course: Course, resource: int, rng: np.random.Generator) -> tuple[bool, ...]:
    """Answers to every item of a resource."""
    return tuple((rng.random(int(course.items[resource])) < learner.chances[resource]).tolist())


def _ceilings(course: Course, mastery: FloatColumn) -> FloatColumn:
    """S; how far the mastery of each skill can be raised."""
    ready = (course.weakest_prerequisite(mastery) - _NOT_READY) / (_READY - _NOT_READY)
    return ready.clip(0.0, 1.0)


LEARNERS: tuple[type[SimulatedLearner], ...] = (
    PrerequisiteLearner,
    ForgettingLearner,
    GuessingLearner,
    QuittingLearner,
)
