"""Every number ranking decides by, in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RankingWeights:
    """Weights, thresholds and quotas of ranking.

    Attributes:
        gap: weight of the gap.
        fit: weight of the fit.
        review: weight of a review being due.
        similar: weight of collaborative filtering.
        goal: weight of being on the path to a goal of the learner.
        preference: weight of being what the learner prefers.
        uncertainty: weight of how little is known of the learner on the resource's skills.
        closed: what `open` is for a resource that nothing opens.
        gap_target: success probability below which a skill has a gap.
        gap_opens: a gap above this opens a resource.
        review_opens: a review at least this due opens a resource.
        fit_target: success probability at which a practice or an assessment fits best.
        fit_width: how far from it the fit falls to exp(-1/2).
        fit_elsewhere: fit of the other kinds.
        teach_below: success probability below which a resource that teaches leads one that practises; there the fit of
            a practice equals `fit_elsewhere`.
        ready_midpoint: success probability on a prerequisite at which readiness is one half, were it known for sure.
        ready_steepness: slope of readiness there, per unit of probability.
        ready_responses: responses to a prerequisite at which half of its lack of readiness counts.
        similar_clip: collaborative scores count up to this many standard deviations.
        similar_responses: positives of a learner at which collaborative filtering counts half.
        review_half_life_days: half-life of a mastered skill with no success on record; see `features.review_due`.
        candidates: most candidates looked at.
        gap_skills_min: skills with a gap that candidates come from, unless the list is longer.
        gap_skills_max: most skills with a gap that candidates come from.
        gap_candidates: most candidates that come from gaps.
        gap_candidates_per_skill: most candidates that come from one skill's gap.
        review_skills: most skills due for review that candidates come from.
        review_candidates_per_skill: most candidates that come from one review.
        goal_skills: skills on the path to a goal that candidates come from.
        goal_candidates_per_skill: most candidates that come from one of them.
        similar_candidates: most candidates that come from collaborative filtering.
        random_candidates: candidates picked at random, unless the list would fall short.
        per_skill: most resources of one served skill in a list, unless it would fall short.
    """

    gap: float = 1.0
    fit: float = 0.8
    review: float = 0.5
    similar: float = 0.4
    goal: float = 0.3
    preference: float = 0.15
    uncertainty: float = 0.1
    closed: float = 0.1
    gap_target: float = 0.85
    gap_opens: float = 0.05
    review_opens: float = 0.5
    fit_target: float = 0.75
    fit_width: float = 0.15
    fit_elsewhere: float = 0.5
    teach_below: float = 0.57
    ready_midpoint: float = 0.6
    ready_steepness: float = 8.0
    ready_responses: float = 3.0
    similar_clip: float = 2.0
    similar_responses: float = 20.0
    review_half_life_days: float = 7.0
    candidates: int = 500
    gap_skills_min: int = 20
    gap_skills_max: int = 50
    gap_candidates: int = 250
    gap_candidates_per_skill: int = 10
    review_skills: int = 10
    review_candidates_per_skill: int = 4
    goal_skills: int = 20
    goal_candidates_per_skill: int = 5
    similar_candidates: int = 100
    random_candidates: int = 10
    per_skill: int = 2


DEFAULT_WEIGHTS = RankingWeights()


@dataclass(frozen=True, slots=True)
class RankingPolicy:
    """Which ranker serves a tenant, and how far need counts.

    Attributes:
        learned: whether the learned ranker does, where the bundle has one; else the hand-weighted score.
        need_share: how much of the learned ranker's score is need, from 0 (what is likely to be worked on next) to 1.
    """

    learned: bool = False
    need_share: float = 0.5


BY_WEIGHTS = RankingPolicy()
