"""What every log of events does. Adapters' tests inherit `EventLogSuite` and say how to make one and how to read it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.common.envelope import partition_of, record_key
from services.ingest.application.ports import LogOverloadedError
from services.ingest.domain.assessment import AcceptedEvent, Assessment, Instant, Score, SkillsFrom


def event(number: int, *, learner: str = "A" * 26, tenant: str = "riverbend") -> AcceptedEvent:
    return AcceptedEvent(
        event_id=f"event-{number}",
        tenant=tenant,
        learner=learner,
        source="gradebook",
        occurred_at=Instant(1_700_000_000 + number, 5_000) if number % 2 else None,
        received_at=Instant(1_800_000_000),
        assessment=Assessment(item=f"item-{number}", outcome=Score(1, 0, 4) if number % 3 else True, attempt=1),
        response=0.25 if number % 3 else 1.0,
        skills=("fractions",),
        skills_from=SkillsFrom.CATALOG,
        resource="item-1",
    )


def learner(number: int) -> str:
    return f"{'ABCDEFGHIJKLMNOPQRSTUVWXYZ'[number % 26]}" * 26


class EventLogSuite:
    """Fixtures: `log`, which takes at most 1,000 events at once, and `stored(log)`, ids by (partition, offset)."""

    async def test_positions_are_where_the_records_stand(self, log: Any, stored: Any) -> None:
        events = [event(number, learner=learner(number)) for number in range(200)]
        positions = await log.append(events)
        found = await stored(log)
        assert [found[position.partition, position.offset] for position in positions] == [
            event.event_id for event in events
        ]

    async def test_a_learners_events_share_the_partition_of_their_key(self, log: Any) -> None:
        events = [event(number, learner=learner(number)) for number in range(60)]
        positions = await log.append(events)
        expected = [partition_of(record_key(event.tenant, event.learner), log.identity.partitions) for event in events]
        assert [position.partition for position in positions] == expected
        assert len(set(expected)) > 1

    async def test_a_learners_events_keep_their_order_over_calls_made_one_after_the_other(self, log: Any) -> None:
        offsets = []
        for start in range(0, 100, 20):
            offsets += [position.offset for position in await log.append([event(start + n) for n in range(20)])]
        assert offsets == sorted(offsets)
        assert len(set(offsets)) == 100

    async def test_appends_made_at_once_all_get_their_own_positions(self, log: Any) -> None:
        batches = [[event(100 * n + m, learner=learner(n)) for m in range(50)] for n in range(10)]
        positions = [position for batch in await asyncio.gather(*map(log.append, batches)) for position in batch]
        assert len(set(positions)) == 500

    async def test_more_events_than_it_may_hold_are_refused_whole(self, log: Any, stored: Any) -> None:
        before = len(await stored(log))
        with pytest.raises(LogOverloadedError):
            await log.append([event(number) for number in range(1_001)])
        assert len(await stored(log)) == before
        assert await log.append([event(0)])

    async def test_its_identity_stays(self, log: Any) -> None:
        before = log.identity
        await log.append([event(0)])
        assert log.identity == before
        assert len(before.topic_id) == 16
