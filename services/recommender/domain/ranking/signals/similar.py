"""Similar learners: what learners with such a history worked on, by collaborative filtering.

    similar_r = (clip(z_r, -2, 2) + 2) / 4 * n / (n + 20)

with z the collaborative score standardised over the candidates that the model knows, and n the learner's positives:
with few of them similar learners say little. 0 for resources that the model does not know.
"""

from __future__ import annotations

import math

import numpy as np

from services.recommender.domain.ranking.catalog import BoolColumn, FloatColumn, IntColumn
from services.recommender.domain.ranking.compiled import Gate
from services.recommender.domain.ranking.evidence import Evidence, Pick
from services.recommender.domain.ranking.features import CollaborativeScores
from services.recommender.domain.ranking.messages import message
from services.recommender.domain.ranking.reasons import Claim, ReasonKind
from services.recommender.domain.ranking.signals.signal import Candidates, Signal
from services.recommender.domain.ranking.thresholds import RankingThresholds


def similarity(
    collaborative: CollaborativeScores | None, rows: IntColumn, thresholds: RankingThresholds
) -> FloatColumn | None:
    """The signal's value for some rows; None: 0 for all of them."""
    if collaborative is None or not collaborative.positives:
        return None
    indices = collaborative.index_of_row[rows]
    known = (indices >= 0).nonzero()[0]
    if not len(known):
        return None
    scores = collaborative.scores[indices[known]].astype(np.float64)
    scores -= scores.sum() / len(scores)
    deviation = math.sqrt(float(scores @ scores) / len(scores))
    if deviation == 0.0:
        return None
    similar = np.zeros(len(rows))
    clip = thresholds.similar_clip
    similar[known] = ((scores / deviation).clip(-clip, clip) + clip) * (_trust(collaborative, thresholds) / (2 * clip))
    return similar


def _trust(collaborative: CollaborativeScores | None, thresholds: RankingThresholds) -> float:
    positives = 0 if collaborative is None else collaborative.positives
    return positives / (positives + thresholds.similar_responses)


def _is_above_average(values: FloatColumn, candidates: Candidates) -> BoolColumn:
    """Below the average candidate, similar learners are no reason to show a resource."""
    return values > _trust(candidates.collaborative, candidates.thresholds) / 2


def _reason(evidence: Evidence, pick: Pick) -> Claim | None:
    placed = evidence.rank_for_similar_learners(pick.row)
    if placed is None:
        return None
    place, resources = placed
    return Claim(ReasonKind.SIMILAR_LEARNERS, (message("similar", place=place, resources=resources),))


SIGNAL = Signal(
    name="similar",
    kind=ReasonKind.SIMILAR_LEARNERS,
    weight=0.4,
    gate=Gate.READY_AND_OPEN,
    value=lambda candidates: similarity(candidates.collaborative, candidates.rows, candidates.thresholds),
    is_reason=_is_above_average,
    reason=_reason,
    messages={
        "similar": "Learners with a similar history worked on it: number {place:,} of {resources:,} resources",
    },
)
