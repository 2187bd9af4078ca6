"""Splits for rankings, and measures of ranked lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.training.metrics import ndcg
from services.recommender.domain.training.responses import ResponseTable
from services.recommender.domain.training.splits import WorkSplit, earlier_rows, split_work, tags_of
from services.recommender.evaluation.challenge import Mastery, challenge_of
from services.recommender.evaluation.data import (
    read_given_split,
    read_groups,
    read_interactions,
    read_prerequisites,
    read_responses,
    skills_as_resources,
)
from services.recommender.evaluation.intervals import Floats

LONGEST = 50
_TOP = 10
_FEW = 5
_RANDOM_SEED = 42
_RANDOM_SHARE = 0.75


class Ranker(Protocol):
    """Lists resources for learners."""

    def ranked(self, learner: int, most: int) -> NDArray[np.int64]:
        """Return the numbers of at most k resources the learner has not worked on, best first."""
        ...


@dataclass(frozen=True)
class RankingSplit:
    """The work that rankings are fitted on, and the work that followed.

    Attributes:
        work: the work known to rankings and the relevant resources; same ids as `test`.
        test: later responses, in a table with the same ids.
        description: the data in words.
        groups: the group of each learner, by the learner's number; learners may be in no group.
    """

    work: WorkSplit
    test: ResponseTable
    description: str
    groups: Mapping[int, str] = field(default_factory=dict)


def split_by_sequence(folder: Path) -> RankingSplit:
    """Fit on the first four fifths of each learner's responses; evaluate on the rest.

    Learners with fewer than 20 responses are used for fitting only.

    Raises:
        DataUnusableError: when a file is missing or malformed.
    """
    table = read_responses(folder)
    return described_further(folder, split_of(table, f"{folder.name}: {len(table.learners):,} learners"))


def split_skills_by_sequence(folder: Path) -> RankingSplit:
    """Like `split_by_sequence`, with skills as resources; skills practised before stay in the lists.

    Raises:
        DataUnusableError: when a file is missing or malformed.
    """
    table = skills_as_resources(read_responses(folder))
    return described_further(folder, split_of(table, f"{folder.name}: {len(table.learners):,} learners", repeats=True))


def split_as_given(folder: Path) -> RankingSplit:
    """Fit on `train`; evaluate on `test`.

    Raises:
        DataUnusableError: when a file is missing or malformed.
    """
    table, before = read_given_split(folder)
    work = split_work(table, before, tags_of(table), ordered=False, graded=False)
    described = (
        f"{folder.name}: {len(table.learners):,} learners, {len(table):,} interactions, {len(table.resources):,} "
        f"resources; split as in the files; evaluated on {len(work.relevant):,} learners"
    )
    return described_further(folder, RankingSplit(work, table.rows(~before), described))


def split_at_random(folder: Path) -> RankingSplit:
    """Fit on three quarters of each learner's interactions, drawn with numpy's legacy generator and seed 42.

    Rows are drawn in the order of the file. A row is used for fitting if the relative rank of its draw among the
    learner's draws is at most .75. Resources that occur in no such row are dropped from the evaluation.

    Raises:
        DataUnusableError: when a file is missing or malformed.
    """
    table, draw = read_interactions(folder, seed=_RANDOM_SEED)
    before = _ranks(table.learner, draw) <= _RANDOM_SHARE
    work = split_work(table, before, tags_of(table), ordered=False, graded=False)
    described = (
        f"{folder.name}: {len(table.learners):,} learners, {len(table):,} interactions, {len(table.resources):,} "
        f"resources; fitted on a random 75 % of each learner's; evaluated on {len(work.relevant):,} learners"
    )
    return described_further(folder, RankingSplit(work, table.rows(~before), described))


def split_of(table: ResponseTable, description: str, *, repeats: bool = False) -> RankingSplit:
    """Split each learner's responses after the first four fifths; see `split_by_sequence`.

    Args:
        table: the responses, each learner's in order.
        description: the data in words.
        repeats: whether resources worked on before stay in the lists.
    """
    before = earlier_rows(table)
    work = split_work(table, before, tags_of(table), repeats=repeats)
    described = (
        f"{description}, {len(table):,} responses, {len(table.resources):,} resources; fitted on the first 80 % of "
        f"each learner with at least 20 responses; evaluated on {len(work.relevant):,} learners"
    )
    return RankingSplit(work, table.rows(~before), described)


def described_further(folder: Path, split: RankingSplit) -> RankingSplit:
    """Add the groups of `groups.csv` and the prerequisites of `prerequisites.csv`, if the folder has them.

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
    return replace(split, groups=groups, work=replace(split.work, prerequisites=known))


