"""The sequence of a group: learn its skill, practise it and re-assess it, within a limit of minutes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.ranking.catalog import (
    MINUTES_UNKNOWN,
    BoolColumn,
    CatalogColumns,
    FloatColumn,
    IntColumn,
)
from services.recommender.domain.ranking.crosswalk import through_of_group
from services.recommender.domain.ranking.messages import Message, message
from services.recommender.domain.ranking.reasons import Step

# The assumed length of a resource of unknown length.
MINUTES_ASSUMED = 10
_CHOICES_PER_STEP = 6
_STEPS = (Step.TEACH, Step.PRACTISE, Step.REASSESS)


@dataclass(frozen=True, slots=True)
class SequenceStep:
    """One step.

    Attributes:
        step: the kind of step.
        row: the resource, a row of the catalog.
        success: the group's mean chance of success on it.
        untouched: share of the group that has not worked on it lately.
    """

    step: Step
    row: int
    success: float
    untouched: float


@dataclass(frozen=True, slots=True)
class GroupFit:
    """How well a skill's resources suit a group; one value per entry of `rows`.

    Attributes:
        rows: resources about the skill that may be given to the group.
        fit: mean over the members of how well the challenge suits, from 0 to 1.
        success: mean chance of success.
        untouched: share of the members that have not worked on it lately.
        favour: factor from rules on its worth.
    """

    rows: IntColumn
    fit: FloatColumn
    success: FloatColumn
    untouched: FloatColumn
    favour: FloatColumn


def minutes_of(catalog: CatalogColumns, row: int) -> int:
    """How long a resource takes; an assumed length if unknown."""
    minutes = int(catalog.minutes[row])
    return MINUTES_ASSUMED if minutes == MINUTES_UNKNOWN else minutes


def compose_sequence(catalog: CatalogColumns, slot: int, suits: GroupFit, minutes_max: int) -> list[SequenceStep]:
    """The best sequence within a limit of minutes.

    Of all combinations of the best few resources of each step: the one with the most steps, then the one that suits
    best. A step is missing if there is no resource or no time for it. Teaching comes before practice, practice before
    measuring.

    Args:
        catalog: the catalog.
        slot: the skill.
        suits: how its resources suit the group.
        minutes_max: the most minutes in total.
    """
    choices = [[None, *_choices(catalog, slot, suits, step)] for step in _STEPS]
    best: tuple[tuple[int, float], tuple[int | None, ...]] | None = None
    worth = _worth(catalog, slot, suits)
    for places in itertools.product(*choices):
        taken = [place for place in places if place is not None]
        rows = [int(suits.rows[place]) for place in taken]
        if len(set(rows)) < len(rows) or sum(minutes_of(catalog, row) for row in rows) > minutes_max:
            continue
        # Of sequences with the same number of steps, earlier steps win: a skill must be taught before it is measured.
        quality = (len(taken), sum(float(worth[place]) for place in taken) - 0.01 * sum(_missing(places)))
        if best is None or quality > best[0]:
            best = (quality, places)
    if best is None:
        return []
    return [
        SequenceStep(step, int(suits.rows[place]), float(suits.success[place]), float(suits.untouched[place]))
        for step, place in zip(_STEPS, best[1], strict=True)
        if place is not None
    ]


def step_reason(step: SequenceStep, members: int, mastery: float, sources: Sequence[str] = ()) -> Message:
    """The reason for a step of a group's sequence.

    Args:
        step: the step.
        members: number of learners in the group.
        mastery: their mean chance of success on the skill.
        sources: as of `through_of_group`.
    """
    return through_of_group(_step_reason(step, members, mastery), sources, members)


def _step_reason(step: SequenceStep, members: int, mastery: float) -> Message:
    new_to = round(step.untouched * members)
    if new_to == 0:
        met = message("met.by_all", learners=members)
    elif new_to == members:
        met = message("met.by_none", learners=members)
    else:
        met = message("met.by_some", count=new_to)
    success = round(100 * step.success)
    match step.step:
        case Step.TEACH:
            return message("step.teach", learners=members, chance=round(100 * mastery), met=met)
        case Step.PRACTISE:
            return message("step.practise", learners=members, success=success, met=met)
        case Step.REASSESS | Step.FIND_OUT:
            return message("step.reassess", learners=members, success=success, met=met)


def _missing(places: Sequence[int | None]) -> list[int]:
    return [len(places) - index for index, place in enumerate(places) if place is None]


def _choices(catalog: CatalogColumns, slot: int, suits: GroupFit, step: Step) -> list[int]:
    """Places in `suits` of the best few resources for a step, best first; equal ones by id."""
    places = np.flatnonzero(_serves(catalog, slot, suits.rows, step))
    worth = _worth(catalog, slot, suits)[places]
    best: list[int] = places[np.argsort(-worth, kind="stable")][:_CHOICES_PER_STEP].tolist()
    return best


def _serves(catalog: CatalogColumns, slot: int, rows: IntColumn, step: Step) -> BoolColumn:
    kinds = catalog.kinds[rows]
    teaches, assesses = _tag_flags(catalog, slot, rows)
    if step is Step.TEACH:
        return teaches & ~np.isin(kinds, (ResourceKind.ASSESSMENT, ResourceKind.PRACTICE, ResourceKind.GAME))
    if step is Step.PRACTISE:
        return np.isin(kinds, (ResourceKind.PRACTICE, ResourceKind.GAME, ResourceKind.ACTIVITY))
    measures = assesses & (kinds == ResourceKind.ASSESSMENT)
    # If the catalog has no assessments of the skill, a resource whose responses are evidence of it measures it.
    return measures if measures.any() else assesses


def _tag_flags(catalog: CatalogColumns, slot: int, rows: IntColumn) -> tuple[BoolColumn, BoolColumn]:
    """Whether each row teaches, and assesses, the skill."""
    tags = _tags(catalog, slot, rows)
    return catalog.tag_teaches[tags], catalog.tag_assesses[tags]


def _tags(catalog: CatalogColumns, slot: int, rows: IntColumn) -> IntColumn:
    tags = catalog.skill_tags.row(slot)
    owners = catalog.tag_rows[tags]
    order = np.argsort(owners, kind="stable")
    found: IntColumn = tags[order[np.searchsorted(owners[order], rows)]]
    return found


def _worth(catalog: CatalogColumns, slot: int, suits: GroupFit) -> FloatColumn:
    """How much a resource is about the skill, how well it suits, how new it is to the group, and how favoured."""
    about = catalog.tag_weights[_tags(catalog, slot, suits.rows)]
    worth: FloatColumn = about * suits.fit * (0.25 + 0.75 * suits.untouched) * suits.favour
    return worth
