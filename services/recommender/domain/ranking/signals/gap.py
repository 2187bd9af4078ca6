"""The gap: how likely the learner is to get wrong what a resource is about, where they are; see `need`.

gap_r = need_r - the mean need of the candidates
"""

from __future__ import annotations

from services.recommender.domain.ranking import again
from services.recommender.domain.ranking.answer_record import FEW_RESPONSES, of_strength, of_weakness
from services.recommender.domain.ranking.evidence import Evidence, Pick
from services.recommender.domain.ranking.messages import message
from services.recommender.domain.ranking.reasons import Claim, ReasonKind
from services.recommender.domain.ranking.signals import explore
from services.recommender.domain.ranking.signals.signal import Signal


def _reason(evidence: Evidence, pick: Pick) -> Claim | None:
    """The gap in the skill that a resource serves. A skill without answers is unknown, which is not a gap."""
    if pick.slot < 0:
        return None
    answers = evidence.answers(pick.slot)
    if answers.mastered:
        return None
    if answers.responses == 0 or (answers.responses < FEW_RESPONSES and answers.mostly_right):
        return explore.little_known(evidence, pick)
    skill = evidence.catalog.skill_labels[pick.slot]
    if answers.likely_right:
        said = message("gap.almost", skill=skill, answers=of_strength(answers))
    elif (builds_on_it := evidence.needed_for(pick.slot)) is not None:
        following = evidence.catalog.skill_labels[builds_on_it]
        said = message("gap.prerequisite", skill=skill, answers=of_weakness(answers), following=following)
    else:
        said = message("gap", skill=skill, answers=of_weakness(answers))
    return Claim(ReasonKind.GAP, (said, again.on_skill(pick)))


SIGNAL = Signal(
    name="gap",
    kind=ReasonKind.GAP,
    weight=2.6,
    value=lambda candidates: candidates.need - (candidates.need.mean() if len(candidates.need) else 0.0),
    reason=_reason,
    messages={
        "gap": "{skill}: not mastered yet, {answers}",
        "gap.almost": "{skill}: almost mastered, {answers}",
        "gap.prerequisite": "{skill}: not mastered yet, {answers}; needed for the latest work, {following}",
    },
)
