"""Every RPC answers with the status, the field paths and the numbers it answered with when the values were written.

The values are in `tests/golden/calls.json`; `tests/golden/write.py` says when they may be replaced.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.golden.calls import call_values, cases, methods
from tests.golden.values import check, stored

GOLDEN = stored("calls")


@pytest.fixture(scope="module")
def answers():
    return asyncio.run(call_values())


@pytest.mark.parametrize("title", sorted(GOLDEN))
def test_the_answer_to_a_call_is_the_same(answers, title):
    check(GOLDEN[title], answers[title])


def test_no_call_came_or_went():
    assert {case.title for case in cases()} == set(GOLDEN)


@pytest.mark.parametrize(("service", "method"), methods())
def test_every_method_of_the_contract_is_called_well_without_a_key_without_the_scope_and_wrongly(service, method):
    names = {case.name for case in cases() if (case.service, case.method) == (service, method)}
    assert names > {"good call", "no key", "unknown key", "key without the scope", "no deadline"}
    assert GOLDEN[f"{method}: good call"]["code"] == "OK"
    assert GOLDEN[f"{method}: no key"]["code"] == "UNAUTHENTICATED"
    assert GOLDEN[f"{method}: key without the scope"]["code"] == "PERMISSION_DENIED"
