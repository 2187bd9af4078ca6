"""Grouping learners by the gap they share."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.recommender.domain.planning.groups import form_groups

gap_matrices = st.tuples(st.integers(1, 12), st.integers(1, 8)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.sampled_from([0.0, 0.0, 0.1, 0.25, 0.5, 0.9]))
)


def members(groups):
    return [member for group in groups for member in group.members]


def test_learners_with_the_same_gap_are_together():
    gaps = np.array([[0.9, 0.0], [0.0, 0.4], [0.8, 0.1], [0.0, 0.3], [0.7, 0.0]])
    groups = form_groups(gaps, groups_max=4)
    assert [(group.slot, group.members) for group in groups] == [(0, (0, 2, 4)), (1, (1, 3))]


def test_with_one_group_allowed_the_most_common_gap_is_taken():
    gaps = np.array([[0.9, 0.8, 0.0], [0.0, 0.8, 0.9], [0.0, 0.8, 0.0]])
    (group,) = form_groups(gaps, groups_max=1)
    assert (group.slot, group.members) == (1, (0, 1, 2))


def test_a_learner_far_behind_in_everything_does_not_outvote_others():
    gaps = np.array([[0.9, 0.9, 0.9, 0.8], [0.0, 0.0, 0.0, 0.1], [0.0, 0.0, 0.0, 0.1]])
    (group,) = form_groups(gaps, groups_max=1)
    assert group.slot == 3


def test_no_learners_or_no_gaps_give_no_groups():
    assert form_groups(np.zeros((0, 0)), 4) == []
    assert form_groups(np.zeros((3, 0)), 4) == []
    assert form_groups(np.zeros((3, 2)), 4) == []


@given(gap_matrices, st.integers(1, 6))
def test_every_learner_is_in_at_most_one_group_and_has_its_gap(gaps, groups_max):
    groups = form_groups(gaps, groups_max)
    assert len(groups) <= groups_max
    assert len(members(groups)) == len(set(members(groups)))
    assert all(gaps[member, group.slot] > 0 for group in groups for member in group.members)
    assert [len(group.members) for group in groups] == sorted((len(group.members) for group in groups), reverse=True)


@given(gap_matrices, st.integers(1, 6))
def test_learners_without_a_group_have_none_of_the_groups_gaps(gaps, groups_max):
    groups = form_groups(gaps, groups_max)
    slots = [group.slot for group in groups]
    left_out = set(range(len(gaps))) - set(members(groups))
    assert all(gaps[member, slots].max(initial=0.0) == 0 for member in left_out)


@given(gap_matrices)
def test_with_a_group_for_every_skill_each_learner_works_on_their_largest_gap(gaps):
    groups = form_groups(gaps, gaps.shape[1])
    for group in groups:
        for member in group.members:
            assert gaps[member, group.slot] == gaps[member].max()
    assert set(members(groups)) == set(np.flatnonzero(gaps.max(axis=1) > 0).tolist())
