"""Everything stored about a learner, in the parts that a fold reads and returns."""

from __future__ import annotations

from typing import NamedTuple

from services.recommender.domain.learner.journal import EMPTY_JOURNAL, Journal
from services.recommender.domain.learner.state import PackedState

FINGERPRINT_BYTES = 8
SEEN_EVENTS = 4_096


class LearnerRecord(NamedTuple):
    """Everything stored about a learner that later folds read; never changed in place.

    Attributes:
        offset: of the last record that changed the learner; -1: none yet.
        state: the learner's state; None for a learner without events.
        journal: the recent events.
        checkpoint: the encoded state that the journal starts from; empty: the state of a learner without events.
        seen: fingerprints of the last SEEN_EVENTS events applied, oldest first. A revision is there once more, under
            the fingerprint of the event it revises.
        contents: what each of those events said, as `seen.pack_contents` gives it; not known of events that an earlier
            release applied.
    """

    offset: int
    state: PackedState | None
    journal: Journal
    checkpoint: bytes
    seen: bytes
    contents: bytes = b""


NEW_LEARNER = LearnerRecord(-1, None, EMPTY_JOURNAL, b"", b"")
