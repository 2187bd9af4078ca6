"""What the simulated runs show: measures with intervals, and checks."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from services.recommender.evaluation.closed_loop.learners import LEARNERS
from services.recommender.evaluation.closed_loop.run import (
    ASSIGNED_STEPS,
    INFORMED,
    ORACLE,
    POLICIES,
    RANDOM,
    STEPS_OF_PROGRESS,
    Advance,
    Outcome,
    RunSettings,
    Simulation,
    simulate,
)
from services.recommender.evaluation.intervals import Draws, Estimate, Floats, compared, estimate
from services.recommender.evaluation.results import SERVED, Check, Evaluation

SHARE = "share_of_oracle"
PER_HOUR = "mastery_per_hour"
PER_FAILURE = "mastery_per_failure"

# The share for each way of learning.
SHARES = tuple(f"share_{kind.name}" for kind in LEARNERS)

DRAWS = 1_000
# The oracle gains at least this many times what random does, or the simulation cannot tell policies apart.
ORACLE_OVER_RANDOM = 2.0
SHARE_MUST, SHARE_AIM = 0.6, 0.8

_Drawn = dict[str, dict[str, Floats]]


def evaluate_closed_loop(settings: RunSettings, *, commit: str = "", advance: Advance = lambda *_: None) -> Evaluation:
    """Run every policy with every kind of simulated learners, and measure what came of it.

    Args:
        settings: the size of the run.
        commit: of the code.
        advance: progress callback: the current step, steps done, steps in total.
    """
    total = len(LEARNERS) * STEPS_OF_PROGRESS
    done = itertools.count()
    simulations, elapsed_s = [], {}
    for kind in LEARNERS:
        began_s = time.perf_counter()
        simulations.append(
            simulate(kind, settings, lambda step, name=kind.name: advance(f"{name}: {step}", next(done), total))  # type: ignore[misc]  # bound early, called at once.
        )
        elapsed_s[kind.name] = round(time.perf_counter() - began_s, 3)
    return replace(evaluation_of(simulations, settings, commit=commit), elapsed_s=elapsed_s)


def classroom_draws(classroom: NDArray[np.int64], *, draws: int, seed: int) -> Draws:
    """Draw classrooms with replacement, then as many learners of each as it has (a two-stage cluster bootstrap).

    Learners of a classroom resemble each other, so intervals over learners alone would be too narrow (Davison and
    Hinkley: Bootstrap Methods and their Application, 1997, section 3.8).

    Args:
        classroom: of each learner.
        draws: how often.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(classroom == number) for number in np.unique(classroom)]
    weights = np.zeros((draws + 1, len(classroom)))
    weights[0] = 1.0
    for row in weights[1:]:
        for drawn in rng.integers(0, len(members), len(members)).tolist():
            of_class = members[drawn]
            row[of_class] += rng.multinomial(len(of_class), np.full(len(of_class), 1.0 / len(of_class)))
    return Draws(weights)


def evaluation_of(simulations: Sequence[Simulation], settings: RunSettings, *, commit: str = "") -> Evaluation:
    """The measures of every policy: the mean over the ways of learning, and for each of them.

    Args:
        simulations: one for each way of learning.
        settings: of the run.
        commit: of the code.
    """
    drawn = {each.learners: _measured(each, settings.seed) for each in simulations}
    means: _Drawn = {
        policy: {
            measure: np.mean([of_one[policy][measure] for of_one in drawn.values()], axis=0)
            for measure in (SHARE, PER_HOUR, PER_FAILURE)
        }
        | {f"share_{name}": of_one[policy][SHARE] for name, of_one in drawn.items()}
        for policy in POLICIES
    }
    return Evaluation(
        protocol="closed-loop/simulated",
        data=(
            f"SIMULATED learners, {settings.learners} of each of {len(simulations)} ways of learning "
            f"({', '.join(drawn)}); policies decided {settings.steps} steps of each"
        ),
        commit=commit,
        models=_estimates(means),
        differences=compared(means, SERVED),
        slices={f"simulated {name}": _estimates(of_one) for name, of_one in drawn.items()},
        checks=tuple(_checks(means, drawn)),
        notes=_notes(settings, simulations),
        seeds={"simulation": settings.seed, "bootstrap": settings.seed},
    )


