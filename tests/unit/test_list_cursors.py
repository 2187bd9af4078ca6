"""Cursors are opaque, and valid only for the request they were issued for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.auth.tenant import Tenant
from services.recommender.application.subscriptions.list_cursors import (
    INPUTS_BYTES,
    LIST_BYTES,
    NO_STATE,
    ListCursor,
    hash_of_list,
)
from services.recommender.application.subscriptions.subscriptions import SubscribeQuery
from services.recommender.domain.ranking.policy import ResourceFilter
from services.recommender.domain.ranking.reasons import ReasonKind, Step
from services.recommender.wire.subscribe import CURSOR_CHARACTERS_MAX, CursorCodec

RIVERBEND, LAKESIDE = Tenant("riverbend", b"r" * 32), Tenant("lakeside", b"l" * 32)
QUERY = SubscribeQuery(("AMY",), limit=5)
CODEC = CursorCodec(RIVERBEND, QUERY)
CURSORS = st.builds(
    ListCursor,
    st.integers(NO_STATE, 2**63 - 1),
    st.binary(min_size=INPUTS_BYTES, max_size=INPUTS_BYTES),
    st.binary(min_size=LIST_BYTES, max_size=LIST_BYTES),
)


@settings(deadline=None)
@given(CURSORS)
def test_a_cursor_survives_a_round_trip(cursor):
    text = CODEC.encode("AMY", cursor)
    assert len(text) < CURSOR_CHARACTERS_MAX
    assert CODEC.decode("AMY", text) == cursor
    assert CODEC.decode("BEN", text) is None


@settings(deadline=None)
@given(CURSORS, st.integers(0, 10_000), st.characters(codec="ascii"))
def test_a_cursor_that_was_tampered_with_is_invalid(cursor, at, character):
    text = CODEC.encode("AMY", cursor)
    place = at % len(text)
    changed = text[:place] + character + text[place + 1 :]
    assert CODEC.decode("AMY", changed) == (cursor if changed == text else None)


@settings(deadline=None)
@given(CURSORS)
def test_a_cursor_in_another_alphabet_or_with_padding_is_invalid(cursor):
    text = CODEC.encode("AMY", cursor)
    for other in (text.replace("-", "+").replace("_", "/"), text + "="):
        assert CODEC.decode("AMY", other) == (cursor if other == text else None)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_either_a_cursor_or_invalid(text):
    assert CODEC.decode("AMY", text) is None


@pytest.mark.parametrize(
    "other",
    [
        CursorCodec(LAKESIDE, QUERY),
        CursorCodec(RIVERBEND, SubscribeQuery(("AMY",), limit=6)),
        CursorCodec(RIVERBEND, SubscribeQuery(("AMY",), limit=5, class_id="6b")),
        CursorCodec(RIVERBEND, SubscribeQuery(("AMY",), limit=5, wanted=ResourceFilter(grades=("6",)))),
    ],
)
def test_a_cursor_is_valid_only_for_its_own_tenant_limit_filter_and_class(other):
    cursor = ListCursor(7, b"b" * INPUTS_BYTES, b"l" * LIST_BYTES)
    assert other.decode("AMY", CODEC.encode("AMY", cursor)) is None
    assert other.decode("AMY", other.encode("AMY", cursor)) == cursor


def test_other_requested_learners_do_not_matter():
    cursor = ListCursor(7, b"b" * INPUTS_BYTES, b"l" * LIST_BYTES)
    more = CursorCodec(RIVERBEND, SubscribeQuery(("AMY", "BEN"), limit=5))
    assert more.decode("AMY", CODEC.encode("AMY", cursor)) == cursor


def listed(*resources):
    """A list of (resource, step, kinds of reasons, score)."""
    names = [resource for resource, *_ in resources]
    ranked = [
        SimpleNamespace(
            row=row,
            score=score,
            explanation=SimpleNamespace(
                step=step, reasons=[SimpleNamespace(kind=kind, text=f"{score}", contribution=score) for kind in kinds]
            ),
        )
        for row, (_, step, kinds, score) in enumerate(resources)
    ]
    return hash_of_list(SimpleNamespace(catalog=SimpleNamespace(resource_ids=names), resources=ranked))


A, B = ("a", Step.TEACH, (ReasonKind.GAP, ReasonKind.FIT), 0.9), ("b", Step.PRACTISE, (ReasonKind.GAP,), 0.5)


def test_lists_are_the_same_when_only_numbers_or_the_order_of_reasons_differ():
    assert listed(A, B) == listed(A, ("b", Step.PRACTISE, (ReasonKind.GAP,), 0.4))
    assert listed(A) == listed(("a", Step.TEACH, (ReasonKind.FIT, ReasonKind.GAP), 0.9))


@pytest.mark.parametrize(
    "other",
    [
        (),
        (A,),
        (B, A),
        (A, ("c", *B[1:])),
        (A, ("b", Step.REASSESS, *B[2:])),
        (A, ("b", Step.PRACTISE, (ReasonKind.REVIEW,), 0.5)),
        (A, ("b", Step.PRACTISE, (), 0.5)),
    ],
)
def test_lists_differ_by_resource_position_step_or_kind_of_reason(other):
    assert listed(A, B) != listed(*other)
