"""The history of a learner's estimates: the events of the journal, with the changes that each one made."""

from __future__ import annotations

from dataclasses import dataclass

from services.recommender.domain.learner import packed_strings
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.journal import JournalEntry, entries_of
from services.recommender.domain.learner.mastery import skill_logits, success_probability
from services.recommender.domain.learner.parameters import TenantParameters
from services.recommender.domain.learner.record import LearnerRecord
from services.recommender.domain.learner.state import PackedState, decode_state, encode_state


@dataclass(frozen=True, slots=True)
class SkillChange:
    """The chance of success on a skill before and after an event."""

    skill: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class HistoryStep:
    """An event of the journal and its changes; none if it was not evidence."""

    entry: JournalEntry
    changes: tuple[SkillChange, ...]


def history_of(
    fold: LearnerFold, tenant: str, stored: LearnerRecord, parameters: TenantParameters
) -> tuple[HistoryStep, ...]:
    """The learner's recent events, oldest first, each with the skills it is about.

    Args:
        fold: a fold with the parameters that the learner was folded with.
        tenant: the learner's tenant.
        stored: the learner.
        parameters: the tenant's parameters in `fold`.
    """
    if stored.state is None:
        return ()
    skills = [name.decode() for name in packed_strings.split(stored.state.skill_names)]
    steps = []
    before = _state_after(fold, tenant, stored, 0)
    for number, entry in enumerate(entries_of(stored.journal), start=1):
        after = _state_after(fold, tenant, stored, number)
        concerned = [skills[slot] for slot in entry.slots] if entry.evidence else []
        changes = zip(
            concerned, _chances(before, concerned, parameters), _chances(after, concerned, parameters), strict=True
        )
        steps.append(HistoryStep(entry, tuple(SkillChange(*change) for change in changes)))
        before = after
    return tuple(steps)


def _state_after(fold: LearnerFold, tenant: str, stored: LearnerRecord, events: int) -> PackedState:
    again = fold.fold_again(tenant, stored._replace(journal=stored.journal.first(events)))
    if again.state is None:
        raise AssertionError("a learner with a state has one after each event")
    return again.state


def _chances(packed: PackedState, skills: list[str], parameters: TenantParameters) -> list[float]:
    logits = skill_logits(decode_state(encode_state(packed)), skills, parameters)
    chances: list[float] = success_probability(logits.mean, logits.variance).tolist()
    return chances
