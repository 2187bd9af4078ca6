"""The fold of events into learners: its arithmetic, and the properties that make replay equal live processing."""

from __future__ import annotations

import gc
import math
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.recommender.domain.learner import seen, state_draft
from services.recommender.domain.learner.batch import FoldedLearner, LearnerEvents
from services.recommender.domain.learner.events import VOIDED, AssessmentEvent, CorrectionEvent, Grain
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.journal import (
    JOURNAL_EVENTS,
    decode_journal,
    encode_journal,
    entries_of,
    journal_length,
)
from services.recommender.domain.learner.kernel import exponential
from services.recommender.domain.learner.parameters import (
    FilterSettings,
    ItemDifficulty,
    SkillDifficulty,
    TenantParameters,
    TracingParameters,
)
from services.recommender.domain.learner.record import NEW_LEARNER, LearnerRecord
from services.recommender.domain.learner.state import (
    RECENT_RESOURCES,
    StateCorruptError,
    decode_state,
    encode_state,
    item_code,
    unpack_state,
)

RIVERBEND = TenantParameters(
    settings=FilterSettings(base=0.4),
    items={"i0": ItemDifficulty(0.7, 0.2), "i1": ItemDifficulty(-1.1, 0.4)},
    skills={"s0": SkillDifficulty(0.3, 0.1, 0.2)},
    recent_items=True,
)
LEARNING = replace(RIVERBEND, settings=FilterSettings(base=0.4, learning=0.11, retention=0.93, moderation=1.0))
PARAMETERS = TracingParameters("test", {"riverbend": RIVERBEND, "hilltop": LEARNING})
FOLD = LearnerFold(PARAMETERS)


def event(
    number: int,
    response: float = 1.0,
    *,
    item: str = "i0",
    skills: tuple[str, ...] = ("s0",),
    activity: str = "",
    grain: Grain = Grain.ITEM,
    resource: str = "",
    at_s: int = 1_600_000_000,
) -> AssessmentEvent:
    return AssessmentEvent(struct.pack("<Q", number), response, at_s, item, activity, skills, grain, resource)


def fold(
    events: list[AssessmentEvent],
    stored: LearnerRecord = NEW_LEARNER,
    *,
    first: int = 0,
    tenant: str = "riverbend",
    counted_from: int = 0,
) -> FoldedLearner:
    (folded,) = FOLD.fold([LearnerEvents(tenant, stored, list(enumerate(events, first)), counted_from)])
    return folded


def stored_bytes(stored: LearnerRecord) -> tuple[int, bytes, bytes, bytes, bytes]:
    state = b"" if stored.state is None else encode_state(stored.state)
    return stored.offset, state, encode_journal(stored.journal), stored.checkpoint, stored.seen


def f32(value: float) -> float:
    return struct.unpack("<f", struct.pack("<f", value))[0]


class ReferenceFilter:
    """The published formulas in plain Python, every component rounded to float32 after each event."""

    def __init__(self, parameters: TenantParameters) -> None:
        self.parameters = parameters
        self.mean, self.variance = 0.0, f32(parameters.settings.learner_variance)
        self.skills: dict[str, tuple[float, float]] = {}

    def apply(self, observed: AssessmentEvent) -> float:
        s = self.parameters.settings
        item = self.parameters.items.get(observed.item, ItemDifficulty(0.0, s.item_difficulty_variance))
        difficulties = [
            self.parameters.skills.get(name, SkillDifficulty(0.0, s.skill_difficulty_variance))
            for name in observed.skills
        ]
        share = 1.0 / max(len(observed.skills), 1)
        v_u = min(self.variance + s.learner_noise, s.learner_variance)
        abilities = []
        for name in observed.skills:
            mean, variance = self.skills.get(name, (0.0, f32(s.skill_variance)))
            abilities.append((mean, min(variance + s.skill_noise, s.skill_variance)))
        logit_sum = variance_sum = 0.0
        for (mean, variance), difficulty in zip(abilities, difficulties, strict=True):
            logit_sum += mean - difficulty.mean
            variance_sum += variance + difficulty.variance
        m = s.base + self.mean - item.mean + share * logit_sum
        s2 = v_u + item.variance + share * share * variance_sum
        scale = math.sqrt(1.0 + math.pi / 8.0 * s2) if s.moderation else 1.0
        e = exponential.py_func(-abs(m / scale))
        p = (1.0 if m >= 0 else e) / (1.0 + e)
        g, h = observed.response - p, p * (1.0 - p) / scale
        d = scale if s.moderation else 1.0 + h * s2
        self.mean = f32(self.mean + v_u * g / d)
        self.variance = f32(max(v_u - v_u * v_u * h / d, s.variance_floor))
        for name, (mean, variance) in zip(observed.skills, abilities, strict=True):
            moved = mean + share * variance * g / d
            left = max(variance - share * share * variance * variance * h / d, s.variance_floor)
            self.skills[name] = (
                f32(s.retention * moved + s.learning),
                f32(max(s.retention * s.retention * left, s.variance_floor)),
            )
        return m / math.sqrt(1.0 + math.pi / 8.0 * s2)


