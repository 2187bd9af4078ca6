"""A learner's personal data: all of it, and how each recent event changed the estimates."""

from __future__ import annotations

import itertools
import zlib

import orjson

from services.recommender.application.operations.personal_data import HeldRecord, PersonalData
from services.recommender.application.ports.learners import LearnerCommit
from services.recommender.domain.learner.batch import LearnerEvents
from services.recommender.domain.learner.events import (
    VOIDED,
    AssessmentEvent,
    CorrectionEvent,
    ErasureEvent,
    Grain,
    InteractionEvent,
    InteractionKind,
    LearnerEvent,
    PreferenceEvent,
)
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.parameters import ItemDifficulty, TenantParameters, TracingParameters
from services.recommender.domain.learner.record import NEW_LEARNER
from tests.adapters.memory_states import MemoryStates


def fp(number: int) -> bytes:
    return number.to_bytes(8, "little")


def answer(number: int, response: float, item: str = "item-7", skill: str = "fractions") -> AssessmentEvent:
    return AssessmentEvent(fp(number), response, 1_700_000_000 + number, item, "", (skill,), Grain.ITEM, "")


EVENTS: list[LearnerEvent] = [
    answer(1, 1.0),
    answer(2, 0.0),
    InteractionEvent(fp(3), 0, "video-1", InteractionKind.OPENED),
    InteractionEvent(fp(4), 0, "video-2", InteractionKind.DISMISSED),
    PreferenceEvent(fp(5), ("ratios",), ("space",), (2,), 1),
    answer(6, 1.0, item="item-8"),
    CorrectionEvent(fp(7), fp(6), VOIDED),
    CorrectionEvent(fp(8), fp(99), 0.5),
]


class Records:
    """Implements LearnerRecords."""

    async def of(self, key: bytes) -> list[HeldRecord]:
        return [
            HeldRecord("log", 1, 5, {"ce_id": "e1"}, {"learner": key.decode()}),
            HeldRecord("log", 1, 6, {"ce_id": "e2"}, None),
        ]


REMEMBERED = TracingParameters(
    "t", {"t": TenantParameters(items={"item-7": ItemDifficulty(0.0, 0.5)}, recent_items=True)}
)


async def data_of(events: list[LearnerEvent]) -> PersonalData:
    store = MemoryStates().fold_store(1)
    (folded,) = LearnerFold(REMEMBERED).fold([LearnerEvents("t", NEW_LEARNER, list(enumerate(events)))])
    assert not folded.refused
    await store.commit([LearnerCommit(b"t/L", -1, folded.stored, folded.seen, checkpoint_changed=True)])
    return PersonalData(store, REMEMBERED, Records())


async def test_all_stored_data_is_exported_as_json():
    everything = await (await data_of(EVENTS)).everything("t", "L")
    given = orjson.loads(orjson.dumps(everything))
    assert (given["tenant"], given["learner"]) == ("t", "L")
    state = given["state"]
    assert (state["responses"], state["events_applied"]) == (2, 8)
    assert [skill["skill"] for skill in state["skills"]] == ["fractions"]
    assert state["skills"][0]["attempts"] == 2
    assert state["resources"] == [{"resource": "video-1", "kind": "opened", "at": None}]
    assert state["dismissed"] == ["video-2"]
    code = zlib.crc32(b"item-7")
    assert state["recent_items"] == [{"item_code": code, "response": 0.0}, {"item_code": code, "response": 1.0}]
    assert state["preferences"] == {"goals": ["ratios"], "interests": ["space"], "formats": [2], "pace": "gentle"}
    assert [entry["voided"] for entry in given["journal"]] == [False, False, False, False, True]
    assert given["corrections_waiting"] == [{"target_fingerprint": fp(99).hex(), "voided": False, "response": 0.5}]
    assert len(given["events_seen"]) == len(EVENTS)
    assert [(record["value"], record["readable"]) for record in given["records"]] == [
        ({"learner": "t/L"}, True),
        (None, False),
    ]


async def test_the_export_of_an_erased_learner_has_only_their_records():
    everything = await (await data_of([*EVENTS, ErasureEvent(fp(9))])).everything("t", "L")
    assert everything["state"] is None
    assert everything["journal"] == []
    assert everything["events_seen"] == [fp(9).hex()]


async def test_the_history_shows_what_each_event_changed():
    steps = await (await data_of(EVENTS)).history("t", "L")
    right, wrong, opened, _, voided = steps
    assert right.changes[0].skill == "fractions"
    assert right.changes[0].after > right.changes[0].before
    assert wrong.changes[0].before == right.changes[0].after
    assert wrong.changes[0].after < wrong.changes[0].before
    assert (opened.changes, voided.changes) == ((), ())
    assert await (await data_of([ErasureEvent(fp(1))])).history("t", "L") == ()


async def test_beyond_the_journal_the_history_continues_from_its_checkpoint():
    events = [answer(number, float(number % 2)) for number in range(100)]
    steps = await (await data_of(events)).history("t", "L")
    assert 32 <= len(steps) <= 64
    for before, after in itertools.pairwise(steps):
        assert before.changes[0].after == after.changes[0].before
