"""From features to a score, kept apart by reason so that the score can be explained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.recommender.domain.ranking.catalog import BoolColumn, FloatColumn
from services.recommender.domain.ranking.compiled import weigh
from services.recommender.domain.ranking.features import Features
from services.recommender.domain.ranking.weights import RankingWeights


@dataclass(frozen=True)
class Scores:
    """The score of each candidate and what it is the sum of.

    Attributes:
        total: the score.
        gap: what the gap adds.
        fit: what the fit adds.
        review: what a due review adds.
        similar: what collaborative filtering adds.
        uncertainty: what the lack of knowledge adds.
        goal: what leading to a goal adds; None: the learner said nothing.
        preference: what being preferred adds; None: the learner said nothing.
    """

    total: FloatColumn
    gap: FloatColumn
    fit: FloatColumn
    review: FloatColumn
    similar: FloatColumn
    uncertainty: FloatColumn
    goal: FloatColumn | None = None
    preference: FloatColumn | None = None


def is_open(features: Features, weights: RankingWeights) -> BoolColumn:
    """Whether there is a cause to recommend it: gap > .05, or a review is due, or it is on a goal path."""
    return (features.gap > weights.gap_opens) | (features.review >= weights.review_opens) | features.on_goal_path


def score(features: Features, weights: RankingWeights) -> Scores:
    """The sum ready * open * (1.0 gap + .8 fit + .5 review + .4 cf + .3 goal + .15 preference) + .1 uncertainty.

    open is 1 for what `is_open`, else .1; cf is `similar` where open, else 0.
    """
    opened = is_open(features, weights)
    gap, fit, review, similar, uncertainty, total = weigh(
        features.gap,
        features.fit,
        features.review,
        features.ready,
        features.similar,
        features.uncertainty,
        opened,
        np.array(
            (weights.gap, weights.fit, weights.review, weights.similar, weights.uncertainty, weights.closed), np.float64
        ),
    )
    if features.goal is None or features.preference is None:
        return Scores(total, gap, fit, review, similar, uncertainty)
    share = features.ready * np.where(opened, 1.0, weights.closed)
    goal, preference = share * weights.goal * features.goal, share * weights.preference * features.preference
    return Scores(total + goal + preference, gap, fit, review, similar, uncertainty, goal, preference)
