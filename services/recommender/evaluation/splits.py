"""Splits the data of the ranking protocols: the work that rankings may know, and the work that followed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.training.responses import ResponseTable
from services.recommender.domain.training.splits import earlier_rows, split_at_time, split_work, tags_of
from services.recommender.evaluation.data import (
    has_given_split,
    read_given_split,
    read_groups,
    read_interactions,
    read_prerequisites,
    read_responses,
    skills_as_resources,
)
from services.recommender.evaluation.intervals import Floats
from services.recommender.evaluation.lists import RankingSplit
from services.recommender.evaluation.tables import DataUnusableError
from services.recommender.evaluation.twins import Twins, find_twins

_RANDOM_SEED = 42
_RANDOM_SHARE = 0.75


def split_sequences(
    folder: Path, *, skills: bool = False, time_split: bool = False, keep_twins: bool = False
) -> RankingSplit:
    """Fit on the first four fifths of each learner's responses; evaluate on the rest.

    Learners with fewer than 20 responses are used for fitting only.

    Args:
        folder: holds the files.
        skills: skills are the resources; those practised before stay in the lists.
        time_split: fit on what was before the time by which four fifths of all responses were given.
        keep_twins: keep near-identical learners.

    Raises:
        DataUnusableError: when a file is missing or malformed, or times are needed and missing.
    """
    table = read_responses(folder)
    kept, twins = find_twins(table, graded=True, keep=keep_twins)
    table = table.as_if_only(kept)
    if skills:
        table = skills_as_resources(table)
    described = _learners_of(folder, table, twins)
    if time_split:
        split = _split_at_time(folder, table, f"{described}, {_responses_of(table)}", repeats=skills)
    else:
        split = split_of(table, described, repeats=skills)
    return _described_further(folder, split, twins)


def split_interactions(folder: Path, *, time_split: bool = False, keep_twins: bool = False) -> RankingSplit:
    """Split interactions as in the files `train` and `test`, if the folder has them, else at random.

    Args:
        folder: holds the files.
        time_split: fit on what was before the time by which four fifths of all interactions were made.
        keep_twins: keep near-identical learners.

    Raises:
        DataUnusableError: when a file is missing or malformed, or times are needed and missing.
    """
    if not time_split:
        split = split_as_given if has_given_split(folder) else split_at_random
        return split(folder, keep_twins=keep_twins)
    table, _ = read_interactions(folder, seed=_RANDOM_SEED)
    kept, twins = find_twins(table, graded=False, keep=keep_twins)
    table = table.as_if_only(kept)
    split_in_time = _split_at_time(folder, table, _interactions_of(folder, table, twins), graded=False)
    return _described_further(folder, split_in_time, twins)


def split_as_given(folder: Path, *, keep_twins: bool = False) -> RankingSplit:
    """Fit on `train`; evaluate on `test`.

    Args:
        folder: holds the files.
        keep_twins: keep near-identical learners.

    Raises:
        DataUnusableError: when a file is missing or malformed.
    """
    every, before = read_given_split(folder)
    kept, twins = find_twins(every, graded=False, keep=keep_twins)
    table, before = every.as_if_only(kept), before[kept[every.learner]]
    work = split_work(table, before, tags_of(table), ordered=False, graded=False)
    described = (
        f"{_interactions_of(folder, table, twins)}; split as in the files; evaluated on {len(work.relevant):,} learners"
    )
    return _described_further(folder, RankingSplit(work, table.rows(~before), described), twins)


def split_at_random(folder: Path, *, keep_twins: bool = False) -> RankingSplit:
    """Fit on three quarters of each learner's interactions, drawn with numpy's legacy generator and seed 42.

    Rows are drawn in the order of the file. A row is used for fitting if the relative rank of its draw among the
    learner's draws is at most .75. Resources that occur in no such row are dropped from the evaluation.

    Args:
        folder: holds the files.
        keep_twins: keep near-identical learners.

    Raises:
        DataUnusableError: when a file is missing or malformed.
    """
    every, draw = read_interactions(folder, seed=_RANDOM_SEED)
    kept, twins = find_twins(every, graded=False, keep=keep_twins)
    table, draw = every.as_if_only(kept), draw[kept[every.learner]]
    before = _ranks(table.learner, draw) <= _RANDOM_SHARE
    work = split_work(table, before, tags_of(table), ordered=False, graded=False)
    described = (
        f"{_interactions_of(folder, table, twins)}; fitted on a random 75 % of each learner's; "
        f"evaluated on {len(work.relevant):,} learners"
    )
    return _described_further(folder, RankingSplit(work, table.rows(~before), described), twins)


def split_of(table: ResponseTable, description: str, *, repeats: bool = False) -> RankingSplit:
    """Split each learner's responses after the first four fifths; see `split_sequences`.

    Args:
        table: the responses, each learner's in order.
        description: the data in words.
        repeats: whether resources worked on before stay in the lists.
    """
    before = earlier_rows(table)
    work = split_work(table, before, tags_of(table), repeats=repeats)
    described = (
        f"{description}, {_responses_of(table)}; fitted on the first 80 % of each learner with at least 20 responses; "
        f"evaluated on {len(work.relevant):,} learners"
    )
    return RankingSplit(work, table.rows(~before), described)


def _split_at_time(
    folder: Path, table: ResponseTable, description: str, *, repeats: bool = False, graded: bool = True
) -> RankingSplit:
    """Split at one time for all learners.

    Raises:
        DataUnusableError: when rows have no time.
    """
    if not len(table) or (table.at_s <= 0).any():
        raise DataUnusableError(f"{folder}: a time split needs a time for every row; add the column time")
    work = split_at_time(table, tags_of(table), repeats=repeats, graded=graded)
    before = table.at_s < (work.split_at_s or 0)
    learners = {*np.unique(table.learner[~before]).tolist()} - {*np.unique(table.learner[before]).tolist()}
    at = datetime.fromtimestamp(work.split_at_s or 0, UTC).isoformat(timespec="minutes")
    described = (
        f"{description}; fitted on the {before.mean():.0%} before {at}; evaluated on {len(work.relevant):,} learners; "
        f"{len(learners):,} who began later are left out"
    )
    return RankingSplit(work, table.rows(~before), described)


def _described_further(folder: Path, split: RankingSplit, twins: Twins) -> RankingSplit:
    """Add the twins, the groups of `groups.csv` and the prerequisites of `prerequisites.csv`, if the folder has them.

    Raises:
        DataUnusableError: when one of them is malformed.
    """
    group_of = read_groups(folder)
    number = {learner: place for place, learner in enumerate(split.test.learners)}
    groups = {number[learner]: group for learner, group in group_of.items() if learner in number}
    skill_number = {skill: place for place, skill in enumerate(split.test.skills)}
    prerequisites: dict[int, set[int]] = {}
    for skill, prerequisite in read_prerequisites(folder):
        if skill in skill_number and prerequisite in skill_number:
            prerequisites.setdefault(skill_number[skill], set()).add(skill_number[prerequisite])
    known = {skill: frozenset(before) for skill, before in prerequisites.items()}
    return replace(split, groups=groups, twins=twins, work=replace(split.work, prerequisites=known))


def _learners_of(folder: Path, table: ResponseTable, twins: Twins) -> str:
    return f"{folder.name}: {len(table.learners):,} learners{twins.described}"


def _responses_of(table: ResponseTable) -> str:
    return f"{len(table):,} responses, {len(table.resources):,} resources"


def _interactions_of(folder: Path, table: ResponseTable, twins: Twins) -> str:
    return f"{_learners_of(folder, table, twins)}, {len(table):,} interactions, {len(table.resources):,} resources"


def _ranks(learner: NDArray[np.int32], draw: Floats) -> Floats:
    """Return the relative rank of each row's draw among its learner's n draws: from 1/n (smallest) to 1."""
    order = np.lexsort((draw, learner))
    counts = np.bincount(learner)
    firsts = np.cumsum(counts) - counts
    ranks = np.empty(len(learner))
    ranks[order] = (np.arange(len(learner)) - firsts[learner[order]] + 1) / counts[learner[order]]
    return ranks
