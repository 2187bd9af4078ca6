"""Preferences: the share of what the learner prefers that a resource has: one of the kinds, one of the topics."""

from __future__ import annotations

import numpy as np

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.ranking import again
from services.recommender.domain.ranking.catalog import FloatColumn
from services.recommender.domain.ranking.evidence import Evidence, Pick
from services.recommender.domain.ranking.messages import message
from services.recommender.domain.ranking.reasons import Claim, ReasonKind
from services.recommender.domain.ranking.signals.signal import Candidates, Signal

_TOPICS_NAMED = 2


def _value(candidates: Candidates) -> FloatColumn | None:
    preferences = candidates.preferences
    if preferences is None or not (preferences.kinds or preferences.topics):
        return None
    stated = bool(preferences.kinds) + bool(preferences.topics)
    preference = np.zeros(len(candidates.rows))
    if preferences.kinds:
        preference += np.isin(candidates.catalog.kinds[candidates.rows], preferences.kinds) / stated
    if preferences.topics:
        preference += candidates.catalog.topics.carrying(preferences.topics)[candidates.rows] / stated
    return preference


def _reason(evidence: Evidence, pick: Pick) -> Claim | None:
    preferences = evidence.preferences
    if preferences is None:
        return None
    carrying = evidence.catalog.topics.rows
    topics = [topic for topic in preferences.topics if pick.row in carrying.get(topic, ())][:_TOPICS_NAMED]
    kind = ResourceKind(pick.kind).name.lower()
    if pick.kind not in preferences.kinds:
        if not topics:
            return None
        said = message("preference.topics", topics=" and ".join(topics))
    elif topics:
        said = message("preference.kind_and_topics", kind=kind, topics=" and ".join(topics))
    else:
        said = message("preference.kind", kind=kind)
    return Claim(ReasonKind.PREFERENCE, (said, again.numbered(pick, said)))


SIGNAL = Signal(
    name="preference",
    kind=ReasonKind.PREFERENCE,
    weight=0.5,
    value=_value,
    stated=True,
    reason=_reason,
    messages={
        "preference.kind": "Of a kind the learner prefers: {kind}",
        "preference.topics": "About what the learner likes: {topics}",
        "preference.kind_and_topics": "Of a kind the learner prefers, {kind}, and about what they like: {topics}",
    },
)
