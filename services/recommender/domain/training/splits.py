"""Splitting learners' work in two: the part that models are fitted on, and the work that followed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.training.positives import Positives, positives_of
from services.recommender.domain.training.responses import NONE, ResponseTable
from services.recommender.domain.training.twins import without_twins

SHARE_BEFORE = 0.8
RESPONSES_TO_SPLIT = 20


@dataclass(frozen=True)
class WorkSplit:
    """The data that models are fitted on, and what learners then worked on.

    Attributes:
        before: responses or interactions of all learners.
        positives: of `before`.
        relevant: by learner, the resources worked on afterwards; with `repeats`, also those worked on before. Learners
            without any are left out.
        tags: by resource, its skills.
        repeats: whether resources are worked on repeatedly, and so stay in lists.
        ordered: whether rows are in the order of time.
        graded: whether responses are outcomes; otherwise they only show that something was worked on.
        prerequisites: by skill, its prerequisites, if known.
        split_at_s: the time that separates the two sides for every learner, Unix seconds; None if each learner has
            their own. Learners without earlier work are then not in `relevant`.
    """

    before: ResponseTable
    positives: Positives
    relevant: Mapping[int, frozenset[int]]
    tags: Sequence[frozenset[int]]
    repeats: bool = False
    ordered: bool = True
    graded: bool = True
    prerequisites: Mapping[int, frozenset[int]] = field(default_factory=dict)
    split_at_s: int | None = None

    def own(self, learner: int) -> NDArray[np.int32]:
        """Numbers of the resources a learner worked on before, in the order first met."""
        return self.positives.resource[self.positives.start[learner] : self.positives.start[learner + 1]]

    def inner(self, *, seed: int) -> WorkSplit:
        """A split of `before`, made in the same way: at one time, by each learner's order, or at random.

        What is chosen on it is not chosen by how well a copied log predicts its copy: of near-identical learners, only
        one is in the split.

        Args:
            seed: of a random split.
        """
        table = without_twins(self.before, graded=self.graded)
        if self.split_at_s is not None:
            split = split_at_time(table, self.tags, repeats=self.repeats, graded=self.graded)
            return replace(split, prerequisites=self.prerequisites)
        earlier = earlier_rows(table) if self.ordered else random_rows(table, seed=seed)
        split = split_work(table, earlier, self.tags, repeats=self.repeats, ordered=self.ordered, graded=self.graded)
        return replace(split, prerequisites=self.prerequisites)


def earlier_rows(table: ResponseTable) -> NDArray[np.bool_]:
    """The first four fifths of each learner's rows; all of a learner with fewer than 20."""
    rows = np.bincount(table.learner, minlength=len(table.learners))
    cut = np.where(rows >= RESPONSES_TO_SPLIT, (SHARE_BEFORE * rows).astype(np.int64), rows)
    return _places(table, rows) < cut[table.learner]


def random_rows(table: ResponseTable, *, seed: int) -> NDArray[np.bool_]:
    """Four fifths of each learner's rows, drawn at random; at least one of each learner.

    Args:
        table: the rows.
        seed: of the draw.
    """
    rows = np.bincount(table.learner, minlength=len(table.learners))
    order = np.lexsort((np.random.default_rng(seed).random(len(table)), table.learner))
    places = np.empty(len(table), np.int64)
    places[order] = _places(table, rows)
    return places < np.maximum((SHARE_BEFORE * rows).astype(np.int64), 1)[table.learner]


def split_work(
    table: ResponseTable,
    before: NDArray[np.bool_],
    tags: Sequence[frozenset[int]],
    *,
    repeats: bool = False,
    ordered: bool = True,
    graded: bool = True,
) -> WorkSplit:
    """Split a table.

    Args:
        table: the rows; a learner's in the order of time where `ordered`.
        before: which of them models may know.
        tags: by resource, its skills.
        repeats: see `WorkSplit`.
        ordered: see `WorkSplit`.
        graded: see `WorkSplit`.
    """
    kept = table.rows(before)
    positives, after = positives_of(kept), positives_of(table.rows(~before))
    known = np.bincount(positives.resource, minlength=len(table.resources)) > 0
    relevant = {}
    for learner in range(len(table.learners)):
        then = after.resource[after.start[learner] : after.start[learner + 1]]
        done = () if repeats else positives.resource[positives.start[learner] : positives.start[learner + 1]].tolist()
        # Collaborative data cannot predict a resource that nobody worked on before. With known order it stays, and
        # counts against every model equally.
        new = frozenset((then if ordered else then[known[then]]).tolist()).difference(done)
        if new:
            relevant[learner] = new
    return WorkSplit(kept, positives, relevant, tags, repeats, ordered, graded)


def split_at_time(
    table: ResponseTable, tags: Sequence[frozenset[int]], *, repeats: bool = False, graded: bool = True
) -> WorkSplit:
    """Split a table at the time by which four fifths of its rows were given.

    Args:
        table: the rows, all with a time; a learner's in that order.
        tags: by resource, its skills.
        repeats: see `WorkSplit`.
        graded: see `WorkSplit`.
    """
    at_s = int(np.sort(table.at_s)[int(SHARE_BEFORE * len(table))]) if len(table) else 0
    split = split_work(table, table.at_s < at_s, tags, repeats=repeats, graded=graded)
    known = {learner: then for learner, then in split.relevant.items() if len(split.own(learner))}
    return replace(split, relevant=known, split_at_s=at_s)


def tags_of(table: ResponseTable) -> list[frozenset[int]]:
    """By resource, the union of the skills of its responses."""
    tags: list[set[int]] = [set() for _ in table.resources]
    for row, skill in zip(table.skill_rows().tolist(), table.skill.tolist(), strict=True):
        if table.resource[row] != NONE:
            tags[table.resource[row]].add(skill)
    return [frozenset(skills) for skills in tags]


def _places(table: ResponseTable, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    places: NDArray[np.int64] = np.arange(len(table)) - (np.cumsum(rows) - rows)[table.learner]
    return places
