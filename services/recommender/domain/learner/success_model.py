"""The success model: the chance that a response is right, given the filter's prediction and the learner's counts.

A logistic regression on top of the filter. It is applied at prediction time and does not change state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.learner.item_pairs import NO_PAIRS, ItemPairs, paired_with
from services.recommender.domain.learner.state import RECENT_ITEM_RECORD, SKILL_RECORD, LearnerState
from services.recommender.domain.learner.success_features import (
    SHARED_FEATURES,
    LearnerFeature,
    chances_of_catalog,
    features_of_catalog,
    features_of_records,
    spread,
)

_NO_RECORDS = np.zeros(0, SKILL_RECORD)
_NO_ITEMS = np.zeros(0, RECENT_ITEM_RECORD)

Chances = Callable[[NDArray[np.intp], NDArray[np.float64]], NDArray[np.float64]]
"""Maps resources (rows of a catalog) and the filter's chance on each to the success model's, for one learner."""


@dataclass(frozen=True, eq=False)
class SuccessModel:
    """Weights of the success model: logit = x' W x + the mean over the item's skills of w_k' x.

    x are the SHARED_FEATURES, each clipped to the range it was fitted on, so that no product of two is extrapolated.

    Attributes:
        products: float64, SHARED_FEATURES twice, upper triangular: W. Its first row weighs the features themselves.
        ranges: float64, 2 by SHARED_FEATURES: least and greatest.
        skills: the skills that have weights of their own.
        per_skill: float64, a row w_k of SHARED_FEATURES per skill, on top of W.
        pairs: pairs of items, for the features that read them.
        recent_items: whether any weighs on the recent items of a state, which must then keep them.
    """

    products: NDArray[np.float64]
    ranges: NDArray[np.float64]
    skills: tuple[str, ...]
    per_skill: NDArray[np.float64]
    pairs: ItemPairs = NO_PAIRS
    recent_items: bool = False

    def shrunk(self, share: float) -> SuccessModel:
        """The model whose logit is that share of this one's, and for the rest the filter's."""
        products = share * self.products
        products[LearnerFeature.INTERCEPT, LearnerFeature.LOGIT] += 1.0 - share
        return replace(self, products=products, per_skill=share * self.per_skill)


@dataclass(frozen=True, eq=False)
class LearnerSuccess:
    """A success model over a catalog, for one learner: a `Chances`.

    Attributes:
        catalog: the model over the catalog.
        of_learner: the learner's features; see `features_of_records`.
        of_skills: those of the catalog's skills; see `spread`.
        pair_places: of the resources with the learner's recent items; see `item_pairs.paired_with`.
        paired: likewise.
    """

    catalog: CatalogSuccessModel
    of_learner: NDArray[np.float64]
    of_skills: NDArray[np.float64]
    pair_places: NDArray[np.int32]
    paired: NDArray[np.float64]

    def __call__(self, rows: NDArray[np.intp], predicted: NDArray[np.float64]) -> NDArray[np.float64]:
        """The chances of success on some resources.

        Args:
            rows: which resources.
            predicted: the filter's chance on each.
        """
        catalog, model = self.catalog, self.catalog.success_model
        arguments = (*self._arguments(rows, predicted), model.ranges, model.products, catalog.skill_weights)
        chances: NDArray[np.float64] = chances_of_catalog(*arguments)
        return chances

    def features(self, rows: NDArray[np.intp], predicted: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the chances are computed from: the SHARED_FEATURES of each, arguments as in a call."""
        features: NDArray[np.float64] = features_of_catalog(*self._arguments(rows, predicted))
        return features

    def _arguments(self, rows: NDArray[np.intp], predicted: NDArray[np.float64]) -> tuple[Any, ...]:
        catalog = self.catalog
        return (
            rows,
            predicted,
            self.of_learner,
            self.of_skills,
            catalog.item_means,
            catalog.item_variances,
            catalog.prior_variance,
            self.pair_places,
            self.paired,
            catalog.tag_starts,
            catalog.tag_slots,
            catalog.tag_shares,
        )


@dataclass(frozen=True, eq=False)
class CatalogSuccessModel:
    """A success model over the resources of a catalog, in columns; made once per catalog, parameters and model.

    Attributes:
        success_model: the model.
        slot_of_skill: slot of each of the catalog's S skills.
        row_of_resource: row of each of its N resources.
        item_means: difficulty of each of N resources as an item, its skills' difficulty left out.
        item_variances: and its variance, N.
        prior_variance: of the difficulty of an item that was never fitted.
        tag_starts: N + 1; the tags of resource r are those from tag_starts[r] on, up to tag_starts[r + 1].
        tag_slots: the skill of each tag.
        tag_shares: how much of its resource each tag measures; a resource's sum to 1, or are all 0.
    """

    success_model: SuccessModel
    slot_of_skill: Mapping[str, int]
    row_of_resource: Mapping[str, int]
    item_means: NDArray[np.float64]
    item_variances: NDArray[np.float64]
    prior_variance: float
    tag_starts: NDArray[np.intp]
    tag_slots: NDArray[np.intp]
    tag_shares: NDArray[np.float64]

    @cached_property
    def skill_weights(self) -> NDArray[np.float64]:
        """(S, SHARED_FEATURES): the weights of each of the catalog's skills; 0 for one that has none of its own."""
        weights = np.zeros((len(self.slot_of_skill), len(SHARED_FEATURES)))
        for skill, row in zip(self.success_model.skills, self.success_model.per_skill, strict=True):
            slot = self.slot_of_skill.get(skill)
            if slot is not None:
                weights[slot] = row
        return weights

    @cached_property
    def pairs(self) -> ItemPairs:
        """The pairs whose later item is in the catalog."""
        return self.success_model.pairs.over(self.row_of_resource)

    def of(self, state: LearnerState | None, at_s: float) -> LearnerSuccess:
        """The model for one learner.

        Args:
            state: the learner's state; None: a learner without events.
            at_s: when the resource would be worked on, Unix seconds; 0: not known.
        """
        skills: tuple[str, ...] = () if state is None else state.skill_names
        slots = np.fromiter((self.slot_of_skill.get(skill, -1) for skill in skills), np.intp, len(skills))
        records = _NO_RECORDS if state is None else state.skill_records
        # A copy, because stored records are read-only and would be compiled for again.
        items = _NO_ITEMS if state is None else state.recent_items
        ability, recent = 0.0 if state is None else state.mean, items["response"].copy()
        of_learner, of_records = features_of_records(records.copy(), ability, at_s, recent)
        of_skills = spread(slots, of_records, len(self.slot_of_skill))
        return LearnerSuccess(self, of_learner, of_skills, *self._paired(items["item"].tolist(), recent))

    def _paired(
        self, codes: Sequence[int], recent: NDArray[np.float32]
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        pairs, row_of_code = self.pairs, self.success_model.pairs.row_of_code
        rows = np.array([row_of_code.get(code, -1) for code in codes], np.int64)
        paired: tuple[NDArray[np.int32], NDArray[np.float64]] = paired_with(
            rows, recent, pairs.starts, pairs.later, pairs.surprise, pairs.information, len(self.item_means)
        )
        return paired
