"""The parameters of the learner model.

A two-level Bayesian logistic model, filtered online (an extended Kalman filter): a learner has an ability and, on top
of it, an ability per skill; items and skills have difficulties that are fixed per epoch and tenant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from types import MappingProxyType

PRIOR_PARAMETERS_ID = "priors-1"

_NEWER = ("learning", "retention", "moderation", "inflation_met", "inflation_new")


@dataclass(frozen=True, slots=True)
class FilterSettings:
    """Constants of the filter, on the logit scale.

    Attributes:
        base: logit of success of an average learner on an average item (b0).
        learner_variance: prior variance of a learner's ability (v_u0).
        skill_variance: prior variance of a learner's ability on a skill, on top of the learner's (v_k0).
        learner_noise: variance a learner's ability gains before each response (q_u).
        skill_noise: variance a skill ability gains before each response to that skill (q_k).
        item_difficulty_variance: variance of the difficulty of an item that was never fitted (v_i).
        skill_difficulty_variance: variance of the difficulty of a skill that was never fitted (v_s).
        variance_floor: the least variance.
        learning: what a response adds to the ability on each of its skills (lambda).
        retention: the share of that ability that it leaves before (rho), so that learning slows down with practice.
        moderation: 1 where a response is compared with the chance of success given how uncertain its logit is; 0 where
            with the chance at the logit's mean, as earlier releases do.
        inflation_met: how many times wider than the filter says the variance of a learner's logit on a skill is.
        inflation_new: likewise on a skill without responses.
    """

    base: float = 0.0
    learner_variance: float = 0.5
    skill_variance: float = 0.3
    learner_noise: float = 0.003
    skill_noise: float = 0.005
    item_difficulty_variance: float = 1.5
    skill_difficulty_variance: float = 1.0
    variance_floor: float = 0.01
    learning: float = 0.0
    retention: float = 1.0
    moderation: float = 0.0
    inflation_met: float = 1.0
    inflation_new: float = 1.0

    def stored(self) -> dict[str, float]:
        """The constants by name, as bundles and ids hold them.

        Those of the learning term and the intervals are left out together where they change nothing. So parameters
        without them have the ids that they always had, and earlier releases can read them.
        """
        newer = {field.name: field.default for field in fields(self) if field.name in _NEWER}
        constants = asdict(self)
        unchanged = all(constants[name] == default for name, default in newer.items())
        return {name: value for name, value in constants.items() if not (unchanged and name in newer)}


@dataclass(frozen=True, slots=True)
class ItemDifficulty:
    """How hard an item is: mean and variance, logits above the base."""

    mean: float
    variance: float


@dataclass(frozen=True, slots=True)
class SkillDifficulty:
    """How hard a skill is: mean and variance, and the mean difficulty of its items."""

    mean: float
    variance: float
    mean_item_difficulty: float = 0.0


@dataclass(frozen=True, slots=True)
class TenantParameters:
    """The difficulties of one tenant's items and skills; one not listed has difficulty 0 at its prior variance.

    Attributes:
        settings: constants of the filter.
        items: difficulties by item.
        skills: difficulties by skill.
        recent_items: whether states keep the items of the last responses, which the success model reads.
    """

    settings: FilterSettings = FilterSettings()
    items: Mapping[str, ItemDifficulty] = field(default_factory=lambda: MappingProxyType({}))
    skills: Mapping[str, SkillDifficulty] = field(default_factory=lambda: MappingProxyType({}))
    recent_items: bool = False


@dataclass(frozen=True, slots=True)
class TracingParameters:
    """Everything a fold depends on besides the log; fixed per epoch.

    Attributes:
        parameters_id: identifies the values: equal ids mean equal values.
        tenants: fitted parameters by tenant; a tenant not listed has priors.
    """

    parameters_id: str = PRIOR_PARAMETERS_ID
    tenants: Mapping[str, TenantParameters] = field(default_factory=lambda: MappingProxyType({}))

    def for_tenant(self, tenant: str) -> TenantParameters:
        """The tenant's parameters, or the priors."""
        return self.tenants.get(tenant, _PRIORS)


_PRIORS = TenantParameters()
