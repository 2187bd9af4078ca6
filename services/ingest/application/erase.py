"""Forgetting a learner: destroy the key of their values in the log, then append an erasure."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.common.auth.identity import normalised_id
from services.common.auth.tenant import Tenant
from services.common.kafka.envelope import Position
from services.common.rpc.freshness import Freshness, encode
from services.ingest.application.ports import EventLog, LearnerErasure, RecentEvents
from services.ingest.application.publish import instant_of
from services.ingest.application.statements import NoStatements, StatementStore
from services.ingest.domain.kinds.erasure import Erasure
from services.ingest.domain.problems import ID_CHARACTERS_MAX, Problem, text_problems
from services.ingest.domain.repeats import LearnerKey
from services.ingest.domain.submission import AcceptedEvent

_SOURCE = "cairn"


class LearnerInvalidError(ValueError):
    """A learner id is invalid.

    Attributes:
        problems: what is wrong with it.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{problem.field} {problem.reason}" for problem in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class ErasedLearner:
    """A learner who is forgotten once the event has been applied.

    Attributes:
        position: where the erasure is in the log.
        freshness_token: requests a state without the learner.
        key_destroyed: whether the learner's encrypted values in the log can no longer be read.
    """

    position: Position
    freshness_token: str
    key_destroyed: bool


class EraseLearner:
    """Forgets a tenant's learner. Repeating the call is harmless."""

    def __init__(
        self,
        log: EventLog,
        recent: RecentEvents,
        keys: LearnerErasure,
        clock: Callable[[], datetime],
        statements: StatementStore | None = None,
    ) -> None:
        """Args: the log, what is remembered of its last events, the learners' keys, the clock, and kept statements."""
        self._log = log
        self._recent = recent
        self._keys = keys
        self._clock = clock
        self._statements = statements or NoStatements()

    async def __call__(self, tenant: Tenant, learner_id: str) -> ErasedLearner:
        """Forget the learner that the platform knows as `learner_id`.

        The key is destroyed first. Values that other processes still encrypted with it are then before the erasure in
        the log, so everything after the erasure can be read, and a replay sees the same as the live workers.

        Raises:
            LearnerInvalidError: when the id is invalid.
            LogUnavailableError: when the key topic or the log did not confirm; the call may be repeated.
            LogOverloadedError: when the log has no room now; the call may be repeated.
            RecentEventsUnavailableError: when only what is remembered of the learner's last events or statements may
                be left.
        """
        learner_id = normalised_id(learner_id)
        problems = list(text_problems("learner_id", learner_id, ID_CHARACTERS_MAX, required="the platform's id"))
        if problems:
            raise LearnerInvalidError(problems)
        learner = tenant.pseudonym(learner_id)
        key_destroyed = await self._keys.destroy(tenant.name, learner)
        event = AcceptedEvent(
            event_id=str(uuid.uuid4()),
            tenant=tenant.name,
            learner=learner,
            source=_SOURCE,
            occurred_at=None,
            received_at=instant_of(self._clock()),
            body=Erasure(),
        )
        (position,) = await self._log.append([event])
        # Last, because events that were on their way are added until then.
        await self._recent.forget(self._log.identity, LearnerKey(tenant.name, learner), position.offset)
        await self._statements.forget(tenant, learner)
        token = encode(Freshness(self._log.identity.topic_id, position), tenant.secret)
        return ErasedLearner(position, token, key_destroyed)
