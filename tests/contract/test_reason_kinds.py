"""Reasons have numbers of the contract, and every message they need has a template."""

from __future__ import annotations

from cairn.v1 import recommender_pb2
from services.recommender.domain.ranking.reasons import ReasonKind
from services.recommender.domain.ranking.render import ENGLISH
from services.recommender.domain.ranking.signals import SIGNALS


def test_kinds_of_reasons_are_those_of_the_contract():
    numbers = {f"REASON_KIND_{kind.name}": kind.value for kind in ReasonKind}
    assert numbers | {"REASON_KIND_UNSPECIFIED": 0} == dict(recommender_pb2.ReasonKind.items())


def test_every_signal_has_a_kind_of_reason_of_the_contract():
    assert {signal.kind for signal in SIGNALS} <= set(recommender_pb2.ReasonKind.values()) - {0}


def test_signals_have_distinct_names_and_messages():
    assert len({signal.name for signal in SIGNALS}) == len(SIGNALS)
    identifiers = [identifier for signal in SIGNALS for identifier in signal.messages]
    assert len(set(identifiers)) == len(identifiers)
    assert set(identifiers) <= set(ENGLISH.templates)
