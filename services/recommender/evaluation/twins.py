"""Leaves out learners that are near-identical to another one, before a split: see `domain.training.twins`.

Of each pair the learner with fewer rows is left out of the whole data, whichever side of a split they are on. So no
learner is evaluated with their own copy in the training data, none is counted twice, and every protocol has the same
rule.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.training.responses import ResponseTable
from services.recommender.domain.training.twins import redundant


class Twins(NamedTuple):
    """How many learners are near-identical to another one with at least as many rows, and how many were left out."""

    found: int
    left_out: int

    @property
    def described(self) -> str:
        """How many were left out, to follow a number of learners; empty if none was."""
        return f" ({self.left_out:,} near-identical to others left out)" if self.left_out else ""

    @property
    def note(self) -> str:
        """The numbers in words."""
        if not self.found:
            return "No two learners are near-identical (decision 40)."
        if not self.left_out:
            return (
                f"ALERT: {self.found:,} learners are near-identical to another one and were kept. They are predicted "
                "from their own copy, so every measure of a model that learns from other learners is too good."
            )
        return (
            f"{self.left_out:,} learners are left out: each is near-identical to another one, who has at least as many "
            "rows. They would be predicted from their own copy (decision 40)."
        )


NO_TWINS = Twins(0, 0)


def find_twins(table: ResponseTable, *, graded: bool, keep: bool) -> tuple[NDArray[np.bool_], Twins]:
    """Return which learners to keep, and how many are near-identical to another one.

    Args:
        table: all rows.
        graded: whether rows are outcomes.
        keep: keep everybody.
    """
    extra = redundant(table, graded=graded)
    found = int(extra.sum())
    return (np.ones_like(extra), Twins(found, 0)) if keep else (~extra, Twins(found, found))
