"""What ranking knows about a catalog's difficulty and about a learner's skills, as columns.

The formulas are next to the functions. tag_rk is the weight of skill k in resource r (a resource's tags sum to 1); p_k
is the learner's chance of success on skill k's average item, n_k their responses to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.learner.mastery import logit_variance, success_interval, success_probability
from services.recommender.domain.learner.mastery import mastered as is_mastered
from services.recommender.domain.learner.parameters import FilterSettings, TenantParameters
from services.recommender.domain.learner.recall import CatalogRecall
from services.recommender.domain.learner.state import SKILL_RECORD, LearnerState
from services.recommender.domain.learner.success_model import CatalogSuccessModel, SuccessModel
from services.recommender.domain.ranking.catalog import BoolColumn, CatalogColumns, FloatColumn, IntColumn
from services.recommender.domain.ranking.compiled import judge_skills, spread_state
from services.recommender.domain.ranking.thresholds import RankingThresholds

_NO_RECORDS = np.zeros(0, SKILL_RECORD)
_NO_RECALLS = np.zeros(0)
PRACTISED_KINDS = (ResourceKind.PRACTICE, ResourceKind.ASSESSMENT)
EXPLAINING_KINDS = (ResourceKind.LESSON, ResourceKind.VIDEO)


def explains(kinds: NDArray[np.int8]) -> BoolColumn:
    """Whether resources of these kinds explain a skill. Much faster than `np.isin` for a list's candidates."""
    of_kinds: BoolColumn = np.logical_or.reduce([kinds == kind for kind in EXPLAINING_KINDS])
    return of_kinds


@dataclass(frozen=True)
class Difficulties:
    """How hard a catalog's skills and resources are, on the logit scale; made once per catalog and parameters.

    Attributes:
        settings: the filter's constants.
        skill_logits: sigma_k + mean difficulty of the skill's items, S.
        skill_variances: v_sk, S.
        resource_means: delta_r + (1/K) sum_k sigma_k over the K skills it measures, N.
        resource_variances: v_r + (1/K^2) sum_k v_sk, N.
        practised: whether responses say if it fits: a practice or an assessment, N.
        item_means: delta_r, N.
        item_variances: v_r, N.
    """

    settings: FilterSettings
    skill_logits: FloatColumn
    skill_variances: FloatColumn
    resource_means: FloatColumn
    resource_variances: FloatColumn
    practised: BoolColumn
    item_means: FloatColumn
    item_variances: FloatColumn


@dataclass(frozen=True)
class SkillEstimates:
    """Estimates for one learner on each of a catalog's S skills.

    Attributes:
        learner_mean: mu_u.
        learner_variance: v_u.
        means: mu_uk.
        variances: v_uk.
        logits: logit of success on the skill's average item, b0 + mu_u + mu_uk - sigma_k - its items' mean difficulty.
        logit_variances: how uncertain they are; see `mastery.logit_variance`.
        responses: n_k.
        successes: their sum.
        probabilities: p_k.
        mastered: whether the skill counts as mastered.
        days_since: days since the last response; nan: not known.
        last_responses: the response given last, from 0 to 1; nan without any.
        needs: importance_k max(0, .85 - p_k) / .85 where not mastered, else 0.
        reviews: urgency of a review if mastered, from 0 to 1; see `compiled.judge_skills`.
        readiness: for what builds on the skill, from 0 to 1; see `compiled.readiness`.
        unknowns: (v_u + v_uk) / (v_u0 + v_k0): 1 when nothing is known.
        urgencies: needs times the least readiness of the skill's prerequisites.
        recalls: the expected recall today, NaN where there is none; see `recall`. Empty without a recall model.
    """

    learner_mean: float
    learner_variance: float
    means: FloatColumn
    variances: FloatColumn
    logits: FloatColumn
    logit_variances: FloatColumn
    responses: IntColumn
    successes: FloatColumn
    probabilities: FloatColumn
    mastered: BoolColumn
    days_since: FloatColumn
    last_responses: FloatColumn
    needs: FloatColumn
    reviews: FloatColumn
    readiness: FloatColumn
    unknowns: FloatColumn
    urgencies: FloatColumn
    recalls: FloatColumn

    def intervals(self, slots: IntColumn) -> tuple[FloatColumn, FloatColumn]:
        """Ends of the central 95 % interval of p_k, for some skills."""
        return success_interval(self.logits[slots], self.logit_variances[slots])


