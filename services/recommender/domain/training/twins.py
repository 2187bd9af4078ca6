"""Finds learners that are one log under two ids.

A learner whose copy is in the training data is predicted from their own future, so a choice or a measure that such
pairs take part in is too good. Two learners are near-identical, or twins, if

- they have at least COMMON items in common, and those are at least half of the items of the one with fewer;
- their first outcomes are equal on at least 95 % of the common items;
- both are right on at least RARER common items, and both wrong on at least RARER. Whoever gets everything right
  agrees with everybody else who does, and that says nothing.

Without outcomes: they have at least COMMON resources in common, and those are at least 95 % of the resources that
either has.

A learner with more than MOST_TWINS twins has none: more equal logs are an assignment, or items with a wrong key.

Pairs are found as in a join of sets by overlap (Chaudhuri, Ganti, Kaushik: A Primitive Operator for Similarity Joins in
Data Cleaning, ICDE 2006): a twin must share some of a learner's rarest outcomes, so only their holders are compared.
Memory grows with the responses, by some 100 bytes each. Time: a fifth of a second for 275,000 responses of 4,150
learners, 12 s for 100,000 learners with 100 items each out of 10,000 (2 GHz, one thread). It grows with the square of
the learners who share their rarest outcomes.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.training.metrics import SUCCESS_FROM
from services.recommender.domain.training.responses import NONE, ResponseTable

COMMON = 20
RARER = 4
MOST_TWINS = 4

_EQUAL_PERCENT = 95

Pairs = NDArray[np.int64]


def near_identical(table: ResponseTable, *, graded: bool = True) -> Pairs:
    """Return the pairs of near-identical learners, by number, ordered.

    Args:
        table: responses, each learner's in the order given.
        graded: whether responses are outcomes.

    Returns:
        (pairs, 2): first the learner with fewer rows (the later one if both have as many), then the other.
    """
    learner, key, right = _first_outcomes(table, graded=graded)
    size = np.bincount(learner, minlength=len(table.learners))
    # Numbers from the smallest learner to the largest; those with too few items are no one's twin.
    by_size = np.argsort(size, kind="stable")[np.count_nonzero(size < COMMON) :]
    place = np.full(len(size), NONE, np.int64)
    place[by_size] = np.arange(len(by_size))
    kept = place[learner] != NONE
    token, owner = 2 * key[kept] + right[kept], place[learner[kept]]
    found = by_size[_found(token, owner, size[by_size], outcomes=graded)]
    twins = np.bincount(found.ravel(), minlength=len(size))
    found = np.sort(found[(twins[found] <= MOST_TWINS).all(axis=1)], axis=1)
    rows = np.bincount(table.learner, minlength=len(table.learners))
    fewer_first = np.where((rows[found[:, 0]] < rows[found[:, 1]])[:, None], found, found[:, ::-1])
    ordered: Pairs = fewer_first[np.lexsort(fewer_first.T[::-1])]
    return ordered


def redundant(table: ResponseTable, *, graded: bool = True) -> NDArray[np.bool_]:
    """Return which learners have a twin with more rows, or with as many and an earlier number.

    Without them, no two of the learners are near-identical. Who had too many twins to have any may have some once
    others are left out, so this is repeated until there are none.

    Args:
        table: responses, each learner's in the order given.
        graded: whether responses are outcomes.
    """
    left_out = np.zeros(len(table.learners), np.bool_)
    while len(pairs := near_identical(table, graded=graded)):
        left_out[pairs[:, 0]] = True
        table = table.of_learners(~left_out)
    return left_out


def without_twins(table: ResponseTable, *, graded: bool = True) -> ResponseTable:
    """Return the responses of one learner of each near-identical pair, and of all others; ids stay as they are."""
    return table.of_learners(~redundant(table, graded=graded))


def _first_outcomes(
    table: ResponseTable, *, graded: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return learner, item and outcome of each learner's first response to each item.

    A response to no item counts for its resource if it is on a skill: interactions are not. Without outcomes, every
    resource counts, and as right.
    """
    if graded:
        to_item = table.item != NONE
        key = np.where(to_item, table.item, len(table.items) + table.resource.astype(np.int64))
        known = to_item | ((table.resource != NONE) & (np.diff(table.skill_start) > 0))
    else:
        key, known = table.resource.astype(np.int64), table.resource != NONE
    keys = len(table.items) + len(table.resources)
    rows = np.flatnonzero(known)
    _, first = np.unique(table.learner[rows].astype(np.int64) * keys + key[rows], return_index=True)
    rows = rows[first]
    right = table.response[rows] >= SUCCESS_FROM if graded else np.ones(len(rows), np.bool_)
    return table.learner[rows].astype(np.int64), key[rows], right


def _found(
    token: NDArray[np.int64], owner: NDArray[np.int64], size: NDArray[np.int64], *, outcomes: bool
) -> NDArray[np.int64]:
    """Return the near-identical pairs, (pairs, 2), of learners ordered by size; see `_join`.

    Args:
        token: twice the item, plus one if right, of each first outcome.
        owner: its learner, from 0 up to the length of `size`.
        size: items of each learner, never decreasing.
        outcomes: whether tokens are outcomes; otherwise they are resources.
    """
    holders = np.bincount(token, minlength=int(token.max(initial=-1)) + 1)
    rarest_first = np.lexsort((token, holders[token], owner))
    by_token = np.lexsort((owner, token))
    pairs = np.empty((len(size) * (MOST_TWINS + 1), 2), np.int64)
    found = _join(
        _starts(size),
        token[rarest_first],
        _probed(token[rarest_first], owner[rarest_first], size, holders, outcomes=outcomes),
        _starts(holders),
        owner[by_token],
        outcomes,
        pairs,
    )
    return pairs[:found]


