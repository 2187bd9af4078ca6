from __future__ import annotations

import pytest

from tests.adapters.memory_states import MemoryStates
from tests.suites.quarantine import QuarantineSuite


class TestMemoryQuarantine(QuarantineSuite):
    @pytest.fixture
    def epochs(self):
        return MemoryStates()

    @pytest.fixture
    def reader(self, epochs):
        return epochs

    @pytest.fixture
    def make_fold_store(self, epochs):
        return epochs.fold_store

    @pytest.fixture
    def damage(self, epochs):
        async def damage(epoch, key):
            epochs.damage(epoch, key)

        return damage
