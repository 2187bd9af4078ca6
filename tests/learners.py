"""Builders of learner states for tests of code that reads them, and what the learner model predicts from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from services.recommender.domain.learner.events import InteractionKind
from services.recommender.domain.learner.kernel import EVENT_RECORD, EVENT_SKILL_RECORD, trace_responses
from services.recommender.domain.learner.parameter_columns import ParameterColumns
from services.recommender.domain.learner.parameters import ItemDifficulty, TenantParameters, TracingParameters
from services.recommender.domain.learner.preferences import NO_PREFERENCES, Preferences
from services.recommender.domain.learner.state import LEARNER_RECORD, SKILL_RECORD, LearnerState, RecentResource
from services.recommender.domain.learner.success_model import CatalogSuccessModel, LearnerSuccess, SuccessModel


@dataclass(frozen=True)
class Ability:
    """What is known of a learner on a skill."""

    mean: float = 0.0
    variance: float = 0.1
    attempts: int = 5
    successes: float = 3.0
    last_at_s: int = 0
    last_response: float = 1.0


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
        record["last_response"] = ability.last_response
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


def filter_chance(state: LearnerState | None, item: str, skills: Sequence[str], parameters: TenantParameters) -> float:
    """The chance of success that folding predicts before the learner's next response to an item."""
    columns = ParameterColumns(TracingParameters("fitted", {"t": parameters}))
    tenant = columns.of("t")
    learner = np.frombuffer(bytearray(tenant.new_learner), LEARNER_RECORD)
    known = () if state is None else state.skill_names
    if state is not None:
        learner["mean"], learner["variance"] = state.mean, state.variance
    met = [*known, *(skill for skill in skills if skill not in known)]
    records = np.frombuffer(bytearray(tenant.new_skill * len(met)), SKILL_RECORD)
    if state is not None:
        records[: len(known)] = state.skill_records
    event = (0, tenant.items.get(item, tenant.unknown_item), 1.0, 0, 1, len(skills))
    event_skills = [(met.index(skill), tenant.skills.get(skill, tenant.unknown_skill)) for skill in skills]
    predicted, _, _ = trace_responses(
        learner,
        records,
        np.zeros(1, np.int64),
        np.array([tenant.settings_row]),
        np.array([event], EVENT_RECORD),
        np.array(event_skills, EVENT_SKILL_RECORD),
        columns.settings,
        columns.items,
        columns.skills,
    )
    return float(predicted[0])


def served_success(
    success_model: SuccessModel,
    state: LearnerState | None,
    item: str,
    skills: Sequence[str],
    parameters: TenantParameters,
    at_s: float = 0.0,
) -> LearnerSuccess:
    """The success model over a catalog of one resource, an item that measures some skills, for one learner."""
    difficulty = parameters.items.get(item, ItemDifficulty(0.0, parameters.settings.item_difficulty_variance))
    catalog = CatalogSuccessModel(
        success_model=success_model,
        slot_of_skill={skill: slot for slot, skill in enumerate(skills)},
        row_of_resource={item: 0},
        item_means=np.array([difficulty.mean]),
        item_variances=np.array([difficulty.variance]),
        prior_variance=parameters.settings.item_difficulty_variance,
        tag_starts=np.array([0, len(skills)]),
        tag_slots=np.arange(len(skills)),
        tag_shares=np.full(len(skills), 1.0 / max(len(skills), 1)),
    )
    return catalog.of(state, at_s)


def success_chance(
    success_model: SuccessModel,
    state: LearnerState | None,
    item: str,
    skills: Sequence[str],
    parameters: TenantParameters,
    at_s: float = 0.0,
) -> float:
    """The chance of success that the success model gives to the learner's next response to an item."""
    served = served_success(success_model, state, item, skills, parameters, at_s)
    predicted = np.array([filter_chance(state, item, skills, parameters)])
    return float(served(np.zeros(1, np.intp), predicted)[0])


def abilities(now_s: int) -> st.SearchStrategy[Ability]:
    """What may be known of a learner on a skill: the last answer is among those counted, times may be missing."""
    day_s = 86_400
    return st.builds(
        lambda counts, last_right, **fields: Ability(
            attempts=sum(counts),
            successes=float(counts[1]),
            last_response=float(counts[1] > 0 and (last_right or not counts[0])),
            **fields,
        ),
        st.tuples(st.integers(0, 15), st.integers(0, 15)).filter(any),
        st.booleans(),
        mean=st.floats(-3, 3),
        variance=st.floats(0.02, 0.3),
        last_at_s=st.sampled_from([0, now_s - 60, now_s - 2 * day_s, now_s - 40 * day_s]),
    )
