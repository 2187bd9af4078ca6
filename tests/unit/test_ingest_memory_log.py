"""The in-memory log passes the tests of every log."""

import pytest

from tests.adapters.memory_event_log import MemoryEventLog
from tests.suites.event_log import EventLogSuite


class TestMemoryEventLog(EventLogSuite):
    @pytest.fixture
    def log(self):
        return MemoryEventLog(events_in_flight_max=1_000)

    @pytest.fixture
    def stored(self):
        async def read(log):
            return {
                (number, offset): event.event_id
                for number, events in enumerate(log.partitions)
                for offset, event in enumerate(events)
            }

        return read
