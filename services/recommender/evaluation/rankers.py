"""The rankings under comparison: baselines, every collaborative model, and the served rankings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from services.recommender.application.ports.models import CollaborativeModel
from services.recommender.domain.ranking.features import CollaborativeScores
from services.recommender.domain.ranking.learned import LearnedRanker
from services.recommender.domain.ranking.pipeline import rank
from services.recommender.domain.ranking.policy import ResourceFilter
from services.recommender.domain.ranking.prepared import prepare
from services.recommender.domain.ranking.request import RankingRequest
from services.recommender.domain.ranking.weights import DEFAULT_WEIGHTS
from services.recommender.domain.training.responses import ResponseTable
from services.recommender.domain.training.splits import WorkSplit
from services.recommender.evaluation.lists import Ranker, RankingSplit
from services.recommender.evaluation.popularity import PopularLastWeek
from services.recommender.evaluation.reason_count import ReasonCount
from services.recommender.evaluation.results import SERVED
from services.recommender.models.ranker.dataset import RankingDataset

WEIGHED = "weights"
HALF_NEED = "half_need"

REASONS_OF = 10
"""The reasons of this many first entries of each list are checked."""
_RECENT_SKILLS = 5


def baselines(split: RankingSplit, *, seed: int) -> Mapping[str, Callable[[], Ranker]]:
    """Return a factory, by name, for each ranking that only counts.

    Args:
        split: the data.
        seed: of the random order.
    """
    work = split.work
    popularity = np.bincount(work.positives.resource, minlength=len(work.positives.resources)).astype(np.float32)
    made: dict[str, Callable[[], Ranker]] = {
        "random": lambda: Random(work, seed),
        "popular": lambda: Scored(work, lambda _learner: popularity.copy()),
    }
    if work.before.at_s.any():
        made["popular_last_week"] = lambda: Scored(work, PopularLastWeek(work, popularity).scores)
    if any(work.tags):
        made["popular_in_current_skills"] = lambda: Scored(
            work, InCurrentSkills(work.before, work.tags, popularity).scores
        )
    return made


def served(
    dataset: RankingDataset, ranker: LearnedRanker, collaborative: CollaborativeModel | None
) -> dict[str, Ranker]:
    """Return the served rankings by name: the learned one, half need and half next item, and the hand-weighted one.

    Args:
        dataset: the data a server would have.
        ranker: the learned ranker.
        collaborative: the model that the hand-weighted score uses when it ranks alone.
    """
    rankings: dict[str, Ranker] = {SERVED: Served(dataset, ranker, None)}
    if any(dataset.split.tags):
        rankings[HALF_NEED] = Served(dataset, ranker, None, need_share=0.5)
        rankings[WEIGHED] = Served(dataset, None, collaborative)
    return rankings


class Scored:
    """Ranks resources by score; ties keep the order of the resources."""

    def __init__(self, split: WorkSplit, scores: Callable[[int], NDArray[np.float32]]) -> None:
        """Args: `split`; `scores`, which returns the scores of all resources for a learner in a new array."""
        self._split = split
        self._scores = scores

    def ranked(self, learner: int, most: int) -> NDArray[np.int64]:
        """Return the numbers of at most k resources, best first."""
        scores = self._scores(learner)
        if not self._split.repeats:
            scores[self._split.own(learner)] = -np.inf
        if most < len(scores):
            # Include all ties of the last place, so that their order decides which are listed.
            bar = np.partition(scores, len(scores) - most)[len(scores) - most]
            among = np.flatnonzero(scores >= bar)
        else:
            among = np.flatnonzero(scores > -np.inf)
        best: NDArray[np.int64] = among[np.argsort(-scores[among], kind="stable")][:most]
        return best[scores[best] > -np.inf]


class Random(Scored):
    """Any order."""

    def __init__(self, split: WorkSplit, seed: int) -> None:
        """Args: `split`; `seed` of the order, with the learner's number."""
        size = len(split.positives.resources)
        super().__init__(split, lambda learner: np.random.default_rng([seed, learner]).random(size, dtype=np.float32))


