"""Ingest and the fold agree on when two events with one identity say the same."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.kafka.envelope import PROTOBUF, record_key
from services.common.kafka.partitioner import partition_of
from services.ingest.domain.kinds.assessment import Assessment
from services.ingest.domain.kinds.correction import Correction, Void
from services.ingest.domain.kinds.interaction import Interaction
from services.ingest.domain.outcome import Score
from services.ingest.domain.repeats import content_of as said_to_ingest
from services.ingest.domain.submission import AcceptedEvent, Instant, Submission
from services.ingest.wire.records import learner_event_value
from services.recommender.wire.events import decode_event

LEARNER, PARTITIONS = "A" * 26, 4
KEY = record_key("riverbend", LEARNER)


def sent(body, occurred_at=None):
    return Submission("ada", "gradebook", body, "e1", occurred_at).normalised()


def said_to_the_fold(one):
    body = one.body.accept(one.source, lambda _: ("tag",))
    event = AcceptedEvent("e1", "riverbend", LEARNER, one.source, one.occurred_at, Instant(1_800_000_000), body)
    headers = [("content-type", PROTOBUF.encode())]
    partition = partition_of(KEY, PARTITIONS)
    return decode_event(KEY, learner_event_value(event), headers, partition, PARTITIONS)[1].content


def agree(one, other):
    """Whether both say that the two are the same."""
    at_ingest = said_to_ingest(one).digest == said_to_ingest(other).digest
    assert at_ingest == (said_to_the_fold(one) == said_to_the_fold(other))
    return at_ingest


def out_of(raw, points=1.0, low=0.0):
    return sent(Assessment("item-1", outcome=Score(raw, low, low + points)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (out_of(0.3), out_of(0.1 + 0.2)),
        (out_of(0.7), out_of(math.nextafter(0.7, 1))),
        (out_of(3, 10), out_of(30, 100)),
        (out_of(3, 10), out_of(8, 10, 5)),
        (out_of(1), sent(Assessment("item-1", outcome=True))),
        (out_of(0), sent(Assessment("item-1", outcome=False))),
        (out_of(1e-9), out_of(2e-9)),
    ],
    ids=str,
)
def test_an_outcome_is_the_same_where_the_fold_cannot_tell_it_apart(one, other):
    assert agree(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [(out_of(0.3), out_of(0.301)), (out_of(3, 10), out_of(3, 11)), (out_of(1), out_of(0))],
    ids=str,
)
def test_an_outcome_that_the_fold_tells_apart_is_another(one, other):
    assert not agree(one, other)


@given(
    st.floats(0, 1),
    st.one_of(st.floats(0, 1), st.integers(-(2**33), 2**33)),
    st.sampled_from([Assessment("item-1"), Correction("e0", None)]),
)
def test_both_round_outcomes_in_the_same_way(raw, other, body):
    # An integer is a number of steps from one number to a neighbour.
    other = min(max(raw + other * math.ulp(raw), 0.0), 1.0) if isinstance(other, int) else other
    field = "outcome" if isinstance(body, Assessment) else "change"
    agree(*[sent(replace(body, **{field: Score(each, 0, 1)})) for each in (raw, other)])


def test_a_voided_response_is_not_one_that_is_wrong():
    assert not agree(sent(Correction("e0", Void())), sent(Correction("e0", change=False)))


@pytest.mark.parametrize("body", [Assessment("item-1", outcome=True), Interaction("video-1", 1)], ids=str)
def test_a_time_counts_to_the_second(body):
    one, same = sent(body, Instant(1_700_000_000)), sent(body, Instant(1_700_000_000, 500_000_000))
    assert agree(one, same)
    assert not agree(one, sent(body, Instant(1_700_000_001)))
    assert agree(sent(body), sent(body, Instant(0))), "the fold reads an absent time as 0"
