"""What the outcomes on recent items say about the next one: statistics of pairs of items.

The log-odds that a pair adds to the filter's logit are surprise / (information + prior), one Newton step from 0. Over
the pairs of the recent items with the next one, both are summed first; an older item weighs less.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.learner.state import RECENT_ITEMS, item_code

# A pair weighs this much of one without an item in between, and so on.
_DECAY = 0.7


@dataclass(frozen=True, eq=False)
class ItemPairs:
    """For pairs of an earlier item with its outcome and a later one: how other learners did on the later one.

    Pairs are sorted by earlier item, then by its outcome, failure first, then by later item. A response of .7 is a
    success of weight .7 and a failure of weight .3.

    Attributes:
        items: the items, sorted; the other columns point into them.
        starts: int64, 2 * items + 1: the pairs of item i are those from starts[2 i] on after a failure, from
            starts[2 i + 1] on after a success, up to the next start.
        later: int32 per pair, its later item.
        surprise: float32 per pair, the sum of y - p over responses y to the later item; p is the filter's chance.
        information: float32 per pair, the sum of p (1 - p).
    """

    items: tuple[str, ...]
    starts: NDArray[np.int64]
    later: NDArray[np.int32]
    surprise: NDArray[np.float32]
    information: NDArray[np.float32]

    @cached_property
    def row_of_code(self) -> Mapping[int, int]:
        """The place in `items` by `item_code`, the form in which states keep an item."""
        return {item_code(item): row for row, item in enumerate(self.items)}

    def over(self, row_of_item: Mapping[str, int]) -> ItemPairs:
        """The pairs whose later item is among some others, such as a catalog's; `later` then points into those."""
        rows = np.fromiter((row_of_item.get(item, -1) for item in self.items), np.int32, len(self.items))
        later = rows[self.later]
        known = later >= 0
        before = np.append(0, np.cumsum(known))
        return ItemPairs(self.items, before[self.starts], later[known], self.surprise[known], self.information[known])


NO_PAIRS = ItemPairs((), np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, np.float32))


@numba.njit(cache=True)
def paired_with(
    rows: NDArray[np.int64],
    recent: NDArray[np.float32],
    starts: NDArray[np.int64],
    later: NDArray[np.int32],
    surprise: NDArray[np.float32],
    information: NDArray[np.float32],
    resources: int,
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Surprise and information of the pairs of a learner's recent items with each resource of a catalog.

    Most resources are in none. So there is a small table of those that are: zeros for a whole catalog, of two numbers
    each, would take longer than everything else.

    Args:
        rows: the row of each recent item in `ItemPairs.items`, the latest first; -1: not there.
        recent: the responses to them.
        starts: of the pairs over the catalog, as are the next three.
        later: see `starts`.
        surprise: see `starts`.
        information: see `starts`.
        resources: how many the catalog has.

    Returns:
        (resources,) the place of each in the table, 0 for all that are in no pair; and the table, whose first row is 0.
    """
    most = 1
    for place in range(len(rows)):
        if rows[place] >= 0:
            most += starts[2 * rows[place] + 2] - starts[2 * rows[place]]
    place_of, paired, used, decay = np.zeros(resources, np.int32), np.zeros((most, 2)), 0, 1.0
    for place in range(len(rows)):
        for outcome in range(2 if rows[place] >= 0 else 0):
            weight = decay * (float(recent[place]) if outcome else 1.0 - float(recent[place]))
            group = 2 * rows[place] + outcome
            for pair in range(starts[group], starts[group + 1] if weight > 0.0 else starts[group]):
                if place_of[later[pair]] == 0:
                    used += 1
                    place_of[later[pair]] = used
                paired[place_of[later[pair]], 0] += weight * float(surprise[pair])
                paired[place_of[later[pair]], 1] += weight * float(information[pair])
        decay *= _DECAY
    return place_of, paired


@numba.njit(cache=True)
def paired_in_trace(
    learner: NDArray[np.int32],
    response: NDArray[np.float32],
    rows: NDArray[np.int64],
    starts: NDArray[np.int64],
    later: NDArray[np.int32],
    surprise: NDArray[np.float32],
    information: NDArray[np.float32],
) -> NDArray[np.float64]:
    """The same, bit for bit, for every response of a table, from those that its learner gave before.

    Args:
        learner: (R,) one learner's responses follow each other.
        response: (R,) the outcome.
        rows: (R,) the row of the item in `ItemPairs.items`; -1: not there.
        starts: of the pairs, as are the next three.
        later: see `starts`.
        surprise: see `starts`.
        information: see `starts`.

    Returns:
        (R, 2).
    """
    paired = np.zeros((len(learner), 2))
    for row in range(len(learner)):
        decay = 1.0
        for before in range(row - 1, max(row - 1 - RECENT_ITEMS, -1), -1):
            if learner[before] != learner[row] or rows[row] < 0:
                break
            for outcome in range(2 if rows[before] >= 0 else 0):
                weight = decay * (float(response[before]) if outcome else 1.0 - float(response[before]))
                group = 2 * rows[before] + outcome
                first, end = starts[group], starts[group + 1]
                pair = first + np.searchsorted(later[first:end], rows[row])
                if weight > 0.0 and pair < end and later[pair] == rows[row]:
                    paired[row, 0] += weight * float(surprise[pair])
                    paired[row, 1] += weight * float(information[pair])
            decay *= _DECAY
    return paired
