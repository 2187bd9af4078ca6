"""Chooses why a resource is in the list: the strongest reasons that hold, with the learner's own numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.ranking import again, crosswalk
from services.recommender.domain.ranking.catalog import FloatColumn, IntColumn
from services.recommender.domain.ranking.evidence import RATHER_FAILS, Evidence, Pick
from services.recommender.domain.ranking.features import SkillEstimates
from services.recommender.domain.ranking.messages import Message
from services.recommender.domain.ranking.next_item import FeatureGroup
from services.recommender.domain.ranking.reasons import REASONS_MAX, Claim, Explanation, Reason, Step
from services.recommender.domain.ranking.recent_work_reason import RECENT_WORK
from services.recommender.domain.ranking.rules import Favour
from services.recommender.domain.ranking.scoring import COLUMN_OF_SIGNAL, Scores
from services.recommender.domain.ranking.signals import SIGNALS, fit, gap, review
from services.recommender.domain.ranking.signals.signal import Candidates, ReasonOf, ReasonSource
from services.recommender.domain.ranking.signals.similar import SIMILAR

_WEIGHED_SIGNALS = tuple(signal for signal in SIGNALS if not signal.stated)
_WEIGHED_COLUMNS = np.array([COLUMN_OF_SIGNAL[signal.name] for signal in _WEIGHED_SIGNALS])
_STATED_SIGNALS = tuple(signal for signal in SIGNALS if signal.stated)
_STATED_COLUMNS = np.array([COLUMN_OF_SIGNAL[signal.name] for signal in _STATED_SIGNALS])

REASON_SOURCES: tuple[ReasonSource, ...] = (*_WEIGHED_SIGNALS, SIMILAR, RECENT_WORK)
"""The sources of reasons that compete by what they add to the score."""
_SOURCE_OF_GROUP: Mapping[FeatureGroup, ReasonSource] = {
    FeatureGroup.GAP: gap.SIGNAL,
    FeatureGroup.FIT: fit.SIGNAL,
    FeatureGroup.REVIEW: review.SIGNAL,
    FeatureGroup.SIMILAR_LEARNERS: SIMILAR,
    FeatureGroup.RECENT_WORK: RECENT_WORK,
}
_COLUMN_OF_GROUP = np.array([REASON_SOURCES.index(_SOURCE_OF_GROUP[group]) for group in FeatureGroup])


def picks_of(candidates: Candidates, picked: IntColumn) -> list[Pick]:
    """The candidates at some places, in list order, each with its step."""
    rows = candidates.rows[picked]
    numbers: Counter[int] = Counter()
    picks = []
    for row, slot, kind, success, teaches in zip(
        rows.tolist(),
        candidates.served[picked].tolist(),
        candidates.catalog.kinds[rows].tolist(),
        candidates.success[picked].tolist(),
        candidates.teaches[picked].tolist(),
        strict=True,
    ):
        numbers[slot] += 1
        step = step_of(candidates.estimates, slot, kind, success, teaches=teaches)
        picks.append(Pick(row, slot, kind, success, step, numbers[slot]))
    return picks


def step_of(estimates: SkillEstimates, slot: int, kind: int, success: float, *, teaches: bool) -> Step:
    """What to do with a resource.

    A skill without answers is unknown: find out. Teach what the learner would rather fail at, if the resource teaches
    it and the skill is not mastered. Re-assess with assessments; else practise.

    Args:
        estimates: the learner's skills.
        slot: the skill it serves, -1 for none.
        kind: number of its resource kind.
        success: chance of success on it.
        teaches: whether it teaches that skill.
    """
    if slot >= 0 and estimates.responses[slot] == 0:
        return Step.FIND_OUT
    if teaches and success < RATHER_FAILS and not estimates.mastered[slot]:
        return Step.TEACH
    return Step.REASSESS if kind == ResourceKind.ASSESSMENT else Step.PRACTISE


def added_by_sources(needed: Scores, next_item: FloatColumn, picked: IntColumn) -> FloatColumn:
    """What each of REASON_SOURCES added to the score of each picked candidate, (picked, sources).

    Args:
        needed: the need part of the score, as it counts in the score.
        next_item: (picked, groups); what each FeatureGroup added to the rest, as it counts in the score.
        picked: the picked candidates.
    """
    added = np.zeros((len(picked), len(REASON_SOURCES)))
    added[:, : len(_WEIGHED_SIGNALS)] = needed.added[:, picked][_WEIGHED_COLUMNS].T
    added[:, _COLUMN_OF_GROUP] += next_item
    return added


def stated(scores: Scores, picked: IntColumn) -> FloatColumn:
    """What each signal of stated preferences added to the score of each picked candidate, (picked, signals)."""
    column: FloatColumn = scores.added[:, picked][_STATED_COLUMNS].T
    return column


def explain(
    evidence: Evidence,
    picks: Sequence[Pick],
    sources: Sequence[ReasonSource],
    added: FloatColumn,
    by_preference: FloatColumn,
    favours: Mapping[int, Favour],
) -> list[Explanation]:
    """The explanation of each pick: of the reasons that hold those that added most to its score, strongest first.

    No sentence is given for two resources of one skill.

    Args:
        evidence: what reasons can refer to.
        picks: the list.
        sources: the sources of reasons.
        added: (picks, sources); what each added to the score.
        by_preference: (picks, signals of stated preferences); likewise.
        favours: the rules that pinned or boosted a row.
    """
    skill_ids = evidence.catalog.skill_ids
    ways = [(source.reason, False) for source in sources]
    if evidence.preferences:
        ways += [(signal.reason, True) for signal in _STATED_SIGNALS]
        added = np.concatenate((added, by_preference), axis=1)
    orders = (-added).argsort(axis=1, kind="stable")
    amounts = np.take_along_axis(added, orders, axis=1)
    said: set[tuple[int, Message]] = set()
    explanations = []
    for pick, order, of_pick in zip(picks, orders.tolist(), amounts.tolist(), strict=True):
        by_amount = [(amount, *ways[place]) for amount, place in zip(of_pick, order, strict=True)]
        reasons = _reasons(evidence, pick, said, by_amount)
        favour = favours.get(pick.row)
        if favour is not None:
            reasons = [_told_apart(reason, pick, said) for reason in favour.added_to(reasons)]
        if pick.slot >= 0:
            said.update([(pick.slot, reason.message) for reason in reasons])
        if pick.slot in evidence.sources:
            reasons = crosswalk.through(reasons, evidence.catalog.skill_sources[evidence.sources[pick.slot]])
        skill = skill_ids[pick.slot] if pick.slot >= 0 else ""
        explanations.append(Explanation(skill, pick.step, tuple(reasons)))
    return explanations


def _reasons(
    evidence: Evidence,
    pick: Pick,
    said: set[tuple[int, Message]],
    by_amount: Sequence[tuple[float, ReasonOf, bool]],
) -> list[Reason]:
    """The strongest reasons; one that the learner stated is among them even where two others are stronger.

    Where none of those that added to the score holds, one that does hold is given, with a contribution of 0. Where all
    that hold are said of another resource of the skill, the resource is called another one.

    Args:
        evidence: what reasons can refer to.
        pick: the resource.
        said: what the list has said so far, by skill.
        by_amount: what each source added to the score, the most first; its reason; whether the learner stated it.
    """
    missing = any(is_stated and amount > 0.0 for amount, _, is_stated in by_amount) if evidence.preferences else False
    reasons: list[Reason] = []
    repeated: Reason | None = None
    for amount, reason_of, is_stated in by_amount:
        full = len(reasons) == REASONS_MAX
        if (amount <= 0.0 and reasons) or (full and not missing):
            break
        if full and not is_stated:
            continue
        claim = reason_of(evidence, pick)
        message = None if claim is None else _first_unsaid(claim, pick.slot, said, reasons)
        if claim is not None and message is not None:
            missing = missing and not is_stated
            reasons = [*reasons[: REASONS_MAX - 1], Reason(claim.kind, max(amount, 0.0), message)]
        elif claim is not None and repeated is None:
            repeated = Reason(claim.kind, max(amount, 0.0), again.on_skill(pick))
    return [repeated] if repeated is not None and not reasons else reasons


def _first_unsaid(claim: Claim, slot: int, said: set[tuple[int, Message]], reasons: Sequence[Reason]) -> Message | None:
    """The first way to give a reason that the list has not used for the skill; None where it is given already."""
    for reason in reasons:
        if reason.kind == claim.kind:
            return None
    own = [reason.message for reason in reasons]
    for message in claim.messages:
        if (slot, message) not in said and message not in own:
            return message
    return None


def _told_apart(reason: Reason, pick: Pick, said: set[tuple[int, Message]]) -> Reason:
    """A reason of a rule, numbered where another resource of the skill has it too."""
    if (pick.slot, reason.message) not in said:
        return reason
    return reason._replace(message=again.numbered(pick, reason.message))
