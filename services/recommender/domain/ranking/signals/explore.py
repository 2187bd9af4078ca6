"""Exploration: how little is known about the learner on the skills of a resource.

    explore_r = sum_k tag_rk unknowns_k

with tag_rk the weight of skill k in resource r, and unknowns_k = (v_u + v_uk) / (v_u0 + v_k0), 1 when nothing is known.
"""

from __future__ import annotations

from services.recommender.domain.ranking.compiled import Gate
from services.recommender.domain.ranking.messages import Message, message
from services.recommender.domain.ranking.reasons import ReasonKind
from services.recommender.domain.ranking.signals.signal import Evidence, Pick, Signal

_LITTLE_KNOWN = 0.5


def little_known(evidence: Evidence, pick: Pick) -> Message:
    """Says how little is known about the learner on the skill that a resource serves."""
    if pick.slot < 0:
        return message("explore.no_skill")
    little = evidence.estimates.unknowns[pick.slot] > _LITTLE_KNOWN
    return message(
        "explore.little_known" if little else "explore.keep_current",
        skill=evidence.catalog.skill_labels[pick.slot],
        record=evidence.record(pick.slot),
    )


SIGNAL = Signal(
    name="explore",
    kind=ReasonKind.EXPLORE,
    weight=0.1,
    gate=Gate.NONE,
    skills=lambda estimates: estimates.unknowns,
    reason=little_known,
    messages={
        "explore.no_skill": "Little is known yet",
        "explore.little_known": "Little is known yet, {skill}: {record}",
        "explore.keep_current": "Keeps the estimate current, {skill}: {record}",
    },
)
