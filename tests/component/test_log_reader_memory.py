"""The log in memory passes the suite of the port."""

from __future__ import annotations

import pytest

from tests.adapters.memory_log import MemoryLog
from tests.suites.log_reader import LogReaderSuite


class TestMemoryLog(LogReaderSuite):
    @pytest.fixture
    def log(self):
        return MemoryLog()

    @pytest.fixture
    def write(self, log):
        async def write(records):
            for one in records:
                log.records[one.partition].append(one)

        return write
