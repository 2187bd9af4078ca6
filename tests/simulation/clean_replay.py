"""The reference that the state of a world is compared with: one undisturbed fold of a log."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

from services.recommender.application.ports.epochs import EpochMeta, EpochStatus
from services.recommender.application.ports.log import ValueDecryptor
from services.recommender.application.state.fold_events import FoldEvents
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.parameters import PRIOR_PARAMETERS_ID, TracingParameters
from services.recommender.entrypoints.record_decoding import decode_batch
from tests.adapters.memory_states import MemoryDeadLetters, MemoryStates
from tests.simulation.fold_logs import Expected
from tests.simulation.log import PARTITIONS, SimulatedLog
from tests.simulation.log_readers import corrections_in, event_of, records_in
from tests.simulation.loops import at_once

FOLD = LearnerFold(TracingParameters())


def replayed(log: SimulatedLog, known_to: Mapping[int, int]) -> tuple[MemoryStates, list[Any]]:
    """Fold the whole log in one batch into epoch 1, with corrections known up to given offsets and all keys."""
    states, letters, keys = MemoryStates(), MemoryDeadLetters(), log.keys.complete_keyring(log)
    fold = FoldEvents(states.fold_store(1), letters, FOLD)
    spans = {partition: (0, end) for partition, end in known_to.items()}
    fold.known.add(corrections_in(records_in(log, spans), keys))
    decryptor = cast("ValueDecryptor", keys)
    batches = [decode_batch(p, records, PARTITIONS, decryptor) for p, records in enumerate(log.records) if records]
    at_once(states.create(EpochMeta(1, EpochStatus.BUILT, PRIOR_PARAMETERS_ID, "", log.identity, log.ends())))
    at_once(fold.on_assigned(dict.fromkeys(range(PARTITIONS), 0)))
    for batch in batches:
        # There is no event loop that a thread could relieve.
        batch.cost = 0
    if batches:
        at_once(fold.fold(batches))
    return states, letters.letters


def expected_of(log: SimulatedLog) -> dict[bytes, Expected]:
    """What the log says of each learner, computed as plainly as possible."""
    expected: dict[bytes, Expected] = {}
    keys = log.keys.complete_keyring(log)
    for one in records_in(log, {partition: (0, end) for partition, end in log.ends().items()}):
        event = event_of(one, keys)
        if event is not None and one.key is not None:
            expected.setdefault(one.key, Expected()).note(one.offset, event)
    return expected


def since_erasures(log: SimulatedLog, expected: Mapping[bytes, Expected]) -> SimulatedLog:
    """The log without what came before each learner's last erasure."""
    since = copy.copy(log)
    since.records = [
        [one for one in records if one.key not in expected or one.offset >= expected[one.key].erased_at]
        for records in log.records
    ]
    return since
