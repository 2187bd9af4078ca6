"""Evaluating rankings: which resources a learner works on next, every resource being ranked."""

from __future__ import annotations

import time
from collections.abc import Callable

from services.recommender.evaluation.intervals import Draws, Floats, compared, estimate, of_learners
from services.recommender.evaluation.lists import Judge, RankingSplit, split_of
from services.recommender.evaluation.rankers import FAMILIES, rankers
from services.recommender.evaluation.results import SERVED, Evaluation
from services.recommender.evaluation.tuning import chosen_settings

DRAWS = 1_000
SEED = 1

Advance = Callable[[str, int, int], None]


def evaluate_ranking(
    protocol: str, split: RankingSplit, *, commit: str = "", advance: Advance = lambda *_: None
) -> Evaluation:
    """Fit every ranking, and judge the lists it gives the same learners.

    Args:
        protocol: its name.
        split: the data.
        commit: of the code.
        advance: told which ranking is being done, and how many of how many are.
    """
    learners = sorted(split.relevant)
    draws = Draws.of(len(learners), draws=DRAWS, seed=SEED)
    judge = Judge(split)
    values: dict[str, dict[str, Floats]] = {}
    elapsed_s: dict[str, float] = {}
    steps = sum(len(candidates) for candidates in FAMILIES.values())
    inner = split_of(split.train, "the part to fit on")
    choice = chosen_settings(inner, seed=SEED, advance=lambda name, done: advance(f"tuning {name}", done, steps))
    made = rankers(split, choice.settings, seed=SEED)
    for number, (name, make) in enumerate(made.items()):
        advance(name, steps + number, steps + len(made))
        started_s = time.perf_counter()
        ranker = make()
        measures = judge.measures(ranker, learners)
        elapsed_s[name] = round(time.perf_counter() - started_s, 3)
        values[name] = {measure: of_learners(values, draws) for measure, values in measures.items()}
    advance("intervals", steps + len(made), steps + len(made))
    return Evaluation(
        protocol=protocol,
        data=split.description,
        commit=commit,
        models={
            name: {measure: estimate(drawn) for measure, drawn in measures.items()} for name, measures in values.items()
        },
        differences=compared(values, SERVED) if SERVED in values else {},
        notes=(
            "Every resource that the learner had not worked on before is ranked; no negatives are sampled.",
            "What is relevant is what learners did next, largely what teachers assigned: no evidence of learning.",
            "gap_hit: share of the list about a skill the learner then got wrong at least once.",
            "gap_next: share of the list about a skill the learner then worked on.",
            "Chosen on the first 80 % of what is fitted on, judged on the rest of it: "
            + ", ".join(f"{name} {label}" for name, label in choice.settings.items())
            + ".",
            *(f"{name} is not among the rankings: {reason}." for name, reason in choice.absent.items()),
            f"Intervals are central 95 % of {DRAWS} bootstrap draws of learners; differences use the same draws.",
        ),
        seeds={"bootstrap": SEED, "models": SEED},
        elapsed_s=elapsed_s,
    )
