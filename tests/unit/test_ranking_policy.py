from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.ranking.candidates import random_seed
from services.recommender.domain.ranking.catalog import CatalogResource, build_columns
from services.recommender.domain.ranking.policy import (
    EVERYTHING,
    Reassessments,
    ResourceFilter,
    by_score,
    compose,
    eligibility,
)
from services.recommender.domain.ranking.weights import DEFAULT_WEIGHTS as WEIGHTS

CATALOG = build_columns(
    [
        CatalogResource("any", kind=ResourceKind.GAME),
        CatalogResource("draft", active=False),
        CatalogResource("en", kind=ResourceKind.VIDEO, teaches=(("a", 1.0),), language="en-GB", minutes=8),
        CatalogResource("es", kind=ResourceKind.VIDEO, assesses=(("b", 1.0),), language="es", minutes=20),
        CatalogResource("five", kind=ResourceKind.LESSON, teaches=(("a", 1.0), ("b", 1.0)), grades=("5", "6")),
        CatalogResource("three", kind=ResourceKind.PRACTICE, assesses=(("c", 1.0),), grades=("3",)),
    ],
    [],
)


def _allowed(**fields):
    return [CATALOG.resource_ids[row] for row in np.flatnonzero(eligibility(CATALOG, ResourceFilter(**fields)).allowed)]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ["any", "en", "es", "five", "three"]),
        ({"kinds": (ResourceKind.VIDEO, ResourceKind.LESSON)}, ["en", "es", "five"]),
        ({"skills": ("b", "nowhere")}, ["es", "five"]),
        ({"grades": ("3", "7")}, ["any", "en", "es", "three"]),
        ({"languages": ("EN",)}, ["any", "en", "five", "three"]),
        ({"languages": ("e",)}, ["any", "five", "three"]),
        ({"max_minutes": 8}, ["en"]),
        ({"excluded": ("any", "five", "nowhere")}, ["en", "es", "three"]),
        ({"kinds": (ResourceKind.VIDEO,), "languages": ("es",), "max_minutes": 20}, ["es"]),
    ],
)
def test_a_filter_keeps_only_matching_resources(fields, expected):
    assert _allowed(**fields) == expected


def test_a_resource_that_is_not_active_is_never_allowed():
    assert "draft" not in _allowed()


def test_kinds_skills_and_duration_filter_the_list_but_not_the_learners_fit():
    eligible = eligibility(CATALOG, ResourceFilter(kinds=(ResourceKind.GAME,), skills=("a",), max_minutes=1))
    assert not eligible.allowed.any()
    assert eligible.suitable.all()
    assert eligibility(CATALOG, EVERYTHING).allowed.all()


def _compose(scores, served, held_back=(), limit=10):
    held = np.isin(np.arange(len(scores)), list(held_back))
    return compose(_order(scores), np.array(served), held, limit, per_skill=2).tolist()


def _order(scores, seed=0):
    return by_score(np.array(scores, float), np.arange(len(scores)), seed)


def test_a_list_is_sorted_by_score():
    assert _compose([0.1, 0.4, 0.5, 0.9], [0, 1, 2, 3]) == [3, 2, 1, 0]


def test_ties_are_broken_by_the_seed_and_not_by_the_row():
    seeds = [random_seed("t", learner, "b", "2026-01-01") for learner in "abcdefghij"]
    orders = {tuple(_order([1.0] * 6, seed).tolist()) for seed in seeds}
    assert len(orders) > 3
    assert len({order[0] for order in orders}) > 2


def test_a_skill_gets_no_more_than_its_share_while_others_remain():
    assert _compose([9, 8, 7, 6, 5], [0, 0, 0, 0, 1], limit=3) == [0, 1, 4]


def test_more_of_a_skill_follow_when_the_list_would_fall_short():
    assert _compose([9, 8, 7, 6, 5], [0, 0, 0, 0, 1], limit=4) == [0, 1, 4, 2]


def test_resources_without_a_skill_do_not_count_against_one_another():
    assert _compose([9, 8, 7], [-1, -1, -1]) == [0, 1, 2]


def test_recently_answered_resources_come_last_and_only_if_nothing_else_is_left():
    assert _compose([9, 8, 7, 6], [0, 0, 0, 1], held_back=[0], limit=3) == [1, 2, 3]
    assert _compose([9, 8, 7, 6], [0, 0, 0, 1], held_back=[0], limit=4) == [1, 2, 3, 0]


@given(
    st.lists(st.tuples(st.floats(0, 2), st.integers(-1, 4), st.booleans()), max_size=40),
    st.integers(1, 12),
)
def test_a_list_is_as_long_as_possible_and_has_no_duplicates(candidates, limit):
    scores, served, held = (list(column) for column in zip(*candidates, strict=True)) if candidates else ([], [], [])
    columns = (np.array(served, int), np.array(held, bool))
    picked = compose(_order(scores), *columns, limit, WEIGHTS.per_skill).tolist()
    assert len(picked) == len(set(picked)) == min(limit, len(candidates))
    fresh_left = [place for place in range(len(candidates)) if not held[place] and place not in picked]
    assert not (fresh_left and any(held[place] for place in picked))
    skills = [served[place] for place in picked if served[place] >= 0]
    crowded = any(skills.count(skill) > WEIGHTS.per_skill for skill in skills)
    passed_over = [
        place for place in fresh_left if served[place] == -1 or skills.count(served[place]) < WEIGHTS.per_skill
    ]
    assert not (crowded and passed_over)


MEASURES = build_columns(
    [
        CatalogResource("practice", kind=ResourceKind.PRACTICE, assesses=(("s", 1.0),)),
        CatalogResource("quiz-1", kind=ResourceKind.ASSESSMENT, assesses=(("s", 1.0),)),
        CatalogResource("quiz-2", kind=ResourceKind.ASSESSMENT, assesses=(("s", 0.5),)),
        CatalogResource("video", kind=ResourceKind.VIDEO, teaches=(("s", 1.0), ("t", 1.0))),
    ],
    [],
)


def _mask(*resources):
    mask = np.zeros(len(MEASURES), np.bool_)
    mask[MEASURES.rows_of(resources)] = True
    return mask


@pytest.mark.parametrize(
    ("after", "unsuitable", "answered", "expected"),
    [
        ("video", (), (), "quiz-1"),
        ("quiz-1", (), (), "quiz-2"),
        ("video", ("quiz-1", "quiz-2"), (), "practice"),
        ("video", (), ("quiz-1",), "quiz-2"),
        ("practice", (), ("quiz-1", "quiz-2"), "quiz-1"),
        ("video", ("quiz-1", "quiz-2", "practice"), (), ""),
        ("practice", ("quiz-1", "quiz-2"), (), ""),
    ],
)
def test_a_skill_is_measured_again_with_the_best_other_resource_that_assesses_it(after, unsuitable, answered, expected):
    reassessments = Reassessments(MEASURES, ~_mask(*unsuitable), _mask(*answered))
    assert reassessments.after(MEASURES.row_of_resource[after], MEASURES.slot_of_skill["s"]) == expected


def test_a_skill_that_nothing_assesses_and_a_resource_without_skills_are_not_measured_again():
    reassessments = Reassessments(MEASURES, _mask(*MEASURES.resource_ids), _mask())
    assert reassessments.after(0, MEASURES.slot_of_skill["t"]) == ""
    assert reassessments.after(0, -1) == ""
