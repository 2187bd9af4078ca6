"""Recent work as a reason of the learned ranker."""

from __future__ import annotations

from services.recommender.domain.ranking.messages import Message, message
from services.recommender.domain.ranking.reasons import ReasonKind
from services.recommender.domain.ranking.signals.signal import Evidence, Pick, ReasonSource


def _reason(evidence: Evidence, pick: Pick) -> Message:
    if pick.slot < 0:
        return message("recent_work.comes_next")
    return message(
        "recent_work.carries_on" if evidence.estimates.responses[pick.slot] else "recent_work.comes_next_in_skill",
        skill=evidence.catalog.skill_labels[pick.slot],
        record=evidence.record(pick.slot),
    )


RECENT_WORK = ReasonSource(kind=ReasonKind.RECENT_WORK, reason=_reason)
