"""Resources whose responses contradict their tags.

If two resources are about one skill, a learner who does better on the one than their general ability and its difficulty
predict does better on the other, too. For a tag (resource i, skill s), over the responses y of i:

    e = y - p,  p = sigmoid(ability_u - difficulty_i)                   the residual of ability and difficulty
    d = sum of e of learner u on the other resources of s / (their number + 2)
    V = sum p (1 - p) d^2,  b = sum e d / V                             one Newton step of a logistic slope (score test)

b measures the association of success on i with success on the rest of s. It is compared with the usual slope of s: the
mean of the others' slopes under a random-effects model (DerSimonian and Laird 1986), which allows for different slopes
of correctly tagged resources. A tag is a contradiction when its slope is significantly lower than usual, at a
false-discovery rate over all judged tags (Benjamini and Hochberg 1995).

Limits: it finds nothing for skills whose resources hardly correlate, resources with few responses, and skills that are
wrong on most of their resources (these then determine the usual slope). It does not say why: a badly worded resource
looks like a badly tagged one. It flags tags for a person and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_Sums = tuple[Floats, Floats]

RESPONSES_MIN = 30
TAGS_MIN = 4
_SHRINKAGE = 2.0
_PRIOR = 0.25
_ROUNDS = 25
# The usual slope must be this significant before a resource can deviate from it.
_USUAL_Z_MIN = 3.0


@dataclass(frozen=True, slots=True)
class Responses:
    """N responses.

    Attributes:
        learners: names by code.
        resources: ids by code.
        learner: (N), codes.
        resource: (N), codes.
        correct: (N), outcomes from 0 to 1.
    """

    learners: Sequence[str]
    resources: Sequence[str]
    learner: Ints
    resource: Ints
    correct: Floats


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A tag that the responses contradict.

    Attributes:
        resource_id: the resource.
        skill: the skill it is tagged with.
        responses: number of its responses by learners who worked on other resources of the skill.
        slope: association of success on it with success on the rest of the skill; 0: none.
        usual: the usual slope of the skill's other resources.
        z: the difference from the usual in standard errors; negative.
        p_value: the probability of a slope this low by chance.
        fits_better: the tagged skill most clearly associated with its responses; empty: none is.
    """

    resource_id: str
    skill: str
    responses: int
    slope: float
    usual: float
    z: float
    p_value: float
    fits_better: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The contradictions, most significant first; the number of tags that could be judged; the number of tags."""

    contradictions: tuple[Contradiction, ...]
    judged: int
    tags: int


@dataclass(frozen=True, slots=True)
class _Slope:
    resource: int
    value: float
    information: float
    responses: int


def contradictions(
    responses: Responses, tags: Mapping[str, Sequence[str]], *, false_discovery_rate: float = 0.05
) -> Verdict:
    """Tags that the responses contradict.

    Args:
        responses: of all learners.
        tags: skills by resource; resources without responses are ignored.
        false_discovery_rate: the share of the contradictions that may be due to chance.
    """
    evidence = _Evidence(responses)
    members = _resources_by_skill(responses, tags)
    sums = {skill: evidence.sums(resources) for skill, resources in members.items()}
    judged: list[tuple[str, _Slope, float, float]] = []
    for skill, resources in members.items():
        slopes = [evidence.slope(resource, sums[skill], own=True) for resource in resources]
        judged += [(skill, *one) for one in _compared_with_usual([slope for slope in slopes if slope is not None])]
    p_values = np.array([stats.norm.cdf(z) for _, _, _, z in judged])
    found = []
    for place in np.flatnonzero(discoveries(p_values, false_discovery_rate)):
        skill, slope, usual, z = judged[place]
        resource_id = responses.resources[slope.resource]
        found.append(
            Contradiction(
                resource_id,
                skill,
                slope.responses,
                slope.value,
                usual,
                z,
                float(p_values[place]),
                _fits_better(evidence, slope.resource, skill, sums, tags[resource_id]),
            )
        )
    found.sort(key=lambda one: (one.p_value, one.resource_id, one.skill))
    return Verdict(tuple(found), len(judged), sum(map(len, members.values())))


def _rasch_residuals(responses: Responses) -> tuple[Floats, Floats]:
    """The residuals of a Rasch model at its posterior mode, and the variance of each response.

    Ability and difficulty have normal priors of precision `_PRIOR`; fitted with coordinate-wise Newton steps of at most
    1.
    """
    ability, difficulty = np.zeros(len(responses.learners)), np.zeros(len(responses.resources))
    for _ in range(_ROUNDS):
        for codes, values, sign in ((responses.learner, ability, 1.0), (responses.resource, difficulty, -1.0)):
            chance = special.expit(ability[responses.learner] - difficulty[responses.resource])
            slope = sign * np.bincount(codes, responses.correct - chance, len(values)) - _PRIOR * values
            curvature = np.bincount(codes, chance * (1.0 - chance), len(values)) + _PRIOR
            np.add(values, np.clip(slope / curvature, -1.0, 1.0), out=values)
    chance = special.expit(ability[responses.learner] - difficulty[responses.resource])
    return responses.correct - chance, chance * (1.0 - chance)


class _Evidence:
    """The residual of each response, sorted by resource."""

    def __init__(self, responses: Responses) -> None:
        residuals, variances = _rasch_residuals(responses)
        order = np.argsort(responses.resource, kind="stable")
        self._learner, self._residuals, self._variances = responses.learner[order], residuals[order], variances[order]
        self._starts = np.searchsorted(responses.resource[order], np.arange(len(responses.resources) + 1))
        self._learners = len(responses.learners)

    def sums(self, resources: Sequence[int]) -> _Sums:
        """By learner: the sum of residuals on some resources, and the number of responses."""
        rows = np.concatenate([self._rows(resource) for resource in resources])
        learners = self._learner[rows]
        sums = np.bincount(learners, self._residuals[rows], self._learners).astype(np.float64)
        return sums, np.bincount(learners, minlength=self._learners).astype(np.float64)

    def slope(self, resource: int, sums: _Sums, *, own: bool) -> _Slope | None:
        """Association of success on a resource with success on a skill's others; None with too few responses.

        Args:
            resource: its code.
            sums: `sums` of the skill.
            own: whether the sums include the resource, so that it must be subtracted.
        """
        rows = self._rows(resource)
        learners, residuals = self._learner[rows], self._residuals[rows]
        rest, count = sums[0][learners].copy(), sums[1][learners].copy()
        if own:
            # Subtract all of the learner's responses to it: a second try is not independent evidence.
            mine, place = np.unique(learners, return_inverse=True)
            rest -= np.bincount(place, residuals, len(mine))[place]
            count -= np.bincount(place, minlength=len(mine))[place]
        known = count > 0.5
        if int(known.sum()) < RESPONSES_MIN:
            return None
        deviation = rest[known] / (count[known] + _SHRINKAGE)
        information = float((self._variances[rows][known] * deviation**2).sum())
        if information <= 0.0:
            return None
        return _Slope(
            resource, float((residuals[known] * deviation).sum()) / information, information, int(known.sum())
        )

    def _rows(self, resource: int) -> Ints:
        return np.arange(self._starts[resource], self._starts[resource + 1])


def _resources_by_skill(responses: Responses, tags: Mapping[str, Sequence[str]]) -> dict[str, list[int]]:
    members: dict[str, list[int]] = {}
    for code, resource in enumerate(responses.resources):
        for skill in dict.fromkeys(tags.get(resource, ())):
            members.setdefault(skill, []).append(code)
    return dict(sorted(members.items()))


def _compared_with_usual(slopes: Sequence[_Slope]) -> list[tuple[_Slope, float, float]]:
    """Each slope with the usual one of the others, and the difference in standard errors; empty with too few slopes."""
    if len(slopes) < TAGS_MIN:
        return []
    values = np.array([slope.value for slope in slopes])
    within = 1.0 / np.array([slope.information for slope in slopes])
    judged = []
    for place, slope in enumerate(slopes):
        others = np.arange(len(slopes)) != place
        usual, error, between = _random_effects(values[others], within[others])
        if usual / error < _USUAL_Z_MIN:
            continue
        z = (slope.value - usual) / float(np.sqrt(within[place] + between + error**2))
        judged.append((slope, usual, z))
    return judged


def _random_effects(values: Floats, within: Floats) -> tuple[float, float, float]:
    """Mean of some estimates, its standard error, and the variance between the estimated values."""
    weights = 1.0 / within
    mean = float((weights * values).sum() / weights.sum())
    spread = float((weights * (values - mean) ** 2).sum()) - (len(values) - 1)
    scale = float(weights.sum() - (weights**2).sum() / weights.sum())
    between = max(0.0, spread / scale) if scale > 0.0 else 0.0
    weights = 1.0 / (within + between)
    return float((weights * values).sum() / weights.sum()), float(np.sqrt(1.0 / weights.sum())), between


def discoveries(p_values: Floats, rate: float) -> NDArray[np.bool_]:
    """Which p-values are significant at a false-discovery rate (Benjamini and Hochberg 1995)."""
    if not len(p_values):
        return np.zeros(0, np.bool_)
    ordered = np.sort(p_values)
    below = np.flatnonzero(ordered <= rate * np.arange(1, len(ordered) + 1) / len(ordered))
    return p_values <= (ordered[below[-1]] if len(below) else -1.0)


def _fits_better(
    evidence: _Evidence, resource: int, tagged: str, sums: Mapping[str, _Sums], tags: Sequence[str]
) -> str:
    """The skill most clearly associated with the resource, if significant with a Bonferroni correction."""
    best, best_z = "", float(stats.norm.isf(0.05 / max(1, len(sums))))
    for skill, of_skill in sums.items():
        slope = None if skill == tagged else evidence.slope(resource, of_skill, own=skill in tags)
        if slope is None:
            continue
        z = slope.value * float(np.sqrt(slope.information))
        if z > best_z:
            best, best_z = skill, z
    return best
