"""The events of a whole log in columns: the vectorised counterpart of folding, for training.

An event that was sent twice counts once, an erasure removes the events before it, corrections and revisions change
their target, and of one act only the finest grain is evidence. Folding decides the same event by event, with a window
of ids and a journal per learner; here the whole log is known.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.learner.events import (
    VOIDED,
    AssessmentEvent,
    CorrectionEvent,
    ErasureEvent,
    Grain,
    InteractionEvent,
    InteractionKind,
    LearnerEvent,
)
from services.recommender.domain.learner.journal import journal_length
from services.recommender.domain.learner.state import MOST_SKILLS
from services.recommender.domain.training.responses import ResponseTable, ResponseTableBuilder

# In the column of grains: an event that is not a response; the last has no place in the journal either.
_INTERACTION = 2
_NOTHING = 3
_ID_ALONE = 4
_NO_ACTIVITY = -1


@dataclass(frozen=True, slots=True)
class TenantResponses:
    """One tenant's part of the log in columns.

    Events before a learner's last erasure and voided responses are left out; corrected responses have the new outcome.

    Attributes:
        distinct: responses, and opened and completed resources, without duplicates.
        evidence: the responses that are evidence for the learner model.
    """

    distinct: ResponseTable
    evidence: ResponseTable


@dataclass
class EventColumns:
    """One tenant's events in the order of the log, in columns.

    Attributes:
        forgotten: events before an erasure of their learner; known after `responses` was called, as are the next two.
        copies: events left out because an earlier one of their source and id says the same.
        conflicts: events left out because an earlier one of their source and id says something else.
    """

    builder: ResponseTableBuilder = field(default_factory=ResponseTableBuilder)
    fingerprint: array[int] = field(default_factory=lambda: array("Q"))
    content: array[int] = field(default_factory=lambda: array("I"))
    grain: array[int] = field(default_factory=lambda: array("B"))
    activity: array[int] = field(default_factory=lambda: array("i"))
    activities: dict[str, int] = field(default_factory=dict)
    former: dict[int, int] = field(default_factory=dict)
    corrections: dict[int, tuple[int, float]] = field(default_factory=dict)
    revisions: list[int] = field(default_factory=list)
    erasures: list[int] = field(default_factory=list)
    forgotten: int = 0
    copies: int = 0
    conflicts: int = 0

    def add(self, learner: str, event: LearnerEvent) -> None:
        """Add a learner's next event."""
        row = len(self.builder)
        match event:
            case AssessmentEvent():
                activity = (
                    self.activities.setdefault(event.activity, len(self.activities)) if event.activity else _NO_ACTIVITY
                )
                self.builder.append(
                    learner=learner,
                    item=event.item,
                    skills=event.skills,
                    response=event.response,
                    resource=event.resource,
                    at_s=event.at_s,
                )
                if event.revises:
                    self.revisions.append(row)
                if event.former:
                    self.former[row] = int.from_bytes(event.former, "little")
                self._add_columns(event, event.grain, activity)
                return
            case InteractionEvent():
                worked_on = event.kind is not InteractionKind.DISMISSED
                resource, grain = event.resource if worked_on else "", _INTERACTION if worked_on else _NOTHING
                self.builder.append(
                    learner=learner, item="", skills=(), response=0.0, resource=resource, at_s=event.at_s
                )
                self._add_columns(event, grain, _NO_ACTIVITY)
                return
            case CorrectionEvent():
                self.corrections[row] = int.from_bytes(event.target, "little"), event.response
            case ErasureEvent():
                self.erasures.append(row)
        # Only its id matters: no other event has it.
        self.builder.append(learner=learner, item="", skills=(), response=0.0)
        self._add_columns(event, _ID_ALONE, _NO_ACTIVITY)

    def responses(self) -> TenantResponses:
        """The columns, after everything was added."""
        grain = np.array(self.grain, np.uint8)
        rows = _Rows(self.builder.learner_numbers, np.array(self.fingerprint, np.uint64))
        kept = rows.since(self.erasures)
        self.forgotten += int((~kept & (grain != _ID_ALONE)).sum())
        first = rows.first(kept, np.arange(len(kept)), rows.fingerprint)
        applied = kept.copy()
        if self.former:
            renamed = np.array([row for row in self.former if kept[row]], np.int64)
            found = rows.first(kept, renamed, np.array([self.former[row] for row in renamed.tolist()], np.uint64))
            renamed, found = renamed[(found >= 0) & (found < renamed)], found[(found >= 0) & (found < renamed)]
            applied[renamed] = False
            first = rows.first(applied, np.arange(len(kept)), rows.fingerprint)
            # What came under its own id goes before what came under the former one.
            own = (first[renamed] >= 0) & (first[renamed] < renamed)
            first[renamed[~own]] = found[~own]
        applied &= first == np.arange(len(kept))
        self._change(rows, kept, first, grain)
        distinct = applied & (grain != _ID_ALONE)
        self.builder.limit_skills(distinct, MOST_SKILLS)
        evidence = distinct.copy()
        evidence[distinct] = evidence_rows(
            rows.learner[distinct], grain[distinct], np.array(self.activity, np.int32)[distinct]
        )
        # Voided and dismissed events only count for their place in the journal.
        distinct &= grain != _NOTHING
        table = self.builder.build(distinct)
        return TenantResponses(table, table if evidence.sum() == distinct.sum() else self.builder.build(evidence))

    def _add_columns(self, event: LearnerEvent, grain: int, activity: int) -> None:
        self.fingerprint.append(int.from_bytes(event.fingerprint, "little"))
        self.content.append(int.from_bytes(event.content, "little"))
        self.grain.append(grain)
        self.activity.append(activity)

    def _change(self, rows: _Rows, kept: NDArray[np.bool_], first: NDArray[np.int64], grain: NDArray[np.uint8]) -> None:
        """Regrade corrected and revised responses, mark the voided ones as nothing, and count the repeats."""
        content = np.array(self.content, np.uint32)
        corrections = np.array(list(self.corrections), np.int64)
        wanted = np.array([target for target, _ in self.corrections.values()], np.uint64)
        targets = dict(
            zip(
                corrections.tolist(),
                rows.first(kept & (first == np.arange(len(kept))), corrections, wanted).tolist(),
                strict=True,
            )
        )
        said: dict[int, list[int]] = {}
        responses: dict[int, float] = {}
        applied = 0
        for row in sorted([*self.corrections, *self.revisions]):
            if not kept[row] or (row in targets) != (first[row] == row):
                # Not an event of its own, or no repeat; then it changes nothing.
                continue
            target = targets.get(row, int(first[row]))
            if row not in targets:
                before = said.setdefault(target, [int(content[target])])
                if content[row] == before[-1] != 0:
                    continue
                before.append(int(content[row]))
                applied += 1
            if target >= 0:
                responses[target] = self.corrections[row][1] if row in targets else self.builder.response_of(row)
        for row, response in responses.items():
            if grain[row] <= Grain.ACTIVITY and response == VOIDED:
                grain[row] = _NOTHING
            elif grain[row] <= Grain.ACTIVITY:
                self.builder.regrade(row, response)
        repeats = kept & (first != np.arange(len(kept)))
        differ = repeats & (content != content[first]) & (content != 0) & (content[first] != 0)
        conflicts = sum(content[row] not in said.get(first[row], ()) for row in np.flatnonzero(differ).tolist())
        self.conflicts += conflicts
        self.copies += int(repeats.sum()) - conflicts - applied


