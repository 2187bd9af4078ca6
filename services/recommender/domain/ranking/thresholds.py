"""The thresholds and quotas of ranking; `weights` adds the weight of each signal."""

from __future__ import annotations

from dataclasses import dataclass

from services.recommender.domain.learner.mastery import DEFAULT_RULE


@dataclass(frozen=True, slots=True)
class RankingThresholds:
    """The parameters of ranking, apart from the weights of its signals.

    Attributes:
        gap_target: success probability below which a skill has a gap.
        review_opens: a review that is due by at least this value is due.
        fit_target: success probability at which practice or an assessment fits best.
        fit_width: distance from the target at which the fit falls to exp(-1/2).
        fit_elsewhere: fit of all other kinds.
        ready_midpoint: success probability on a well-known prerequisite at which readiness is one half.
        ready_steepness: slope of readiness there, per unit of probability.
        ready_responses: number of responses to a prerequisite at which half of its lack of readiness counts.
        review_half_life_days: half-life of a mastered skill without a recorded success; see `compiled.review_due`.
        review_recall: an expected recall below which a mastered skill is due; see `compiled.review_by_recall`.
        candidates: most candidates that are scored.
        gap_skills_min: skills with a gap that candidates come from, unless the list is longer.
        gap_skills_max: most skills with a gap that candidates come from.
        gap_candidates: most candidates that come from gaps.
        gap_candidates_per_skill: most candidates that come from one skill's gap.
        review_skills: most skills due for review that candidates come from.
        review_candidates_per_skill: most candidates that come from one review.
        goal_skills: skills on the path to a goal that candidates come from.
        goal_candidates_per_skill: most candidates that come from one of them.
        random_candidates: candidates picked at random, unless the list would fall short.
        per_skill: most resources of one served skill in a list where no model says what comes next, unless it would
            fall short.
        head: this many first entries of a list hold what the learner must work on, see `priorities`; 0 turns that off.
        reopened_most: a resource that was never finished and was opened again this often is held back.
        levels_above: a resource this far above the learner's working level needs mastered prerequisites or a goal.
    """

    gap_target: float = 0.85
    review_opens: float = 0.5
    fit_target: float = 0.75
    fit_width: float = 0.15
    fit_elsewhere: float = 0.5
    ready_midpoint: float = 0.6
    ready_steepness: float = 8.0
    ready_responses: float = 3.0
    review_half_life_days: float = 7.0
    review_recall: float = DEFAULT_RULE.success
    candidates: int = 1_000
    gap_skills_min: int = 10
    gap_skills_max: int = 50
    gap_candidates: int = 250
    gap_candidates_per_skill: int = 10
    review_skills: int = 10
    review_candidates_per_skill: int = 4
    goal_skills: int = 20
    goal_candidates_per_skill: int = 5
    random_candidates: int = 10
    per_skill: int = 3
    head: int = 5
    reopened_most: int = 2
    levels_above: float = 1.0
