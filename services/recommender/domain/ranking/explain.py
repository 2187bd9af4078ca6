"""Chooses why a resource is in the list: the strongest reasons, with the learner's own numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.ranking.catalog import FloatColumn, IntColumn
from services.recommender.domain.ranking.reasons import REASONS_MAX, Reason, Step
from services.recommender.domain.ranking.scoring import COLUMN_OF_SIGNAL, Scores, SignalValues
from services.recommender.domain.ranking.signals import SIGNALS
from services.recommender.domain.ranking.signals.signal import Candidates, Evidence, Pick, ReasonSource
from services.recommender.domain.ranking.thresholds import RankingThresholds

WEIGHED_SIGNALS = tuple(signal for signal in SIGNALS if not signal.stated)
"""The signals whose reasons compete by what they add to the score."""
WEIGHED_COLUMNS = np.array([COLUMN_OF_SIGNAL[signal.name] for signal in WEIGHED_SIGNALS])
_STATED_SIGNALS = tuple(signal for signal in SIGNALS if signal.stated)
_CONDITIONAL = tuple(
    (column, signal, signal.is_reason) for column, signal in enumerate(WEIGHED_SIGNALS) if signal.is_reason is not None
)

_SKILL_VALUES = ("skill", "chance", "low", "high", "responses", "successes")


def picks_of(candidates: Candidates, picked: IntColumn) -> list[Pick]:
    """The candidates at some places."""
    rows = candidates.rows[picked]
    return [
        Pick(*of_one)
        for of_one in zip(
            rows.tolist(),
            candidates.served[picked].tolist(),
            candidates.catalog.kinds[rows].tolist(),
            candidates.success[picked].tolist(),
            candidates.teaches[picked].tolist(),
            strict=True,
        )
    ]


def evidence_of(candidates: Candidates, picks: Sequence[Pick], positives: int) -> Evidence:
    """What the reasons of a list can refer to. Each skill is looked up once, however many resources serve it.

    Args:
        candidates: the candidates.
        picks: the list.
        positives: how many resources of the learner's history similar learners were found by.
    """
    estimates = candidates.estimates
    slots = np.array(sorted({pick.slot for pick in picks} - {-1}), np.intp)
    lows, highs = estimates.intervals(slots)
    columns = (
        [candidates.catalog.skill_labels[slot] for slot in slots.tolist()],
        (100 * estimates.probabilities[slots]).tolist(),
        (100 * lows).tolist(),
        (100 * highs).tolist(),
        estimates.responses[slots].tolist(),
        estimates.successes[slots].tolist(),
    )
    served = {
        slot: tuple(zip(_SKILL_VALUES, of_skill, strict=True))
        for slot, of_skill in zip(slots.tolist(), zip(*columns, strict=True), strict=True)
    }
    return Evidence(
        candidates.catalog, estimates, candidates.preferences, candidates.thresholds, positives, served
    )  # fmt: skip


def step_of(pick: Pick, thresholds: RankingThresholds) -> Step:
    """Teach what would not succeed yet, if the resource teaches it; re-assess with assessments; else practise."""
    if pick.teaches and pick.success < thresholds.teach_below:
        return Step.TEACH
    return Step.REASSESS if pick.kind == ResourceKind.ASSESSMENT else Step.PRACTISE


def weighed(candidates: Candidates, values: SignalValues, scores: Scores, picked: IntColumn) -> FloatColumn:
    """What each of WEIGHED_SIGNALS added to the score of each picked candidate, (picked, signals).

    0 where the signal may not be given as a reason.
    """
    added: FloatColumn = scores.added[:, picked][WEIGHED_COLUMNS].T
    for column, signal, is_reason in _CONDITIONAL:
        added[:, column] *= is_reason(values.of(signal), candidates)[picked]
    return added


def strongest_reasons(
    evidence: Evidence, picks: Sequence[Pick], sources: Sequence[ReasonSource], added: FloatColumn
) -> list[list[Reason]]:
    """For each pick the reasons that added most to its score, strongest first.

    Args:
        evidence: what reasons can refer to.
        picks: the list.
        sources: the sources of reasons.
        added: (picks, sources); what each added to the score.
    """
    strongest = (-added).argsort(axis=1, kind="stable")[:, :REASONS_MAX]
    contributions = added[np.arange(len(added))[:, None], strongest]
    made_by = [(source.kind, source.reason) for source in sources]
    drafts = []
    for pick, places, amounts in zip(picks, strongest.tolist(), contributions.tolist(), strict=True):
        reasons = []
        for place, amount in zip(places, amounts, strict=True):
            kind, reason = made_by[place]
            if amount > 0.0 and (said := reason(evidence, pick)) is not None:
                reasons.append(Reason(kind, amount, said))
        drafts.append(reasons)
    return drafts


def with_stated(
    evidence: Evidence,
    picks: Sequence[Pick],
    scores: Scores,
    picked: IntColumn,
    reasons: Sequence[list[Reason]],
) -> list[list[Reason]]:
    """The reasons with those the learner stated: one is given even where two others are stronger."""
    if not evidence.preferences:
        return list(reasons)
    added = [(signal, scores.of(signal)[picked].tolist()) for signal in _STATED_SIGNALS]
    merged = []
    for place, (pick, others) in enumerate(zip(picks, reasons, strict=True)):
        stated = [
            Reason(signal.kind, of_signal[place], said)
            for signal, of_signal in added
            if of_signal[place] > 0.0 and (said := signal.reason(evidence, pick)) is not None
        ]
        merged.append(_merged(others, stated))
    return merged


def _merged(others: Sequence[Reason], stated: Sequence[Reason]) -> list[Reason]:
    """The strongest reasons; at least one of them is a stated one, if there is any."""
    every = sorted((*others, *stated), key=lambda reason: -reason.contribution)
    kept = every[:REASONS_MAX]
    if stated and not any(reason in stated for reason in kept):
        kept = [*every[: REASONS_MAX - 1], max(stated, key=lambda reason: reason.contribution)]
    return kept
