"""Tracing parameters as arrays for the kernel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from services.recommender.domain.learner.parameters import FilterSettings, TenantParameters, TracingParameters
from services.recommender.domain.learner.state import LEARNER_RECORD, OTHER_ITEM, SKILL_RECORD, item_code


@dataclass(frozen=True, slots=True)
class TenantColumns:
    """The rows of one tenant's parameters in the columns, and the priors of a new learner and a new skill.

    Attributes:
        settings_row: row of the constants.
        items: row of each fitted item's difficulty.
        skills: row of each fitted skill's difficulty.
        unknown_item: row for any other item.
        unknown_skill: row for any other skill.
        new_learner: a LEARNER_RECORD at the prior.
        new_skill: a SKILL_RECORD at the prior.
        recent_items: whether states keep recent items.
    """

    settings_row: int
    items: Mapping[str, int]
    skills: Mapping[str, int]
    unknown_item: int
    unknown_skill: int
    new_learner: bytes
    new_skill: bytes
    recent_items: bool


class ParameterColumns:
    """Parameters of all tenants as arrays.

    Attributes:
        settings: (tenants, SETTINGS_COLUMNS).
        items: (items, 2) mean and variance of the difficulty.
        skills: (skills, 2) likewise.
        item_codes: (items,) what recent items are kept as; 0: they are not kept.
    """

    def __init__(self, parameters: TracingParameters) -> None:
        settings: list[list[float]] = []
        items: list[tuple[float, float]] = []
        skills: list[tuple[float, float]] = []
        codes: list[int] = []
        self._tenants: dict[str, TenantColumns] = {}
        for tenant, values in [("", TenantParameters()), *sorted(parameters.tenants.items())]:
            constants = values.settings
            unknown_item, unknown_skill = len(items), len(skills)
            codes.append(OTHER_ITEM if values.recent_items else 0)
            items.append((0.0, constants.item_difficulty_variance))
            skills.append((0.0, constants.skill_difficulty_variance))
            self._tenants[tenant] = TenantColumns(
                settings_row=len(settings),
                items={item: unknown_item + 1 + index for index, item in enumerate(values.items)},
                skills={skill: unknown_skill + 1 + index for index, skill in enumerate(values.skills)},
                unknown_item=unknown_item,
                unknown_skill=unknown_skill,
                new_learner=np.array([(0, constants.learner_variance, 0, 0, 0)], LEARNER_RECORD).tobytes(),
                new_skill=np.array([(0, constants.skill_variance, 0, 0, 0, 0, 0, 0)], SKILL_RECORD).tobytes(),
                recent_items=values.recent_items,
            )
            settings.append(settings_row(constants))
            items += [(difficulty.mean, difficulty.variance) for difficulty in values.items.values()]
            skills += [(difficulty.mean, difficulty.variance) for difficulty in values.skills.values()]
            codes += (item_code(item) if values.recent_items else 0 for item in values.items)
        self._priors = self._tenants.pop("")
        self.settings = np.array(settings, np.float64)
        self.items = np.array(items, np.float64)
        self.skills = np.array(skills, np.float64)
        self.item_codes = np.array(codes, np.uint32)

    def of(self, tenant: str) -> TenantColumns:
        """The tenant's rows; those of the priors for a tenant without parameters."""
        return self._tenants.get(tenant, self._priors)


def settings_row(constants: FilterSettings) -> list[float]:
    """The constants in the order of the kernel's settings columns."""
    return [
        constants.base,
        constants.learner_variance,
        constants.skill_variance,
        constants.learner_noise,
        constants.skill_noise,
        constants.variance_floor,
        constants.learning,
        constants.retention,
        constants.moderation,
    ]
