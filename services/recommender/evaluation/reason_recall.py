"""The expected recall of a skill, computed a second time from docs/science.md ("Recall"); nothing is of ranking."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from services.recommender.domain.learner.recall import RecallModel
from services.recommender.domain.learner.state import LearnerState

Recall = Callable[[str, Mapping[str, float]], float | None]
"""The expected recall of a skill with this record, on its average item; None where there is none."""

_DAY_S = 86_400.0
_BREAK_S = 8 * 3_600.0
_YEAR = 365.0


def recall_of(
    model: RecallModel | None,
    state: LearnerState | None,
    difficulty: Callable[[str], tuple[float, float]],
    as_of_s: float,
) -> Recall | None:
    """The expected recall of a learner's skills; None without a model.

    Args:
        model: the recall model.
        state: the learner's state.
        difficulty: of a skill's average item, on the logit scale, and its variance, which is not read.
        as_of_s: the moment, Unix seconds.
    """
    if model is None:
        return None
    ability = 0.0 if state is None else state.mean
    offsets = dict(zip(model.skills, model.offsets.tolist(), strict=True))
    of_ability, of_easiness, of_practice, of_recency, of_elapsed, of_fading = model.weights.tolist()

    def recall(skill: str, record: Mapping[str, float]) -> float | None:
        break_s = as_of_s - record.get("last_at_s", 0.0)
        if not record.get("attempts") or not record["last_at_s"] or break_s < _BREAK_S:
            return None
        right, missed = record["recent_successes"], record["recent_failures"]
        recency = (right - missed) / (1.0 + right + missed)
        # The odds fall by this factor to the power of a weight, at most as much as in a year.
        passed, year = math.log(1.0 + min(break_s / _DAY_S, _YEAR)), math.log(1.0 + _YEAR)
        odds = math.exp(
            model.intercept
            + offsets.get(skill, 0.0)
            + of_ability * (ability + record["mean"])
            - of_easiness * difficulty(skill)[0]
            + of_practice * math.log(1.0 + record["successes"])
            + of_recency * recency
            - of_elapsed * passed
            + of_fading * (recency * year - (1.0 + recency) * passed) / 2.0
        )
        return odds / (1.0 + odds)

    return recall