ids = st.integers(0, 7)
events_strategy = st.lists(
    st.builds(
        event,
        st.integers(0, 120),
        st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1, width=32)),
        item=ids.map(lambda n: f"i{n}"),
        skills=st.lists(ids.map(lambda n: f"s{n}"), unique=True, max_size=3).map(tuple),
        activity=st.sampled_from(["", "a0", "a1"]),
        grain=st.sampled_from(list(Grain)),
        resource=st.sampled_from(["", "i0", "i1", "a0"]),
        at_s=st.integers(0, 2**32 - 1),
    ),
    max_size=160,
)


@settings(deadline=None)  # The first call compiles.
@given(st.floats(-700, 700))
def test_the_exponential_equals_that_of_the_math_library(x):
    assert exponential(x) == pytest.approx(math.exp(x), rel=3e-16)
    assert exponential(x) == exponential.py_func(x)


@pytest.mark.parametrize("tenant", ["riverbend", "hilltop"])
@settings(max_examples=60, deadline=None)
@given(events=events_strategy)
def test_the_kernel_computes_the_published_formulas_bit_for_bit(tenant, events):
    unique = list({e.fingerprint: e._replace(grain=Grain.ITEM) for e in events}.values())
    reference = ReferenceFilter(PARAMETERS.tenants[tenant])
    for observed in unique:
        reference.apply(observed)
    folded = fold(unique, tenant=tenant).stored
    if folded.state is None:
        assert not unique
        return
    state = decode_state(encode_state(folded.state))
    assert (state.mean, state.variance) == (reference.mean, reference.variance)
    assert set(state.skill_names) == set(reference.skills)
    for name, record in zip(state.skill_names, state.skill_records, strict=True):
        assert (float(record["mean"]), float(record["variance"])) == reference.skills[name]
    last = [(item_code(one.item) if one.item in RIVERBEND.items else 1, f32(one.response)) for one in unique[:-6:-1]]
    assert state.recent_items.tolist() == last


def test_recent_items_take_forty_bytes_where_parameters_ask_for_them_and_none_elsewhere():
    sizes = [len(encode_state(fold([event(1)], tenant=tenant).stored.state)) for tenant in ("riverbend", "lakeside")]
    assert sizes[0] - sizes[1] == 40


def test_what_is_no_evidence_is_not_among_the_recent_items():
    voided = CorrectionEvent(struct.pack("<Q", 9), struct.pack("<Q", 2), VOIDED)
    state = fold([event(1, 0.25), event(2, item="i1"), voided]).stored.state
    assert decode_state(encode_state(state)).recent_items.tolist() == [(item_code("i0"), 0.25)]


def test_a_response_without_skills_is_evidence_of_the_ability_as_a_whole():
    state = decode_state(encode_state(fold([event(1, skills=())]).stored.state))
    assert state.mean > 0
    assert state.skill_names == ()
    assert state.responses == 1


