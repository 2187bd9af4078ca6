"""Fits the difficulties of items and skills to a tenant's responses, given the filter's constants.

The filter runs over the responses and also estimates the difficulties: each response moves the difficulties of its item
and skills, and the base (`kernel.filter_responses`). A second pass starts from the difficulties of the first, so that
early learners are filtered with fitted difficulties too.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.learner.kernel import EVENT_SKILL_RECORD, filter_responses
from services.recommender.domain.learner.parameter_columns import settings_row
from services.recommender.domain.learner.parameters import (
    FilterSettings,
    ItemDifficulty,
    SkillDifficulty,
    TenantParameters,
)
from services.recommender.domain.training.responses import NONE, ResponseTable

PASSES = 2

# The constants before any data.
UNFITTED = FilterSettings(moderation=1.0)
_ITEMS_TO_HOLD_OUT = 20

_BASE_VARIANCE = 1.0


@dataclass(frozen=True)
class Difficulties:
    """Difficulties as the filter's arrays, aligned with a table's ids.

    Attributes:
        settings: constants of the filter, the fitted base among them.
        item_mean: float64 per item.
        item_variance: float64 per item.
        skill_mean: float64 per skill.
        skill_variance: float64 per skill.
    """

    settings: FilterSettings
    item_mean: NDArray[np.float64]
    item_variance: NDArray[np.float64]
    skill_mean: NDArray[np.float64]
    skill_variance: NDArray[np.float64]

    def columns(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and variance as the kernel reads them: (items + 1, 2), an unknown item last, and (skills, 2)."""
        unknown = self.settings.item_difficulty_variance
        items = np.column_stack([np.append(self.item_mean, 0.0), np.append(self.item_variance, unknown)])
        return items, np.column_stack([self.skill_mean, self.skill_variance])


def fit_difficulties(table: ResponseTable, settings: FilterSettings, *, passes: int = PASSES) -> Difficulties:
    """Fit difficulties of every item and skill, and the base, given the filter's other constants.

    Args:
        table: the responses.
        settings: constants of the filter; its base is not read.
        passes: number of passes over the responses.
    """
    # Adding one success and one failure keeps the logit finite.
    rate = (float(table.response.sum(dtype=np.float64)) + 1) / (len(table) + 2)
    base = np.array([math.log(rate / (1 - rate)), _BASE_VARIANCE])
    items = np.tile([0.0, settings.item_difficulty_variance], (len(table.items) + 1, 1))
    skills = np.tile([0.0, settings.skill_difficulty_variance], (len(table.skills), 1))
    for _ in range(passes):
        _filter(table, settings, base, items, skills, fitting=True)
    settings = dataclasses.replace(settings, base=short(base[0]))
    return Difficulties(settings, *items[:-1].T.copy(), *skills.T.copy())


def predict(table: ResponseTable, difficulties: Difficulties) -> NDArray[np.float64]:
    """Predict the chance of success before each response with the filter and fixed difficulties."""
    base = np.array([difficulties.settings.base, 0.0])
    items, skills = difficulties.columns()
    return _filter(table, difficulties.settings, base, items, skills, fitting=False)


def short(value: float) -> float:
    """Round to six digits: no search or fit is more precise."""
    return float(f"{value:.6g}")


def parameters_of(table: ResponseTable, difficulties: Difficulties) -> TenantParameters:
    """Return the filter's parameters.

    Items without responses are left out. A skill's mean item difficulty is over the distinct items seen with it. A
    resource that is no item itself has the mean difficulty of the distinct items seen in it.
    """
    skill_means = _mean_of_items(_distinct_pairs(table), difficulties.item_mean, len(table.skills))
    means, variances = _as_kept(difficulties.item_mean), _as_kept(difficulties.item_variance)
    items = {
        table.items[item]: ItemDifficulty(means[item], variances[item])
        for item in np.unique(table.item[table.item >= 0]).tolist()
    }
    return TenantParameters(
        settings=difficulties.settings,
        items=_of_resources(table, difficulties) | items,
        skills={
            skill: SkillDifficulty(mean, variance, of_items)
            for skill, mean, variance, of_items in zip(
                table.skills,
                _as_kept(difficulties.skill_mean),
                _as_kept(difficulties.skill_variance),
                _as_kept(skill_means),
                strict=True,
            )
        },
    )


