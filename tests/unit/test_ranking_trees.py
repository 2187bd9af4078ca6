"""Trees as arrays: two ways to compute their sum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.recommender.domain.ranking.trees import Trees, TreesInvalidError, mean_of

FEATURES = 3
# Few values, so that many equal a threshold.
VALUES = st.sampled_from([-1.5, -0.5, 0.0, 0.5, 1.5, float("nan")])


@st.composite
def trees(draw, most_leaves=32):
    """Trees of any shape; those asked for have at least one leaf each."""
    starts, asked, thresholds, lefts, rights, values = [0], [], [], [], [], []
    for _ in range(draw(st.integers(0, 4))):
        first, leaves = len(asked), draw(st.integers(1, most_leaves))
        asked.append(-1)
        open_leaves = [first]
        for _ in range(leaves - 1):
            split = open_leaves.pop(draw(st.integers(0, len(open_leaves) - 1)))
            asked[split] = draw(st.integers(0, FEATURES - 1))
            open_leaves += [len(asked), len(asked) + 1]
            asked += [-1, -1]
        followers = iter(range(first + 1, len(asked)))
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        for node in range(first, len(asked)):
            inner = asked[node] >= 0
            lefts.append(next(followers) if inner else 0)
            rights.append(next(followers) if inner else 0)
            thresholds.append(float(rng.choice([-1.0, -0.5, 0.0, 0.5])))
            values.append(float(rng.normal()))
        starts.append(len(asked))
    return Trees(
        np.array(starts, np.int32),
        np.array(asked, np.int32),
        np.array(thresholds, np.float32),
        np.array(lefts, np.int32),
        np.array(rights, np.int32),
        np.array(values, np.float32),
    )


def walked(several, row):
    """The sum of the leaves at which walks through the trees end."""
    total = 0.0
    for root in several.starts[:-1]:
        node = root
        while several.split_features[node] >= 0:
            left = row[several.split_features[node]] <= several.thresholds[node]
            node = several.lefts[node] if left else several.rights[node]
        total += float(several.node_values[node])
    return total


@pytest.mark.parametrize("most_leaves", [32, 70], ids=["masks", "too many leaves for a mask"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_sum_is_that_of_walks_to_the_last_bit(most_leaves, data):
    several = data.draw(trees(most_leaves))
    rows = data.draw(st.lists(st.lists(VALUES, min_size=FEATURES, max_size=FEATURES), min_size=1, max_size=9))
    several.check(FEATURES)
    columns = np.array(rows, np.float32)
    assert several.total(columns).tolist() == [walked(several, row) for row in columns]


@settings(max_examples=30, deadline=None)
@given(several=trees(), rows=st.lists(st.lists(VALUES, min_size=FEATURES, max_size=FEATURES), min_size=1, max_size=9))
def test_contributions_of_feature_groups_sum_to_the_total(several, rows):
    columns = np.array(rows, np.float32)
    added = several.contributions(columns, np.array([0, 1, 0]), 2)
    assert added.sum(axis=1) == pytest.approx(several.total(columns), abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(one=trees(), other=trees(), row=st.lists(VALUES, min_size=FEATURES, max_size=FEATURES))
def test_the_mean_of_trees_gives_the_mean_of_their_sums(one, other, row):
    columns = np.array([row], np.float32)
    mean = mean_of([one, other])
    mean.check(FEATURES)
    assert mean.total(columns) == pytest.approx((one.total(columns) + other.total(columns)) / 2, abs=1e-5)


def test_a_tree_with_an_endless_path_is_refused():
    loop = np.array([0, 1, 1], np.int32)
    leaf = np.array([0, -1, -1], np.int32)
    floats = np.zeros(3, np.float32)
    with pytest.raises(TreesInvalidError, match="do not come after it"):
        Trees(np.array([0, 3], np.int32), leaf, floats, loop, loop, floats).check(1)