def test_no_variance_falls_below_the_floor():
    parameters = TracingParameters("sharp", {"t": TenantParameters(FilterSettings(learner_noise=0, skill_noise=0))})
    (folded,) = LearnerFold(parameters).fold(
        [LearnerEvents("t", NEW_LEARNER, [(n, event(n, n % 2)) for n in range(4_000)])]
    )
    state = decode_state(encode_state(folded.stored.state))
    assert state.variance == f32(0.01)
    assert float(state.skill_records[0]["variance"]) >= f32(0.01)


def test_a_tenant_without_parameters_has_the_priors_and_not_those_of_another_tenant():
    own, foreign = fold([event(1)]).stored, fold([event(1)], tenant="lakeside").stored
    assert own.state.learner != foreign.state.learner
    reference = ReferenceFilter(TenantParameters())
    reference.apply(event(1))
    assert decode_state(encode_state(foreign.state)).mean == reference.mean


@settings(max_examples=40, deadline=None)
@given(events_strategy, st.data())
def test_any_batching_of_the_same_events_gives_the_same_bytes(events, data):
    whole = fold(events)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=6)))
    stored, applied, duplicates = NEW_LEARNER, 0, 0
    for start, end in zip([0, *cuts], [*cuts, len(events)], strict=True):
        # Each batch reads the result of the previous one.
        offset, state, journal, checkpoint, seen = stored_bytes(stored)
        stored = LearnerRecord(
            offset, unpack_state(state) if state else None, decode_journal(journal), checkpoint, seen
        )
        folded = fold(events[start:end], stored, first=start)
        stored, applied, duplicates = folded.stored, applied + folded.applied, duplicates + folded.duplicates
    assert stored_bytes(stored) == stored_bytes(whole.stored)
    assert (applied, duplicates) == (whole.applied, whole.duplicates)
    assert applied + duplicates == len(events)


@settings(max_examples=40, deadline=None)
@given(events_strategy)
def test_other_learners_of_the_batch_do_not_matter(events):
    alone = fold(events)
    others = [LearnerEvents("lakeside", NEW_LEARNER, [(0, event(500, 0.0)), (1, event(501))])]
    together = FOLD.fold([*others, LearnerEvents("riverbend", NEW_LEARNER, list(enumerate(events))), *others])
    assert stored_bytes(together[1].stored) == stored_bytes(alone.stored)


@pytest.mark.parametrize("tenant", ["riverbend", "hilltop"])
@settings(max_examples=40, deadline=None)
@given(events=events_strategy)
def test_folding_the_journal_from_its_checkpoint_gives_the_state(tenant, events):
    stored = fold(events, tenant=tenant).stored
    again = FOLD.fold_again(tenant, stored)
    assert stored_bytes(again) == stored_bytes(stored)


@settings(max_examples=40, deadline=None)
@given(events_strategy.filter(bool), st.data())
def test_an_event_dropped_or_changed_gives_other_bytes(events, data):
    unique = list({e.fingerprint: e for e in events}.values())
    index = data.draw(st.integers(0, len(unique) - 1))
    whole = stored_bytes(fold(unique).stored)[1:]
    assert stored_bytes(fold(unique[:index] + unique[index + 1 :]).stored)[1:] != whole
    changed = unique[index]._replace(response=1.0 if unique[index].response < 0.5 else 0.0)
    assert stored_bytes(fold([*unique[:index], changed, *unique[index + 1 :]]).stored)[1:] != whole


def test_records_at_or_below_the_stored_offset_are_not_folded_again():
    first = fold([event(1), event(2)])
    again = fold([event(1), event(2), event(3)], first.stored)
    assert again.seen == event(3).fingerprint + event(3).content
    assert again.applied == 3
    assert decode_state(encode_state(again.stored.state)).applied == 3


def test_a_duplicate_is_counted_but_not_folded_and_does_not_move_the_offset():
    first = fold([event(1), event(2)])
    again = fold([event(1)], first.stored, first=10)
    assert again.stored is first.stored
    assert (again.applied, again.duplicates, again.seen) == (0, 1, b"")


def test_a_duplicate_within_the_batch_is_found():
    folded = fold([event(1), event(1), event(2)])
    assert (folded.applied, folded.duplicates) == (2, 1)


def test_a_record_counted_before_is_folded_where_it_is_missing_but_not_counted_again():
    folded = fold([event(1), event(2)], first=5, counted_from=6)
    assert folded.applied == 1
    assert decode_state(encode_state(folded.stored.state)).applied == 2


