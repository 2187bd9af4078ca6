"""Fixed learners are given the lists they were given when the values were written, to the last resource and reason.

The values are in `tests/golden/lists.json`; `tests/golden/write.py` says when they may be replaced.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.golden.lists import list_values
from tests.golden.values import check, stored

GOLDEN = stored("lists")
ANSWERS = [
    (way, method, name)
    for way, methods in sorted(GOLDEN.items())
    for method, named in sorted(methods.items())
    for name in sorted(named)
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    return asyncio.run(list_values(tmp_path_factory.mktemp("servers")))


@pytest.mark.parametrize(("way", "method", "name"), ANSWERS)
def test_the_answer_is_the_same(answers, way, method, name):
    check(GOLDEN[way][method][name], answers[way][method][name])


def test_no_answer_came_or_went(answers):
    assert {(way, method, name) for way in answers for method in answers[way] for name in answers[way][method]} == set(
        ANSWERS
    )


def test_the_lists_hold_every_step_and_every_kind_of_reason():
    rows = [
        row
        for methods in GOLDEN.values()
        for answer in methods["Recommend"].values()
        for row in answer["recommendations"]
    ]
    assert {row[3] for row in rows} == {"STEP_TEACH", "STEP_PRACTISE", "STEP_REASSESS", "STEP_FIND_OUT"}
    assert {kind.removeprefix("REASON_KIND_") for row in rows for kind, _ in row[4]} == {
        "GAP",
        "FIT",
        "REVIEW",
        "SIMILAR_LEARNERS",
        "EXPLORE",
        "GOAL",
        "PREFERENCE",
        "PINNED",
        "BOOSTED",
        "RECENT_WORK",
    }
