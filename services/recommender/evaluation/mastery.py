"""Evaluates intervals and mastery with simulated learners, whose true chances are known as no log has them.

A course has skills of different difficulty, and items of different difficulty for each. Every learner works on half of
the skills. The learner model is fitted to some learners, and judged on others after their last response.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from services.recommender.domain.learner.mastery import DEFAULT_RULE, mastered, skill_logits, success_interval
from services.recommender.domain.learner.parameters import TenantParameters
from services.recommender.domain.training.responses import ResponseTable, ResponseTableBuilder
from services.recommender.evaluation.intervals import Draws, Floats, estimate
from services.recommender.evaluation.results import Check, Evaluation
from services.recommender.models.ranker.dataset import LearnerStates
from services.recommender.models.tracing.difficulty_fit import fit_difficulties, parameters_of
from services.recommender.models.tracing.fit import fit_filter

COVERAGE_MET, COVERAGE_NEW, PRECISION, RECALL = "coverage_met", "coverage_new", "precision", "recall"

DRAWS = 1_000
_COVERAGE_MUST = (0.93, 0.98)
_PRECISION_MUST, _RECALL_MUST = 0.8, 0.6

_SKILLS, _ITEMS_PER_SKILL = 20, 8
_SKILL_DEVIATION, _ITEM_DEVIATION = 0.6, 0.8
# Abilities of learners, and on top of them on each skill. Two thirds of the answers are right, as in assistments2009.
_ABILITY, _ABILITY_DEVIATION, _SKILL_ABILITY_DEVIATION = 0.8, 0.8, 0.5

Advance = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Answering:
    """How learners answer: right with the chance c + (1 - c) sigmoid(a (ability - difficulty)).

    Attributes:
        name: what it is called.
        discrimination_deviation: standard deviation of the logarithm of a, over items.
        learning: what each response adds to the ability on its skill, in logits.
        guessing: c.
    """

    name: str
    discrimination_deviation: float = 0.0
    learning: float = 0.0
    guessing: float = 0.0


WAYS = (
    Answering("rasch"),
    Answering("2pl", discrimination_deviation=0.3),
    Answering("learning_.08", learning=0.08),
    Answering("learning_.25", learning=0.25),
    Answering("guessing", guessing=0.25),
)


@dataclass(frozen=True, slots=True)
class MasteryRun:
    """The size of a run, and its seed.

    Attributes:
        learners: fitted on, and as many others are judged, of each way of answering.
        responses: of each learner.
        seed: decides everything that is drawn.
    """

    learners: int = 300
    responses: int = 150
    seed: int = 1


class Simulated(NamedTuple):
    """Simulated learners.

    Attributes:
        table: their responses.
        truth: learners by skills; the chance of success on the skill's average item after the last response.
        attempts: learners by skills; how many responses.
    """

    table: ResponseTable
    truth: Floats
    attempts: NDArray[np.int64]


class Judged(NamedTuple):
    """What is served of learners, by learner and skill.

    Attributes:
        covered: whether the 95 % interval holds the true chance.
        mastered: whether the skill counts as mastered.
    """

    covered: NDArray[np.bool_]
    mastered: NDArray[np.bool_]


def simulate(way: Answering, learners: int, responses: int, seed: int) -> Simulated:
    """Draw a course and learners, and let them answer.

    Args:
        way: how they answer.
        learners: how many.
        responses: of each.
        seed: decides everything that is drawn.
    """
    rng = np.random.default_rng(seed)
    item_difficulty = rng.normal(0.0, _SKILL_DEVIATION, (_SKILLS, 1)) + rng.normal(
        0.0, _ITEM_DEVIATION, (_SKILLS, _ITEMS_PER_SKILL)
    )
    slope = np.exp(rng.normal(0.0, way.discrimination_deviation, (_SKILLS, _ITEMS_PER_SKILL)))

    def chance(ability: Floats | float, slopes: Floats | float, difficulties: Floats | float) -> Floats:
        right = 1.0 / (1.0 + np.exp(-slopes * (np.asarray(ability) - difficulties)))
        return np.asarray(way.guessing + (1.0 - way.guessing) * right)

    builder = ResponseTableBuilder()
    truth, attempts = np.empty((learners, _SKILLS)), np.zeros((learners, _SKILLS), np.int64)
    for learner in range(learners):
        ability = rng.normal(_ABILITY, _ABILITY_DEVIATION) + rng.normal(0.0, _SKILL_ABILITY_DEVIATION, _SKILLS)
        own = rng.permutation(_SKILLS)[: _SKILLS // 2]
        # Some skills are practised much more than others.
        for skill in rng.choice(own, responses, p=rng.dirichlet(np.full(len(own), 1.5))).tolist():
            item = int(rng.integers(_ITEMS_PER_SKILL))
            right = rng.random() < chance(ability[skill], slope[skill, item], item_difficulty[skill, item])
            builder.append(
                learner=f"learner-{learner:05}",
                item=f"skill-{skill:02}-{item}",
                skills=[f"skill-{skill:02}"],
                response=float(right),
            )
            ability[skill] += way.learning
            attempts[learner, skill] += 1
        truth[learner] = chance(ability, slope.mean(axis=1), item_difficulty.mean(axis=1))
    return Simulated(builder.build(), truth, attempts)


def judge(simulated: Simulated, parameters: TenantParameters) -> Judged:
    """Compare what would be served of each learner with what is true; learners are folded as by a worker."""
    table = simulated.table
    states = LearnerStates(table, parameters, graded=True)
    covered, marked = np.empty(simulated.truth.shape, np.bool_), np.empty(simulated.truth.shape, np.bool_)
    for learner, truth in enumerate(simulated.truth):
        logits = skill_logits(states.of(learner), table.skills, parameters)
        low, high = success_interval(logits.mean, logits.variance)
        covered[learner] = (low <= truth) & (truth <= high)
        marked[learner] = mastered(logits.mean, logits.variance, logits.attempts)
    return Judged(covered, marked)


def measured(simulated: Simulated, judged: Judged, draws: Draws) -> dict[str, Floats]:
    """Coverage on skills with responses and on others, and precision and recall of mastery, on every draw.

    Mastered in truth is what has a true chance above the rule's. Recall is among skills with at least the responses
    that the rule asks for.
    """
    true, met = simulated.truth > DEFAULT_RULE.success, simulated.attempts > 0
    findable = true & (simulated.attempts >= DEFAULT_RULE.responses)

    def share(hits: NDArray[np.bool_], cases: NDArray[np.bool_]) -> Floats:
        found: Floats = (draws.weights @ (hits & cases).sum(axis=1)) / (draws.weights @ cases.sum(axis=1))
        return found

    return {
        COVERAGE_MET: share(judged.covered, met),
        COVERAGE_NEW: share(judged.covered, ~met),
        PRECISION: share(true, judged.mastered),
        RECALL: share(judged.mastered, findable),
    }


def evaluate_mastery(run: MasteryRun, *, commit: str = "", advance: Advance = lambda *_: None) -> Evaluation:
    """Fit the learner model to learners who answer in each way, and measure what it says of others.

    Args:
        run: the size of the run.
        commit: of the code.
        advance: progress callback: the current way, ways done, ways in total.
    """
    found: dict[str, dict[str, Floats]] = {}
    elapsed_s: dict[str, float] = {}
    draws = Draws.of(run.learners, draws=DRAWS, seed=run.seed)
    with threadpool_limits(1):
        for number, way in enumerate(WAYS):
            advance(way.name, number, len(WAYS))
            began_s = time.perf_counter()
            simulated = simulate(way, 2 * run.learners, run.responses, run.seed)
            known = np.arange(2 * run.learners) < run.learners
            parameters = fit_parameters(simulated.table.of_learners(known), run.seed)
            others = Simulated(simulated.table.as_if_only(~known), simulated.truth[~known], simulated.attempts[~known])
            found[way.name] = measured(others, judge(others, parameters), draws)
            elapsed_s[way.name] = round(time.perf_counter() - began_s, 3)
    return Evaluation(
        protocol="mastery/simulated",
        data=(
            f"SIMULATED learners who answer in {len(WAYS)} ways; fitted on {run.learners} of each, evaluated on "
            f"{run.learners} others with {run.responses} responses each to half of {_SKILLS} skills"
        ),
        commit=commit,
        models={name: {measure: estimate(drawn) for measure, drawn in each.items()} for name, each in found.items()},
        differences={},
        checks=checks_of(
            {name: {measure: float(drawn[0]) for measure, drawn in each.items()} for name, each in found.items()}
        ),
        notes=_NOTES,
        seeds={"simulation": run.seed, "bootstrap": run.seed},
        elapsed_s=elapsed_s,
    )


def fit_parameters(table: ResponseTable, seed: int) -> TenantParameters:
    """The filter's parameters, fitted as `cairn train` does."""
    return parameters_of(table, fit_difficulties(table, fit_filter(table, seed=seed)))


