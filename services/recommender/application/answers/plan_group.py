"""PlanGroup: divides a roster into a few groups that share a gap, each with a sequence of resources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

import numpy as np

from services.common.turns import Turns
from services.recommender.application.answers.active_models import ActiveEpoch, ActiveModels
from services.recommender.application.answers.answer_clock import AnswerClock
from services.recommender.application.answers.fresh_state import FreshState, FreshStates
from services.recommender.application.answers.prepared_catalogs import PreparedCatalogs
from services.recommender.application.answers.provenance import Degradation, Provenance
from services.recommender.application.answers.rosters import LearnerProblem, RosterEntry, read_roster
from services.recommender.application.answers.show_learner import SkillMastery, skill_masteries
from services.recommender.domain.learner.state import LearnerState
from services.recommender.domain.learner.success_model import Chances
from services.recommender.domain.planning.groups import LearnerGroup, form_groups
from services.recommender.domain.planning.sequences import GroupFit, SequenceStep, compose_sequence, minutes_of
from services.recommender.domain.ranking.catalog import BoolColumn, CatalogColumns, FloatColumn, IntColumn
from services.recommender.domain.ranking.crosswalk import cross
from services.recommender.domain.ranking.features import SkillEstimates, estimate_skills
from services.recommender.domain.ranking.messages import message
from services.recommender.domain.ranking.policy import ResourceFilter, eligibility
from services.recommender.domain.ranking.prepared import PreparedCatalog
from services.recommender.domain.ranking.priorities import urgencies_in_scope
from services.recommender.domain.ranking.render import render
from services.recommender.domain.ranking.rules import ActiveRules
from services.recommender.domain.ranking.scope import scope_of
from services.recommender.domain.ranking.scoring import describe
from services.recommender.domain.ranking.signals.fit import fit_of
from services.recommender.domain.ranking.weights import DEFAULT_WEIGHTS

# Of a skill with thousands of resources, only those with the largest weight on it are considered.
_RESOURCES_PER_SKILL = 60
# More than all boosts together can add to a resource that fits half as well.
_PINNED = 1e6


class UnplacedReason(IntEnum):
    """Why a learner is in no group; numbered as in the contract."""

    NEW_LEARNER = 1
    NO_GAP = 2
    TOO_FEW_SHARE = 3
    NO_RESOURCE = 4
    PROBLEM = 5


@dataclass(frozen=True, slots=True)
class PlanQuery:
    """A request for a plan.

    Attributes:
        roster: the learners.
        groups_max: the largest number of groups.
        minutes_max: most minutes for a group's sequence.
        wanted: which resources a sequence may contain.
        as_of: the moment to answer for; None: now, truncated to the hour.
        class_id: the class that the plan is for; empty: none.
    """

    roster: tuple[RosterEntry, ...]
    groups_max: int
    minutes_max: int
    wanted: ResourceFilter
    as_of: datetime | None
    class_id: str


@dataclass(frozen=True, slots=True)
class PlannedGroup:
    """A group and its sequence.

    Attributes:
        skill: the skill.
        statement: its name for people.
        members: (index in the roster, mastery of the skill), the lowest mastery first.
        steps: the sequence.
        minutes: of the whole sequence.
        sources: for each member who never answered the skill, the name of the same skill that they answered.
    """

    skill: str
    statement: str
    members: tuple[tuple[int, SkillMastery], ...]
    steps: tuple[SequenceStep, ...]
    minutes: int
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unplaced:
    """A learner in no group: the index in the roster, the reason, and the reason as a sentence."""

    place: int
    reason: UnplacedReason
    text: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan for a class.

    Attributes:
        catalog: the catalog that the steps' rows point into.
        groups: the largest first.
        unplaced: learners in no group, in roster order.
        provenance: what it was computed from.
        degraded: what was missing.
    """

    catalog: CatalogColumns
    groups: tuple[PlannedGroup, ...]
    unplaced: tuple[Unplaced, ...]
    provenance: Provenance
    degraded: tuple[Degradation, ...]


