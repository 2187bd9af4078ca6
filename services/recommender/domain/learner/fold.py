"""Folding events into learners, as pure functions.

A fold reads a learner as stored and its new events, and returns the learner to store. `learner_walk` goes through the
events in Python (window, strings, journal) and collects the kernel's arguments in a `state_draft.FoldPlan`; one call of
the kernel then does the arithmetic for all learners of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.recommender.domain.learner import packed_strings
from services.recommender.domain.learner.batch import FoldedLearner, LearnerEvents
from services.recommender.domain.learner.events import AssessmentEvent, Grain
from services.recommender.domain.learner.journal import entries_of
from services.recommender.domain.learner.learner_walk import LearnerWalk
from services.recommender.domain.learner.parameter_columns import ParameterColumns
from services.recommender.domain.learner.parameters import TracingParameters
from services.recommender.domain.learner.record import FINGERPRINT_BYTES, NEW_LEARNER, LearnerRecord
from services.recommender.domain.learner.state import unpack_state
from services.recommender.domain.learner.state_draft import FoldPlan, StateDraft, carried


class LearnerFold:
    """Folds batches of events with one epoch's parameters.

    The result depends only on each learner's events in order, not on how they are batched or on the other learners in a
    batch.
    """

    def __init__(self, parameters: TracingParameters) -> None:
        self._columns = ParameterColumns(parameters)

    def fold(self, batch: Sequence[LearnerEvents]) -> list[FoldedLearner]:
        """Fold every learner's events; the results are in the order of `batch`."""
        plan = FoldPlan(self._columns)
        drafts = [LearnerWalk(plan, learner) for learner in batch]
        plan.run()
        return [draft.finish() for draft in drafts]

    def fold_again(self, tenant: str, stored: LearnerRecord) -> LearnerRecord:
        """A learner, recomputed from the journal and its checkpoint.

        Args:
            tenant: the tenant, whose parameters apply.
            stored: the learner.
        """
        if stored.state is None:
            return stored
        plan = FoldPlan(self._columns)
        draft = StateDraft(plan, tenant, unpack_state(stored.checkpoint) if stored.checkpoint else None)
        draft.add_again(entries_of(stored.journal), packed_strings.split(stored.state.skill_names))
        plan.run()
        return stored._replace(state=carried(draft.finish(), stored.state))


def warm_up() -> None:
    """Load or compile the kernel, so that the first fold does not wait for it."""
    event = AssessmentEvent(bytes(FINGERPRINT_BYTES), 1.0, 0, "item", "", ("skill",), Grain.ITEM, "")
    LearnerFold(TracingParameters()).fold([LearnerEvents("", NEW_LEARNER, [(0, event)])])
