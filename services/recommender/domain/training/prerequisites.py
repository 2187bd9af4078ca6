"""Judges from responses which skills are prerequisites of which.

If A is a prerequisite of B, who knows A better than their overall ability predicts does better on B than it predicts.
Over the learners who met A before B, each one's first answers to B are compared with what the filter expected when
they first met B:

    e = y - sigmoid(m)      answer less expectation, from abilities and difficulties before the first answer to B
    e ~ c + g mu_u + s mu_uA        weighted by h = sigmoid(m) (1 - sigmoid(m)); mu_uA: what they know of A beyond mu_u

s is one Newton step of a logistic regression with offset m. A right filter leaves nothing of e to predict from what it
knew before, so without a relation s is 0 whatever A has taught it about the overall ability. With one, s says how much
of a difference in A shows in B: where all skills vary equally, the correlation of the two. c and g take up what the
filter gets wrong about B as a whole. The standard error has one term for each learner (White 1980; Liang and Zeger
1986), and intervals are those of Student's t.

A relation has no direction. Who knows B without A speaks against A as a prerequisite of B (Doignon and Falmagne 1985),
so those who know only the one at the end are counted, and those who know only the other. An exact binomial test tells
whether the one count is more than twice the other, as tests of such counts order the items of partial order knowledge
structures (Desmarais, Maluf and Liu 1995). Whoever is near the bar of mastery is not counted.

All tests are at a false-discovery rate (Benjamini and Hochberg 1995), apart for the catalog's edges and the others.

It does not show causes. Two skills that build on a third that nobody was asked about can look like one building on the
other. Skills that are taught together, or tried on the same day, can have good and bad days together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEARNERS_MIN = 30
# Of a difference in the first skill, this much must show in the second, or it is no prerequisite worth the name.
SLOPE_WORTHWHILE = 0.1
RATE = 0.05

# Twice as many learners who know the one alone as who know the other alone tell the direction.
_SHARE_ALONE = 2.0 / 3.0
_COEFFICIENTS = 3
_CENTRAL_95 = 0.975

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Edge = tuple[str, str]
"""A prerequisite, and the skill that builds on it."""


@dataclass(frozen=True, eq=False)
class SkillPairs:
    """What responses say about ordered pairs of skills: aligned arrays, a pair for each two that some learner met.

    Attributes:
        skills: skills that enough learners met; `first` and `second` point into it.
        learners_of: how many learners met each skill of the responses.
        first: the skill that is met first.
        second: the other one.
        learners: how many learners met them in that order, and answered something on the second without the first.
        slope: how much of a difference in the first shows in the second; NaN: learners differ too little.
        error: its standard error.
        both: learners who know both at the end.
        first_only: those who know the first and surely not the second.
        second_only: those who know the second and surely not the first.
        neither: those who surely know neither.
    """

    skills: tuple[str, ...]
    learners_of: Mapping[str, int]
    first: Ints
    second: Ints
    learners: Ints
    slope: Floats
    error: Floats
    both: Ints
    first_only: Ints
    second_only: Ints
    neither: Ints


class Verdict(StrEnum):
    """What responses say about an edge."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    CANNOT_TELL = "cannot tell"


