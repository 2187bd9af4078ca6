"""`cairn replay --restamp`: an epoch is as if items had been tagged before their events came."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.kafka.connection import SpanPart
from services.common.kafka.envelope import PROTOBUF, record_key
from services.ingest.domain.kinds.assessment import Assessment, SkillsFrom, stamp
from services.ingest.domain.kinds.correction import Correction, Void
from services.ingest.domain.submission import AcceptedEvent, Instant
from services.ingest.wire.records import learner_event_value
from services.recommender.adapters.kafka import training_log
from services.recommender.application.ports.catalog import CatalogTags
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus
from services.recommender.application.ports.learners import LearnerKey
from services.recommender.application.ports.record_spill import SpilledRecord
from services.recommender.application.state.epochs import EpochUnusableError, digest_epoch
from services.recommender.application.state.fold_events import FoldEvents
from services.recommender.application.state.replays import begin_replay
from services.recommender.application.state.restamps import restamp_of, restamp_to_train_with
from services.recommender.application.training.collect import LogSpan
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.parameters import TracingParameters
from services.recommender.domain.learner.restamp import Restamp, RestampedEvents, assessed_skills_id
from services.recommender.entrypoints.record_decoding import RecordDecoder, decode_batch
from tests.adapters.memory_log import MemoryLog
from tests.adapters.memory_states import MemoryDeadLetters, MemoryStates
from tests.learner_events import TENANT, Record, pseudonym

FOLD = LearnerFold(TracingParameters())
EVERYTHING = 1 << 40
UNTAGGED = {}
TAGGED = {"item-1": ("fractions",), "quiz-1": ("ratios", "decimals"), "lesson-1": ()}
WITHOUT_SKILLS, ALL, NONE = RestampedEvents.WITHOUT_SKILLS, RestampedEvents.ALL, RestampedEvents.NONE


def answered(item="item-1", *, activity="", skills=(), outcome=True):
    return Assessment(item, activity, tuple(skills), outcome)


def logged(number, body, catalog, *, learner="ada"):
    """The record that ingest writes when it receives the event with this catalog."""
    stamped = body.accept("tests", catalog.get)
    moment = Instant(1_700_000_000 + number)
    event = AcceptedEvent(f"event-{number}", TENANT, pseudonym(learner), "tests", moment, moment, stamped)
    key = record_key(TENANT, pseudonym(learner))
    return SpilledRecord(0, number, key, learner_event_value(event), (("content-type", PROTOBUF.encode()),))


def log_of(bodies, catalog):
    return [logged(number, body, catalog) for number, body in enumerate(bodies)]


def restamping(catalog, events=WITHOUT_SKILLS, before=EVERYTHING):
    return Restamp(events, {TENANT: catalog}, {0: before})


async def folded(records, restamp=None, *, times=1):
    """An epoch of these records, folded in `times` batches or one more."""
    states = MemoryStates()
    await states.create(EpochMeta(1, EpochStatus.LIVE, "priors-1", "", "log/1", {}))
    fold = FoldEvents(states.fold_store(1), MemoryDeadLetters(), FOLD)
    await fold.on_assigned({0: 0})
    size = max(1, len(records) // times)
    for start in range(0, len(records), size):
        await fold.fold([decode_batch(0, records[start : start + size], 1, restamp=restamp)])
    return states


async def skills_of(states):
    """The skills of which the learner has evidence."""
    stored = await states.read(1, LearnerKey(TENANT, pseudonym("ada")))
    return sorted(stored.state.skill_names)


async def digest(records, restamp=None, *, times=1):
    return (await digest_epoch(await folded(records, restamp, times=times), 1)).digest


names = st.sampled_from(["", "item-1", "item-2", "quiz-1", "quiz-2"])
skills = st.lists(st.sampled_from(["fractions", "decimals", "ratios", "area"]), max_size=3, unique=True).map(tuple)
catalogs = st.dictionaries(st.sampled_from(["item-1", "item-2", "quiz-1", "quiz-2"]), skills)
responses = st.builds(
    Assessment,
    item=names,
    activity=names,
    skills=st.one_of(st.just(()), skills),
    outcome=st.booleans(),
).filter(lambda body: body.item or body.activity)
corrections = st.builds(
    Correction,
    target_source=st.just("tests"),
    target_event_id=st.integers(0, 30).map("event-{}".format),
    change=st.one_of(st.just(Void()), st.booleans()),
)
histories = st.lists(st.one_of(responses, responses, responses, corrections), min_size=1, max_size=120)


@given(histories, catalogs, catalogs, st.integers(1, 4))
def test_an_epoch_of_events_restamped_is_that_of_a_log_whose_events_without_skills_came_with_the_catalog_of_now(
    bodies, then, now, times
):
    def came_with(body):
        untagged = isinstance(body, Assessment) and stamp(body, then.get).skills_from is SkillsFrom.NONE
        return now if untagged else then

    as_if = [logged(number, body, came_with(body)) for number, body in enumerate(bodies)]
    restamped = digest(log_of(bodies, then), restamping(now), times=times)
    assert asyncio.run(restamped) == asyncio.run(digest(as_if))


@given(histories, catalogs, catalogs, st.integers(1, 4))
def test_an_epoch_of_all_events_restamped_is_that_of_a_log_that_came_with_the_catalog_of_now(bodies, then, now, times):
    restamped = digest(log_of(bodies, then), restamping(now, ALL), times=times)
    assert asyncio.run(restamped) == asyncio.run(digest(log_of(bodies, now)))


async def test_tagging_later_recovers_evidence():
    records = log_of([answered(), answered(activity="quiz-1"), answered("item-9", activity="quiz-1")], UNTAGGED)
    plain, restamped = await folded(records), await folded(records, restamping(TAGGED))
    assert await skills_of(plain) == []
    assert await skills_of(restamped) == ["decimals", "fractions", "ratios"]
    assert (await digest_epoch(plain, 1)).digest != (await digest_epoch(restamped, 1)).digest


async def test_without_later_tags_a_restamped_epoch_is_the_plain_one():
    records = log_of([answered(), answered("item-9"), answered(skills=["area"])], TAGGED)
    assert await digest(records, restamping(TAGGED)) == await digest(records)


@pytest.mark.parametrize("events", [WITHOUT_SKILLS, ALL])
async def test_skills_that_the_sender_named_stay(events):
    records = log_of([answered(skills=["area"])], TAGGED)
    assert await digest(records, restamping({"item-1": ("ratios",)}, events)) == await digest(records)


async def test_only_all_replaces_what_an_earlier_catalog_said():
    records, now = log_of([answered()], TAGGED), {"item-1": ("area",)}
    assert await digest(records, restamping(now)) == await digest(records)
    assert await digest(records, restamping(now, ALL)) == await digest(log_of([answered()], now))


async def test_the_decoder_of_an_epoch_stamps_the_events_before_its_offset():
    records, restamp = log_of([answered()] * 3, UNTAGGED), Restamp(WITHOUT_SKILLS, {TENANT: TAGGED}, {0: 2})
    (batch,) = await RecordDecoder(1, restamp=restamp).decode({0: records})
    ((_, events),) = batch.learners.values()
    assert [event.skills for _, event in events] == [("fractions",), ("fractions",), ()]
    assert [event.resource for _, event in events] == ["item-1", "item-1", ""]


async def test_events_after_the_replays_end_are_folded_as_they_are_stamped():
    bodies = [answered(outcome=number % 2 > 0) for number in range(8)]
    as_if = log_of(bodies[:5], TAGGED) + log_of(bodies, UNTAGGED)[5:]
    assert await digest(log_of(bodies, UNTAGGED), restamping(TAGGED, before=5)) == await digest(as_if)


async def test_a_regrade_after_the_replay_folds_again_with_the_restamped_skills():
    bodies = [answered(outcome=number % 2 > 0) for number in range(8)]
    bodies += [Correction("event-2", change=True), Correction("event-4", change=Void())]
    restamp = restamping(TAGGED, before=8)
    assert await digest(log_of(bodies, UNTAGGED), restamp) == await digest(log_of(bodies, TAGGED))


class Catalog:
    """A catalog that changes."""

    def __init__(self, resources=TAGGED, offset=12):
        self.tags = CatalogTags(offset, 4, {TENANT: resources})
        self.reads = 0

    async def read(self):
        self.reads += 1
        return self.tags


@pytest.fixture
def log():
    log = MemoryLog(1)
    log.records[0] = [Record(one.key, one.value, list(one.headers)) for one in log_of([answered()] * 3, UNTAGGED)]
    return log


@pytest.fixture
async def states(log):
    """A current epoch, of events as they are stamped."""
    states = MemoryStates()
    await states.create(EpochMeta(1, EpochStatus.LIVE, "priors-1", "", await log.identity(), {}))
    await states.make_current(1)
    return states


async def begun(states, log, epoch, restamp=None, catalog=None):
    return await begin_replay(states, log, None, epoch, "same", restamp=restamp, catalog=catalog or Catalog())


async def built(states, epoch):
    """Make a begun epoch the current one."""
    await states.set_status(epoch, EpochStatus.BUILT)
    states._current = epoch


async def test_an_epoch_is_begun_with_the_catalogs_version_and_keeps_its_skills(states, log):
    meta = await begun(states, log, 2, WITHOUT_SKILLS)
    assert (meta.restamp.events, meta.restamp.version, meta.restamp.before) == (WITHOUT_SKILLS, "12/4", {0: 3})
    assert await restamp_of(states, meta) == Restamp(WITHOUT_SKILLS, {TENANT: TAGGED}, {0: 3})
    plain = await begun(states, log, 3)
    assert (plain.restamp, await restamp_of(states, plain)) == (None, None)
    assert len({meta.fold_id, plain.fold_id, replace(meta, restamp=replace(meta.restamp, before={0: 2})).fold_id}) == 3


async def test_an_interrupted_replay_goes_on_with_the_skills_it_began_with_though_the_catalog_changed(states, log):
    before = await begun(states, log, 2, WITHOUT_SKILLS)
    changed = Catalog({"item-1": ("area",)}, offset=13)
    assert await begun(states, log, 2, WITHOUT_SKILLS, changed) == before
    assert await begun(states, log, None, None, changed) == before
    assert changed.reads == 0
    assert (await restamp_of(states, before)).assessed == {TENANT: TAGGED}


@pytest.mark.parametrize(
    ("first", "then", "said"),
    [
        (NONE, WITHOUT_SKILLS, "begun with --no-restamp, not --restamp: take it up"),
        (WITHOUT_SKILLS, ALL, "begun with --restamp, not --restamp-all: take it up"),
        (ALL, NONE, "begun with --restamp-all, not --no-restamp: take it up"),
    ],
)
async def test_an_interrupted_replay_is_not_taken_up_with_another_restamp(states, log, first, then, said):
    await begun(states, log, 2, first)
    with pytest.raises(EpochUnusableError, match=said) as refused:
        await begun(states, log, 2, then)
    assert "cairn epoch drop 2" in str(refused.value)


async def test_a_later_replay_that_says_nothing_equals_the_current_epoch(states, log):
    first = await begun(states, log, 2, WITHOUT_SKILLS)
    await built(states, 2)
    log.records[0].append(log.records[0][0])
    later = await begun(states, log, 3, None, Catalog(UNTAGGED, offset=20))
    assert (later.restamp, later.end_positions) == (first.restamp, {0: 4})
    assert (await restamp_of(states, later)).assessed == {TENANT: TAGGED}
    assert (await begun(states, log, 4, NONE)).restamp is None
    assert (await begun(states, log, 5, ALL, Catalog(offset=21))).restamp.version == "21/4"


async def test_offsets_of_another_log_do_not_bound_what_is_restamped(states, log):
    await begun(states, log, 2, WITHOUT_SKILLS)
    await built(states, 2)
    moved = MemoryLog(1)
    moved.records[0] = log.records[0] * 2
    meta = await begin_replay(states, moved, None, 3, "same", accept_loss=True)
    assert (meta.restamp.version, meta.restamp.before) == ("12/4", {0: 6})


@pytest.mark.parametrize("left", [None, {TENANT: {"item-1": ("area",)}}])
async def test_an_epoch_whose_skills_were_lost_is_folded_by_nobody(states, log, left):
    meta = await begun(states, log, 2, WITHOUT_SKILLS)
    states._restamp_skills[2] = left
    with pytest.raises(EpochUnusableError, match="epoch 2 takes skills from the catalog of version 12/4") as refused:
        await restamp_of(states, meta)
    assert "cairn replay --restamp" in str(refused.value)


async def test_training_stamps_events_as_the_next_replay_that_says_nothing(states, log):
    identity, ends = await log.identity(), {0: 3}
    assert await restamp_to_train_with(states, identity, ends) is None
    first = await begun(states, log, 2, WITHOUT_SKILLS)
    assert await restamp_to_train_with(states, identity, ends) is None
    await built(states, 2)
    stamped, restamp = await restamp_to_train_with(states, identity, {0: 4})
    assert stamped == first.restamp
    assert restamp == await restamp_of(states, await begun(states, log, 3))
    # Another log is restamped up to its end.
    _, restamp = await restamp_to_train_with(states, "another/1", {0: 6})
    assert restamp.before == {0: 6}


async def test_training_reads_the_events_that_the_fold_of_the_epoch_decodes(monkeypatch):
    records = log_of([answered(), answered(skills=["area"]), answered("q", activity="quiz-1"), answered()], UNTAGGED)
    restamp = Restamp(WITHOUT_SKILLS, {TENANT: TAGGED}, {0: 3})
    (batch,) = await RecordDecoder(1, restamp=restamp).decode({0: records})
    ((_, folded_events),) = batch.learners.values()

    async def read_span(*_, **__):
        yield SpanPart(records, 4)

    async def restamp_asked(span):
        assert span.end_offsets == {0: 4}
        return restamp

    monkeypatch.setattr(training_log, "read_span", read_span)
    log = training_log.KafkaTrainingLog(None, restamp_of=restamp_asked)
    read = [batch async for batch in log.batches(LogSpan("log/1", {0: 0}, {0: 4}))]
    events = [logged.event for part in read for logged in part.events]
    assert events == [event for _, event in folded_events]
    assert [event.skills for event in events] == [("fractions",), ("area",), ("ratios", "decimals"), ()]


def test_ids_of_skills_tell_catalogs_apart():
    catalogs = [
        {},
        {"a": {}},
        {"a": {"r": ()}},
        {"a": {"r": ("s",)}},
        {"a": {"r": ("s", "t")}},
        {"a": {"r": (), "s": ()}},
    ]
    catalogs += [{"a": {"r": ("t", "s")}}, {"b": {"r": ("s", "t")}}]
    # A tenant without resources has nothing to stamp.
    assert len({assessed_skills_id(catalog) for catalog in catalogs}) == len(catalogs) - 1
    assert assessed_skills_id({"b": {"r": ()}, "a": {"s": (), "r": ()}}) == assessed_skills_id(
        {"a": {"r": (), "s": ()}, "b": {"r": ()}}
    )


def test_at_most_as_many_skills_are_taken_as_an_event_may_have():
    many = tuple(struct.pack(">H", number).hex() for number in range(20))
    assert restamping({"item-1": many}).stamp(TENANT, "item-1", "")[0] == many[:16]
    assert stamp(answered(), {"item-1": many}.get).skills == many[:16]
