"""Goals: how much of a resource leads to a goal of the learner.

    goal_r = sum over the skills k on the path to a goal of tag_rk

with tag_rk the weight of skill k in resource r; see `stated_preferences.goal_path`.
"""

from __future__ import annotations

import numpy as np

from services.recommender.domain.ranking import again
from services.recommender.domain.ranking.catalog import FloatColumn
from services.recommender.domain.ranking.evidence import Evidence, Pick
from services.recommender.domain.ranking.messages import message
from services.recommender.domain.ranking.reasons import Claim, ReasonKind
from services.recommender.domain.ranking.signals.signal import Candidates, Signal


def _value(candidates: Candidates) -> FloatColumn | None:
    preferences = candidates.preferences
    if preferences is None or not preferences.path.any():
        return None
    goal = np.zeros(len(candidates.rows))
    owners, entries = candidates.catalog.tags.entries(candidates.rows)
    on_path = preferences.path[candidates.catalog.tags.values[entries]]
    np.add.at(goal, owners, candidates.catalog.tag_weights[entries] * on_path)
    return goal


def _reason(evidence: Evidence, pick: Pick) -> Claim | None:
    if evidence.preferences is None:
        return None
    catalog, preferences = evidence.catalog, evidence.preferences
    slots = catalog.tags.row(pick.row)
    on_path = preferences.path[slots]
    if not on_path.any():
        return None
    slot = int(slots[np.argmax(catalog.shares(pick.row) * on_path)])
    goal = int(preferences.leads_to[slot])
    if slot == goal:
        said = message("goal.own", skill=catalog.skill_labels[slot])
    elif goal in catalog.equivalents.row(slot):
        said = message("goal.same", skill=catalog.skill_labels[slot], goal=catalog.skill_sources[goal])
    else:
        said = message("goal.leads_to", skill=catalog.skill_labels[slot], goal=catalog.skill_labels[goal])
    return Claim(ReasonKind.GOAL, (said, again.numbered(pick, said)))


SIGNAL = Signal(
    name="goal",
    kind=ReasonKind.GOAL,
    weight=2.0,
    value=_value,
    stated=True,
    reason=_reason,
    messages={
        "goal.own": "{skill}: a goal of the learner",
        "goal.same": "{skill}: the same skill as a goal of the learner, {goal}",
        "goal.leads_to": "{skill}: leads to the learner's goal, {goal}",
    },
)
