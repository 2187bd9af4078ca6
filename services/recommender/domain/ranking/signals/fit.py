"""The fit: how well the challenge of a resource suits the learner; see `compiled.challenge_fit`."""

from __future__ import annotations

from functools import lru_cache

from services.recommender.domain.ranking.catalog import FloatColumn
from services.recommender.domain.ranking.compiled import challenge_fit
from services.recommender.domain.ranking.features import PRACTISED_KINDS
from services.recommender.domain.ranking.messages import Message, message
from services.recommender.domain.ranking.reasons import ReasonKind
from services.recommender.domain.ranking.signals.signal import Candidates, Evidence, Pick, Signal
from services.recommender.domain.ranking.thresholds import RankingThresholds


def fit_of(candidates: Candidates, success: FloatColumn) -> FloatColumn:
    """How well each candidate's challenge suits with some chances of success, from 0 to 1."""
    thresholds = candidates.thresholds
    suits: FloatColumn = challenge_fit(
        success,
        candidates.difficulties.practised[candidates.rows],
        thresholds.fit_target,
        thresholds.fit_width,
        thresholds.fit_elsewhere,
    )
    return suits


def _reason(evidence: Evidence, pick: Pick) -> Message:
    return _message(_challenge(evidence.thresholds, pick), round(100 * pick.success))


@lru_cache(maxsize=1_000)
def _message(identifier: str, chance: int) -> Message:
    return message(identifier, chance=chance)


def _challenge(thresholds: RankingThresholds, pick: Pick) -> str:
    if pick.kind not in PRACTISED_KINDS:
        return "fit.teach_first" if pick.success < thresholds.teach_below else "fit.another_way"
    if pick.success < thresholds.teach_below:
        return "fit.hard"
    if pick.success < thresholds.fit_target - thresholds.fit_width:
        return "fit.within_reach"
    if pick.success > thresholds.fit_target + thresholds.fit_width:
        return "fit.easy"
    return "fit.right"


SIGNAL = Signal(
    name="fit",
    kind=ReasonKind.FIT,
    weight=0.8,
    value=lambda candidates: fit_of(candidates, candidates.success),
    reason=_reason,
    messages={
        "fit.teach_first": "{chance} % likely to succeed on it: to be taught first",
        "fit.another_way": "{chance} % likely to succeed on it: to see it in another way",
        "fit.hard": "{chance} % likely to succeed on it: still hard",
        "fit.within_reach": "{chance} % likely to succeed on it: hard, but within reach",
        "fit.easy": "{chance} % likely to succeed on it: easy, builds confidence",
        "fit.right": "{chance} % likely to succeed on it: the right challenge",
    },
)
