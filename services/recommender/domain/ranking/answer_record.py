"""What a learner's answers on a skill say about a claim, in the numbers that support it.

"Mastered" next to "8 of 19 answers right" contradicts itself, although both are true: the chance of success also
depends on how hard the questions were and on the answers since. So a claim is followed by the first of these numbers
that supports it: the share of right answers, the latest answers, or the chance of success itself.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from services.recommender.domain.learner.kernel import RECENCY_DECAY
from services.recommender.domain.learner.mastery import DEFAULT_RULE
from services.recommender.domain.ranking.messages import Message, Plural, Template, message

FEW_RESPONSES = DEFAULT_RULE.responses
"""With fewer responses than this, little is known about a skill."""
_MANY_RIGHT = DEFAULT_RULE.success
_ROW_LEAST = 3
# Sums of marks are stored with 24 bits.
_PRECISION = 1e-5


class Answers(NamedTuple):
    """A learner's answers on a skill.

    Attributes:
        responses: how many.
        successes: the sum of their marks, each from 0 to 1.
        recent_failures: the sum of the marks missed, each times RECENCY_DECAY for every response since.
        chance: the chance of success on the skill's average question.
        mastered: whether the skill counts as mastered.
    """

    responses: int
    successes: float
    recent_failures: float
    chance: float
    mastered: bool

    @property
    def share(self) -> float:
        """The share of the marks; 0 without answers."""
        return self.successes / self.responses if self.responses else 0.0

    @property
    def mostly_right(self) -> bool:
        """Whether the share of right answers is one of a mastered skill."""
        return self.share >= _MANY_RIGHT

    @property
    def likely_right(self) -> bool:
        """Whether the chance of success is one of a mastered skill, as far as it is known."""
        return self.chance >= _MANY_RIGHT


def right_in_a_row(answers: Answers) -> int:
    """At least this many of the latest answers were right, that is, got more than half of the marks.

    The state does not hold the sequence of answers. If one of at most half of the marks had been followed by n others,
    it would have left at least d^n / 2 in `recent_failures`, and the other marks missed at least what they leave when
    they were missed as early as possible. So the least n for which both fit into the sum is a lower bound.
    """
    missed = answers.responses - answers.successes
    if missed <= _PRECISION * answers.responses:
        return answers.responses
    if answers.recent_failures <= 0.0:
        return 0
    room = answers.recent_failures * (1.0 + _PRECISION) - _missed_early(missed - 0.5, answers.responses)
    if room <= 0.0:
        return 0
    return min(max(math.ceil(math.log(2.0 * room) / math.log(RECENCY_DECAY) - _PRECISION), 0), answers.responses)


def _missed_early(marks: float, responses: int) -> float:
    """What missed marks leave in `recent_failures` when they were missed in the earliest responses."""
    whole = max(math.floor(marks), 0)
    rest = max(marks - whole, 0.0)
    earliest = RECENCY_DECAY ** (responses - whole)
    of_whole: float = earliest * (1.0 - RECENCY_DECAY**whole) / (1.0 - RECENCY_DECAY)
    return of_whole + rest * earliest / RECENCY_DECAY


def of_strength(answers: Answers) -> Message:
    """The numbers that support that the learner is good at the skill, whose `likely_right` holds."""
    if answers.mostly_right:
        return counted(answers)
    in_a_row = right_in_a_row(answers)
    if in_a_row >= _ROW_LEAST:
        return message("answers.latest_right", count=in_a_row)
    return _expected(answers)


def of_weakness(answers: Answers) -> Message:
    """The numbers that support that the learner is not good at the skill, whose `likely_right` does not hold."""
    return _expected(answers) if answers.mostly_right else counted(answers)


def counted(answers: Answers) -> Message:
    """The learner's answers, counted."""
    responses, right = answers.responses, round(answers.successes)
    if abs(answers.successes - right) > _PRECISION * responses:
        return message("answers.marks", responses=responses, share=math.floor(100.0 * answers.share))
    if right == responses and responses >= _ROW_LEAST:
        return message("answers.all_right", responses=responses)
    if right == 0:
        return message("answers.none_right", responses=responses)
    return message("answers.some_right", responses=responses, right=right)


def _expected(answers: Answers) -> Message:
    return message("answers.expected", chance=round(100.0 * answers.chance))


MESSAGES: dict[str, Template] = {
    "answers.all_right": "all {responses} answers right",
    "answers.none_right": Plural(
        "responses", one="the only answer was wrong", other="none of {responses} answers right"
    ),
    "answers.some_right": Plural(
        "responses", one="the only answer was right", other="{right} of {responses} answers right"
    ),
    "answers.marks": Plural(
        "responses",
        one="{share} % of the marks in the only answer",
        other="{share} % of the marks in {responses} answers",
    ),
    "answers.latest_right": "the last {count} answers were right",
    "answers.expected": "likely to get {chance} % of its questions right",
}
"""The English templates."""
