"""Similar learners as a reason: what many learners, or learners with such a history, worked on."""

from __future__ import annotations

from services.recommender.domain.ranking.evidence import Evidence, Pick
from services.recommender.domain.ranking.messages import Template, message
from services.recommender.domain.ranking.reasons import Claim, ReasonKind
from services.recommender.domain.ranking.signals.signal import ReasonSource


def _reason(evidence: Evidence, pick: Pick) -> Claim | None:
    placed = evidence.rank_for_similar_learners(pick.row)
    if placed is None:
        return None
    place, resources = placed
    template = "popular" if evidence.by_popularity else "similar"
    return Claim(ReasonKind.SIMILAR_LEARNERS, (message(template, place=place, resources=resources),))


SIMILAR = ReasonSource(kind=ReasonKind.SIMILAR_LEARNERS, reason=_reason)

MESSAGES: dict[str, Template] = {
    "similar": "Learners with a similar history worked on it: number {place:,} of {resources:,} resources",
    "popular": "Many learners worked on it: number {place:,} of {resources:,} resources",
}
"""The English templates."""
