"""The review: how urgent it is to review the skills of a resource.

    review_r = sum_k tag_rk reviews_k

with tag_rk the weight of skill k in resource r, and reviews_k as in `compiled.review_due`, 0 for skills that are not
mastered.
"""

from __future__ import annotations

import math

import numpy as np

from services.recommender.domain.ranking.messages import Message, message
from services.recommender.domain.ranking.reasons import ReasonKind
from services.recommender.domain.ranking.signals.signal import Evidence, Pick, Signal


def _reason(evidence: Evidence, pick: Pick) -> Message | None:
    catalog = evidence.catalog
    slots = catalog.tags.row(pick.row)
    if not len(slots):
        return None
    due = int(slots[np.argmax(catalog.shares(pick.row) * evidence.estimates.reviews[slots])])
    days = float(evidence.estimates.days_since[due])
    if math.isnan(days):
        return None
    return message(
        "review",
        skill=catalog.skill_labels[due],
        record=evidence.record(due),
        days=message("days", days=max(1, round(days))),
    )


SIGNAL = Signal(
    name="review",
    kind=ReasonKind.REVIEW,
    weight=0.5,
    skills=lambda estimates: estimates.reviews,
    serves=True,
    opens=lambda values, thresholds: values >= thresholds.review_opens,
    reason=_reason,
    messages={"review": "{skill}: mastered ({record}), last practised {days} ago"},
)
