"""Shared by calls for many learners: the checked roster, and each learner's state or problem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from services.recommender.application.answers.fresh_state import FreshState, FreshStates
from services.recommender.application.ports.learners import LearnerKey, StateUnavailableError
from services.recommender.application.ports.quarantine import LearnerDamagedError


class ProblemKind(StrEnum):
    """What kind of problem there is with one learner of a roster."""

    INVALID = "invalid"
    UNAVAILABLE = "unavailable"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class LearnerProblem:
    """Why a call cannot be answered for one learner of a roster."""

    kind: ProblemKind
    message: str


@dataclass(frozen=True, slots=True)
class RosterEntry:
    """A learner of a roster: their pseudonym, or the problem with the id in the request."""

    learner: str
    problem: LearnerProblem | None = None


async def read_roster(
    states: FreshStates, tenant: str, roster: Sequence[RosterEntry]
) -> list[FreshState | LearnerProblem]:
    """Each learner's state, in roster order, read in one call.

    Raises:
        StateUnavailableError: when no state can be read.
    """
    usable = [entry for entry in roster if entry.problem is None]
    read = iter(await states.read_many([LearnerKey(tenant, entry.learner) for entry in usable]))
    found: list[FreshState | LearnerProblem] = []
    for entry in roster:
        if entry.problem is not None:
            found.append(entry.problem)
            continue
        state = next(read)
        if isinstance(state, StateUnavailableError):
            found.append(LearnerProblem(ProblemKind.UNAVAILABLE, str(state)))
        elif isinstance(state, LearnerDamagedError):
            found.append(LearnerProblem(ProblemKind.DAMAGED, str(state)))
        else:
            found.append(state)
    return found