def _of_resources(table: ResponseTable, difficulties: Difficulties) -> dict[str, ItemDifficulty]:
    pairs = np.column_stack([table.item, table.resource]).astype(np.int64)
    pairs = np.unique(pairs[(pairs >= 0).all(axis=1)], axis=0)
    means = _as_kept(_mean_of_items(pairs, difficulties.item_mean, len(table.resources)))
    variances = _as_kept(_mean_of_items(pairs, difficulties.item_variance, len(table.resources)))
    return {table.resources[one]: ItemDifficulty(means[one], variances[one]) for one in np.unique(pairs[:, 1]).tolist()}


def _mean_of_items(pairs: NDArray[np.int64], of_items: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """The mean over the items of each of `size` owners; 0 without any. `pairs` are items with their owners."""
    total = np.bincount(pairs[:, 1], weights=of_items[pairs[:, 0]], minlength=size)
    mean: NDArray[np.float64] = total / np.maximum(np.bincount(pairs[:, 1], minlength=size), 1)
    return mean


def difficulties_of(table: ResponseTable, parameters: TenantParameters) -> Difficulties:
    """Return parameters as the filter's arrays, aligned with a table's ids; unknown ids get the prior."""
    settings = parameters.settings
    no_item = ItemDifficulty(0.0, settings.item_difficulty_variance)
    no_skill = SkillDifficulty(0.0, settings.skill_difficulty_variance)
    items = [parameters.items.get(item, no_item) for item in table.items]
    skills = [parameters.skills.get(skill, no_skill) for skill in table.skills]
    return Difficulties(
        settings,
        np.array([item.mean for item in items], np.float64),
        np.array([item.variance for item in items], np.float64),
        np.array([skill.mean for skill in skills], np.float64),
        np.array([skill.variance for skill in skills], np.float64),
    )


def cv_folds(table: ResponseTable, seed: int) -> NDArray[np.int64]:
    """Return one of five cross-validation folds per learner. It depends on the id only, so it is stable over time."""
    return drawn(table.learners, 5, seed)


def item_folds(table: ResponseTable, seed: int) -> NDArray[np.int64]:
    """Return for each response which tenth of the items its item is in, by its id; NONE where it is to no item.

    A table of few items has no tenths, and all are NONE: without one of them there would be too little left to fit on.
    """
    if len(table.items) < _ITEMS_TO_HOLD_OUT:
        return np.full(len(table), NONE, np.int64)
    return np.append(drawn(table.items, 10, seed), NONE)[table.item]


def drawn(ids: Sequence[str], numbers: int, seed: int) -> NDArray[np.int64]:
    """Return for each id one of the first numbers, by the id only."""
    key = seed.to_bytes(8, "little", signed=True)
    return np.fromiter(
        (hashlib.blake2b(identifier.encode(), digest_size=8, key=key).digest()[0] % numbers for identifier in ids),
        np.int64,
        count=len(ids),
    )


def at_most(table: ResponseTable, responses: int) -> ResponseTable:
    """Return the first learners with at most that many responses in total; ids are hashes, so the sample is random."""
    if len(table) <= responses:
        return table
    return table.rows(table.learner < table.learner[responses])


def _as_kept(values: NDArray[np.float64]) -> list[float]:
    kept: list[float] = values.astype(np.float32).tolist()
    return kept


def _distinct_pairs(table: ResponseTable) -> NDArray[np.int64]:
    pairs = np.column_stack([table.item[table.skill_rows()], table.skill]).astype(np.int64)
    return np.unique(pairs[pairs[:, 0] >= 0], axis=0)


def _filter(
    table: ResponseTable,
    settings: FilterSettings,
    base: NDArray[np.float64],
    items: NDArray[np.float64],
    skills: NDArray[np.float64],
    *,
    fitting: bool,
) -> NDArray[np.float64]:
    """Run `kernel.filter_responses` over a table."""
    event_skills = np.empty(len(table.skill), EVENT_SKILL_RECORD)
    event_skills["slot"] = event_skills["skill"] = table.skill
    chances: NDArray[np.float64] = filter_responses(
        table.learner,
        table.item,
        table.response,
        table.skill_start,
        event_skills,
        np.array(settings_row(settings)),
        base,
        items,
        skills,
        fitting,
    )
    return chances
