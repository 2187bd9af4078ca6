"""The rankings that are compared: baselines, every collaborative model, and the ranking that is served."""

from __future__ import annotations

import itertools
import struct
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from services.recommender.application.ports import CollaborativeModel
from services.recommender.application.train import TooFewPositivesError
from services.recommender.domain.events import AssessmentEvent, Grain
from services.recommender.domain.fold import LearnerEvents, LearnerFold
from services.recommender.domain.learner import LearnerState, decode_state, encode_state
from services.recommender.domain.positives import Positives
from services.recommender.domain.ranking.catalog import (
    CatalogResource,
    CatalogSkill,
    ResourceKind,
    build_columns,
)
from services.recommender.domain.ranking.features import CollaborativeScores
from services.recommender.domain.ranking.pipeline import RankingRequest, prepare, rank
from services.recommender.domain.ranking.policy import ResourceFilter
from services.recommender.domain.ranking.weights import RankingWeights
from services.recommender.domain.responses import ResponseTable
from services.recommender.domain.stored import NEW_LEARNER
from services.recommender.domain.tracing import TracingParameters
from services.recommender.evaluation.lists import Ranker, RankingSplit, own
from services.recommender.evaluation.results import SERVED
from services.recommender.models.als import AlsModel
from services.recommender.models.als_fit import AlsSettings, fit_als
from services.recommender.models.bpr import fit_bpr
from services.recommender.models.neighbours import EaseModel, fit_item_knn, fit_rp3beta, fit_sequential
from services.recommender.models.tracing_fit import fit_tracing

_RECENT_SKILLS = 5


Fit = Callable[[Positives, int], CollaborativeModel]


def _als(**settings: float) -> Fit:
    return lambda positives, seed: AlsModel.from_arrays(
        fit_als(positives, AlsSettings(**settings), seed=seed).model  # type: ignore[arg-type]  # factors are whole.
    )


def _item_knn(half_life: float | None, shrinkage: float) -> Fit:
    return lambda positives, _seed: fit_item_knn(positives, half_life=half_life, shrinkage=shrinkage)


def _rp3beta(alpha: float, beta: float) -> Fit:
    return lambda positives, _seed: fit_rp3beta(positives, alpha=alpha, beta=beta)


def _sequential(window: int, half_life: float, popularity: float) -> Fit:
    return lambda positives, _seed: fit_sequential(positives, window=window, half_life=half_life, popularity=popularity)


def _bpr(factors: int) -> Fit:
    return lambda positives, seed: fit_bpr(positives, factors=factors, seed=seed)


def _ease(regularization: float) -> Fit:
    return lambda positives, _seed: EaseModel(positives, regularization=regularization)


# Every collaborative model with the settings it is tried with; the first stand where there is nothing to choose by.
FAMILIES: Mapping[str, Mapping[str, Fit]] = {
    "item_knn": {
        f"half_life={half_life} shrinkage={shrinkage}": _item_knn(half_life, shrinkage)
        for half_life, shrinkage in itertools.product((20.0, 5.0, None), (10.0, 100.0))
    },
    "rp3beta": {
        f"alpha={alpha} beta={beta}": _rp3beta(alpha, beta) for alpha, beta in itertools.product((1.0, 0.6), (0.4, 0.1))
    },
    "sequential": {
        f"window={window} half_life={half_life} popularity={popularity}": _sequential(window, half_life, popularity)
        for window, half_life, popularity in itertools.product((15, 10), (6.0, 2.0), (0.5, 0.25, 0.0))
    },
    "bpr": {f"factors={factors}": _bpr(factors) for factors in (64,)},
    "als": {
        f"factors={factors} confidence={confidence}": _als(factors=factors, confidence=confidence)
        for factors, confidence in itertools.product((64, 128), (2.0, 1.0))
    },
    "ease": {f"regularization={strength}": _ease(strength) for strength in (100.0, 300.0, 30.0)},
}


def rankers(split: RankingSplit, settings: Mapping[str, str], *, seed: int) -> Mapping[str, Callable[[], Ranker]]:
    """What makes each ranking, by name; `cairn` is the one that is served.

    Args:
        split: the data.
        settings: which of its settings each of FAMILIES is fitted with.
        seed: of the fits.
    """
    positives = split.positives
    popularity = np.bincount(positives.resource, minlength=len(positives.resources)).astype(np.float32)

    def collaborative(fit: Fit) -> Callable[[], Ranker]:
        return lambda: Collaborative(fit(positives, seed), positives)

    return {
        "random": lambda: Random(positives, seed),
        "popular": lambda: Scored(positives, lambda _learner: popularity.copy()),
        "popular_in_current_skills": lambda: Scored(
            positives, InCurrentSkills(split.train, split.tags, popularity).scores
        ),
        **{family: collaborative(FAMILIES[family][label]) for family, label in settings.items()},
        SERVED: lambda: Served(split.train, positives, split.tags, seed),
    }


class Scored:
    """The resources with the highest scores; of equal ones those that stand first."""

    def __init__(self, positives: Positives, scores: Callable[[int], NDArray[np.float32]]) -> None:
        """Args: `positives`, never listed again; `scores`, all resources' for a learner, in an array of its own."""
        self._positives = positives
        self._scores = scores

    def ranked(self, learner: int, most: int) -> NDArray[np.int64]:
        """Numbers of at most so many resources, best first."""
        scores = self._scores(learner)
        scores[own(self._positives, learner)] = -np.inf
        if most < len(scores):
            # The whole of the last place's ties, so that which of them is listed is theirs to decide by order.
            bar = np.partition(scores, len(scores) - most)[len(scores) - most]
            among = np.flatnonzero(scores >= bar)
        else:
            among = np.flatnonzero(scores > -np.inf)
        best: NDArray[np.int64] = among[np.argsort(-scores[among], kind="stable")][:most]
        return best[scores[best] > -np.inf]


