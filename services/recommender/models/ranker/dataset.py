"""The data that a server would have about a tenant at one time, built from responses to fit rankers."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.learner.batch import LearnerEvents
from services.recommender.domain.learner.events import AssessmentEvent, Grain, InteractionKind
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.parameters import FilterSettings, TenantParameters, TracingParameters
from services.recommender.domain.learner.record import NEW_LEARNER
from services.recommender.domain.learner.state import (
    SKILL_RECORD,
    LearnerState,
    RecentResource,
    decode_state,
    encode_state,
)
from services.recommender.domain.ranking.catalog import (
    CatalogColumns,
    CatalogResource,
    CatalogSkill,
    IntColumn,
    build_columns,
)
from services.recommender.domain.ranking.features import collaborative_rows, estimate_skills
from services.recommender.domain.ranking.interaction_statistics import InteractionStatistics, index_interactions
from services.recommender.domain.ranking.next_item import ModelScores, next_item_candidates, next_item_features
from services.recommender.domain.ranking.policy import ResourceFilter
from services.recommender.domain.ranking.prepared import prepare
from services.recommender.domain.ranking.recent_activity import recent_activity_of
from services.recommender.domain.ranking.request import RankingRequest
from services.recommender.domain.ranking.scoring import describe
from services.recommender.domain.ranking.trees import Matrix
from services.recommender.domain.ranking.weights import DEFAULT_WEIGHTS
from services.recommender.domain.training.responses import NONE, ResponseTable
from services.recommender.domain.training.splits import WorkSplit
from services.recommender.models.collaborative.ensemble import Ensemble
from services.recommender.models.tracing.difficulty_fit import fit_difficulties, parameters_of

_TENANT = "tenant"


class Example(NamedTuple):
    """One learner's candidates.

    Attributes:
        rows: catalog rows.
        columns: their features, in the order of `next_item.feature_names`.
    """

    rows: IntColumn
    columns: Matrix


class RankingDataset:
    """Catalog, difficulties, states, interaction statistics and collaborative models from one side of a split.

    Resources are practice, tagged with the skills of the split, so that rows are the numbers of its resources.
    """

    def __init__(self, split: WorkSplit, ensemble: Ensemble, statistics: InteractionStatistics) -> None:
        """Args: `split`, whose earlier side is known; `ensemble` and `statistics` fitted to that side."""
        table = split.before
        self.split = split
        self.ensemble = ensemble
        self.parameters = tracing_parameters(split)
        self.catalog = practice_catalog(table.resources, split.tags, table.skills, split.prerequisites)
        self.prepared = prepare(self.catalog, self.parameters)
        self.statistics = index_interactions(self.catalog, statistics)
        self._rows, self._index_of_row = collaborative_rows(self.catalog, ensemble.resources)
        self.states = LearnerStates(table, self.parameters, graded=split.graded)

    def models(self, state: LearnerState) -> ModelScores:
        """Return the scores of the collaborative models for a learner in this state."""
        history = [recent.resource for recent in state.resources]
        return ModelScores(self.ensemble.scores(history), self._rows, self._index_of_row)

    def request(
        self, learner: int, models: ModelScores | None, *, limit: int, need_share: float | None = None
    ) -> RankingRequest:
        """Return the request for a learner's list of what is new to them, at the time of their latest work.

        Args:
            learner: the learner's number.
            models: scores of the collaborative models, if there are any.
            limit: length of the list.
            need_share: share of need in the score; None: the ranker's.
        """
        split, state = self.split, self.states.of(learner)
        seen = () if split.repeats else tuple(split.positives.resources[row] for row in split.own(learner))
        return RankingRequest(
            tenant=_TENANT,
            learner=split.before.learners[learner],
            state=state,
            models_id="",
            as_of_s=float(state.last_at_s),
            day="1970-01-01",
            wanted=ResourceFilter(excluded=seen),
            limit=limit,
            models=models,
            need_share=need_share,
            repeats=split.repeats,
        )

    def example(self, learner: int) -> Example:
        """Return a learner's candidates and their features."""
        state = self.states.of(learner)
        catalog, difficulties = self.catalog, self.prepared.difficulties
        recent_activity = recent_activity_of(
            catalog, self.statistics, state, catalog.rows_of(recent.resource for recent in state.resources)
        )
        models = self.models(state)
        usable = np.ones(len(catalog), np.bool_)
        if not self.split.repeats:
            usable[self.split.own(learner)] = False
        rows = next_item_candidates(catalog, self.statistics, recent_activity, models, usable).nonzero()[0]
        estimates = estimate_skills(catalog, difficulties, state, float(state.last_at_s), DEFAULT_WEIGHTS)
        candidates = describe(catalog, difficulties, estimates, rows, DEFAULT_WEIGHTS)
        expected = np.ones(len(rows), np.bool_)
        return Example(rows, next_item_features(self.statistics, recent_activity, models, candidates, expected))


