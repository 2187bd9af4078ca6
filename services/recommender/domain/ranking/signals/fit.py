"""The fit: how well the challenge of a resource suits the learner; see `compiled.challenge_fit`."""

from __future__ import annotations

import math
from functools import lru_cache

from services.recommender.domain.ranking.catalog import FloatColumn
from services.recommender.domain.ranking.compiled import challenge_fit
from services.recommender.domain.ranking.evidence import RATHER_FAILS, Evidence, Pick
from services.recommender.domain.ranking.features import PRACTISED_KINDS
from services.recommender.domain.ranking.messages import Message, message
from services.recommender.domain.ranking.reasons import Claim, ReasonKind, Step
from services.recommender.domain.ranking.signals import explore
from services.recommender.domain.ranking.signals.signal import Candidates, Signal


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


def _reason(evidence: Evidence, pick: Pick) -> Claim | None:
    """The challenge, where it speaks for the resource; for a learner without answers there is none to speak of."""
    if evidence.knows_nothing:
        return explore.nothing_known(evidence) if pick.slot < 0 else None
    identifier = _challenge(evidence, pick) if math.isfinite(pick.success) else ""
    return Claim(ReasonKind.FIT, (_message(identifier, round(100 * pick.success)),)) if identifier else None


@lru_cache(maxsize=1_000)
def _message(identifier: str, chance: int) -> Message:
    return message(identifier, chance=chance)


def _challenge(evidence: Evidence, pick: Pick) -> str:
    thresholds = evidence.thresholds
    if pick.step is Step.TEACH:
        return "fit.teach_first"
    if pick.success < RATHER_FAILS:
        return ""
    if pick.kind not in PRACTISED_KINDS:
        met = pick.slot >= 0 and evidence.answers(pick.slot).responses > 0
        return "fit.another_way" if met else ""
    if pick.success < thresholds.fit_target - thresholds.fit_width:
        return "fit.within_reach"
    if pick.success > thresholds.fit_target + thresholds.fit_width:
        return "fit.easy"
    return "fit.right"


SIGNAL = Signal(
    name="fit",
    kind=ReasonKind.FIT,
    weight=0.2,
    value=lambda candidates: fit_of(candidates, candidates.success),
    reason=_reason,
    messages={
        "fit.teach_first": "{chance} % likely to succeed without help: to be taught first",
        "fit.another_way": "{chance} % likely to succeed: a way to see it again",
        "fit.within_reach": "{chance} % likely to succeed: hard, but within reach",
        "fit.easy": "{chance} % likely to succeed: easy",
        "fit.right": "{chance} % likely to succeed: the right challenge",
    },
)
