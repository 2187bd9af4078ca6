"""What a learner knows of a skill counts for the same skill of other frameworks.

Responses to the skill of either framework are evidence of one ability. So a skill gets the evidence of all that are the
same: their posteriors multiplied, each without the prior that they share,

    1/v = sum 1/v_i - (n - 1)/v_0        mu = v sum mu_i/v_i

and their answers added up. `recent_failures` is added up too, which is more than one sequence of the same answers would
leave, so what a reason says of the latest answers still holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.learner.state import LearnerState
from services.recommender.domain.ranking.catalog import CatalogColumns, FloatColumn, IntColumn
from services.recommender.domain.ranking.messages import Message, Plural, Template, message
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
    slots = np.array([catalog.slot_of_skill.get(name, -1) for name in state.skill_names], np.intp)
    places = np.flatnonzero((slots >= 0) & (same_as.starts[slots + 1] > same_as.starts[slots]))
    if not len(places):
        return Crossed(state, NO_SOURCES)
    # Rows are ascending, so what is the same has the same least slot.
    least = np.minimum(slots[places], same_as.values[same_as.starts[slots[places]]])
    first_slots, groups = np.unique(least, return_inverse=True)
    shared = _shared(state.skill_records[places], groups, len(first_slots), prior_variance)
    owners, entries = same_as.entries(first_slots)
    owners = np.concatenate((np.arange(len(first_slots)), owners))
    members = np.concatenate((first_slots, same_as.values[entries]))
    place_of = np.full(len(catalog.skill_ids), -1, np.intp)
    place_of[slots[places]] = places
    own = place_of[members]
    is_new = own < 0
    records = np.concatenate((state.skill_records, shared[owners[is_new]]))
    records[own[~is_new]] = shared[owners[~is_new]]
    names = (*state.skill_names, *(catalog.skill_ids[slot] for slot in members[is_new].tolist()))
    # Of each group the place that was answered most, the first of equals.
    by_attempts = np.lexsort((-state.skill_records["attempts"][places].astype(np.int64), groups))
    strongest = slots[places[by_attempts[np.searchsorted(groups[by_attempts], np.arange(len(first_slots)))]]]
    unanswered = is_new | (state.skill_records["attempts"][own] == 0)
    borrowed = np.flatnonzero(unanswered & (shared["attempts"][owners] > 0))
    sources = dict(zip(members[borrowed].tolist(), strongest[owners[borrowed]].tolist(), strict=True))
    return Crossed(replace(state, skill_names=names, skill_records=records), sources)


def _shared(records: NDArray[np.void], groups: IntColumn, count: int, prior_variance: float) -> NDArray[np.void]:
    """The record that each of `count` groups of records has in common."""

    def total(values: NDArray[np.float64]) -> FloatColumn:
        return np.bincount(groups, values, minlength=count).astype(np.float64, copy=False)

    shared = np.zeros(count, records.dtype)
    # The record of the latest response of each group comes last, so it is the one that stays.
    by_time = np.argsort(records["last_at_s"], kind="stable")
    shared[groups[by_time]] = records[by_time]
    precisions = 1.0 / records["variance"].astype(np.float64)
    best = np.zeros(count)
    np.maximum.at(best, groups, precisions)
    # Never less than the best of them alone: the filter lets variances grow with time, up to the prior's.
    priors = (total(np.ones(len(groups))) - 1.0) / prior_variance
    precision = np.maximum(total(precisions) - priors, best)
    shared["mean"] = total(precisions * records["mean"]) / precision
    shared["variance"] = 1.0 / precision
    for name in _SUMS:
        shared[name] = total(records[name].astype(np.float64))
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


def through_of_group(said: Message, sources: Sequence[str], members: int) -> Message:
    """A message about a group and a skill, which says whose answers were on the same skill of another framework.

    Args:
        said: the message.
        sources: the name of the skill that was answered, for each member who never answered this one.
        members: how many learners the group has.
    """
    if not sources:
        return said
    source = " and ".join(name for name, _ in Counter(sorted(sources)).most_common())
    if len(sources) == members:
        return message("crosswalk", said=said, source=source)
    return message("crosswalk.some", said=said, source=source, count=len(sources))


MESSAGES: dict[str, Template] = {
    "crosswalk": "{said}; the answers were on {source}, which is the same skill",
    "crosswalk.some": Plural(
        "count",
        one="{said}; the answers of 1 of them were on {source}, which is the same skill",
        other="{said}; the answers of {count} of them were on {source}, which is the same skill",
    ),
}
"""The English templates."""