def tracing_parameters(split: WorkSplit) -> TenantParameters:
    """Fit difficulties to the earlier side with the filter's default constants; without outcomes, return the priors."""
    if not split.graded:
        return TenantParameters()
    # A success model may read recent items.
    parameters = parameters_of(split.before, fit_difficulties(split.before, FilterSettings()))
    return replace(parameters, recent_items=True)


def practice_catalog(
    resources: Sequence[str],
    tags: Sequence[frozenset[int]],
    skills: Sequence[str],
    prerequisites: Mapping[int, frozenset[int]],
) -> CatalogColumns:
    """Return a catalog of practice resources with the skills of the split."""
    return build_columns(
        [
            CatalogResource(
                resource_id=resource,
                title=resource,
                kind=ResourceKind.PRACTICE,
                assesses=tuple((skills[skill], 1.0 / len(tagged)) for skill in sorted(tagged)),
            )
            for resource, tagged in zip(resources, tags, strict=True)
        ],
        [
            CatalogSkill(
                skill_id=skill, prerequisites=tuple(skills[each] for each in sorted(prerequisites.get(number, ())))
            )
            for number, skill in enumerate(skills)
        ],
    )


class LearnerStates:
    """Learners' states after a table of responses, folded as in a worker if the responses have outcomes.

    Otherwise a state holds every resource the learner worked on.
    """

    def __init__(self, table: ResponseTable, parameters: TenantParameters, *, graded: bool) -> None:
        """Args: `table`; the `parameters` to fold with; whether responses are `graded`."""
        self._table = table
        self._graded = graded
        self._settings = parameters.settings
        self._fold = LearnerFold(TracingParameters("", {_TENANT: parameters}))
        self._first = np.searchsorted(table.learner, np.arange(len(table.learners) + 1))
        self._known: dict[int, LearnerState] = {}

    def of(self, learner: int) -> LearnerState:
        """Return a learner's state; it is folded on the first call."""
        if learner not in self._known:
            self._known[learner] = self._folded(learner)
        return self._known[learner]

    def _folded(self, learner: int) -> LearnerState:
        rows = range(int(self._first[learner]), int(self._first[learner + 1]))
        if not rows or not self._graded:
            return self._touched(rows)
        table = self._table
        events = []
        for row in rows:
            skills = tuple(table.skills[k] for k in table.skill[table.skill_start[row] : table.skill_start[row + 1]])
            item = "" if table.item[row] == NONE else table.items[table.item[row]]
            resource = "" if table.resource[row] == NONE else table.resources[table.resource[row]]
            event = AssessmentEvent(
                struct.pack("<Q", row),
                float(table.response[row]),
                int(table.at_s[row]),
                item,
                "",
                skills,
                Grain.ITEM,
                resource,
            )
            events.append((row, event))
        stored = self._fold.fold([LearnerEvents(_TENANT, NEW_LEARNER, events)])[0].stored
        return self._touched(range(0)) if stored.state is None else decode_state(encode_state(stored.state))

    def _touched(self, rows: range) -> LearnerState:
        table = self._table
        touched = {
            table.resources[table.resource[row]]: int(table.at_s[row]) for row in rows if table.resource[row] != NONE
        }
        return LearnerState(
            mean=0.0,
            variance=self._settings.learner_variance,
            responses=0,
            skill_names=(),
            skill_records=np.zeros(0, SKILL_RECORD),
            resources=tuple(
                RecentResource(resource, InteractionKind.ANSWERED, at_s) for resource, at_s in touched.items()
            ),
            applied=len(rows),
            last_at_s=max(touched.values(), default=0),
        )
