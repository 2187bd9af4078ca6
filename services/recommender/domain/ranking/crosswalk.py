"""What a learner knows of a skill counts for the same skill of other frameworks.

Responses to the skill of either framework are evidence of one ability. So a skill gets the evidence of all that are the
same: their posteriors multiplied, each without the prior that they share,

    1/v = sum 1/v_i - (n - 1)/v_0        mu = v sum mu_i/v_i

and their answers added up. `recent_failures` is added up too, which is more than one sequence of the same answers would
leave, so what a reason says of the latest answers still holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.learner.state import LearnerState
from services.recommender.domain.ranking.catalog import CatalogColumns
from services.recommender.domain.ranking.messages import Template, message
from services.recommender.domain.ranking.reasons import Reason, ReasonKind

_SUMS = ("attempts", "successes", "recent_successes", "recent_failures")
_ABOUT_ANSWERS = frozenset({ReasonKind.GAP, ReasonKind.FIT, ReasonKind.REVIEW, ReasonKind.EXPLORE})


class Crossed(NamedTuple):
    """A learner's state over the frameworks of a catalog.

    Attributes:
        state: the state.
        sources: for skills that the learner never answered, by slot, the slot of the skill whose answers count.
    """

    state: LearnerState
    sources: Mapping[int, int]


NO_SOURCES: Mapping[int, int] = MappingProxyType({})


def cross(catalog: CatalogColumns, state: LearnerState, prior_variance: float) -> Crossed:
    """A learner's state, in which a skill has the evidence of all that are the same.

    Args:
        catalog: the catalog.
        state: the learner's state.
        prior_variance: of the ability on a skill (v_0).
    """
    same_as = catalog.equivalents
    if not len(same_as.values):
        return Crossed(state, NO_SOURCES)
    places: dict[tuple[int, ...], list[int]] = {}
    for place, name in enumerate(state.skill_names):
        slot = catalog.slot_of_skill.get(name, -1)
        if slot >= 0 and len(others := same_as.row(slot)):
            places.setdefault(tuple(sorted((slot, *others.tolist()))), []).append(place)
    if not places:
        return Crossed(state, NO_SOURCES)
    names, records, sources = list(state.skill_names), [*state.skill_records.copy()], dict[int, int]()
    for slots, known in places.items():
        shared = _shared(state.skill_records[known], prior_variance)
        strongest = max(known, key=lambda place: int(state.skill_records["attempts"][place]))
        for slot in slots:
            own = state.slot_of_skill.get(catalog.skill_ids[slot])
            if own is None:
                names.append(catalog.skill_ids[slot])
                records.append(shared)
            else:
                records[own] = shared
            if shared["attempts"] and (own is None or not state.skill_records["attempts"][own]):
                sources[slot] = catalog.slot_of_skill[state.skill_names[strongest]]
    crossed = replace(state, skill_names=tuple(names), skill_records=np.array(records, state.skill_records.dtype))
    return Crossed(crossed, sources)


def _shared(records: NDArray[np.void], prior_variance: float) -> np.void:
    shared: np.void = records[np.argmax(records["last_at_s"])].copy()
    if len(records) > 1:
        precisions = 1.0 / records["variance"].astype(np.float64)
        # Never less than the best of them alone: the filter lets variances grow with time, up to the prior's.
        precision = max(precisions.sum() - (len(records) - 1) / prior_variance, precisions.max())
        shared["mean"] = (precisions * records["mean"]).sum() / precision
        shared["variance"] = 1.0 / precision
        for name in _SUMS:
            shared[name] = records[name].sum()
    return shared


def through(reasons: Sequence[Reason], source: str) -> list[Reason]:
    """The reasons, the first of which about answers says that they were on the same skill of another framework.

    Args:
        reasons: the reasons for a resource.
        source: the name of the skill that was answered.
    """
    told = list(reasons)
    for place, reason in enumerate(told):
        if reason.kind in _ABOUT_ANSWERS:
            told[place] = reason._replace(message=message("crosswalk", said=reason.message, source=source))
            break
    return told


MESSAGES: dict[str, Template] = {"crosswalk": "{said}; the answers were on {source}, which is the same skill"}
"""The English templates."""
