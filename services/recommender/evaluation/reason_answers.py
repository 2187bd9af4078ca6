"""The phrases about a learner's answers on a skill, and what must hold of the state for each."""

from __future__ import annotations

import re
from collections.abc import Callable

from services.recommender.domain.learner.kernel import RECENCY_DECAY
from services.recommender.evaluation.reason_facts import KnownSkill

FEW = 3
"""With fewer answers than this, little is known about a skill."""
# Half of the last digit of a percentage, and what single precision leaves open.
ROUNDING = 0.005001
PRECISION = 1e-4

Found = tuple[list[str], float | None]
"""What is false in a phrase, and the share of right answers that it claims, if any."""


def answers_problems(known: KnownSkill, text: str) -> Found:
    """What is false in a phrase about a learner's answers, and the share of right answers that it claims, if any."""
    for pattern, check in _ANSWERS:
        if (parts := pattern.fullmatch(text)) is not None:
            return check(known, [int(each) for each in parts.groups()])
    return [f"{text!r} is no phrase about answers"], None


def _counted(known: KnownSkill, right: int, responses: int) -> Found:
    wrong = known.responses != responses or abs(known.successes - right) > PRECISION * max(responses, 1)
    said = f"the state has {known.responses} answers, {known.successes:g} right"
    return [said] if wrong else [], right / max(responses, 1)


def _of_marks(known: KnownSkill, share: int, responses: int) -> Found:
    own = 100.0 * known.successes / max(known.responses, 1)
    wrong = known.responses != responses or not share - PRECISION <= own < share + 1.0 + PRECISION
    return [f"the state has {known.responses} answers, {own:.1f} % of the marks"] if wrong else [], own / 100.0


def _latest_right(known: KnownSkill, count: int) -> Found:
    missed = known.responses - known.successes
    # Each of them got more than half of the marks.
    if count < FEW or count > known.responses or 0.5 * count > known.successes + PRECISION:
        return [f"there are {known.responses} answers, {known.successes:g} right"], None
    if missed < PRECISION or known.recent_failures is None:
        return [], None
    # A wrong answer among them, as long ago as it can be, with all else missed as early as possible.
    least, left = 0.5 * RECENCY_DECAY ** (count - 1), missed - 0.5
    for place in range(known.responses - 1, -1, -1):
        least += min(max(left, 0.0), 1.0) * RECENCY_DECAY**place
        left -= 1.0
    if least <= known.recent_failures * (1.0 - PRECISION):
        return ["one of these answers may have been wrong"], None
    return [], None


def _expected(known: KnownSkill, chance: int) -> Found:
    wrong = abs(known.chance - chance / 100.0) > ROUNDING
    return [f"the chance is {100 * known.chance:.1f} %"] if wrong else [], chance / 100.0


def _several(known: KnownSkill, right: int, responses: int) -> Found:
    problems, share = _counted(known, right, responses)
    return [*problems, *(["one answer is no plural"] if responses == 1 else [])], share


_ANSWERS: tuple[tuple[re.Pattern[str], Callable[[KnownSkill, list[int]], Found]], ...] = (
    (re.compile(r"all (\d+) answers right"), lambda known, n: _several(known, n[0], n[0])),
    (re.compile(r"none of (\d+) answers right"), lambda known, n: _several(known, 0, n[0])),
    (re.compile(r"(\d+) of (\d+) answers right"), lambda known, n: _several(known, n[0], n[1])),
    (re.compile(r"the only answer was wrong"), lambda known, _: _counted(known, 0, 1)),
    (re.compile(r"the only answer was right"), lambda known, _: _counted(known, 1, 1)),
    (re.compile(r"(\d+) % of the marks in (\d+) answers"), lambda known, n: _of_marks(known, n[0], n[1])),
    (re.compile(r"(\d+) % of the marks in the only answer"), lambda known, n: _of_marks(known, n[0], 1)),
    (re.compile(r"the last (\d+) answers were right"), lambda known, n: _latest_right(known, n[0])),
    (re.compile(r"likely to get (\d+) % of its questions right"), lambda known, n: _expected(known, n[0])),
)