def _ranks(learner: NDArray[np.int32], draw: Floats) -> Floats:
    """Return the relative rank of each row's draw among its learner's n draws: from 1/n (smallest) to 1."""
    order = np.lexsort((draw, learner))
    counts = np.bincount(learner)
    firsts = np.cumsum(counts) - counts
    ranks = np.empty(len(learner))
    ranks[order] = (np.arange(len(learner)) - firsts[learner[order]] + 1) / counts[learner[order]]
    return ranks


class ListEvaluator:
    """Evaluates lists against what learners did next."""

    def __init__(self, split: RankingSplit, *, seed: int) -> None:
        """Args: `split`, the data; `seed` of the halves of learners, whose models each rate the other half's lists."""
        self._split = split
        self._work = split.work
        self._popularity = np.bincount(self._work.positives.resource, minlength=len(split.test.resources)) + 1.0
        self._tagged = any(self._work.tags)
        self._wrong, self._next = _skills_after(split.test)
        self._mastery = Mastery(self._work)
        self._graded = self._tagged and self._work.graded
        self._challenge = challenge_of(self._work, seed=seed) if self._graded else None

    @property
    def names(self) -> tuple[str, ...]:
        """The measures, in order."""
        return (
            *(("ndcg_at_5", "ndcg_at_5_new") if self._work.repeats else ()),
            "ndcg_at_10",
            "recall_at_10",
            "recall_at_50",
            "precision_at_10",
            *(("gap_hit_at_10", "gap_next_at_10") if self._graded else ()),
            *(("success_band_at_10",) if self._challenge else ()),
            *(("readiness_violations_at_10",) if self._mastery.matters else ()),
            "novelty_at_10",
        )

    def measures(self, ranker: Ranker, learners: Sequence[int]) -> tuple[dict[str, Floats], list[list[int]]]:
        """Return each measure by learner, nan where it is undefined, and the first ten of each list."""
        rows, tops = [], []
        for learner in learners:
            ranked = ranker.ranked(learner, LONGEST).tolist()
            rows.append(self._of_list(learner, ranked, ranker))
            tops.append(ranked[:_TOP])
        return dict(zip(self.names, np.array(rows).T, strict=True)), tops

    def _of_list(self, learner: int, ranked: list[int], ranker: Ranker) -> list[float]:
        relevant = self._work.relevant[learner]
        top = ranked[:_TOP]
        hits = sum(resource in relevant for resource in top)
        values = []
        if self._work.repeats:
            # Request the full order: resources new to the learner may be ranked below many that are not.
            own = set(self._work.own(learner).tolist())
            every = ranker.ranked(learner, len(self._popularity)).tolist()
            new = relevant - own
            values.append(ndcg(ranked, relevant, _FEW))
            values.append(ndcg([each for each in every if each not in own], new, _FEW) if new else np.nan)
        values += [
            ndcg(ranked, relevant, _TOP),
            hits / len(relevant),
            sum(resource in relevant for resource in ranked) / len(relevant),
            hits / _TOP,
        ]
        if self._graded:
            tags = [self._work.tags[resource] for resource in top]
            wrong, worked_on = self._wrong.get(learner, frozenset()), self._next.get(learner, frozenset())
            values.append(sum(bool(tagged & wrong) for tagged in tags) / _TOP)
            values.append(sum(bool(tagged & worked_on) for tagged in tags) / _TOP)
        if self._challenge:
            values.append(self._challenge.share_in_band(learner, top))
        if self._mastery.matters:
            values.append(self._mastery.violations(learner, top) / _TOP)
        values.append(float(np.log2(self._popularity.max() / self._popularity[top]).mean()) if top else 0.0)
        return values


def _skills_after(test: ResponseTable) -> tuple[dict[int, frozenset[int]], dict[int, frozenset[int]]]:
    """Return, by learner, the skills they got wrong at least once and the skills they worked on."""
    wrong: dict[int, set[int]] = {}
    worked_on: dict[int, set[int]] = {}
    for row, skill in zip(test.skill_rows().tolist(), test.skill.tolist(), strict=True):
        learner = int(test.learner[row])
        worked_on.setdefault(learner, set()).add(skill)
        if test.response[row] < 0.5:
            wrong.setdefault(learner, set()).add(skill)
    return (
        {learner: frozenset(skills) for learner, skills in wrong.items()},
        {learner: frozenset(skills) for learner, skills in worked_on.items()},
    )