def test_the_window_drops_events_beyond_its_length(monkeypatch):
    monkeypatch.setattr(seen, "WINDOW_BYTES", 3 * 8)
    first = fold([event(n) for n in range(3)])
    assert fold([event(0)], first.stored, first=3).duplicates == 1
    fourth = fold([event(3)], first.stored, first=3)
    assert fold([event(0)], fourth.stored, first=4).applied == 1
    in_one_batch = fold([event(n) for n in (0, 1, 2, 3, 0)])
    assert in_one_batch.duplicates == 0
    assert in_one_batch.stored.seen == b"".join(event(n).fingerprint for n in (2, 3, 0))


def test_a_long_window_is_searched_the_same_way():
    long = fold([event(n) for n in range(1_000)]).stored
    assert fold([event(0), event(999), event(1_000)], long, first=2_000).duplicates == 2


def test_a_fingerprint_across_two_others_is_not_a_duplicate():
    one, two = bytes(range(8)), bytes(range(8, 16))
    across = one[4:] + two[:4]
    events = [event(0)._replace(fingerprint=fingerprint) for fingerprint in (one, two, across)]
    assert fold(events).duplicates == 0


def test_an_activity_score_is_no_evidence_while_one_of_its_items_is_in_the_journal():
    item = event(1, activity="quiz")
    score = event(2, 0.0, item="", activity="quiz", grain=Grain.ACTIVITY, resource="quiz")
    other = score._replace(activity="homework")
    alone, both, unrelated = fold([item]).stored, fold([item, score]).stored, fold([item, other]).stored
    assert both.state.skills == alone.state.skills
    state = decode_state(encode_state(both.state))
    assert (state.responses, state.applied) == (1, 2)
    assert [touched.resource for touched in state.resources] == ["quiz"]
    assert decode_state(encode_state(unrelated.state)).responses == 2


def test_an_activity_score_alone_is_evidence():
    score = event(2, 0.0, item="", activity="quiz", grain=Grain.ACTIVITY)
    assert decode_state(encode_state(fold([score]).stored.state)).responses == 1


def test_an_activity_without_a_name_hides_no_score():
    score = event(2, item="", activity="", grain=Grain.ACTIVITY)
    assert decode_state(encode_state(fold([event(1), score]).stored.state)).responses == 2


def test_the_journal_keeps_the_recent_events_and_folds_the_oldest_33_when_it_is_full():
    events = [event(n, n % 2, item=f"i{n}", resource=f"i{n}") for n in range(JOURNAL_EVENTS + 1)]
    full, over = fold(events[:-1]).stored, fold(events).stored
    assert (full.journal.count, full.checkpoint) == (64, b"")
    assert over.journal.count == 32
    assert over.checkpoint == encode_state(fold(events[:33]).stored.state)
    kept = entries_of(over.journal)
    assert [(entry.item, entry.response, entry.resource) for entry in kept] == [
        (e.item, e.response, e.resource) for e in events[33:]
    ]


def test_the_length_of_a_journal_follows_from_the_number_of_events():
    stored, lengths = NEW_LEARNER, []
    for number in range(3 * JOURNAL_EVENTS):
        stored = fold([event(number)], stored, first=number).stored
        lengths.append(stored.journal.count)
    assert lengths == [journal_length(events) for events in range(1, 3 * JOURNAL_EVENTS + 1)]


def latest_of(*events: AssessmentEvent) -> tuple[int, float]:
    """Time of the latest response to the skill, and its outcome."""
    (record,) = decode_state(encode_state(fold(list(events)).stored.state)).skill_records
    return int(record["last_at_s"]), float(record["last_response"])


def test_a_response_that_arrives_late_does_not_move_a_skills_latest_time_back():
    new, old = event(1, response=1.0, at_s=1_600_000_000), event(2, response=0.0, at_s=1_600_000_000 - 60_000_000)
    assert latest_of(new, old) == latest_of(old, new) == (1_600_000_000, 1.0)