@dataclass(frozen=True)
class CollaborativeScores:
    """Scores of a collaborative model for one learner.

    Attributes:
        scores: of the resources the model knows, in its own order.
        rows: the catalog row of each, -1 where the catalog has no such active resource.
        index_of_row: N; the inverse: index into `scores`, -1 where the model does not know the resource.
        positives: how many resources of the learner's history the model knows.
        for_all: whether they are the same for every learner.
    """

    scores: NDArray[np.float32]
    rows: IntColumn
    index_of_row: IntColumn
    positives: int
    for_all: bool = False


def difficulties_of(catalog: CatalogColumns, parameters: TenantParameters) -> Difficulties:
    """Look up the difficulties of a catalog's skills and resources.

    A skill that was never fitted has difficulty 0 at its prior variance. A resource that is a fitted item has that
    item's difficulty; any other the mean difficulty of the items of the skills it measures, at the prior variance.
    """
    settings = parameters.settings
    skills = [parameters.skills.get(skill) for skill in catalog.skill_ids]
    items = [parameters.items.get(resource) for resource in catalog.resource_ids]
    skill_means = np.array([0.0 if skill is None else skill.mean for skill in skills], np.float64)
    skill_variances = np.array(
        [settings.skill_difficulty_variance if skill is None else skill.variance for skill in skills], np.float64
    )
    skill_item_means = np.array([0.0 if skill is None else skill.mean_item_difficulty for skill in skills], np.float64)
    fitted = np.fromiter((item is not None for item in items), np.bool_, len(items))
    slots, shares = catalog.tags.values, catalog.tag_measures

    def over_measured(values: FloatColumn) -> FloatColumn:
        summed: FloatColumn = np.bincount(catalog.tag_rows, values, minlength=len(catalog)).astype(
            np.float64, copy=False
        )
        return summed

    item_means = over_measured(shares * skill_item_means[slots])
    item_means[fitted] = [item.mean for item in items if item is not None]
    item_variances = np.full(len(items), settings.item_difficulty_variance)
    item_variances[fitted] = [item.variance for item in items if item is not None]
    return Difficulties(
        settings=settings,
        skill_logits=skill_means + skill_item_means,
        skill_variances=skill_variances,
        resource_means=item_means + over_measured(shares * skill_means[slots]),
        resource_variances=item_variances + over_measured(shares**2 * skill_variances[slots]),
        practised=np.isin(catalog.kinds, PRACTISED_KINDS),
        item_means=item_means,
        item_variances=item_variances,
    )


def index_success_model(
    catalog: CatalogColumns, difficulties: Difficulties, success_model: SuccessModel
) -> CatalogSuccessModel:
    """A success model over a catalog; made once per catalog, parameters and model."""
    return CatalogSuccessModel(
        success_model=success_model,
        slot_of_skill=catalog.slot_of_skill,
        row_of_resource=catalog.row_of_resource,
        item_means=difficulties.item_means,
        item_variances=difficulties.item_variances,
        prior_variance=difficulties.settings.item_difficulty_variance,
        tag_starts=catalog.tags.starts,
        tag_slots=catalog.tags.values,
        tag_shares=catalog.tag_measures,
    )


