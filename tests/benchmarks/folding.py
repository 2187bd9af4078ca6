"""The cost of an event without I/O: from decoded events to packed state, and in the compiled kernel alone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from services.recommender.domain.learner.batch import LearnerEvents
from services.recommender.domain.learner.events import AssessmentEvent, Grain
from services.recommender.domain.learner.fold import LearnerFold, warm_up
from services.recommender.domain.learner.kernel import (
    EVENT_RECORD,
    EVENT_SKILL_RECORD,
    fold_responses,
)
from services.recommender.domain.learner.parameter_columns import settings_row
from services.recommender.domain.learner.parameters import FilterSettings, TracingParameters
from services.recommender.domain.learner.record import NEW_LEARNER
from services.recommender.domain.learner.state import LEARNER_RECORD, RECENT_ITEM_RECORD, RECENT_ITEMS, SKILL_RECORD

LEARNERS = 1_000
EVENTS_EACH = 20
SKILLS = 50
BULK_EVENTS = 500_000
_RUNS = 5
_STEPS = 500_000


@dataclass(frozen=True, slots=True)
class FoldCosts:
    """Microseconds of CPU time per event, the best of all runs: other load on the machine only adds to it.

    Attributes:
        update_us: from a decoded event to packed state, journal included, in the batches of a worker.
        bulk_us: the kernel over arrays.
        step_ns: one step of an empty Python loop in nanoseconds, as a measure of the machine's speed.
        step_median_ns: the median of the same over all runs, as a measure of its usual speed.
    """

    update_us: float
    bulk_us: float
    step_ns: float
    step_median_ns: float


class FoldMeter:
    """Folds events of new learners, half of them with two skills, and keeps the best of all runs.

    Other load on a shared machine can halve its speed for seconds, so spread the runs over time.
    """

    def __init__(self) -> None:
        """Make the events."""
        warm_up()
        self._updates, self._bulk = _updates(), _bulk()
        self._found: dict[Callable[[], object], list[float]] = {self._updates: [], self._bulk: [], _empty_loop: []}

    def run(self) -> None:
        """Some runs more."""
        for work, found in self._found.items():
            for _ in range(_RUNS):
                began = time.process_time()
                work()
                found.append(time.process_time() - began)

    def costs(self) -> FoldCosts:
        """The best figures so far."""
        updates, bulk, steps = self._found.values()
        return FoldCosts(
            update_us=min(updates) / (LEARNERS * EVENTS_EACH) * 1e6,
            bulk_us=min(bulk) / BULK_EVENTS * 1e6,
            step_ns=min(steps) / _STEPS * 1e9,
            step_median_ns=statistics.median(steps) / _STEPS * 1e9,
        )


def _empty_loop() -> None:
    for _ in range(_STEPS):
        pass


def _updates() -> Callable[[], object]:
    rng = np.random.default_rng(1)
    fold = LearnerFold(TracingParameters())
    batch = []
    for learner in range(LEARNERS):
        events = []
        for number in range(EVENTS_EACH):
            skills = tuple(f"skill-{skill}" for skill in rng.permutation(SKILLS)[: 1 + number % 2])
            fingerprint = (learner * EVENTS_EACH + number).to_bytes(8, "little")
            response = float(rng.random() < 0.7)
            item = f"item-{rng.integers(2_000)}"
            events.append(
                (number, AssessmentEvent(fingerprint, response, 1_700_000_000, item, "", skills, Grain.ITEM, item))
            )
        batch.append(LearnerEvents("tenant", NEW_LEARNER, events))
    return lambda: fold.fold(batch)


def _bulk() -> Callable[[], object]:
    rng = np.random.default_rng(1)
    learners = np.zeros(LEARNERS, LEARNER_RECORD)
    learners["variance"] = 0.5
    skills = np.zeros(LEARNERS * SKILLS, SKILL_RECORD)
    skills["variance"] = 0.3
    events = np.zeros(BULK_EVENTS, EVENT_RECORD)
    events["row"] = np.sort(rng.integers(0, LEARNERS, BULK_EVENTS))
    events["response"] = rng.random(BULK_EVENTS) < 0.7
    events["evidence"], events["skills"] = 1, 1 + np.arange(BULK_EVENTS) % 2
    event_skills = np.zeros(int(events["skills"].sum()), EVENT_SKILL_RECORD)
    # The two skills of an event are distinct.
    event_skills["slot"] = rng.integers(0, SKILLS // 2, len(event_skills)) * 2 + np.arange(len(event_skills)) % 2
    # As `cairn train` writes them for learners who learn.
    settings = np.array([settings_row(FilterSettings(learning=0.1, retention=0.95, moderation=1.0))])
    first_slot = np.arange(0, LEARNERS * SKILLS + 1, SKILLS)
    rows = np.zeros(LEARNERS, np.int64)
    difficulty = np.array([[0.0, 1.5]])
    recent, codes = np.zeros((LEARNERS, RECENT_ITEMS), RECENT_ITEM_RECORD), np.ones(1, np.uint32)
    return lambda: fold_responses(
        learners, recent, skills, first_slot, rows, events, event_skills, settings, difficulty, difficulty, codes
    )


if __name__ == "__main__":
    meter = FoldMeter()
    meter.run()
    print(meter.costs())
