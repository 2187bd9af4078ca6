"""Evaluating rankings: which resources a learner works on next, every resource being ranked."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.positives import Positives, positives_of
from services.recommender.domain.responses import ResponseTable
from services.recommender.evaluation.data import read_interactions
from services.recommender.evaluation.intervals import Draws, Floats, compared, estimate, of_learners
from services.recommender.evaluation.rankers import Ranker, rankers
from services.recommender.evaluation.results import SERVED, Evaluation

DRAWS = 1_000
SEED = 1
LONGEST = 50
_TOP = 10

Advance = Callable[[str, int, int], None]


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
    responses = np.bincount(table.learner, minlength=len(table.learners))
    first = np.concatenate([[0], np.cumsum(responses)[:-1]])
    place = np.arange(len(table)) - first[table.learner]
    cut = np.where(responses >= 20, (0.8 * responses).astype(np.int64), responses)
    before = place < cut[table.learner]
    train, test = table.rows(before), table.rows(~before)
    positives, after = positives_of(train), positives_of(test)
    relevant = {}
    for learner in range(len(table.learners)):
        new = frozenset(_own(after, learner).tolist()) - frozenset(_own(positives, learner).tolist())
        if new:
            relevant[learner] = new
    description = (
        f"{folder.name}: {len(table):,} responses of {len(table.learners):,} learners to {len(table.resources):,} "
        f"resources; first 80 % of each learner with at least 20 responses to fit on; "
        f"{len(relevant):,} learners judged"
    )
    return RankingSplit(train, test, positives, relevant, _tags(table), description)


def evaluate_ranking(
    protocol: str, split: RankingSplit, *, commit: str = "", advance: Advance = lambda *_: None
) -> Evaluation:
    """Fit every ranking, and judge the lists it gives the same learners.

    Args:
        protocol: its name.
        split: the data.
        commit: of the code.
        advance: told which ranking is being done, and how many of how many are.
    """
    learners = sorted(split.relevant)
    draws = Draws.of(len(learners), draws=DRAWS, seed=SEED)
    judge = _Judge(split)
    values: dict[str, dict[str, Floats]] = {}
    elapsed_s: dict[str, float] = {}
    made = rankers(split.train, split.positives, split.tags, seed=SEED)
    for number, (name, make) in enumerate(made.items()):
        advance(name, number, len(made))
        started_s = time.perf_counter()
        ranker = make()
        measures = judge.measures(ranker, learners)
        elapsed_s[name] = round(time.perf_counter() - started_s, 3)
        values[name] = {measure: of_learners(values, draws) for measure, values in measures.items()}
    advance("intervals", len(made), len(made))
    return Evaluation(
        protocol=protocol,
        data=split.description,
        commit=commit,
        models={
            name: {measure: estimate(drawn) for measure, drawn in measures.items()} for name, measures in values.items()
        },
        differences=compared(values, SERVED) if SERVED in values else {},
        notes=(
            "Every resource that the learner had not worked on before is ranked; no negatives are sampled.",
            "What is relevant is what learners did next, largely what teachers assigned: no evidence of learning.",
            "gap_hit: share of the list about a skill the learner then got wrong at least once.",
            "gap_next: share of the list about a skill the learner then worked on.",
            f"Intervals are central 95 % of {DRAWS} bootstrap draws of learners; differences use the same draws.",
        ),
        seeds={"bootstrap": SEED, "models": SEED},
        elapsed_s=elapsed_s,
    )


class _Judge:
    """Measures lists against what learners did next."""

    def __init__(self, split: RankingSplit) -> None:
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


def _own(positives: Positives, learner: int) -> NDArray[np.int32]:
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