class _Rows:
    """Events by learner and fingerprint."""

    def __init__(self, learner: NDArray[np.int32], fingerprint: NDArray[np.uint64]) -> None:
        self.learner, self.fingerprint = learner, fingerprint

    def first(
        self, kept: NDArray[np.bool_], of_rows: NDArray[np.int64], fingerprint: NDArray[np.uint64]
    ) -> NDArray[np.int64]:
        """The first kept row with a fingerprint and the learner of another row; -1 when there is none.

        Args:
            kept: which rows to look at.
            of_rows: the rows whose learners are meant.
            fingerprint: the fingerprints to look for, aligned with `of_rows`.
        """
        candidates = np.flatnonzero(kept)
        learners = np.concatenate([self.learner[candidates], self.learner[of_rows]])
        fingerprints = np.concatenate([self.fingerprint[candidates], fingerprint])
        order = np.lexsort((np.arange(len(learners)), fingerprints, learners))
        begins = np.ones(len(order), np.bool_)
        begins[1:] = (np.diff(learners[order]) != 0) | (np.diff(fingerprints[order]) != 0)
        first_of_group = order[begins][np.cumsum(begins) - 1]
        found = np.empty(len(order), np.int64)
        found[order] = first_of_group
        places = np.append(candidates, -1)[np.minimum(found[len(candidates) :], len(candidates))]
        return places.astype(np.int64)

    def since(self, erasures: Sequence[int]) -> NDArray[np.bool_]:
        """The rows from each learner's last erasure on. An erasure with an id that came before is none."""
        numbers, rows = np.arange(len(self.learner)), np.array(erasures, np.int64)
        earlier = self.first(np.ones(len(numbers), np.bool_), rows, self.fingerprint[rows])
        begins = np.zeros(int(self.learner.max(initial=-1)) + 1, np.int64)
        for row, suspicious in zip(erasures, (earlier < rows).tolist(), strict=True):
            learner = self.learner[row]
            if suspicious:
                same = (self.learner == learner) & (self.fingerprint == self.fingerprint[row])
                if same[begins[learner] : row].any():
                    continue
            begins[learner] = row
        kept: NDArray[np.bool_] = numbers >= begins[self.learner]
        return kept


def first_copies(learner: NDArray[np.int32], fingerprint: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which events are the first of their learner with their fingerprint."""
    order = np.lexsort((np.arange(len(learner)), fingerprint, learner))
    repeated = (np.diff(learner[order]) == 0) & (np.diff(fingerprint[order]) == 0)
    first = np.ones(len(learner), np.bool_)
    first[order[1:][repeated]] = False
    return first


def evidence_rows(
    learner: NDArray[np.int32], grain: NDArray[np.uint8], activity: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Which events are evidence: of one act only the finest grain is.

    As in folding, a score on an activity is not evidence while the learner's journal holds a response to one of its
    items.

    Args:
        learner: of each event, a learner's in their order.
        grain: `Grain` of each event; greater for one that is not a response, which only counts for its place in the
            journal.
        activity: of each event; negative when not known.
    """
    evidence = grain <= Grain.ACTIVITY
    if not (grain == Grain.ACTIVITY).any():
        return evidence
    order = np.argsort(learner, kind="stable")
    grain, activity = grain[order], activity[order]
    begins = np.concatenate([[0], np.flatnonzero(np.diff(learner[order])) + 1])
    place = np.arange(len(order)) - np.repeat(begins, np.diff([*begins, len(order)]))
    for row in np.flatnonzero((grain == Grain.ACTIVITY) & (activity >= 0)):
        recent = slice(row - journal_length(int(place[row])), row)
        evidence[order[row]] = not ((grain[recent] == Grain.ITEM) & (activity[recent] == activity[row])).any()
    return evidence
