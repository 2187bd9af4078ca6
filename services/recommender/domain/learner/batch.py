"""The input and the result of a fold, per learner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from services.recommender.domain.learner.corrections import NOTHING_KNOWN, LearnerCorrections
from services.recommender.domain.learner.events import LearnerEvent
from services.recommender.domain.learner.record import LearnerRecord

BEYOND_JOURNAL = "correction-beyond-journal"
TOO_MANY_EARLY = "correction-too-early"
NOT_A_RESPONSE = "correction-not-of-a-response"
CONFLICT = "conflict"
RESOLVED_BY_REPLAY = frozenset((BEYOND_JOURNAL, TOO_MANY_EARLY))


class LearnerEvents(NamedTuple):
    """One learner's part of a batch.

    Attributes:
        tenant: the tenant, whose parameters apply.
        stored: the learner as stored.
        events: (offset, event) in the order of the log.
        counted_from: events below this offset were already counted; they are folded where the learner lacks them, but
            not counted again.
        known: corrections that are known before the fold reaches them.
    """

    tenant: str
    stored: LearnerRecord
    events: Sequence[tuple[int, LearnerEvent]]
    counted_from: int = 0
    known: LearnerCorrections = NOTHING_KNOWN


class Refusal(NamedTuple):
    """An event that cannot be applied: its offset, the code of the reason, and the reason in a sentence.

    It is a correction or a revision; or, with the code CONFLICT, an event that says something else than an earlier one
    of the same source and id.
    """

    offset: int
    code: str
    reason: str


class FoldedLearner(NamedTuple):
    """The result of folding a batch for one learner.

    Attributes:
        stored: the learner to store; the same object when nothing changed.
        seen: fingerprint and content of each event applied in this batch, in order, to append to the window; only those
            after an erasure, if there was one.
        checkpoint_changed: whether `stored.checkpoint` differs from before.
        applied: counted events that the state now includes, also those that an earlier run had applied.
        duplicates: counted events left out because the window holds them.
        refused: events that were refused, counted or not.
        erased: whether the learner was erased. Nothing stored before may remain.
        refused_skills: how often an event named a new skill that the learner has no room for.
    """

    stored: LearnerRecord
    seen: bytes
    checkpoint_changed: bool
    applied: int
    duplicates: int
    refused: Sequence[Refusal] = ()
    erased: bool = False
    refused_skills: int = 0
