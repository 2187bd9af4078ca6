"""From features to a score, kept apart by reason so that the score can be explained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.recommender.domain.ranking.catalog import BoolColumn, FloatColumn
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
    """

    total: FloatColumn
    gap: FloatColumn
    fit: FloatColumn
    review: FloatColumn
    similar: FloatColumn
    uncertainty: FloatColumn


def is_open(features: Features, weights: RankingWeights) -> BoolColumn:
    """Whether there is a cause to recommend it: gap > .05, or a review is due, or it is on a goal path."""
    return (features.gap > weights.gap_opens) | (features.review >= weights.review_opens) | features.on_goal_path


def score(features: Features, weights: RankingWeights) -> Scores:
    """The sum ready * open * (1.0 gap + .8 fit + .5 review + .4 cf) + .1 uncertainty.

    open is 1 for what `is_open`, else .1; cf is `similar` where open, else 0.
    """
    opened = is_open(features, weights)
    factor = features.ready * np.where(opened, 1.0, weights.closed)
    gap = factor * (weights.gap * features.gap)
    fit = factor * (weights.fit * features.fit)
    review = factor * (weights.review * features.review)
    similar = factor * (weights.similar * np.where(opened, features.similar, 0.0))
    uncertainty = weights.uncertainty * features.uncertainty
    return Scores(gap + fit + review + similar + uncertainty, gap, fit, review, similar, uncertainty)
