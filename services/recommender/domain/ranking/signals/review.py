"""The review: how urgent it is to review the skills of a resource.

    review_r = sum_k tag_rk reviews_k

with tag_rk the weight of skill k in resource r, and reviews_k as in `compiled.judge_skills`: by the expected recall
where there is a recall model, else by the time since the last answer. It is 0 for skills that are not mastered.
"""

from __future__ import annotations

import numpy as np

from services.recommender.domain.ranking import again
from services.recommender.domain.ranking.answer_record import of_strength
from services.recommender.domain.ranking.evidence import Evidence, Pick
from services.recommender.domain.ranking.messages import Plural, message
from services.recommender.domain.ranking.reasons import Claim, ReasonKind
from services.recommender.domain.ranking.signals.signal import Signal, TagMean


def _reason(evidence: Evidence, pick: Pick) -> Claim | None:
    """The most urgent review among a resource's skills: of a mastered skill that is due after a known time."""
    catalog, estimates = evidence.catalog, evidence.estimates
    slots = catalog.tags.row(pick.row)
    if not len(slots):
        return None
    due = int(slots[np.argmax(catalog.shares(pick.row) * estimates.reviews[slots])])
    # A review is due only where the time of the last answer is known, so the days are a number here.
    if not estimates.mastered[due] or estimates.reviews[due] < evidence.thresholds.review_opens:
        return None
    skill, days = catalog.skill_labels[due], round(float(estimates.days_since[due]))
    known = {"skill": skill, "answers": of_strength(evidence.answers(due)), "days": message("days", days=days)}
    if len(estimates.recalls):
        recall = message("recall", tenths=round(10.0 * float(estimates.recalls[due])))
        said = message("review.recall", **known, recall=recall)
    else:
        said = message("review", **known)
    return Claim(ReasonKind.REVIEW, (said, again.on_skill(pick)) if due == pick.slot else (said,))


SIGNAL = Signal(
    name="review",
    kind=ReasonKind.REVIEW,
    weight=1.5,
    value=lambda candidates: candidates.tag_means[TagMean.REVIEW],
    reason=_reason,
    messages={
        "review": "{skill}: mastered, {answers}; last practised {days} ago",
        "review.recall": "{skill}: mastered, {answers}; last practised {days} ago, {recall} likely to be right today",
        "recall": Plural("tenths", zero="less than 1 in 10", other="about {tenths} in 10"),
    },
)