def _starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts)])


def _probed(
    token: NDArray[np.int64],
    owner: NDArray[np.int64],
    size: NDArray[np.int64],
    holders: NDArray[np.int64],
    *,
    outcomes: bool,
) -> NDArray[np.bool_]:
    """Return which tokens to look up: of these a learner shares at least RARER with every twin that is no smaller.

    That holds for the rarest tokens, if at most (the least that twins share) - RARER are outside; for all wrong
    outcomes; and for all right ones. For each learner, it is the choice with the fewest holders.

    Args:
        token: sorted by learner, each learner's rarest first.
        owner: see `_found`, as the others.
        size: items of each learner.
        holders: number of learners with each token.
        outcomes: whether tokens are outcomes.
    """
    common = np.maximum(COMMON, (size + 1) // 2) if outcomes else np.maximum(COMMON, size)
    # Rounded up. With COMMON items in common there are at least 19 equal ones, more than RARER.
    least = -(-_EQUAL_PERCENT * common // 100)
    place = np.arange(len(token)) - _starts(size)[owner]
    choices = [place < (size - least + RARER)[owner]]
    if outcomes:
        right = (token & 1).astype(np.bool_)
        choices += [~right, right]
    effort = [np.bincount(owner, holders[token] * choice, minlength=len(size)) for choice in choices]
    probed: NDArray[np.bool_] = np.choose(np.argmin(effort, axis=0)[owner], choices)
    return probed


@numba.njit(cache=True)
def _join(
    start: NDArray[np.int64],
    token: NDArray[np.int64],
    probed: NDArray[np.bool_],
    first_holder: NDArray[np.int64],
    holder: NDArray[np.int64],
    outcomes: bool,  # noqa: FBT001 - numba has no keyword-only arguments.
    pairs: NDArray[np.int64],
) -> int:
    """Write near-identical pairs to `pairs`; return how many.

    Pairs of two learners that both have more than MOST_TWINS twins are left out, so `pairs` needs at most that many
    and one more for each learner.

    Args:
        start: the tokens of learner u are token[start[u]:start[u + 1]]; learners are ordered by their number of tokens.
        token: the learners' tokens one after another.
        probed: whether to look up the holders of a token; see `_probed`.
        first_holder: the learners with token t are holder[first_holder[t]:first_holder[t + 1]], in order.
        holder: see `first_holder`.
        outcomes: see `_found`.
        pairs: receives (smaller, larger).
    """
    learners, found = len(start) - 1, 0
    shared, twins = np.zeros(learners, np.int32), np.zeros(learners, np.int32)
    met = np.empty(learners, np.int64)
    # Of the present learner: 0 if they have not met the item, 1 if they got it wrong, 2 if right.
    outcome = np.zeros(len(first_holder) // 2 + 1, np.int8)
    for small in range(learners):
        candidates = 0
        for entry in range(start[small], start[small + 1]):
            outcome[token[entry] >> 1] = 1 + (token[entry] & 1)
            if probed[entry]:
                first, last = first_holder[token[entry]], first_holder[token[entry] + 1]
                # Later holders are larger: every pair is looked at from its smaller side.
                for place in range(first + np.searchsorted(holder[first:last], small, side="right"), last):
                    large = holder[place]
                    if shared[large] == 0:
                        met[candidates] = large
                        candidates += 1
                    shared[large] += 1
        size = start[small + 1] - start[small]
        for large in met[:candidates]:
            enough = shared[large] >= RARER and (twins[small] <= MOST_TWINS or twins[large] <= MOST_TWINS)
            if enough and _near_identical(outcome, size, token[start[large] : start[large + 1]], outcomes):
                pairs[found] = small, large
                found += 1
                twins[small] += 1
                twins[large] += 1
            shared[large] = 0
        for entry in range(start[small], start[small + 1]):
            outcome[token[entry] >> 1] = 0
    return found


@numba.njit(cache=True)
def _near_identical(
    outcome: NDArray[np.int8],
    size: int,
    token: NDArray[np.int64],
    outcomes: bool,  # noqa: FBT001 - as above.
) -> bool:
    """Return whether two learners are near-identical.

    Args:
        outcome: of the smaller one, by item.
        size: items of the smaller one.
        token: tokens of the larger one.
        outcomes: see `_found`.
    """
    if not outcomes:
        common = 0
        for each in token:
            common += outcome[each >> 1] > 0
        return common >= COMMON and 100 * common >= _EQUAL_PERCENT * (size + len(token) - common)
    # With more differences than this, even all items of the smaller one in common are not enough.
    most = (100 - _EQUAL_PERCENT) * size // 100
    both_right, both_wrong, different = 0, 0, 0
    for each in token:
        of_smaller, of_larger = outcome[each >> 1], 1 + (each & 1)
        if of_smaller == 0:
            continue
        if of_smaller != of_larger:
            different += 1
            if different > most:
                return False
        elif of_larger == 1:
            both_wrong += 1
        else:
            both_right += 1
    equal = both_right + both_wrong
    common = equal + different
    enough = common >= COMMON and 2 * common >= size and 100 * equal >= _EQUAL_PERCENT * common
    return enough and min(both_right, both_wrong) >= RARER