class Random(Scored):
    """Any order."""

    def __init__(self, positives: Positives, seed: int) -> None:
        """Args: `positives`, never listed again; `seed` of the order, with the learner's number."""
        size = len(positives.resources)
        super().__init__(
            positives, lambda learner: np.random.default_rng([seed, learner]).random(size, dtype=np.float32)
        )


class InCurrentSkills:
    """The most popular resources about the skills of the learner's last responses, the last one's first."""

    def __init__(self, train: ResponseTable, tags: Sequence[frozenset[int]], popularity: NDArray[np.float32]) -> None:
        """Args: `train`, responses before; `tags` of each resource; `popularity` of each resource."""
        self._train = train
        self._popularity = popularity / (popularity.max() + 1)
        self._resources_of: list[list[int]] = [[] for _ in train.skills]
        for resource, skills in enumerate(tags):
            for skill in skills:
                self._resources_of[skill].append(resource)
        self._first = np.searchsorted(train.learner, np.arange(len(train.learners) + 1))

    def scores(self, learner: int) -> NDArray[np.float32]:
        """Popularity, and above it how recent the resource's skill is."""
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
    """What a collaborative model says of a learner's history."""

    def __init__(self, model: CollaborativeModel, positives: Positives) -> None:
        """Args: `model`; `positives`, the histories."""
        number = {resource: place for place, resource in enumerate(positives.resources)}
        columns = np.array([number[resource] for resource in model.resources], np.int64)

        def scores(learner: int) -> NDArray[np.float32]:
            every = np.full(len(positives.resources), np.float32(-1e9))
            every[columns] = model.scores([positives.resources[row] for row in own(positives, learner)])
            return every

        super().__init__(positives, scores)


class Served:
    """The ranking that a server gives: learner state as folded, tags, collaborative scores, weights and policy."""

    def __init__(self, train: ResponseTable, positives: Positives, tags: Sequence[frozenset[int]], seed: int) -> None:
        """Fit what `cairn train` fits, fold what a worker folds, prepare what a server prepares.

        Args:
            train: responses before.
            positives: of `train`.
            tags: of each resource.
            seed: of the fits.
        """
        tracing = fit_tracing(train, seed=seed)
        parameters = tracing.parameters
        self._train = train
        self._positives = positives
        self._model = _served_model(positives, seed)
        self._fold = LearnerFold(TracingParameters("evaluation", {"t": parameters}))
        catalog = build_columns(
            [
                CatalogResource(
                    resource_id=resource,
                    title=resource,
                    kind=ResourceKind.PRACTICE,
                    assesses=tuple((train.skills[skill], 1.0 / len(skills)) for skill in sorted(skills)),
                )
                for resource, skills in zip(positives.resources, tags, strict=True)
            ],
            [CatalogSkill(skill_id=skill) for skill in train.skills],
        )
        self._basis = prepare(catalog, parameters, tracing.success)
        number = {resource: place for place, resource in enumerate(positives.resources)}
        self._number_of_row = np.array([number[resource] for resource in catalog.resource_ids], np.int64)
        scored = () if self._model is None else self._model.resources
        self._rows = catalog.rows_of(scored)
        self._index_of_row = np.full(len(catalog), -1, np.intp)
        self._index_of_row[self._rows] = np.arange(len(self._rows))
        self._first = np.searchsorted(train.learner, np.arange(len(train.learners) + 1))
        self._known = frozenset(scored)

    def ranked(self, learner: int, most: int) -> NDArray[np.int64]:
        """Numbers of at most so many resources, best first."""
        history = [self._positives.resources[row] for row in own(self._positives, learner)]
        request = RankingRequest(
            tenant="t",
            learner=self._train.learners[learner],
            state=self._state(learner),
            collaborative=None
            if self._model is None
            else CollaborativeScores(
                scores=self._model.scores(history),
                rows=self._rows,
                index_of_row=self._index_of_row,
                positives=sum(resource in self._known for resource in history),
            ),
            bundle="evaluation",
            as_of_s=0.0,
            day="1970-01-01",
            wanted=ResourceFilter(excluded=tuple(history)),
            limit=most,
        )
        ranked = rank(self._basis, request, RankingWeights(), time.perf_counter)
        return self._number_of_row[[resource.row for resource in ranked.resources]]

    def _state(self, learner: int) -> LearnerState | None:
        table = self._train
        events = []
        for row in range(int(self._first[learner]), int(self._first[learner + 1])):
            skills = tuple(table.skills[k] for k in table.skill[table.skill_start[row] : table.skill_start[row + 1]])
            item = table.items[table.item[row]]
            resource = table.resources[table.resource[row]]
            response = float(table.response[row])
            fingerprint = struct.pack("<Q", row)
            events.append((row, AssessmentEvent(fingerprint, response, 0, item, "", skills, Grain.ITEM, resource)))
        stored = self._fold.fold([LearnerEvents("t", NEW_LEARNER, events)])[0].stored
        return None if stored.state is None else decode_state(encode_state(stored.state))


def _served_model(positives: Positives, seed: int) -> AlsModel | None:
    """The collaborative model that `cairn train` fits; None where it fits none."""
    try:
        return AlsModel.from_arrays(fit_als(positives, AlsSettings(), seed=seed).model)
    except TooFewPositivesError:
        return None
