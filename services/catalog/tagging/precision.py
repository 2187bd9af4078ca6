"""The precision of tags above a confidence threshold, measured on held-out resources."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# One-sided 95 %.
_NORMAL_95 = 1.645
_LEVELS_MAX = 400


@dataclass(frozen=True, slots=True)
class PrecisionLevel:
    """The result of applying every tag from one confidence on.

    Attributes:
        confidence: the threshold.
        tags: number of applied tags.
        precision: share of them that are right.
        precision_low: lower bound of the precision, with 95 % confidence.
        recall: share of the resources' true tags that are among them.
        coverage: share of the resources that get at least one.
    """

    confidence: float
    tags: int
    precision: float
    precision_low: float
    recall: float
    coverage: float

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall over all tags (micro-F1)."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


@dataclass(frozen=True, slots=True)
class PrecisionCurve:
    """Levels by increasing confidence."""

    levels: tuple[PrecisionLevel, ...]

    def best_f1(self) -> PrecisionLevel:
        """The level at which micro-F1 is highest."""
        return max(self.levels, key=lambda level: level.f1)

    def supporting(self, precision: float) -> PrecisionLevel | None:
        """The level of highest coverage whose precision is at least this, with 95 % confidence; None: there is none."""
        supported = [level for level in self.levels if level.precision_low >= precision]
        return max(supported, key=lambda level: level.coverage, default=None)

    def at(self, confidence: float) -> PrecisionLevel | None:
        """The level of tags from this confidence on; None: no held-out tag had it."""
        return next((level for level in self.levels if level.confidence >= confidence), None)


def precision_curve(
    confidences: Floats,
    right: NDArray[np.bool_],
    texts: NDArray[np.int64],
    groups: NDArray[np.int64],
    tags_carried: int,
) -> PrecisionCurve:
    """The curve of some pairs of resource and skill.

    Resources of a group tend to be right or wrong together, so the lower bound treats groups, not pairs, as independent
    (variance of a ratio over clusters; Cochran 1977, section 6). It is also at most Wilson's bound for single pairs,
    which is wide when there are few tags.

    Args:
        confidences: of each pair.
        right: whether the resource carries the skill.
        texts: index of each pair's resource.
        groups: of each resource.
        tags_carried: number of true tags of the resources.
    """
    order = np.argsort(-confidences, kind="stable")
    found = np.flatnonzero(np.diff(confidences[order], append=-np.inf)) + 1
    if len(found) > _LEVELS_MAX:
        # Evenly spaced over the relevant range: beyond twice the number of true tags, most are wrong.
        found = np.unique(found[np.searchsorted(found, np.linspace(1, min(found[-1], 2 * tags_carried), _LEVELS_MAX))])
    levels = []
    for count in found[::-1]:
        taken = order[:count]
        hits = int(right[taken].sum())
        low = min(
            _wilson_low(hits, int(count)),
            _clustered_low(right[taken], groups[texts[taken]]),
        )
        levels.append(
            PrecisionLevel(
                confidence=float(confidences[order[count - 1]]),
                tags=int(count),
                precision=hits / int(count),
                precision_low=low,
                recall=hits / max(tags_carried, 1),
                coverage=len(np.unique(texts[taken])) / len(groups),
            )
        )
    return PrecisionCurve(tuple(levels))


def _wilson_low(hits: int, count: int) -> float:
    share, z2 = hits / count, _NORMAL_95**2
    half = _NORMAL_95 * float(np.sqrt(share * (1 - share) / count + z2 / (4 * count**2)))
    return (share + z2 / (2 * count) - half) / (1 + z2 / count)


def _clustered_low(right: NDArray[np.bool_], groups: NDArray[np.int64]) -> float:
    share = float(right.mean())
    members = np.bincount(groups)
    off = np.bincount(groups, weights=right) - share * members
    return share - _NORMAL_95 * float(np.sqrt((off**2).sum())) / len(right)
