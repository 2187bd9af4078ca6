"""Splits for rankings, and measures of the lists that rankings give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.positives import Positives, positives_of
from services.recommender.domain.responses import ResponseTable
from services.recommender.evaluation.data import read_interactions
from services.recommender.evaluation.intervals import Floats

LONGEST = 50
_TOP = 10


class Ranker(Protocol):
    """Lists resources for learners."""

    def ranked(self, learner: int, most: int) -> NDArray[np.int64]:
        """Numbers of at most so many resources the learner has not worked on, best first."""
        ...


@dataclass(frozen=True)
class RankingSplit:
    """What rankings are fitted on, and what learners then worked on.

    Attributes:
        train: responses before, of all learners.
        test: responses after, in a table with the same ids.
        positives: of `train`.
        relevant: by learner, the resources of `test` they had not worked on before; empty where there are none.
        tags: by resource, its skills: the union of those of its responses.
        description: in words.
    """

    train: ResponseTable
    test: ResponseTable
    positives: Positives
    relevant: Mapping[int, frozenset[int]]
    tags: Sequence[frozenset[int]]
    description: str


def split_by_sequence(folder: Path) -> RankingSplit:
    """The first four fifths of each learner's responses to fit on, the rest to judge on.

    Learners with fewer than 20 responses are fitted on only.

    Raises:
        DataUnusableError: when a file is missing or malformed.
    """
    table = read_interactions(folder)
    return split_of(table, f"{folder.name}: {len(table.learners):,} learners")


def split_of(table: ResponseTable, description: str) -> RankingSplit:
    """The first four fifths of each learner's responses, and the rest; see `split_by_sequence`.

    Args:
        table: the responses, each learner's in order.
        description: in words.
    """
    responses = np.bincount(table.learner, minlength=len(table.learners))
    first = np.cumsum(responses) - responses
    place = np.arange(len(table)) - first[table.learner]
    cut = np.where(responses >= 20, (0.8 * responses).astype(np.int64), responses)
    before = place < cut[table.learner]
    train, test = table.rows(before), table.rows(~before)
    positives, after = positives_of(train), positives_of(test)
    relevant = {}
    for learner in range(len(table.learners)):
        new = frozenset(own(after, learner).tolist()) - frozenset(own(positives, learner).tolist())
        if new:
            relevant[learner] = new
    described = (
        f"{description}, {len(table):,} responses, {len(table.resources):,} resources; the first 80 % of each learner "
        f"with at least 20 responses to fit on; {len(relevant):,} learners judged"
    )
    return RankingSplit(train, test, positives, relevant, _tags(table), described)


class Judge:
    """Measures lists against what learners did next."""

    def __init__(self, split: RankingSplit) -> None:
        """Args: `split`, whose learners are judged."""
        self._split = split
        self._discount = 1.0 / np.log2(np.arange(2, _TOP + 2))
        self._ideal = np.cumsum(self._discount)
        self._popularity = np.bincount(split.positives.resource, minlength=len(split.positives.resources)) + 1.0
        self._wrong, self._next = _skills_after(split.test)

    def measures(self, ranker: Ranker, learners: Sequence[int]) -> dict[str, Floats]:
        """Each measure by learner."""
        rows = [self._of_list(learner, ranker.ranked(learner, LONGEST)) for learner in learners]
        names = ("ndcg_at_10", "recall_at_10", "recall_at_50", "gap_hit_at_10", "gap_next_at_10", "novelty_at_10")
        return dict(zip(names, np.array(rows).T, strict=True))

    def _of_list(self, learner: int, ranked: NDArray[np.int64]) -> tuple[float, ...]:
        relevant = self._split.relevant[learner]
        hits = np.fromiter((resource in relevant for resource in ranked.tolist()), np.bool_, len(ranked))
        top = ranked[:_TOP]
        tags = [self._split.tags[resource] for resource in top.tolist()]
        wrong, worked_on = self._wrong.get(learner, frozenset()), self._next.get(learner, frozenset())
        return (
            float(hits[:_TOP] @ self._discount[: len(top)]) / self._ideal[min(_TOP, len(relevant)) - 1],
            float(hits[:_TOP].sum()) / len(relevant),
            float(hits.sum()) / len(relevant),
            sum(bool(tagged & wrong) for tagged in tags) / _TOP,
            sum(bool(tagged & worked_on) for tagged in tags) / _TOP,
            float(np.log2(self._popularity.max() / self._popularity[top]).mean()) if len(top) else 0.0,
        )


def own(positives: Positives, learner: int) -> NDArray[np.int32]:
    """Numbers of the resources a learner worked on, in the order first met."""
    return positives.resource[positives.start[learner] : positives.start[learner + 1]]


def _tags(table: ResponseTable) -> list[frozenset[int]]:
    tags: list[set[int]] = [set() for _ in table.resources]
    for row, skill in zip(table.skill_rows().tolist(), table.skill.tolist(), strict=True):
        tags[table.resource[row]].add(skill)
    return [frozenset(skills) for skills in tags]


def _skills_after(test: ResponseTable) -> tuple[dict[int, frozenset[int]], dict[int, frozenset[int]]]:
    """By learner, the skills they got wrong at least once, and those they worked on."""
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