def estimate_skills(
    catalog: CatalogColumns,
    difficulties: Difficulties,
    state: LearnerState | None,
    as_of_s: float,
    thresholds: RankingThresholds,
    recall: CatalogRecall | None = None,
) -> SkillEstimates:
    """Spread a learner's state over a catalog's skills; without responses, and without state, there are priors.

    Args:
        catalog: the catalog.
        difficulties: its difficulties.
        state: the learner's state; None for a new learner.
        as_of_s: the moment to answer for, Unix seconds.
        thresholds: the thresholds.
        recall: the recall model over the catalog; None: reviews are due by the fixed formula.
    """
    settings = difficulties.settings
    learner_mean, learner_variance = (0.0, settings.learner_variance) if state is None else (state.mean, state.variance)
    slots, records = _skill_records(catalog, state)
    means, variances, logits, unknown, successes, days_since, last_responses, responses = spread_state(
        slots,
        records,
        difficulties.skill_logits,
        settings.base + learner_mean,
        learner_variance,
        settings.skill_variance,
        as_of_s,
    )
    logit_variances = logit_variance(unknown, difficulties.skill_variances, responses, settings)
    probabilities = success_probability(logits, logit_variances)
    mastered = is_mastered(logits, logit_variances, responses)
    recalls = _NO_RECALLS if recall is None else recall.of(slots, records, learner_mean, as_of_s)
    needs, reviews, ready, unknowns, urgencies = _judged(
        catalog, settings, thresholds, probabilities, mastered, unknown, successes, days_since, recalls, responses
    )
    return SkillEstimates(
        learner_mean=learner_mean,
        learner_variance=learner_variance,
        means=means,
        variances=variances,
        logits=logits,
        logit_variances=logit_variances,
        responses=responses,
        successes=successes,
        probabilities=probabilities,
        mastered=mastered,
        days_since=days_since,
        last_responses=last_responses,
        needs=needs,
        reviews=reviews,
        readiness=ready,
        unknowns=unknowns,
        urgencies=urgencies,
        recalls=recalls,
    )


def _judged(
    catalog: CatalogColumns,
    settings: FilterSettings,
    thresholds: RankingThresholds,
    probabilities: FloatColumn,
    mastered: BoolColumn,
    unknown: FloatColumn,
    successes: FloatColumn,
    days_since: FloatColumn,
    recalls: FloatColumn,
    responses: IntColumn,
) -> tuple[FloatColumn, FloatColumn, FloatColumn, FloatColumn, FloatColumn]:
    """Needs, reviews, readiness, unknowns and urgencies; see `judge_skills`."""
    judged: tuple[FloatColumn, FloatColumn, FloatColumn, FloatColumn, FloatColumn] = judge_skills(
        probabilities,
        mastered,
        unknown,
        successes,
        days_since,
        recalls,
        responses,
        catalog.importance,
        catalog.skill_prerequisites.starts,
        catalog.skill_prerequisites.values,
        settings.learner_variance + settings.skill_variance,
        thresholds.gap_target,
        thresholds.review_half_life_days,
        thresholds.review_recall,
        thresholds.ready_midpoint,
        thresholds.ready_steepness,
        thresholds.ready_responses,
    )
    return judged


def _skill_records(catalog: CatalogColumns, state: LearnerState | None) -> tuple[IntColumn, NDArray[np.void]]:
    """The slot of each of the learner's skill records, -1 where the catalog has no such skill, and the records."""
    if state is None:
        return np.zeros(0, np.intp), _NO_RECORDS
    slot_of = catalog.slot_of_skill
    # A copy, because stored records are read-only, and code would be compiled again for them.
    return np.array([slot_of.get(name, -1) for name in state.skill_names], np.intp), state.skill_records.copy()


def collaborative_rows(catalog: CatalogColumns, resources: Sequence[str]) -> tuple[IntColumn, IntColumn]:
    """The catalog rows of a collaborative model's resources, and the inverse; -1 where there is none."""
    row_of = catalog.row_of_resource
    rows = np.fromiter((row_of.get(resource, -1) for resource in resources), np.intp, len(resources))
    index_of_row = np.full(len(catalog), -1, np.intp)
    here = np.flatnonzero(rows >= 0)
    index_of_row[rows[here]] = here
    return rows, index_of_row
