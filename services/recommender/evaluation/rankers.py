"""The rankings under comparison: baselines, every collaborative model, and the served rankings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from services.recommender.application.ports.models import CollaborativeModel
from services.recommender.domain.learner.state import LearnerState
from services.recommender.domain.learner.success_model import SuccessModel
from services.recommender.domain.ranking.features import collaborative_rows
from services.recommender.domain.ranking.learned import NO_RANKER
from services.recommender.domain.ranking.next_item import ModelScores
from services.recommender.domain.ranking.pipeline import rank
from services.recommender.domain.ranking.prepared import prepare
from services.recommender.domain.ranking.weights import DEFAULT_POLICY, DEFAULT_WEIGHTS
from services.recommender.domain.training.responses import ResponseTable
from services.recommender.domain.training.splits import WorkSplit
from services.recommender.evaluation.law_count import Answer, LawCount
from services.recommender.evaluation.lists import Ranker, RankingSplit
from services.recommender.evaluation.popularity import PopularLastWeek
from services.recommender.evaluation.reason_count import ReasonCount
from services.recommender.evaluation.results import SERVED
from services.recommender.models.ranker.dataset import RankingDataset
from services.recommender.models.ranker.fit import FittedRanker
from services.recommender.models.tracing.success_fit import fit_success

NEXT_ITEM, NEED, UNTRAINED, WITHOUT_LAWS = "next_item", "need", "untrained", "without_laws"

REASONS_OF = 10
"""The reasons of this many first entries of each list are checked."""
_RECENT_SKILLS = 5
_RIGHT = 0.5


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
    }
    if work.before.at_s.any():
        made["popular_last_week"] = lambda: Scored(work, PopularLastWeek(work, popularity).scores)
    if any(work.tags):
        made["popular_in_current_skills"] = lambda: Scored(
            work, InCurrentSkills(work.before, work.tags, popularity).scores
        )
    return made


def served(
    dataset: RankingDataset, learned: FittedRanker | None, untrained: FittedRanker | None, *, seed: int
) -> dict[str, Ranker]:
    """Return the rankings of a server, by name.

    The default; only what is likely to come next; the same without laws; only need; and the default without a learned
    ranker.

    Args:
        dataset: the data a server would have.
        learned: the learned ranker; None where there is too little data.
        untrained: a ranker without trees; None where no model could be fitted.
        seed: of the success model.
    """
    work = dataset.split
    success_model = fit_success(work.before, dataset.parameters.settings, seed=seed)[0] if work.graded else None
    best = learned or untrained
    rankings: dict[str, Ranker] = {SERVED: Served(dataset, best, success_model)}
    if any(work.tags):
        rankings[NEXT_ITEM] = Served(dataset, best, success_model, need_share=0.0)
        rankings[WITHOUT_LAWS] = Served(dataset, best, success_model, need_share=0.0, keeps_laws=False)
        rankings[NEED] = Served(dataset, best, success_model, need_share=1.0)
    if learned is not None and untrained is not None:
        rankings[UNTRAINED] = Served(dataset, untrained, success_model)
    return rankings


def missed_last(table: ResponseTable, learner: int) -> frozenset[str]:
    """The skills of a learner's last response, if it was wrong; else none."""
    first, end = np.searchsorted(table.learner, [learner, learner + 1]).tolist()
    if first == end or table.response[end - 1] >= _RIGHT:
        return frozenset()
    skills = table.skill[table.skill_start[end - 1] : table.skill_start[end]]
    return frozenset(table.skills[skill] for skill in skills.tolist())


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
    """The ranking of a server: folded learner state, tags, models, success model, filters and policy.

    Attributes:
        reasons: counts the reasons of its lists.
        laws: counts the laws that its lists keep; None where it need not.
    """

    def __init__(
        self,
        dataset: RankingDataset,
        fitted: FittedRanker | None,
        success_model: SuccessModel | None,
        *,
        need_share: float | None = DEFAULT_POLICY.need_share,
        keeps_laws: bool = True,
    ) -> None:
        """Assemble the data that a server would have.

        Args:
            dataset: the data a server would have.
            fitted: the ranker with its base models; None where nothing was learned.
            success_model: the success model; None where outcomes are not known.
            need_share: how much of the score is need; None: as the ranker was trained.
            keeps_laws: whether the first entries hold what the learner must work on, as those of a server do.
        """
        self._dataset = dataset
        self._ensemble = None if fitted is None else fitted.ensemble
        ranker = NO_RANKER if fitted is None else fitted.ranker
        self._prepared = prepare(dataset.catalog, dataset.parameters, success_model, ranker)
        self.reasons = ReasonCount(self._prepared, first=REASONS_OF)
        self.laws = LawCount(self._prepared) if keeps_laws else None
        self._weights = DEFAULT_WEIGHTS if keeps_laws else replace(DEFAULT_WEIGHTS, head=0)
        self._rows, self._index_of_row = collaborative_rows(
            dataset.catalog, () if fitted is None else fitted.ensemble.resources
        )
        self._need_share = need_share

    def ranked(self, learner: int, most: int) -> NDArray[np.int64]:
        """Return the numbers of at most k resources, best first."""
        work, state = self._dataset.split, self._dataset.states.of(learner)
        request = self._dataset.request(learner, self._models(state), limit=most, need_share=self._need_share)
        ranked = self.reasons.made(
            lambda: rank(self._prepared, request, self._weights, time.perf_counter), request
        )  # fmt: skip
        if self.laws is not None:
            self.laws.add(
                Answer(
                    learner=f"learner {learner}",
                    state=state,
                    as_of_s=request.as_of_s,
                    wanted=request.wanted,
                    resources=ranked.resources,
                    gap=ranked.gap,
                    missed=missed_last(work.before, learner) if work.graded else frozenset(),
                )
            )
        return np.array([resource.row for resource in ranked.resources], np.int64)

    def _models(self, state: LearnerState) -> ModelScores | None:
        if self._ensemble is None or not state.resources:
            return None
        scores = self._ensemble.scores([recent.resource for recent in state.resources])
        return ModelScores(scores, self._rows, self._index_of_row)
