"""Behaviour of everything that remembers learners' last events; run on the in-memory and the Redis adapter."""

from __future__ import annotations

from typing import Any

from services.common.auth.identity import EventIdentity
from services.common.kafka.envelope import LogIdentity
from services.ingest.application.ports import Addition
from services.ingest.domain.repeats import DIGEST_BYTES, LearnerKey, RecentLearner, entry_of

LOG, OTHER_LOG = LogIdentity(b"1" * 16, 4), LogIdentity(b"2" * 16, 4)
ADA, ALAN = LearnerKey("riverbend", "A" * 26), LearnerKey("riverbend", "B" * 26)
NAMESAKE = LearnerKey("hilltop", ADA.learner)
EVENTS_KEPT = 512


def identity(number: int, learner: LearnerKey = ADA) -> EventIdentity:
    return EventIdentity(*learner, "gradebook", f"event-{number}")


def digest(number: int) -> bytes:
    return number.to_bytes(DIGEST_BYTES, "big")


def addition(
    *numbers: int, learner: LearnerKey = ADA, says: int = 7, latest_at_s: int | None = None, offset: int = 10
) -> Addition:
    entries = b"".join(entry_of(identity(number, learner), digest(says)) for number in numbers)
    return Addition(learner, entries, latest_at_s, offset)


class RecentEventsSuite:
    """Fixture: `recent`, which keeps 512 events of a learner, and a few more until it trims them."""

    async def test_nothing_is_remembered_of_a_learner_without_events(self, recent: Any) -> None:
        assert await recent.of(LOG, [ADA, ALAN]) == [RecentLearner(), RecentLearner()]

    async def test_what_was_added_is_found_by_the_events_identity(self, recent: Any) -> None:
        await recent.add(LOG, [addition(1, 2), addition(3, learner=ALAN, says=9)])
        ada, alan = await recent.of(LOG, [ADA, ALAN])
        assert [ada.digest_of(identity(number)) for number in (1, 2, 3)] == [digest(7), digest(7), None]
        assert alan.digest_of(identity(3, ALAN)) == digest(9)

    async def test_the_last_content_of_an_identity_counts(self, recent: Any) -> None:
        await recent.add(LOG, [addition(1, 2)])
        await recent.add(LOG, [addition(1, says=8)])
        (ada,) = await recent.of(LOG, [ADA])
        assert [ada.digest_of(identity(number)) for number in (1, 2)] == [digest(8), digest(7)]

    async def test_the_latest_time_never_goes_back(self, recent: Any) -> None:
        seen = []
        for latest_at_s in (None, 1_700_000_000, 1_600_000_000, None, 1_700_000_001):
            await recent.add(LOG, [addition(1, latest_at_s=latest_at_s)])
            seen.append((await recent.of(LOG, [ADA]))[0].latest_at_s)
        assert seen == [None, 1_700_000_000, 1_700_000_000, 1_700_000_000, 1_700_000_001]

    async def test_tenants_and_logs_are_apart(self, recent: Any) -> None:
        await recent.add(LOG, [addition(1, latest_at_s=5)])
        assert await recent.of(LOG, [NAMESAKE]) == [RecentLearner()]
        assert await recent.of(OTHER_LOG, [ADA]) == [RecentLearner()]

    async def test_the_oldest_events_of_a_learner_go_first(self, recent: Any) -> None:
        for start in range(0, 2_000, 100):
            await recent.add(LOG, [addition(*range(start, start + 100), latest_at_s=start)])
        (ada,) = await recent.of(LOG, [ADA])
        assert ada.digest_of(identity(2_000 - EVENTS_KEPT)) == digest(7)
        assert ada.digest_of(identity(2_000 - 2 * EVENTS_KEPT)) is None
        assert ada.latest_at_s == 1_900

    async def test_nothing_of_an_erased_learner_is_left(self, recent: Any) -> None:
        await recent.add(LOG, [addition(1, latest_at_s=5), addition(1, learner=ALAN)])
        await recent.forget(LOG, ADA, 11)
        ada, alan = await recent.of(LOG, [ADA, ALAN])
        assert ada == RecentLearner()
        assert alan.digest_of(identity(1, ALAN)) == digest(7)

    async def test_an_event_before_the_erasure_is_not_added_after_it(self, recent: Any) -> None:
        await recent.forget(LOG, ADA, 11)
        await recent.add(LOG, [addition(1, offset=10, latest_at_s=5)])
        assert await recent.of(LOG, [ADA]) == [RecentLearner()]
        await recent.add(LOG, [addition(1, says=8, offset=12)])
        assert (await recent.of(LOG, [ADA]))[0].digest_of(identity(1)) == digest(8)
