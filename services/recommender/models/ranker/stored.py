"""Converts a learned ranker and its base models to the arrays of a bundle, and back."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from services.recommender.application.ports.models import (
    CollaborativeModel,
    ModelArrays,
    ModelArraysInvalidError,
    TenantRanker,
)
from services.recommender.domain.ranking.interaction_statistics import InteractionStatistics, SkillLinks
from services.recommender.domain.ranking.learned import DEFAULT_NEED_SHARE, LearnedRanker
from services.recommender.domain.ranking.next_item import FEATURES_VERSION
from services.recommender.domain.ranking.trees import Trees, TreesInvalidError
from services.recommender.models.collaborative import als, neighbours, popular
from services.recommender.models.collaborative.als import AlsModel
from services.recommender.models.collaborative.ensemble import Ensemble
from services.recommender.models.collaborative.neighbours import ItemItemModel
from services.recommender.models.collaborative.popular import PopularModel

KIND = "learned_ranker"

# The attribute of `Trees` that each stored array holds.
_TREE_ARRAYS = MappingProxyType(
    {
        "starts": "starts",
        "features": "split_features",
        "thresholds": "thresholds",
        "lefts": "lefts",
        "rights": "rights",
        "values": "node_values",
    }
)
_LINKS = ("follows", "together")
_Array = NDArray[np.float32]


@runtime_checkable
class _StorableModel(Protocol):
    """A base model that a bundle can hold."""

    def to_arrays(self) -> ModelArrays: ...


def ranker_to_arrays(ranker: LearnedRanker, ensemble: Ensemble) -> ModelArrays:
    """Convert to float32 arrays over the ensemble's resources; counts, not offsets, so that each is exact.

    Raises:
        TooLargeError: when one of the models is too large for a bundle.
    """
    hyperparameters: dict[str, float] = {
        "features_version": FEATURES_VERSION,
        "share": ranker.blend_weight,
        "need_share": ranker.need_share,
    }
    arrays: dict[str, _Array] = {}
    resources = ensemble.resources
    for place, name in enumerate(ranker.models):
        model: object = ensemble.get(name)
        if not isinstance(model, _StorableModel):
            raise TypeError(f"a learned ranker cannot store a {type(model).__name__}")
        stored = model.to_arrays()
        hyperparameters[f"place_{name}"] = place
        hyperparameters[f"weight_{name}"] = ranker.base_weights[place]
        hyperparameters |= {f"{name}_{key}": value for key, value in stored.hyperparameters.items()}
        arrays |= {f"{name}_{key}": values for key, values in _over(stored, resources).items()}
    for key, attribute in _TREE_ARRAYS.items():
        arrays[f"trees_{key}"] = getattr(ranker.trees, attribute).astype(np.float32)
    statistics = ranker.statistics
    arrays |= {
        "popularity": statistics.popularity,
        "places": statistics.places,
        "responses": statistics.responses,
    }
    for key in _LINKS:
        links: SkillLinks = getattr(statistics, key)
        arrays[f"{key}_counts"] = np.diff(links.starts).astype(np.float32)
        arrays[f"{key}_skills"] = links.skills.astype(np.float32)
        arrays[f"{key}_strengths"] = links.strengths
    return ModelArrays(KIND, hyperparameters, resources, arrays, statistics.skills)


def ranker_from_arrays(stored: ModelArrays) -> TenantRanker:
    """Restore a ranker from the result of `ranker_to_arrays`.

    Raises:
        ModelArraysInvalidError: when the arrays do not form such a ranker.
    """
    numbers = stored.hyperparameters
    if stored.kind != KIND or numbers.get("features_version") != FEATURES_VERSION:
        raise ModelArraysInvalidError("the learned ranker reads other features than this version computes: train again")
    places = {key.removeprefix("place_"): int(value) for key, value in numbers.items() if key.startswith("place_")}
    names = tuple(sorted(places, key=places.__getitem__))
    try:
        models = {name: _base_model(name, stored) for name in names}
        trees = _trees(stored.arrays)
        ranker = LearnedRanker(
            models=names,
            trees=trees,
            blend_weight=float(numbers["share"]),
            base_weights=_base_weights(numbers, names),
            statistics=InteractionStatistics(
                resources=stored.resources,
                skills=stored.skills,
                popularity=stored.arrays["popularity"],
                places=stored.arrays["places"],
                follows=_links("follows", stored),
                together=_links("together", stored),
                # Earlier releases did not count them.
                responses=stored.arrays.get("responses", np.ones(len(stored.skills), np.float32)),
            ),
            # Earlier releases did not choose it.
            need_share=float(numbers.get("need_share", DEFAULT_NEED_SHARE)),
        )
        trees.check(len(ranker.features))
    except KeyError as error:
        raise ModelArraysInvalidError(f"a learned ranker needs {error}") from error
    except TreesInvalidError as error:
        raise ModelArraysInvalidError(str(error)) from error
    if not all(0.0 <= share <= 1.0 for share in (ranker.blend_weight, ranker.need_share)):
        raise ModelArraysInvalidError("a share of the learned ranker is out of range: train again")
    if len(ranker.statistics.responses) != len(stored.skills):
        raise ModelArraysInvalidError("the learned ranker counts the responses of other skills than it has")
    return TenantRanker(ranker, Ensemble(stored.resources, models))


def _base_weights(numbers: Mapping[str, float], names: tuple[str, ...]) -> tuple[float, ...]:
    """The weight of each base model. Earlier releases stored the place of the one that counts."""
    if "lead" in numbers:
        return tuple(float(place == int(numbers["lead"])) for place in range(len(names)))
    return tuple(float(numbers[f"weight_{name}"]) for name in names)


def _over(stored: ModelArrays, resources: tuple[str, ...]) -> Mapping[str, _Array]:
    """Expand a model's arrays to more resources; unknown ones get factors of 0, hence scores of 0."""
    if stored.resources == resources:
        return stored.arrays
    place = {resource: number for number, resource in enumerate(resources)}
    if stored.kind != als.KIND:
        raise TypeError(f"a model of kind {stored.kind} knows other resources than its ranker")
    factors = stored.arrays["factors"]
    spread = np.zeros((len(resources), factors.shape[1]), np.float32)
    spread[[place[resource] for resource in stored.resources]] = factors
    return {"factors": spread}