class PlanGroup:
    """Plans for a roster. Every learner is in one group, or is listed with the reason for being in none."""

    def __init__(
        self,
        states: FreshStates,
        catalogs: PreparedCatalogs,
        active_models: ActiveModels,
        turns: Turns,
        clock: AnswerClock,
    ) -> None:
        self._states = states
        self._turns = turns
        self._catalogs = catalogs
        self._active_models = active_models
        self._clock = clock

    async def __call__(self, tenant: str, query: PlanQuery) -> Plan:
        """The plan. The same query, states, epoch, catalog and bundle give the same plan.

        Raises:
            StateUnavailableError: when no state can be read.
        """
        found = await read_roster(self._states, tenant, query.roster)
        as_of = query.as_of or self._clock.now()
        epoch = next((fresh.epoch for fresh in found if isinstance(fresh, FreshState)), self._active_models.epoch)
        snapshot = await self._catalogs.snapshot(tenant, epoch)
        rules = snapshot.rules.active(query.class_id, query.wanted.grades, as_of.timestamp())
        planner = _Planner(snapshot.prepared, rules, query, epoch, tenant)
        for place, fresh in enumerate(found):
            async with self._turns.piece(tenant):
                planner.add(place, fresh, as_of.timestamp())
        async with self._turns.piece(tenant):
            groups, unplaced = planner.plan()
        provenance = Provenance(as_of, epoch.meta.epoch, None, snapshot.version, snapshot.bundle or "")
        missing = {
            Degradation.NO_BUNDLE: snapshot.bundle is None or not epoch.parameters_found,
            Degradation.EMPTY_CATALOG: not len(snapshot.catalog),
            Degradation.STALE_CATALOG: not snapshot.reachable,
        }
        degraded = tuple(degradation for degradation, is_so in missing.items() if is_so)
        return Plan(snapshot.catalog, tuple(groups), tuple(unplaced), provenance, degraded)


@dataclass(frozen=True, slots=True)
class _Known:
    """A learner with state, over all frameworks."""

    place: int
    state: LearnerState
    sources: Mapping[int, int]
    estimates: SkillEstimates
    gaps: FloatColumn
    by_success_model: Chances | None
    touched: frozenset[str]


