"""The stored values of a learner, as bytes in Redis and as what folds and answers read."""

from __future__ import annotations

from collections.abc import Sequence

from services.recommender.adapters.redis.seen_entries import seen_of_elements
from services.recommender.application.ports.learners import StoredLearner
from services.recommender.domain.learner.journal import EMPTY_JOURNAL, decode_journal
from services.recommender.domain.learner.record import NEW_LEARNER, LearnerRecord
from services.recommender.domain.learner.state import decode_state, unpack_state


def stored_learner(fields: Sequence[bytes | None]) -> StoredLearner | None:
    """What answers read, from the values of blob and off; None: nothing is stored, or the learner was erased."""
    blob, offset = fields
    return None if not blob or offset is None else StoredLearner(decode_state(blob), int(offset))


def learner_record(
    state: Sequence[bytes | None], journal: Sequence[bytes | None], seen: Sequence[bytes]
) -> LearnerRecord:
    """What folds read, from the values of blob and off, of entries and checkpoint, and from the list of seen."""
    blob, offset = state
    entries, checkpoint = journal
    if blob is None or offset is None:
        return NEW_LEARNER
    return LearnerRecord(
        int(offset),
        unpack_state(blob) if blob else None,
        decode_journal(entries) if entries else EMPTY_JOURNAL,
        checkpoint or b"",
        *seen_of_elements(seen),
    )
