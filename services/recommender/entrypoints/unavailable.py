"""The status of a call that cannot be answered because learner state cannot be read."""

from __future__ import annotations

from google.rpc import status_pb2

from services.common.rpc.statuses import unavailable
from services.recommender.application.answers.active_models import NoEpochError
from services.recommender.application.answers.fresh_state import StateLostError
from services.recommender.application.ports.learners import StateUnavailableError

_RETRY_AFTER_S = 1.0


def state_unavailable(error: StateUnavailableError) -> status_pb2.Status:
    """UNAVAILABLE, with the problem and when to retry."""
    return unavailable(str(error), reason=_reason(error), retry_after_s=_RETRY_AFTER_S)


def _reason(error: StateUnavailableError) -> str:
    if isinstance(error, NoEpochError):
        return "NO_EPOCH"
    return "STATE_LOST" if isinstance(error, StateLostError) else "STATE_UNAVAILABLE"
