"""Recent work as a reason of the learned ranker."""

from __future__ import annotations

from services.recommender.domain.ranking import again
from services.recommender.domain.ranking.evidence import Evidence, Pick
from services.recommender.domain.ranking.messages import Template, message
from services.recommender.domain.ranking.reasons import Claim, ReasonKind
from services.recommender.domain.ranking.signals.signal import ReasonSource


def _reason(evidence: Evidence, pick: Pick) -> Claim | None:
    at_this_point = message("recent_work.at_this_point")
    if pick.slot in evidence.latest_skills:
        identifier = "recent_work.carries_on"
    elif pick.slot in evidence.usually_next:
        identifier = "recent_work.comes_next"
    else:
        usual = evidence.usually_at_this_point(pick.row)
        return Claim(ReasonKind.RECENT_WORK, (at_this_point,)) if usual else None
    skill = evidence.catalog.skill_labels[pick.slot]
    return Claim(ReasonKind.RECENT_WORK, (message(identifier, skill=skill), again.on_skill(pick)))


RECENT_WORK = ReasonSource(kind=ReasonKind.RECENT_WORK, reason=_reason)

MESSAGES: dict[str, Template] = {
    "recent_work.carries_on": "{skill}: carries on with the latest work",
    "recent_work.comes_next": "{skill}: often comes next after the latest work",
    "recent_work.at_this_point": "Learners usually work on it at about this point",
}
"""The English templates."""
