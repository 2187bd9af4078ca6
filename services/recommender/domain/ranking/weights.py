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


DEFAULT_WEIGHTS = RankingWeights()


@dataclass(frozen=True, slots=True)
class RankingPolicy:
    """The ranking policy of a tenant.

    Attributes:
        need_share: share of need in the score, from 0 (only what is likely to come next) to 1 (only need); None: the
            share that the tenant's ranker was trained to have.
    """

    need_share: float | None = None


DEFAULT_POLICY = RankingPolicy()
