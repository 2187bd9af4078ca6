"""Exploration: how little is known about the learner on the skills of a resource.

    explore_r = sum_k tag_rk unknowns_k

with tag_rk the weight of skill k in resource r, and unknowns_k = (v_u + v_uk) / (v_u0 + v_k0), 1 when nothing is known.
"""

from __future__ import annotations

import numpy as np

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.ranking import again
from services.recommender.domain.ranking.answer_record import FEW_RESPONSES, Answers, counted
from services.recommender.domain.ranking.evidence import Evidence, Pick
from services.recommender.domain.ranking.messages import message
from services.recommender.domain.ranking.reasons import Claim, ReasonKind
from services.recommender.domain.ranking.signals.signal import Signal, TagMean

_ASKING_KINDS = (ResourceKind.ASSESSMENT, ResourceKind.PRACTICE)
_WIDE = 0.5
_MIXED = (0.5, 0.8)


def little_known(evidence: Evidence, pick: Pick) -> Claim | None:
    """Says how little is known about the learner on the skill that a resource serves; None where enough is."""
    if pick.slot < 0:
        return nothing_known(evidence)
    skill, answers = evidence.catalog.skill_labels[pick.slot], evidence.answers(pick.slot)
    if answers.responses == 0:
        asks = pick.kind in _ASKING_KINDS
        said = message("explore.find_out" if asks else "explore.first_look", skill=skill)
    elif answers.responses < FEW_RESPONSES:
        said = message("explore.few_answers", skill=skill, answers=counted(answers))
    elif _is_open(answers) and _is_wide(evidence, pick.slot):
        said = message("explore.unsure", skill=skill, answers=counted(answers))
    else:
        return None
    return Claim(ReasonKind.EXPLORE, (said, again.on_skill(pick)))


def nothing_known(evidence: Evidence) -> Claim | None:
    """Says that the learner is new, if that is so."""
    return Claim(ReasonKind.EXPLORE, (message("explore.new_learner"),)) if evidence.knows_nothing else None


def _is_open(answers: Answers) -> bool:
    """Whether neither the answers nor the chance of success say which it is."""
    return not answers.mastered and all(_MIXED[0] <= each <= _MIXED[1] for each in (answers.share, answers.chance))


def _is_wide(evidence: Evidence, slot: int) -> bool:
    """Whether the central 95 % interval of the chance of success covers half of all chances."""
    (low,), (high,) = evidence.estimates.intervals(np.array([slot], np.intp))
    return bool(high - low >= _WIDE)


SIGNAL = Signal(
    name="explore",
    kind=ReasonKind.EXPLORE,
    weight=0.1,
    value=lambda candidates: candidates.tag_means[TagMean.UNKNOWN],
    reason=little_known,
    messages={
        "explore.new_learner": "No answers from this learner yet: a place to start",
        "explore.find_out": "{skill}: no answers yet, find out what is known",
        "explore.first_look": "{skill}: no answers yet, take a first look",
        "explore.few_answers": "{skill}: little is known yet, {answers}",
        "explore.unsure": "{skill}: hard to tell yet, {answers}",
    },
)
