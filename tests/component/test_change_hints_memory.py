"""Word of changed learners in memory."""

from __future__ import annotations

import pytest

from services.recommender.adapters.memory import MemoryStates
from tests.suites.change_hints import ChangeHintsSuite


class TestMemoryHints(ChangeHintsSuite):
    @pytest.fixture
    def states(self):
        return MemoryStates()

    @pytest.fixture
    def hints(self, states):
        return states.hints

    @pytest.fixture
    def make_fold_store(self, states):
        return states.fold_store
