"""The gap: how far the learner is from mastering the skills of a resource.

    gap_r = sum_k tag_rk needs_k

with tag_rk the weight of skill k in resource r, and needs_k as in `compiled.judge_skills`.
"""

from __future__ import annotations

from services.recommender.domain.ranking.messages import Message, Plural
from services.recommender.domain.ranking.reasons import ReasonKind
from services.recommender.domain.ranking.signals import explore
from services.recommender.domain.ranking.signals.signal import Evidence, Pick, Signal


def _reason(evidence: Evidence, pick: Pick) -> Message:
    if pick.slot < 0:
        return explore.little_known(evidence, pick)
    return Message("gap", evidence.served[pick.slot])


_CHANCE = "{skill}: {chance:.0f} % likely to succeed ({low:.0f}-{high:.0f} %)"

SIGNAL = Signal(
    name="gap",
    kind=ReasonKind.GAP,
    weight=1.0,
    skills=lambda estimates: estimates.needs,
    serves=True,
    opens=lambda values, thresholds: values > thresholds.gap_opens,
    reason=_reason,
    messages={
        "gap": Plural(
            "responses",
            zero=f"{_CHANCE}, no responses yet",
            one=f"{_CHANCE}, {{responses}} response, {{successes:.3g}} right",
            other=f"{_CHANCE}, {{responses}} responses, {{successes:.3g}} right",
        )
    },
)
