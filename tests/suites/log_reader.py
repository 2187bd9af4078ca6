"""What every LogReader does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from services.common.kafka.envelope import record_fingerprint
from tests.learner_events import Record, message, record

Write = Callable[[Sequence[Record]], Awaitable[None]]


def numbered(first: int, count: int, partition: int) -> list[Record]:
    """Distinct records for a partition."""
    return [record(message(number), partition=partition) for number in range(first, first + count)]


class LogReaderSuite:
    """A subclass provides the fixtures `log`, an empty log of four partitions, and `write`."""

    async def test_an_empty_log_ends_where_it_begins_and_holds_no_record(self, log: Any) -> None:
        assert dict(await log.end_offsets()) == dict.fromkeys(range(4), 0)
        assert dict(await log.beginnings()) == dict.fromkeys(range(4), 0)
        assert await log.fingerprints({0: [0], 3: [5]}) == {}
        assert await log.fingerprints({}) == {}

    async def test_records_are_found_by_partition_and_offset(self, log: Any, write: Write) -> None:
        first, second = numbered(0, 40, 0), numbered(100, 3, 2)
        await write([*first, *second])
        assert dict(await log.end_offsets()) == {0: 40, 1: 0, 2: 3, 3: 0}
        found = await log.fingerprints({0: [0, 17, 39], 2: [2]})
        wanted = {(0, 0): first[0], (0, 17): first[17], (0, 39): first[39], (2, 2): second[2]}
        assert found == {place: record_fingerprint(one.key, one.value, one.headers) for place, one in wanted.items()}
        assert len(set(found.values())) == 4, "records differ, and so do their fingerprints"

    async def test_offsets_past_the_end_are_not_found_while_others_are(self, log: Any, write: Write) -> None:
        await write([*numbered(0, 5, 0), *numbered(50, 5, 1)])
        found = await log.fingerprints({0: [4, 5], 1: [9], 2: [0], 3: [1_000]})
        assert set(found) == {(0, 4)}

    async def test_the_identity_does_not_change_as_the_log_grows(self, log: Any, write: Write) -> None:
        before = await log.identity()
        await write(numbered(0, 5, 0))
        assert await log.identity() == before