class Reason(StrEnum):
    """Why a verdict is what it is."""

    SHOWS = "what learners know of the prerequisite shows in the skill"
    REVERSED = "more than twice as many learners know the skill alone as the prerequisite alone"
    HARDLY_SHOWS = "what learners know of the prerequisite hardly shows in the skill"
    INDIRECT = "it hardly shows in the skill, as where other edges lead from one to the other"
    UNSURE = "too little is sure"
    TOO_FEW = "too few learners met the prerequisite before the skill, or they hardly differ"
    ONE_SKILL = "in the responses, the two are one skill"
    NO_RESPONSES = "the responses lack one of the two"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What responses say about one edge.

    Attributes:
        prerequisite: the skill that comes first, by its id in the catalog.
        skill: the skill that builds on it.
        verdict: what the responses say.
        reason: why.
        learners: how many met the prerequisite before the skill.
        slope: how much of a difference in the prerequisite shows in the skill; None: cannot be measured.
        low: the lower end of its 95 % interval.
        high: the upper end.
        both: learners who know both at the end.
        prerequisite_only: those who know the prerequisite and surely not the skill.
        skill_only: those who know the skill and surely not the prerequisite.
        neither: those who surely know neither.
        in_log: the names of the two in the responses.
    """

    prerequisite: str
    skill: str
    verdict: Verdict
    reason: Reason
    learners: int = 0
    slope: float | None = None
    low: float | None = None
    high: float | None = None
    both: int = 0
    prerequisite_only: int = 0
    skill_only: int = 0
    neither: int = 0
    in_log: Edge = ("", "")


@dataclass(frozen=True, slots=True)
class Findings:
    """What responses say about a catalog's prerequisites.

    Attributes:
        edges: those of the catalog.
        proposals: edges that it lacks, the surest first.
        others: of pairs in one order that no edges connect, how many would have each verdict; those that enough
            learners met in that order.
        rejected: how many proposals are left out because somebody rejected them.
        not_in_catalog: skills of the responses that the catalog lacks, which therefore get no proposals.
    """

    edges: tuple[Evidence, ...]
    proposals: tuple[Evidence, ...]
    others: Mapping[Verdict, int]
    rejected: int
    not_in_catalog: tuple[str, ...]

    @property
    def in_log(self) -> int:
        """How many of the edges have both ends in the responses."""
        return sum(edge.reason is not Reason.NO_RESPONSES for edge in self.edges)

    def count(self, verdict: Verdict) -> int:
        """How many of the edges with both ends in the responses have a verdict."""
        return sum(edge.verdict is verdict and edge.reason is not Reason.NO_RESPONSES for edge in self.edges)


class _Tests:
    """Tests of some pairs; each kind has its own false-discovery rate."""

    def __init__(self, pairs: SkillPairs, rows: Sequence[int], rate: float) -> None:
        self._pairs, self._rows = pairs, np.array(rows, np.int64)
        learners = pairs.learners[self._rows]
        slope, error = pairs.slope[self._rows], pairs.error[self._rows]
        self.measured = np.isfinite(slope) & (error > 0.0) & (learners >= LEARNERS_MIN)
        error = np.where(self.measured, error, np.inf)
        degrees = np.maximum(learners - _COEFFICIENTS, 1)
        reach = stats.t.ppf(_CENTRAL_95, degrees) * error
        self.z = np.where(self.measured, slope, 0.0) / error
        self._interval = slope, slope - reach, slope + reach
        self.shows = _discovered(stats.t.sf(self.z, degrees), self.measured, rate)
        hardly = stats.t.cdf(self.z - SLOPE_WORTHWHILE / error, degrees)
        self.hardly_shows = _discovered(hardly, self.measured, rate)
        first, second = pairs.first_only[self._rows], pairs.second_only[self._rows]
        alone = first + second
        self.forward = _discovered(stats.binom.sf(first - 1, alone, _SHARE_ALONE), alone > 0, rate)
        self.reversed = _discovered(stats.binom.sf(second - 1, alone, _SHARE_ALONE), alone > 0, rate)

    @property
    def supported(self) -> NDArray[np.bool_]:
        """Which of the pairs count as supported."""
        return self.shows & ~self.hardly_shows & ~self.reversed

    def verdict(self, place: int, *, indirect: bool) -> tuple[Verdict, Reason]:
        """The verdict on one of the pairs; `indirect`: whether other edges lead from its first skill to the second."""
        if self.reversed[place]:
            return Verdict.CONTRADICTED, Reason.REVERSED
        if not self.measured[place]:
            return Verdict.CANNOT_TELL, Reason.TOO_FEW
        if self.hardly_shows[place]:
            return (Verdict.CANNOT_TELL, Reason.INDIRECT) if indirect else (Verdict.CONTRADICTED, Reason.HARDLY_SHOWS)
        return (Verdict.SUPPORTED, Reason.SHOWS) if self.shows[place] else (Verdict.CANNOT_TELL, Reason.UNSURE)

    def evidence(self, edge: Edge, place: int, *, indirect: bool = False) -> Evidence:
        """What is known of one of the pairs, as an edge of the catalog."""
        pairs, row = self._pairs, int(self._rows[place])
        verdict, reason = self.verdict(place, indirect=indirect)
        slope, low, high = (float(each[place]) if self.measured[place] else None for each in self._interval)
        return Evidence(
            prerequisite=edge[0],
            skill=edge[1],
            verdict=verdict,
            reason=reason,
            learners=int(pairs.learners[row]),
            slope=slope,
            low=low,
            high=high,
            both=int(pairs.both[row]),
            prerequisite_only=int(pairs.first_only[row]),
            skill_only=int(pairs.second_only[row]),
            neither=int(pairs.neither[row]),
            in_log=(pairs.skills[pairs.first[row]], pairs.skills[pairs.second[row]]),
        )


def judge(
    pairs: SkillPairs,
    prerequisites: Mapping[str, Sequence[str]],
    names: Mapping[str, Sequence[str]] | None = None,
    *,
    rejected: Collection[Edge] = (),
    rate: float = RATE,
) -> Findings:
    """Judge a catalog's prerequisites, and propose others.

    Args:
        pairs: what the responses say.
        prerequisites: of every skill of the catalog, by id.
        names: what responses may call a skill, by id; of one that is left out, its id.
        rejected: edges that are not proposed.
        rate: the share of what is found that may be there by chance.
    """
    names = {skill: (names or {}).get(skill, (skill,)) for skill in prerequisites}
    owners: dict[str, str] = {}
    # A skill that has the name as its id comes before others that it is a name of.
    for skill in sorted(names):
        for name in names[skill]:
            if name == skill or name not in owners:
                owners[name] = skill
    edges = [(needed, skill) for skill, needs in sorted(prerequisites.items()) for needed in dict.fromkeys(needs)]
    open_rows = []
    for row, edge in enumerate(_named(pairs)):
        first, second = (owners.get(name, "") for name in edge)
        if first and second and first != second and not _connected(first, second, prerequisites):
            open_rows.append((row, (first, second)))
    tests = _Tests(pairs, [row for row, _ in open_rows], rate)
    proposals, refused = _proposed([edge for _, edge in open_rows], tests, prerequisites, rejected)
    return Findings(
        edges=tuple(_judged(pairs, edges, prerequisites, names, rate)),
        proposals=proposals,
        others=Counter(tests.verdict(place, indirect=False)[0] for place in np.flatnonzero(tests.measured).tolist()),
        rejected=refused,
        not_in_catalog=tuple(skill for skill in pairs.skills if skill not in owners),
    )


def _judged(
    pairs: SkillPairs,
    edges: Sequence[Edge],
    prerequisites: Mapping[str, Sequence[str]],
    names: Mapping[str, Sequence[str]],
    rate: float,
) -> Iterator[Evidence]:
    row_of = {named: row for row, named in enumerate(_named(pairs))}
    chosen: list[int | None] = []
    for edge in edges:
        needed, skill = (names.get(each, (each,)) for each in edge)
        rows = [row_of[pair] for first in needed for second in skill if (pair := (first, second)) in row_of]
        # Where a skill has several names, outcomes have no part in the choice.
        chosen.append(max(rows, key=lambda row: pairs.learners[row], default=None))
    tests = _Tests(pairs, [row for row in chosen if row is not None], rate)
    place = 0
    for edge, row in zip(edges, chosen, strict=True):
        if row is not None:
            yield tests.evidence(edge, place, indirect=_leads(*edge, prerequisites, directly=False))
            place += 1
            continue
        called = [{*names.get(each, (each,))} & pairs.learners_of.keys() for each in edge]
        reason = Reason.ONE_SKILL if called[0] == called[1] else Reason.TOO_FEW
        yield Evidence(*edge, Verdict.CANNOT_TELL, reason if all(called) else Reason.NO_RESPONSES)


def _proposed(
    edges: Sequence[Edge], tests: _Tests, prerequisites: Mapping[str, Sequence[str]], rejected: Collection[Edge]
) -> tuple[tuple[Evidence, ...], int]:
    """Edges to propose, the surest first, and how many are left out because they were rejected.

    None closes a cycle, and none is left that others and the catalog's lead to: those show through them.
    """
    found = np.flatnonzero(tests.supported & tests.forward)
    requires = {skill: list(needs) for skill, needs in prerequisites.items()}
    kept: dict[Edge, int] = {}
    refused = 0
    for place in found[np.argsort(-tests.z[found], kind="stable")].tolist():
        first, second = edge = edges[place]
        if edge in rejected:
            refused += 1
        elif edge not in kept and not _leads(second, first, requires):
            requires[second].append(first)
            kept[edge] = place
    direct = {edge: place for edge, place in kept.items() if not _leads(*edge, requires, directly=False)}
    return tuple(tests.evidence(edge, place) for edge, place in direct.items()), refused


def _named(pairs: SkillPairs) -> Iterator[Edge]:
    for first, second in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
        yield pairs.skills[first], pairs.skills[second]


def _connected(one: str, other: str, requires: Mapping[str, Sequence[str]]) -> bool:
    return _leads(one, other, requires) or _leads(other, one, requires)


def _leads(first: str, last: str, requires: Mapping[str, Sequence[str]], *, directly: bool = True) -> bool:
    """Whether edges lead from one skill to another; unless `directly`, only over at least one between them."""
    pending = [last]
    seen = {last}
    while pending:
        skill = pending.pop()
        for needed in requires.get(skill, ()):
            if needed == first and (directly or skill != last):
                return True
            if needed not in seen and needed != first:
                seen.add(needed)
                pending.append(needed)
    return False


def _discovered(p_values: Floats, tested: NDArray[np.bool_], rate: float) -> NDArray[np.bool_]:
    """Which hypotheses are rejected at a false-discovery rate over those that are tested."""
    found = np.zeros(len(p_values), np.bool_)
    if tested.any():
        found[tested] = stats.false_discovery_control(p_values[tested]) <= rate
    return found