def _base_model(name: str, stored: ModelArrays) -> CollaborativeModel:
    prefix = f"{name}_"
    arrays = {key.removeprefix(prefix): each for key, each in stored.arrays.items() if key.startswith(prefix)}
    numbers = {key.removeprefix(prefix): each for key, each in stored.hyperparameters.items() if key.startswith(prefix)}
    if "factors" in arrays:
        return AlsModel.from_arrays(ModelArrays(als.KIND, numbers, stored.resources, arrays))
    if "learners" in arrays:
        return PopularModel.from_arrays(ModelArrays(popular.KIND, numbers, stored.resources, arrays))
    return ItemItemModel.from_arrays(ModelArrays(neighbours.KIND, numbers, stored.resources, arrays))


def _trees(arrays: Mapping[str, _Array]) -> Trees:
    starts, features, thresholds, lefts, rights, values = (arrays[f"trees_{key}"] for key in _TREE_ARRAYS)
    return Trees(
        starts.astype(np.int32),
        features.astype(np.int32),
        thresholds,
        lefts.astype(np.int32),
        rights.astype(np.int32),
        values,
    )


def _links(key: str, stored: ModelArrays) -> SkillLinks:
    counts, skills, strengths = (stored.arrays[f"{key}_{part}"] for part in ("counts", "skills", "strengths"))
    size = len(stored.skills)
    if len(counts) != size or not len(skills) == len(strengths) == int(counts.sum()):
        raise ModelArraysInvalidError(f"the counts of {size} skills do not add up to {len(strengths)} links")
    if len(skills) and not (skills.min() >= 0 and skills.max() < size):
        raise ModelArraysInvalidError(f"a link leads to none of {size} skills")
    starts = np.concatenate([[0], np.cumsum(counts.astype(np.int64))]).astype(np.int32)
    return SkillLinks(starts, skills.astype(np.int32), strengths)
