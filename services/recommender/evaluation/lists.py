"""Measures of ranked lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.training.metrics import ndcg
from services.recommender.domain.training.responses import ResponseTable
from services.recommender.domain.training.splits import WorkSplit
from services.recommender.evaluation.challenge import Mastery, challenge_of
from services.recommender.evaluation.intervals import Floats
from services.recommender.evaluation.twins import NO_TWINS, Twins

LONGEST = 50
_TOP = 10
_FEW = 5


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
        twins: the near-identical learners of the data.
    """

    work: WorkSplit
    test: ResponseTable
    description: str
    groups: Mapping[int, str] = field(default_factory=dict)
    twins: Twins = NO_TWINS


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