class _Planner:
    """Collects the learners of a roster, then plans."""

    def __init__(
        self, prepared: PreparedCatalog, rules: ActiveRules, query: PlanQuery, epoch: ActiveEpoch, tenant: str
    ) -> None:
        self._prepared = prepared
        self._catalog = prepared.catalog
        self._rules = rules
        self._allowed = rules.permit(eligibility(prepared.catalog, query.wanted)).allowed
        self._query = query
        self._parameters = epoch.parameters.for_tenant(tenant)
        self._known: list[_Known] = []
        self._unplaced: dict[int, Unplaced] = {}

    def add(self, place: int, fresh: FreshState | LearnerProblem, as_of_s: float) -> None:
        """Add a learner of the roster."""
        if isinstance(fresh, LearnerProblem):
            self._leave_out(place, UnplacedReason.PROBLEM, fresh.message)
        elif fresh.stored is None or fresh.new_learner:
            self._leave_out(place, UnplacedReason.NEW_LEARNER, render(message("unplaced.new_learner")))
        else:
            variance = self._prepared.difficulties.settings.skill_variance
            state, sources = cross(self._catalog, fresh.stored.state, variance)
            estimates = estimate_skills(
                self._catalog, self._prepared.difficulties, state, as_of_s, DEFAULT_WEIGHTS, self._prepared.recall
            )
            touched = frozenset(recent.resource for recent in state.resources)
            by_success_model = (
                None if self._prepared.success_model is None else self._prepared.success_model.of(state, as_of_s)
            )
            recent = self._catalog.rows_of(recent.resource for recent in state.resources)
            scope = scope_of(self._catalog, estimates, recent)
            self._known.append(
                _Known(
                    place, state, sources, estimates, urgencies_in_scope(estimates, scope), by_success_model, touched
                )
            )

    def plan(self) -> tuple[list[PlannedGroup], list[Unplaced]]:
        """The groups, and the learners in none."""
        workable = self._workable()
        # The shape is stated because there may be no learners, or no skills.
        gaps = np.zeros((len(self._known), len(workable)))
        for number, known in enumerate(self._known):
            gaps[number] = known.gaps
        groups = form_groups(gaps * workable, self._query.groups_max)
        planned = [self._planned(group) for group in groups]
        placed = {member for group in groups for member in group.members}
        for number, known in enumerate(self._known):
            if number not in placed:
                self._explain_unplaced(known, gaps[number], gaps[number] * workable, planned)
        return planned, [self._unplaced[place] for place in sorted(self._unplaced)]

    def _workable(self) -> BoolColumn:
        """For each skill whether there is a resource about it that may be given."""
        catalog = self._catalog
        tags = np.flatnonzero(self._allowed[catalog.tag_rows])
        return np.bincount(catalog.tags.values[tags], minlength=len(catalog.skill_ids)) > 0

    def _planned(self, group: LearnerGroup) -> PlannedGroup:
        members = [self._known[number] for number in group.members]
        skill = self._catalog.skill_ids[group.slot]
        masteries = [(known.place, skill_masteries(known.state, [skill], self._parameters)[0]) for known in members]
        steps = compose_sequence(self._catalog, group.slot, self._suits(group.slot, members), self._query.minutes_max)
        return PlannedGroup(
            skill=skill,
            statement=self._catalog.skill_labels[group.slot],
            members=tuple(sorted(masteries, key=lambda member: (member[1].probability, member[0]))),
            steps=tuple(steps),
            minutes=sum(minutes_of(self._catalog, step.row) for step in steps),
            sources=tuple(
                self._catalog.skill_sources[known.sources[group.slot]]
                for known in members
                if group.slot in known.sources
            ),
        )

    def _suits(self, slot: int, members: Sequence[_Known]) -> GroupFit:
        catalog, difficulties = self._catalog, self._prepared.difficulties
        tags = catalog.skill_tags.row(slot)
        tags = tags[self._allowed[catalog.tag_rows[tags]]]
        tags = tags[np.lexsort((catalog.tag_rows[tags], -catalog.tag_weights[tags]))][:_RESOURCES_PER_SKILL]
        rows = np.sort(catalog.tag_rows[tags])
        fit, success, untouched = np.zeros(len(rows)), np.zeros(len(rows)), np.zeros(len(rows))
        for known in members:
            candidates = describe(
                catalog, difficulties, known.estimates, rows, DEFAULT_WEIGHTS, by_success_model=known.by_success_model
            )
            fit += fit_of(candidates, candidates.success)
            success += candidates.success
            untouched += [catalog.resource_ids[row] not in known.touched for row in rows.tolist()]
        return GroupFit(
            rows=rows,
            fit=fit / len(members),
            success=success / len(members),
            untouched=untouched / len(members),
            favour=self._favour(rows),
        )

    def _favour(self, rows: IntColumn) -> FloatColumn:
        """The factor of each row from rules; pinned resources come first, however well others fit."""
        favour = self._rules.factors(rows)
        pinned = np.isin(rows, self._rules.pinned(self._allowed)) | self._rules.pinned_by_provider(rows)
        return np.where(pinned, _PINNED, favour)

    def _explain_unplaced(
        self, known: _Known, gaps: FloatColumn, workable: FloatColumn, planned: Sequence[PlannedGroup]
    ) -> None:
        if not gaps.any():
            worked_on = known.estimates.responses > 0
            mastered = known.estimates.mastered[worked_on]
            said = message("unplaced.no_gap" if len(mastered) else "unplaced.no_skill")
            if len(mastered) and mastered.all():
                said = message("unplaced.all_mastered", skills=len(mastered))
            self._leave_out(known.place, UnplacedReason.NO_GAP, render(said))
            return
        usable = workable if workable.any() else gaps
        slot = int(usable.argmax())
        slot = known.sources.get(slot, slot)
        skill, chance = self._catalog.skill_labels[slot], round(100 * float(known.estimates.probabilities[slot]))
        if not workable.any():
            said = message("unplaced.no_resource", skill=skill, chance=chance)
            self._leave_out(known.place, UnplacedReason.NO_RESOURCE, render(said))
        else:
            said = message("unplaced.too_few_share", skill=skill, chance=chance, groups=len(planned))
            self._leave_out(known.place, UnplacedReason.TOO_FEW_SHARE, render(said))

    def _leave_out(self, place: int, reason: UnplacedReason, text: str) -> None:
        self._unplaced[place] = Unplaced(place, reason, text)