class InCurrentSkills:
    """Ranks the most popular resources about the skills of the learner's last responses, latest skill first."""

    def __init__(self, train: ResponseTable, tags: Sequence[frozenset[int]], popularity: NDArray[np.float32]) -> None:
        """Args: `train`, earlier responses; `tags` of each resource; `popularity` of each resource."""
        self._train = train
        self._popularity = popularity / (popularity.max() + 1)
        self._resources_of: list[list[int]] = [[] for _ in train.skills]
        for resource, skills in enumerate(tags):
            for skill in skills:
                self._resources_of[skill].append(resource)
        self._first = np.searchsorted(train.learner, np.arange(len(train.learners) + 1))

    def scores(self, learner: int) -> NDArray[np.float32]:
        """Scores by how recent the resource's skill is, then by popularity."""
        scores: NDArray[np.float32] = self._popularity.copy()
        entries = self._train.skill[
            self._train.skill_start[self._first[learner]] : self._train.skill_start[self._first[learner + 1]]
        ]
        recent = list(dict.fromkeys(entries[::-1].tolist()))[:_RECENT_SKILLS]
        for place, skill in reversed(list(enumerate(recent))):
            rows = self._resources_of[skill]
            scores[rows] = self._popularity[rows] + (len(recent) - place)
        return scores


class Collaborative(Scored):
    """Scores resources with a collaborative model, given a learner's history."""

    def __init__(self, model: CollaborativeModel, split: WorkSplit) -> None:
        """Args: `model`; `split`, the histories."""
        resources = split.positives.resources
        number = {resource: place for place, resource in enumerate(resources)}
        columns = np.array([number[resource] for resource in model.resources], np.int64)

        def scores(learner: int) -> NDArray[np.float32]:
            every = np.full(len(resources), np.float32(-1e9))
            every[columns] = model.scores([resources[row] for row in split.own(learner)])
            return every

        super().__init__(split, scores)


class Served:
    """The served ranking: folded learner state, tags, collaborative scores, ranker and policy.

    Attributes:
        reasons: counts the reasons of its lists.
    """

    def __init__(
        self,
        dataset: RankingDataset,
        ranker: LearnedRanker | None,
        collaborative: CollaborativeModel | None,
        *,
        need_share: float = 0.0,
    ) -> None:
        """Assemble the data that a server would have.

        Args:
            dataset: the data a server would have.
            ranker: the learned ranker; None to rank by the hand-weighted score.
            collaborative: the model that the hand-weighted score uses when it ranks alone.
            need_share: how much of the score is need.
        """
        self._dataset = dataset
        self._prepared = prepare(dataset.catalog, dataset.parameters, ranker=ranker)
        self.reasons = ReasonCount(self._prepared, first=REASONS_OF)
        self._collaborative = collaborative
        self._need_share = need_share
        self._known = frozenset(() if collaborative is None else collaborative.resources)
        self._rows = dataset.catalog.rows_of(() if collaborative is None else collaborative.resources)
        self._index_of_row = np.full(len(dataset.catalog), -1, np.intp)
        self._index_of_row[self._rows] = np.arange(len(self._rows))

    def ranked(self, learner: int, most: int) -> NDArray[np.int64]:
        """Return the numbers of at most k resources, best first."""
        dataset = self._dataset
        split, state = dataset.split, dataset.states.of(learner)
        history = [recent.resource for recent in state.resources]
        seen = () if split.repeats else tuple(split.positives.resources[row] for row in split.own(learner))
        request = RankingRequest(
            tenant="t",
            learner=split.before.learners[learner],
            state=state,
            collaborative=None
            if self._collaborative is None
            else CollaborativeScores(
                scores=self._collaborative.scores(history),
                rows=self._rows,
                index_of_row=self._index_of_row,
                positives=sum(resource in self._known for resource in history),
            ),
            bundle="evaluation",
            as_of_s=float(state.last_at_s),
            day="1970-01-01",
            wanted=ResourceFilter(excluded=seen),
            limit=most,
            models=None if self._prepared.learned is None else dataset.models(state),
            need_share=self._need_share,
            repeats=split.repeats,
        )
        ranked = self.reasons.made(
            lambda: rank(self._prepared, request, DEFAULT_WEIGHTS, time.perf_counter), request
        )  # fmt: skip
        return np.array([resource.row for resource in ranked.resources], np.int64)
