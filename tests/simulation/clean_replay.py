"""The reference that the state of a world is compared with: one undisturbed fold of a log."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

from services.recommender.application.ports.epochs import EpochMeta, EpochStatus
from services.recommender.application.ports.log import ValueDecryptor
from services.recommender.application.state.fold_events import FoldEvents
from services.recommender.domain.learner.corrections import KnownCorrections
from services.recommender.domain.learner.events import LearnerEvent
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.parameters import PRIOR_PARAMETERS_ID, TracingParameters
from services.recommender.entrypoints.record_decoding import decode_batch
from tests.adapters.memory_states import MemoryDeadLetters, MemoryStates
from tests.simulation.fold_logs import Expected
from tests.simulation.log import PARTITIONS, SimulatedLog
from tests.simulation.log_readers import event_of
from tests.simulation.loops import at_once

FOLD = LearnerFold(TracingParameters())


class CleanLog:
    """A log decoded with all keys. It is decoded once, however often it is folded.

    Attributes:
        log: the log.
        keys: its keys.
        events: key, partition, offset and event of each record that can be decoded.
    """

    def __init__(self, log: SimulatedLog) -> None:
        self.log = log
        self.keys = log.keys.complete_keyring(log)
        decoded = ((one, event_of(one, self.keys)) for records in log.records for one in records)
        self.events: list[tuple[bytes, int, int, LearnerEvent]] = [
            (one.key, one.partition, one.offset, event)
            for one, event in decoded
            if event is not None and one.key is not None
        ]
        decryptor = cast("ValueDecryptor", self.keys)
        self._batches = [
            decode_batch(p, records, PARTITIONS, decryptor) for p, records in enumerate(log.records) if records
        ]
        for batch in self._batches:
            # There is no event loop that a thread could relieve.
            batch.cost = 0

    def replayed(self, known_to: Mapping[int, int]) -> tuple[MemoryStates, list[Any]]:
        """Fold the whole log in one batch into epoch 1, with corrections known up to given offsets."""
        states, letters = MemoryStates(), MemoryDeadLetters()
        fold = FoldEvents(states.fold_store(1), letters, FOLD)
        known = KnownCorrections()
        for key, partition, offset, event in self.events:
            if offset < known_to.get(partition, 0):
                known.note(key, offset, event)
        known.finish()
        fold.known.add(known)
        log = self.log
        at_once(states.create(EpochMeta(1, EpochStatus.BUILT, PRIOR_PARAMETERS_ID, "", log.identity, log.ends())))
        at_once(fold.on_assigned(dict.fromkeys(range(PARTITIONS), 0)))
        if self._batches:
            at_once(fold.fold(self._batches))
        return states, letters.letters

    def expected(self) -> dict[bytes, Expected]:
        """What the log says of each learner, computed as plainly as possible."""
        expected: dict[bytes, Expected] = {}
        for key, _, offset, event in self.events:
            expected.setdefault(key, Expected()).note(offset, event)
        return expected

    def since_erasures(self, expected: Mapping[bytes, Expected]) -> CleanLog:
        """The log without what came before each learner's last erasure."""
        since = copy.copy(self.log)
        since.records = [
            [one for one in records if one.key not in expected or one.offset >= expected[one.key].erased_at]
            for records in self.log.records
        ]
        return CleanLog(since)
