"""Why a resource is in a list, in a teacher's words and with the learner's own numbers."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from services.recommender.domain.ranking.catalog import CatalogColumns, FloatColumn, IntColumn, ResourceKind
from services.recommender.domain.ranking.features import PRACTISED_KINDS, Features, SkillEstimates
from services.recommender.domain.ranking.scoring import Scores
from services.recommender.domain.ranking.weights import RankingWeights

REASONS_MAX = 2
_LITTLE_KNOWN = 0.5


class Step(IntEnum):
    """What a recommendation is for; the numbers of the contract."""

    TEACH = 1
    PRACTISE = 2
    REASSESS = 3


class ReasonKind(IntEnum):
    """Sorts of reasons; the numbers of the contract."""

    GAP = 1
    FIT = 2
    REVIEW = 3
    SIMILAR_LEARNERS = 4
    EXPLORE = 5
    GOAL = 6
    PREFERENCE = 7
    PINNED = 8
    BOOSTED = 9
    RECENT_WORK = 10


WEIGHED_KINDS = (ReasonKind.GAP, ReasonKind.FIT, ReasonKind.REVIEW, ReasonKind.SIMILAR_LEARNERS, ReasonKind.EXPLORE)
"""What the hand-weighted score is the sum of."""


class Reason(NamedTuple):
    """A reason: its kind, the sentence, and what it added to the score."""

    kind: ReasonKind
    text: str
    contribution: float


class Explanation(NamedTuple):
    """What a resource is in the list for.

    Attributes:
        skill: the skill it serves; empty when it has none.
        step: what to do with it.
        reasons: the strongest two, strongest first.
    """

    skill: str
    step: Step
    reasons: tuple[Reason, ...]


def explain(
    catalog: CatalogColumns,
    estimates: SkillEstimates,
    rows: IntColumn,
    features: Features,
    added: FloatColumn,
    kinds: Sequence[ReasonKind],
    positives: int,
    picked: IntColumn,
    weights: RankingWeights,
) -> list[Explanation]:
    """Why each picked candidate is in the list.

    Args:
        catalog: the catalog.
        estimates: the learner's.
        rows: of the candidates.
        features: of the candidates.
        added: (picked, kinds); what each kind of reason added to the score.
        kinds: the kinds.
        positives: of the learner, for collaborative filtering.
        picked: places of the candidates to explain.
        weights: the weights.
    """
    strongest = (-added).argsort(axis=1, kind="stable")[:, :REASONS_MAX]
    served = features.served[picked]
    narrator = _Narrator(catalog, estimates, served, kinds, positives, weights)
    told = zip(
        rows[picked].tolist(),
        served.tolist(),
        catalog.kinds[rows[picked]].tolist(),
        features.success[picked].tolist(),
        features.teaches[picked].tolist(),
        strongest.tolist(),
        np.take_along_axis(added, strongest, axis=1).tolist(),
        strict=True,
    )
    return [narrator.explain(*of_one) for of_one in told]


def weighed(
    features: Features, scores: Scores, positives: int, picked: IntColumn, weights: RankingWeights
) -> FloatColumn:
    """What each of WEIGHED_KINDS added to the hand-weighted score of each picked candidate, (picked, kinds)."""
    # Below the average candidate, similar learners are no reason to show a resource.
    trust = positives / (positives + weights.similar_responses)
    similar = scores.similar[picked] * (features.similar[picked] > trust / 2)
    return np.stack(
        (scores.gap[picked], scores.fit[picked], scores.review[picked], similar, scores.uncertainty[picked]), axis=1
    )


class _Narrator:
    """Tells of one learner. A skill is described once, however many resources serve it."""

    def __init__(
        self,
        catalog: CatalogColumns,
        estimates: SkillEstimates,
        served: IntColumn,
        kinds: Sequence[ReasonKind],
        positives: int,
        weights: RankingWeights,
    ) -> None:
        """Args: what the request was answered from; `served`, slots that will be told of."""
        self._catalog = catalog
        self._estimates = estimates
        self._weights = weights
        self._kinds = kinds
        self._similar = f"Learners with a similar history worked on it ({_counted(positives, 'resource')} compared)"
        slots = np.array(sorted(set(served.tolist()) - {-1}), np.intp)
        lows, highs = estimates.intervals(slots)
        known = zip(
            slots.tolist(),
            estimates.probabilities[slots].tolist(),
            lows.tolist(),
            highs.tolist(),
            estimates.responses[slots].tolist(),
            estimates.successes[slots].tolist(),
            strict=True,
        )
        self._gaps = {
            slot: f"{catalog.skill_labels[slot]}: {100 * chance:.0f} % likely to succeed "
            f"({100 * low:.0f}-{100 * high:.0f} %), {_record(responses, successes)}"
            for slot, chance, low, high, responses, successes in known
        }

    def explain(
        self,
        row: int,
        slot: int,
        kind: int,
        success: float,
        teaches: bool,  # noqa: FBT001 - a column's value, passed with its row's others.
        strongest: Sequence[int],
        added: Sequence[float],
    ) -> Explanation:
        """Teach what would not succeed yet, if the resource teaches it; re-assess with assessments; else practise."""
        if teaches and success < self._weights.teach_below:
            step = Step.TEACH
        else:
            step = Step.REASSESS if kind == ResourceKind.ASSESSMENT else Step.PRACTISE
        reasons = tuple(
            Reason(self._kinds[place], self._sentence(self._kinds[place], row, slot, kind, success), contribution)
            for place, contribution in zip(strongest, added, strict=True)
            if contribution > 0.0
        )
        return Explanation(self._catalog.skill_ids[slot] if slot >= 0 else "", step, reasons)

    def _sentence(self, reason: ReasonKind, row: int, slot: int, kind: int, success: float) -> str:
        match reason:
            case ReasonKind.GAP:
                return self._gaps[slot] if slot >= 0 else self._unknown(slot)
            case ReasonKind.FIT:
                return _fit_sentence(round(100 * success), self._challenge(kind, success))
            case ReasonKind.REVIEW:
                return self._review(row)
            case ReasonKind.SIMILAR_LEARNERS:
                return self._similar
            case ReasonKind.EXPLORE:
                return self._unknown(slot)
            case ReasonKind.RECENT_WORK:
                return self._recent_work(slot)
            case ReasonKind.GOAL | ReasonKind.PREFERENCE | ReasonKind.PINNED | ReasonKind.BOOSTED:
                raise AssertionError("wishes and rules tell their own reasons")

    def _challenge(self, kind: int, success: float) -> str:
        if kind not in PRACTISED_KINDS:
            return "to be taught first" if success < self._weights.teach_below else "to see it in another way"
        if success < self._weights.teach_below:
            return "still hard"
        if success < self._weights.fit_target - self._weights.fit_width:
            return "hard, but within reach"
        if success > self._weights.fit_target + self._weights.fit_width:
            return "easy, builds confidence"
        return "the right challenge"

    def _review(self, row: int) -> str:
        slots, shares = self._catalog.tags.row(row), self._catalog.shares(row)
        due = int(slots[np.argmax(shares * self._estimates.reviews[slots])])
        days = max(1, round(float(self._estimates.days_since[due])))
        return (
            f"{self._catalog.skill_labels[due]}: mastered ({self._record_of(due)}), "
            f"last practised {_counted(days, 'day')} ago"
        )

    def _recent_work(self, slot: int) -> str:
        if slot < 0:
            return "Usually comes next after the latest work"
        responses = int(self._estimates.responses[slot])
        said = "Carries on with the latest work" if responses else "Usually comes next after the latest work"
        return f"{said}, {self._catalog.skill_labels[slot]}: {self._record_of(slot)}"

    def _unknown(self, slot: int) -> str:
        if slot < 0:
            return "Little is known yet"
        little = self._estimates.unknowns[slot] > _LITTLE_KNOWN
        said = "Little is known yet" if little else "Keeps the estimate current"
        return f"{said}, {self._catalog.skill_labels[slot]}: {self._record_of(slot)}"

    def _record_of(self, slot: int) -> str:
        return _record(int(self._estimates.responses[slot]), float(self._estimates.successes[slot]))


def _record(responses: int, successes: float) -> str:
    return f"{_counted(responses, 'response')}, {successes:.3g} right" if responses else "no responses yet"


@lru_cache(maxsize=1_000)
def _fit_sentence(percent: int, challenge: str) -> str:
    return f"{percent} % likely to succeed on it: {challenge}"


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
