"""GetLearner: what is known about one learner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from services.common.kafka.envelope import Position
from services.common.rpc.freshness import Freshness
from services.recommender.application.answers.fresh_state import FreshStates
from services.recommender.application.answers.provenance import Degradation
from services.recommender.application.ports.learners import LearnerKey
from services.recommender.domain.learner.mastery import mastered, skill_logits, success_interval, success_probability
from services.recommender.domain.learner.parameters import TenantParameters
from services.recommender.domain.learner.preferences import NO_PREFERENCES, Preferences
from services.recommender.domain.learner.state import MOST_SKILLS, LearnerState


@dataclass(frozen=True, slots=True)
class SkillMastery:
    """A learner's mastery of a skill.

    Attributes:
        skill: the skill.
        probability: chance of success on its average item.
        low: lower end of the central 95 % interval of that chance.
        high: upper end.
        responses: responses that were evidence.
        successes: their sum.
        mastered: whether it counts as mastered.
        last_response_at: when the last was given; None: not known.
    """

    skill: str
    probability: float
    low: float
    high: float
    responses: int
    successes: float
    mastered: bool
    last_response_at: datetime | None


@dataclass(frozen=True, slots=True)
class LearnerView:
    """What is known about a learner.

    Attributes:
        responses: responses that were evidence.
        skills: skills with responses, by id.
        epoch: the epoch of derived state.
        applied: the last record that changed the learner; None for a learner without state.
        degraded: what was missing.
        preferences: what the learner prefers.
        skill_limit_reached: whether events add no further skills to the learner.
    """

    responses: int
    skills: tuple[SkillMastery, ...]
    epoch: int
    applied: Position | None
    degraded: tuple[Degradation, ...]
    preferences: Preferences = NO_PREFERENCES
    skill_limit_reached: bool = False


class ShowLearner:
    """Shows what is known about a learner."""

    def __init__(self, states: FreshStates) -> None:
        self._states = states

    async def __call__(self, tenant: str, learner: str, freshness: Freshness | None, remaining_s: float) -> LearnerView:
        """The learner's mastery of every skill they responded to.

        Args:
            tenant: the tenant.
            learner: the learner's pseudonym.
            freshness: the record the answer must include, if any.
            remaining_s: time until the caller gives up.

        Raises:
            LogDiffersError: when the freshness token belongs to another log.
            StateUnavailableError: when the learner's state cannot be read.
        """
        fresh = await self._states.read(LearnerKey(tenant, learner), freshness, remaining_s)
        missing = {
            Degradation.NEW_LEARNER: fresh.new_learner,
            Degradation.NO_BUNDLE: not fresh.epoch.parameters_found,
            Degradation.STALE_STATE: fresh.stale,
        }
        degraded = tuple(degradation for degradation, is_so in missing.items() if is_so)
        state = None if fresh.stored is None else fresh.stored.state
        if state is None:
            return LearnerView(0, (), fresh.epoch.meta.epoch, fresh.applied, degraded)
        return LearnerView(
            responses=state.responses,
            skills=skill_masteries(state, _with_responses(state), fresh.epoch.parameters.for_tenant(tenant)),
            epoch=fresh.epoch.meta.epoch,
            applied=fresh.applied,
            degraded=degraded,
            preferences=state.preferences,
            skill_limit_reached=len(state.skill_names) >= MOST_SKILLS,
        )


def _with_responses(state: LearnerState) -> list[str]:
    """The skills with at least one response that counts as evidence."""
    attempts = state.skill_records["attempts"].tolist()
    return sorted(name for name, count in zip(state.skill_names, attempts, strict=True) if count)


def skill_masteries(
    state: LearnerState | None, skills: Sequence[str], parameters: TenantParameters
) -> tuple[SkillMastery, ...]:
    """A learner's mastery of some skills, in the order given; a skill without responses is at its prior."""
    logits = skill_logits(state, skills, parameters)
    low, high = success_interval(logits.mean, logits.variance)
    columns = zip(
        skills,
        success_probability(logits.mean, logits.variance).tolist(),
        low.tolist(),
        high.tolist(),
        logits.attempts.tolist(),
        logits.successes.tolist(),
        mastered(logits.mean, logits.variance, logits.attempts).tolist(),
        (datetime.fromtimestamp(at_s, UTC) if at_s else None for at_s in logits.last_at_s.tolist()),
        strict=True,
    )
    return tuple(SkillMastery(*column) for column in columns)
