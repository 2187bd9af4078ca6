"""How large a batch may be, given how long earlier ones took."""

from __future__ import annotations

import pytest

from services.recommender.entrypoints.batch_budget import BatchBudget


def test_a_batch_that_took_too_long_makes_the_next_one_smaller_in_proportion():
    budget = BatchBudget(20_000)
    budget.took(20_000, 1.6)
    assert budget.cost_max == 5_000


def test_quick_batches_let_the_budget_double_up_to_the_most():
    budget = BatchBudget(20_000)
    budget.took(20_000, 1.6)
    allowed = []
    for _ in range(3):
        budget.took(budget.cost_max, 0.01)
        allowed.append(budget.cost_max)
    assert allowed == [10_000, 20_000, 20_000]


@pytest.mark.parametrize(("cost", "seconds"), [(499, 60.0), (1, 0.001), (20_000, 0.0)])
def test_a_small_batch_says_nothing_about_large_ones(cost, seconds):
    budget = BatchBudget(20_000)
    budget.took(cost, seconds)
    assert budget.cost_max == 20_000


def test_however_slow_the_store_is_a_batch_holds_something():
    budget = BatchBudget(20_000)
    for _ in range(20):
        budget.took(budget.cost_max, 60.0)
    assert budget.cost_max == 500
