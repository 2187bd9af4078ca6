"""Builders of learner states for tests of code that reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.recommender.domain.learner.events import InteractionKind
from services.recommender.domain.learner.preferences import NO_PREFERENCES, Preferences
from services.recommender.domain.learner.state import SKILL_RECORD, LearnerState, RecentResource


@dataclass(frozen=True)
class Ability:
    """What is known of a learner on a skill."""

    mean: float = 0.0
    variance: float = 0.1
    attempts: int = 5
    successes: float = 3.0
    last_at_s: int = 0


def learner_state(
    abilities: Mapping[str, Ability],
    *,
    mean: float = 0.0,
    variance: float = 0.1,
    answered: Sequence[str] = (),
    opened: Sequence[str] = (),
    completed: Sequence[str] = (),
    dismissals: Sequence[str] = (),
    preferences: Preferences = NO_PREFERENCES,
) -> LearnerState:
    records = np.zeros(len(abilities), SKILL_RECORD)
    for record, ability in zip(records, abilities.values(), strict=True):
        record["mean"], record["variance"] = ability.mean, ability.variance
        record["attempts"], record["successes"] = ability.attempts, ability.successes
        record["last_at_s"] = ability.last_at_s
    return LearnerState(
        mean=mean,
        variance=variance,
        responses=sum(ability.attempts for ability in abilities.values()),
        skill_names=tuple(abilities),
        skill_records=records,
        resources=tuple(
            RecentResource(resource, kind, 0)
            for kind, resources in (
                (InteractionKind.ANSWERED, answered),
                (InteractionKind.OPENED, opened),
                (InteractionKind.COMPLETED, completed),
            )
            for resource in resources
        ),
        applied=sum(ability.attempts for ability in abilities.values()),
        last_at_s=max((ability.last_at_s for ability in abilities.values()), default=0),
        dismissals=tuple(dismissals),
        preferences=preferences,
    )
