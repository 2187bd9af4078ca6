"""Change notifications in memory."""

from __future__ import annotations

import pytest

from tests.adapters.memory_states import MemoryStates
from tests.suites.change_notifications import ChangeNotificationsSuite


class TestMemoryChangeNotifications(ChangeNotificationsSuite):
    @pytest.fixture
    def states(self):
        return MemoryStates()

    @pytest.fixture
    def notifications(self, states):
        return states.notifications

    @pytest.fixture
    def make_fold_store(self, states):
        return states.fold_store
