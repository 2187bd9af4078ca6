"""Checks the reasons of every list that is made in the process of the tests, whoever makes it.

`pipeline.rank` makes all lists, so it is replaced, in every module that has it, by one that also checks what it made.
"""

from __future__ import annotations

import functools
import sys

PIPELINE = "services.recommender.domain.ranking.pipeline"

found: list[str] = []
"""What was not true since it was last emptied."""
_seen_modules = 0
_checked = None


def watch():
    """Check the lists that are made from here on, by modules that are loaded."""
    global _seen_modules, _checked  # noqa: PLW0603 - one process, one pipeline.
    if PIPELINE not in sys.modules or len(sys.modules) == _seen_modules:
        return
    if _checked is None:
        _checked = _checking(sys.modules[PIPELINE].rank)
    _seen_modules = len(sys.modules)
    for module in list(sys.modules.values()):
        if getattr(module, "rank", None) is _checked.__wrapped__:
            module.rank = _checked


def _checking(rank):
    from services.recommender.evaluation.reason_count import ReasonCount

    counts = {}

    @functools.wraps(rank)
    def checked(prepared, request, weights, timer):
        ranked = rank(prepared, request, weights, timer)
        if id(prepared) not in counts:
            # One prepared catalog is enough to keep: tests make one after the other.
            counts.clear()
            counts[id(prepared)] = prepared, ReasonCount(prepared)
        found.extend(counts[id(prepared)][1].add(request, ranked))
        return ranked

    return checked
