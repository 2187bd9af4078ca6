"""The in-memory memory of learners' last events behaves as the port says."""

import pytest

from tests.adapters.memory_recent_events import MemoryRecentEvents
from tests.suites.recent_events import RecentEventsSuite


class TestMemoryRecentEvents(RecentEventsSuite):
    @pytest.fixture
    def recent(self):
        return MemoryRecentEvents()
