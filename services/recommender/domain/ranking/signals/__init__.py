"""The ranking signals, one file each. Add a signal by writing its file and listing it here."""

from __future__ import annotations

from services.recommender.domain.ranking.signals import explore, fit, gap, goal, preference, review
from services.recommender.domain.ranking.signals.signal import Signal

SIGNALS: tuple[Signal, ...] = (
    gap.SIGNAL,
    fit.SIGNAL,
    review.SIGNAL,
    explore.SIGNAL,
    goal.SIGNAL,
    preference.SIGNAL,
)
"""All signals. Scores are added up in this order, and of equal reasons the first is the stronger one."""