def _measured(simulation: Simulation, seed: int) -> _Drawn:
    draws = classroom_draws(simulation.classroom, draws=DRAWS, seed=seed)
    drawn = {policy: _of_outcome(outcome, draws) for policy, outcome in simulation.outcomes.items()}
    least, most = drawn[RANDOM][PER_HOUR], drawn[ORACLE][PER_HOUR]
    return {policy: {SHARE: (found[PER_HOUR] - least) / (most - least), **found} for policy, found in drawn.items()}


def _of_outcome(outcome: Outcome, draws: Draws) -> dict[str, Floats]:
    gained, hours, failures, sat_out = (
        draws.weights @ values for values in (outcome.gained, outcome.hours, outcome.failures, outcome.sat_out)
    )
    learners = draws.weights.sum(axis=1)
    return {
        PER_HOUR: gained / hours,
        # Without a failure the measure is the gain itself.
        PER_FAILURE: gained / np.maximum(failures, 1.0),
        "mastery_gained": gained / learners,
        "failures": failures / learners,
        "steps_sat_out": sat_out / learners,
    }


def _estimates(drawn: Mapping[str, Mapping[str, Floats]]) -> dict[str, dict[str, Estimate]]:
    return {policy: {measure: estimate(values) for measure, values in found.items()} for policy, found in drawn.items()}


def _checks(means: Mapping[str, Mapping[str, Floats]], drawn: Mapping[str, _Drawn]) -> list[Check]:
    """The checks; the first ones must hold for the run to mean anything."""
    checks = []
    for name, of_one in drawn.items():
        least, most = float(of_one[RANDOM][PER_HOUR][0]), float(of_one[ORACLE][PER_HOUR][0])
        checks.append(
            Check(
                f"the oracle gains at least {ORACLE_OVER_RANDOM:g} times what random does ({name})",
                most > 0 and most >= ORACLE_OVER_RANDOM * least,
                f"{most:.3f} and {least:.3f} skills an hour",
                required=True,
            )
        )
    share = {policy: float(found[SHARE][0]) for policy, found in means.items()}
    others = {policy: value for policy, value in share.items() if policy not in {SERVED, INFORMED, ORACLE}}
    best = max(others, key=others.__getitem__)
    mine = share[SERVED]
    return [
        *checks,
        Check(f"{SERVED} reaches {SHARE_MUST:g} of the oracle's gain over random", mine >= SHARE_MUST, f"{mine:.2f}"),
        Check(f"{SERVED} reaches the aim of {SHARE_AIM:g}", mine >= SHARE_AIM, f"{mine:.2f}"),
        Check(
            f"{SERVED} is better than every other policy that sees no more",
            mine > others[best],
            f"{mine:.2f}; the best other is {best} with {others[best]:.2f}",
        ),
    ]


def _notes(settings: RunSettings, simulations: Sequence[Simulation]) -> tuple[str, ...]:
    unlearned = [each.learners for each in simulations if not each.learned]
    return (
        "Everything here is simulated: it is no evidence that any policy helps real learners.",
        f"Teachers had assigned {ASSIGNED_STEPS} steps to each learner before a policy decided.",
        f"Models were trained on {settings.learners} other learners who learn alike and did what was assigned.",
        f"{SHARE}: mastery_per_hour, where random has 0 and the oracle 1; also for each way of learning (share_...).",
        f"{PER_HOUR}, {PER_FAILURE}: mastery gained, summed over skills, per hour and per wrong answer.",
        "Gained is what a learner has a week after the last session, less what they would have without any work.",
        "Hours include the steps that learners sit out after they quit a session.",
        f"{SERVED} is what a tenant without settings gets; untrained is the same without a bundle.",
        "need has a need_share of 1, only need; next_item one of 0, only what is likely to come next.",
        "assigned goes on as the teacher would; popular is what most of the earlier learners worked on.",
        "informed knows how learners learn, but sees only their answers: how far answers alone can lead.",
        "oracle sees what is true of the learner, and takes the resource with the highest expected gain per minute.",
        f"Intervals are central 95 % of {DRAWS} bootstrap resamples of classrooms and of the learners in them.",
        "Differences use the same resamples. Intervals cover neither other seeds nor other ways of learning.",
        *([f"Ranked by collaborative models alone, without trees: {', '.join(unlearned)}."] if unlearned else []),
    )
