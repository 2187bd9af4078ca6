from __future__ import annotations

import pytest

from tests.adapters.memory_states import MemoryStates
from tests.suites.learner_states import LearnerStatesSuite


class TestMemoryStates(LearnerStatesSuite):
    @pytest.fixture
    def epochs(self):
        return MemoryStates()

    @pytest.fixture
    def reader(self, epochs):
        return epochs

    @pytest.fixture
    def make_fold_store(self, epochs):
        return epochs.fold_store
