"""All parameters of ranking: the thresholds, and the weight of each signal from its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

import numpy as np

from services.recommender.domain.ranking.catalog import FloatColumn
from services.recommender.domain.ranking.signals import SIGNALS
from services.recommender.domain.ranking.thresholds import RankingThresholds


def _weights_of_signals() -> Mapping[str, float]:
    return MappingProxyType({signal.name: signal.weight for signal in SIGNALS})


@dataclass(frozen=True)
class RankingWeights(RankingThresholds):
    """Weights, thresholds and quotas of ranking.

    Attributes:
        signals: the weight of each signal, by its name.
    """

    signals: Mapping[str, float] = field(default_factory=_weights_of_signals)

    @cached_property
    def of_signals(self) -> FloatColumn:
        """The weight of each signal, in the order of `SIGNALS`."""
        return np.array([self.signals[signal.name] for signal in SIGNALS])

    @cached_property
    def serving(self) -> FloatColumn:
        """The weight of each signal with `skills` in the choice of the skill that a resource serves."""
        by_skill = [signal for signal in SIGNALS if signal.skills is not None]
        return np.array([self.signals[signal.name] if signal.serves else 0.0 for signal in by_skill])


DEFAULT_WEIGHTS = RankingWeights()


@dataclass(frozen=True, slots=True)
class RankingPolicy:
    """The ranking policy of a tenant: the ranker, and the weight of need.

    Attributes:
        learned: whether the learned ranker ranks, if the bundle has one; otherwise the hand-weighted score ranks.
        need_share: share of need in the learned ranker's score, from 0 (only what is likely to come next) to 1.
    """

    learned: bool = False
    need_share: float = 0.5


BY_WEIGHTS = RankingPolicy()
