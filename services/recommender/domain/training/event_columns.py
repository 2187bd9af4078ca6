"""The events of a whole log in columns: the vectorised counterpart of folding, for training.

An event that was sent twice counts once, an erasure removes the events before it, a correction changes its target, and
of one act only the finest grain is evidence. Folding decides the same event by event, with a window of ids and a
journal per learner; here the whole log is known.
"""

from __future__ import annotations

from array import array
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
from services.recommender.domain.training.responses import ResponseTable, ResponseTableBuilder

# In the column of grains: an event that is not a response.
_INTERACTION = 2
_NOTHING = 3
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
        forgotten: events before an erasure of their learner; known after `responses` was called.
        copies: events left out because an earlier one has their source and id; likewise.
    """

    builder: ResponseTableBuilder = field(default_factory=ResponseTableBuilder)
    fingerprint: array[int] = field(default_factory=lambda: array("Q"))
    grain: array[int] = field(default_factory=lambda: array("B"))
    activity: array[int] = field(default_factory=lambda: array("i"))
    activities: dict[str, int] = field(default_factory=dict)
    corrections: dict[str, dict[int, float]] = field(default_factory=dict)
    met: dict[str, set[bytes]] = field(default_factory=dict)
    begins: dict[str, int] = field(default_factory=dict)
    forgotten: int = 0
    copies: int = 0

    def add(self, learner: str, event: LearnerEvent) -> None:
        """Add a learner's next event."""
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
                self._add_columns(event.fingerprint, event.grain, activity)
            case InteractionEvent():
                worked_on = event.kind is not InteractionKind.DISMISSED
                self.builder.append(
                    learner=learner,
                    item="",
                    skills=(),
                    response=0.0,
                    resource=event.resource if worked_on else "",
                    at_s=event.at_s,
                )
                self._add_columns(event.fingerprint, _INTERACTION if worked_on else _NOTHING, _NO_ACTIVITY)
            case CorrectionEvent() | ErasureEvent():
                self._add_change(learner, event)

    def responses(self) -> TenantResponses:
        """The columns, after everything was added."""
        learner = self.builder.learner_numbers
        fingerprint, grain = np.array(self.fingerprint, np.uint64), np.array(self.grain, np.uint8)
        kept = np.arange(len(learner)) >= self.builder.per_learner(self.begins, 0)[learner]
        self.forgotten += int(len(kept) - kept.sum())
        distinct = kept.copy()
        distinct[kept] = first_copies(learner[kept], fingerprint[kept])
        self.copies += int(kept.sum() - distinct.sum())
        self._correct(distinct, fingerprint, grain)
        evidence = distinct.copy()
        evidence[distinct] = evidence_rows(
            learner[distinct], grain[distinct], np.array(self.activity, np.int32)[distinct]
        )
        # Voided and dismissed events only count for their place in the journal.
        distinct &= grain != _NOTHING
        table = self.builder.build(distinct)
        return TenantResponses(table, table if evidence.sum() == distinct.sum() else self.builder.build(evidence))

    def _add_columns(self, fingerprint: bytes, grain: int, activity: int) -> None:
        self.fingerprint.append(int.from_bytes(fingerprint, "little"))
        self.grain.append(grain)
        self.activity.append(activity)

    def _add_change(self, learner: str, event: CorrectionEvent | ErasureEvent) -> None:
        met = self.met.setdefault(learner, set())
        if event.fingerprint in met:
            self.copies += 1
        elif isinstance(event, ErasureEvent):
            self.begins[learner] = len(self.builder)
            self.corrections.pop(learner, None)
            self.met[learner] = {event.fingerprint}
        else:
            met.add(event.fingerprint)
            self.corrections.setdefault(learner, {})[int.from_bytes(event.target, "little")] = event.response

    def _correct(self, distinct: NDArray[np.bool_], fingerprint: NDArray[np.uint64], grain: NDArray[np.uint8]) -> None:
        """Regrade corrected responses, and mark the voided ones as nothing."""
        targets = np.array(sorted({target for of_one in self.corrections.values() for target in of_one}), np.uint64)
        for row in np.flatnonzero(distinct & (grain <= Grain.ACTIVITY) & np.isin(fingerprint, targets)).tolist():
            response = self.corrections.get(self.builder.learner_of(row), {}).get(int(fingerprint[row]))
            if response == VOIDED:
                grain[row] = _NOTHING
            elif response is not None:
                self.builder.regrade(row, response)


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