def checks_of(found: Mapping[str, Mapping[str, float]]) -> tuple[Check, ...]:
    """Whether the measures are what they must be, for each way of answering."""
    low, high = _COVERAGE_MUST
    bounds = {
        COVERAGE_MET: (low, high, f"95 % intervals cover {low} to {high} of the true chances on skills met"),
        COVERAGE_NEW: (low, high, f"95 % intervals cover {low} to {high} of the true chances on skills never met"),
        PRECISION: (_PRECISION_MUST, 1.0, f"mastered means mastered in at least {_PRECISION_MUST} of the cases"),
        RECALL: (_RECALL_MUST, 1.0, f"at least {_RECALL_MUST} of what is mastered is found"),
    }
    return tuple(
        Check(
            claim,
            all(least <= each[measure] <= most for each in found.values()),
            ", ".join(f"{name} {each[measure]:.3f}" for name, each in found.items()),
        )
        for measure, (least, most, claim) in bounds.items()
    )


_NOTES = (
    "Everything here is simulated: it shows what the model says where answers come about in these ways, and no more.",
    "rasch: items differ in difficulty. 2pl: also in discrimination (log-normal, deviation .3).",
    "learning_.08, learning_.25: rasch, and each response adds that much to the ability on its skill, in logits.",
    "guessing: rasch, and a quarter of the answers that would be wrong are right.",
    "True is the chance on a skill's average item, of mean difficulty and discrimination, after the last response.",
    f"{COVERAGE_MET}, {COVERAGE_NEW}: share of the 95 % intervals that hold it, of skills with and without responses.",
    f"{PRECISION}: share of the skills that count as mastered with a true chance above {DEFAULT_RULE.success}.",
    f"{RECALL}: share that counts as mastered of those with one and at least {DEFAULT_RULE.responses} answers.",
    f"Intervals are central 95 % of {DRAWS} bootstrap resamples of learners, and cover no other course.",
)
