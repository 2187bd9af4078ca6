"""Behaviour of every event log. Tests of adapters inherit `EventLogSuite` and provide a log and a way to read it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.common.kafka.envelope import record_key
from services.common.kafka.partitioner import partition_of
from services.ingest.application.ports import LogOverloadedError
from services.ingest.domain.kinds.assessment import Assessment, SkillsFrom, StampedAssessment
from services.ingest.domain.outcome import Score
from services.ingest.domain.submission import AcceptedEvent, Instant


def event(number: int, *, learner: str = "A" * 26, tenant: str = "riverbend") -> AcceptedEvent:
    return AcceptedEvent(
        event_id=f"event-{number}",
        tenant=tenant,
        learner=learner,
        source="gradebook",
        occurred_at=Instant(1_700_000_000 + number, 5_000) if number % 2 else None,
        received_at=Instant(1_800_000_000),
        body=StampedAssessment(
            Assessment(item=f"item-{number}", outcome=Score(1, 0, 4) if number % 3 else True, attempt=1),
            response=0.25 if number % 3 else 1.0,
            skills=("fractions",),
            skills_from=SkillsFrom.CATALOG,
            resource="item-1",
        ),
    )


def learner(number: int) -> str:
    return f"{'ABCDEFGHIJKLMNOPQRSTUVWXYZ'[number % 26]}" * 26


class EventLogSuite:
    """Fixtures: `log`, which accepts at most 1,000 events at once, and `stored(log)`, ids by (partition, offset)."""

    async def test_positions_are_those_of_the_records(self, log: Any, stored: Any) -> None:
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

    async def test_a_learners_events_keep_their_order_across_sequential_calls(self, log: Any) -> None:
        offsets = []
        for start in range(0, 100, 20):
            offsets += [position.offset for position in await log.append([event(start + n) for n in range(20)])]
        assert offsets == sorted(offsets)
        assert len(set(offsets)) == 100

    async def test_concurrent_appends_get_their_own_positions(self, log: Any) -> None:
        batches = [[event(100 * n + m, learner=learner(n)) for m in range(50)] for n in range(10)]
        positions = [position for batch in await asyncio.gather(*map(log.append, batches)) for position in batch]
        assert len(set(positions)) == 500

    async def test_more_events_than_the_limit_are_refused_as_a_whole(self, log: Any, stored: Any) -> None:
        before = len(await stored(log))
        with pytest.raises(LogOverloadedError):
            await log.append([event(number) for number in range(1_001)])
        assert len(await stored(log)) == before
        assert await log.append([event(0)])

    async def test_events_keep_their_order_without_waiting_for_confirmation(self, log: Any) -> None:
        confirmations = [await log.submit([event(10 * batch + n) for n in range(10)]) for batch in range(8)]
        offsets = [position.offset for confirmation in confirmations for position in await confirmation]
        assert offsets == sorted(offsets)
        assert len(set(offsets)) == 80

    async def test_a_caller_waiting_for_room_continues_once_others_are_confirmed(self, log: Any) -> None:
        batches = [[event(100 * n + m, learner=learner(n)) for m in range(400)] for n in range(6)]

        async def submit(batch: Any) -> Any:
            return await (await log.submit(batch, wait_for_room=True))

        async with asyncio.timeout(20):
            results = await asyncio.gather(*map(submit, batches))
        assert len({position for positions in results for position in positions}) == 2_400

    async def test_a_request_beyond_the_limit_does_not_wait(self, log: Any) -> None:
        with pytest.raises(LogOverloadedError):
            await log.submit([event(number) for number in range(1_001)], wait_for_room=True)

    async def test_the_identity_of_the_log_is_stable(self, log: Any) -> None:
        before = log.identity
        await log.append([event(0)])
        assert log.identity == before
        assert len(before.topic_id) == 16
