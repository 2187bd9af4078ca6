"""A learner's state: what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

# One record per skill a learner has responded to. Stored precision is the type's: each field is rounded to it after
# each event, so that how events are batched cannot matter.
SKILL_RECORD = np.dtype(
    [
        ("mean", "<f4"),  # posterior mean of the ability on the skill, on top of the learner's (mu_uk), logits
        ("variance", "<f4"),  # its posterior variance (v_uk)
        ("attempts", "<u4"),  # responses that were evidence
        ("successes", "<f4"),  # their sum, each in [0, 1]
        ("recent_successes", "<f4"),  # the same sum, halving every few responses
        ("recent_failures", "<f4"),  # the sum of 1 - response, halving alike
        ("last_response", "<f4"),  # the last response itself
        ("last_at_s", "<u4"),  # when it was given, Unix seconds; 0: not known
    ]
)


class InteractionKind(IntEnum):
    """What a learner did with a resource."""

    ANSWERED = 1


@dataclass(frozen=True, slots=True)
class RecentResource:
    """A catalog resource the learner touched: its id, how, and when (Unix seconds, 0: not known)."""

    resource: str
    kind: InteractionKind
    at_s: int


@dataclass(frozen=True)
class LearnerState:
    """Everything known of a learner that ranking reads.

    Attributes:
        mean: posterior mean of the learner's ability (mu_u), logits.
        variance: its posterior variance (v_u).
        responses: responses that were evidence.
        skill_names: the skills responded to, in the order first met.
        skill_records: one SKILL_RECORD per name, in the same order; do not write.
        resources: the last 128 distinct catalog resources touched, oldest first.
        applied: events that changed the state (each once).
        last_at_s: latest time of any event, Unix seconds; 0: not known.
    """

    mean: float
    variance: float
    responses: int
    skill_names: tuple[str, ...]
    skill_records: NDArray[np.void]
    resources: tuple[RecentResource, ...]
    applied: int
    last_at_s: int

    @cached_property
    def slot_of_skill(self) -> Mapping[str, int]:
        """Index into `skill_records` by skill."""
        return {name: slot for slot, name in enumerate(self.skill_names)}