def test_a_response_of_unknown_time_counts_as_just_given_and_leaves_the_latest_time():
    dated, undated = event(1, response=1.0, at_s=1_600_000_000), event(2, response=0.0, at_s=0)
    assert latest_of(dated, undated) == (1_600_000_000, 0.0)
    assert latest_of(undated, dated) == (1_600_000_000, 1.0)
    assert latest_of(undated) == (0, 0.0)


def test_recent_resources_are_distinct_newest_last_and_bounded():
    touched = [event(n, resource=f"r{n}") for n in range(RECENT_RESOURCES + 2)]
    again = event(1_000, resource="r50", at_s=7)
    state = decode_state(encode_state(fold([*touched, again]).stored.state))
    assert len(state.resources) == RECENT_RESOURCES
    assert state.resources[0].resource == "r2"
    assert (state.resources[-1].resource, state.resources[-1].at_s) == ("r50", 7)
    assert [r.resource for r in state.resources].count("r50") == 1


def test_an_id_that_is_part_of_another_is_distinct():
    state = decode_state(
        encode_state(
            fold([event(1, skills=("ab",), resource="r11"), event(2, skills=("b",), resource="r1")]).stored.state
        )
    )
    assert state.skill_names == ("ab", "b")
    assert [r.resource for r in state.resources] == ["r11", "r1"]


def test_recent_sums_halve_every_four_responses():
    state = decode_state(encode_state(fold([event(n, 1.0 if n == 0 else 0.0) for n in range(5)]).stored.state))
    record = state.skill_records[0]
    assert float(record["recent_successes"]) == pytest.approx(0.5, abs=1e-6)
    assert float(record["successes"]) == 1.0
    assert int(record["attempts"]) == 5


def test_a_learner_with_more_skills_than_fit_still_learns(monkeypatch):
    monkeypatch.setattr(state_draft, "MOST_SKILLS", 2)
    state = decode_state(encode_state(fold([event(1, skills=("a", "b", "c")), event(2, skills=("c",))]).stored.state))
    assert state.skill_names == ("a", "b")
    assert state.responses == 2


def test_a_state_with_fifty_skills_and_a_full_journal_keep_within_their_budgets():
    events = [
        event(
            n,
            n % 2,
            item=f"problem-set-{n:04d}",
            skills=(f"CCSS.Math.{n % 50:03d}.NF.A",),
            resource=f"problem-set-{n:04d}",
            activity="homework",
        )
        for n in range(128)
    ]
    bare = fold([e._replace(resource="") for e in events]).stored
    full = fold(events).stored
    assert len(decode_state(encode_state(bare.state)).skill_names) == 50
    assert len(encode_state(bare.state)) <= 3 * 1024
    assert len(encode_state(full.state)) - len(encode_state(bare.state)) <= 3 * 1024
    at_its_largest = fold(events[:JOURNAL_EVENTS]).stored
    assert at_its_largest.journal.count == JOURNAL_EVENTS
    assert len(encode_journal(at_its_largest.journal)) <= 3 * 1024


@pytest.mark.parametrize("cut", [0, 3, 20, 60, -1])
def test_a_state_cut_short_is_refused(cut):
    blob = encode_state(fold([event(1, resource="r1", skills=("a", "b"))]).stored.state)
    with pytest.raises(StateCorruptError):
        unpack_state(blob[:cut])


def test_a_state_or_journal_of_another_version_is_refused_with_the_remedy():
    stored = fold([event(1)]).stored
    for decode, blob in ((unpack_state, encode_state(stored.state)), (decode_journal, encode_journal(stored.journal))):
        with pytest.raises(StateCorruptError, match="replay into a new epoch"):
            decode(b"\x09" + blob[1:])


def test_a_decoded_state_is_read_only():
    state = decode_state(encode_state(fold([event(1)]).stored.state))
    with pytest.raises(ValueError, match="read-only"):
        state.skill_records["mean"][0] = np.float32(3)


def test_a_fold_leaves_nothing_for_the_garbage_collector():
    events = [event(number) for number in range(100)]
    fold(events)
    gc.collect()
    gc.disable()
    try:
        fold(events)
        assert gc.collect() == 0
    finally:
        gc.enable()
