"""The step of a recommendation, and the reasons for it."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from services.recommender.domain.ranking.messages import Message

REASONS_MAX = 2


class Step(IntEnum):
    """What to do with a recommended resource; numbered as in the contract."""

    TEACH = 1
    PRACTISE = 2
    REASSESS = 3
    FIND_OUT = 4


class ReasonKind(IntEnum):
    """Kinds of reasons; numbered as in the contract."""

    GAP = 1
    FIT = 2
    REVIEW = 3
    SIMILAR_LEARNERS = 4
    EXPLORE = 5
    GOAL = 6
    PREFERENCE = 7
    PINNED = 8
    BOOSTED = 9
    RECENT_WORK = 10


class Claim(NamedTuple):
    """Something true of a learner and a resource that is a reason to recommend it.

    Attributes:
        kind: number of the contract's `ReasonKind`.
        messages: ways to say it, the best first. A list uses the first that it has not yet used for a resource of the
            same skill; if it has used all, the claim is left out. So values must be as the sentence shows them.
    """

    kind: int
    messages: tuple[Message, ...]


class Reason(NamedTuple):
    """Why a resource is in the list.

    Attributes:
        kind: number of the contract's `ReasonKind`.
        contribution: what it added to the score.
        message: the reason without a language; `render` turns it into a sentence.
    """

    kind: int
    contribution: float
    message: Message


class Explanation(NamedTuple):
    """The explanation of a recommended resource.

    Attributes:
        skill: id of the skill it serves; empty when it has none.
        step: what to do with it.
        reasons: the two strongest reasons, strongest first.
    """

    skill: str
    step: Step
    reasons: tuple[Reason, ...]
