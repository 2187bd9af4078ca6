"""Random logs of one learner are folded as defined, in any batches and by any replay.

`make simulate` folds a hundred thousand; a failure prints the shortest log that shows it, to paste into a test.
"""

from __future__ import annotations

import pytest

from services.recommender.domain.learner import corrections
from services.recommender.domain.learner.batch import CONFLICT
from services.recommender.domain.learner.events import CorrectionEvent, ErasureEvent
from tests.simulation.fold_logs import describe, expected_of, failing, log_of

LOGS = 3_000


def test_random_logs_give_the_same_bytes_in_any_batches_and_in_any_replay():
    found = failing(range(LOGS))
    assert found is None, f"{found[1]}\n{describe(found[0])}"


def test_the_random_logs_hold_what_they_are_for():
    logs = [log_of(seed) for seed in range(LOGS)]
    expected = [expected_of(log) for log in logs]
    assert sum(one.duplicates > 0 for one in expected) > LOGS / 10
    assert sum(any(code == CONFLICT for _, code in one.refused) for one in expected) > LOGS / 10
    for kind in (CorrectionEvent, ErasureEvent):
        assert sum(any(isinstance(event, kind) for event in log) for log in logs) > LOGS / 10


def test_a_failing_log_is_shortened(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(corrections, "holds", lambda window, fingerprint: False)
    found = failing(range(LOGS))
    assert found is not None
    assert len(found[0]) <= 4
