"""Evaluates how well rankings of all resources predict which ones a learner works on next."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from threadpoolctl import threadpool_limits

from services.recommender.application.ports.models import CollaborativeModel
from services.recommender.domain.learner.state import RECENT_RESOURCES
from services.recommender.domain.training.splits import WorkSplit
from services.recommender.evaluation.intervals import Draws, Estimate, Floats, centred, compared, estimate, of_learners
from services.recommender.evaluation.law_count import LawCount, checks_of
from services.recommender.evaluation.lists import ListEvaluator, Ranker, RankingSplit
from services.recommender.evaluation.rankers import Collaborative, Served, baselines, served
from services.recommender.evaluation.reason_count import ReasonCount, check_of
from services.recommender.evaluation.results import SERVED, Evaluation
from services.recommender.evaluation.tables import DataUnusableError
from services.recommender.models.collaborative.ensemble import Ensemble
from services.recommender.models.collaborative.families import FAMILIES, Choice, choose
from services.recommender.models.ranker.dataset import RankingDataset
from services.recommender.models.ranker.fit import FittedRanker, base_models_of, fit_base_ranker, fit_ranker
from services.recommender.models.ranker.interaction_statistics_fit import fit_interaction_statistics
from services.recommender.models.ranker.lists import TooFewToLearnError

DRAWS = 1_000
SEED = 1

Advance = Callable[[str, int, int], None]


# Report a difference this large between two groups, on any measure.
GROUP_GAP = 0.03
_LEARNERS_PER_GROUP = 20
_COVERAGE_DRAWS = 100
# A list with none of the next skills has a ratio of 0, not 0 / 0.
_SMALLEST_SHARE = 1e-9


@dataclass
class _Measured:
    """Results of the rankings evaluated so far, by ranking: values by learner, first ten resources, and counts."""

    values: dict[str, dict[str, Floats]] = field(default_factory=dict)
    tops: dict[str, list[list[int]]] = field(default_factory=dict)
    elapsed_s: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, ReasonCount] = field(default_factory=dict)
    laws: dict[str, LawCount] = field(default_factory=dict)

    def count(self, name: str, ranker: Served) -> None:
        """Keep what was counted in the lists of a ranking."""
        self.reasons[name] = ranker.reasons
        if ranker.laws is not None:
            self.laws[name] = ranker.laws


def evaluate_ranking(
    protocol: str, split: RankingSplit, *, commit: str = "", advance: Advance = lambda *_: None
) -> Evaluation:
    """Fit every ranking, and evaluate its lists for the same learners.

    Args:
        protocol: its name.
        split: the data.
        commit: of the code.
        advance: progress callback: the current ranking, rankings done, rankings in total.

    Raises:
        DataUnusableError: when there is no learner to evaluate on.
    """
    work = split.work
    learners = sorted(work.relevant)
    if not learners:
        raise DataUnusableError(
            f"{split.description}: no learner can be evaluated; a learner needs work on both sides of the split"
        )
    draws = Draws.of(len(learners), draws=DRAWS, seed=SEED)
    evaluator = ListEvaluator(split, seed=SEED)
    steps = iter(range(1_000_000))
    total = 2 * len(FAMILIES) + 9

    def report(name: str) -> None:
        advance(name, min(next(steps), total - 1), total)

    choice = choose(work.inner(seed=SEED), seed=SEED, advance=lambda name: report(f"tuning {name}"))
    measured = _Measured()
    for name, make in _rankings(split, choice, report):
        started_s = time.perf_counter()
        ranker = make()
        # One learner's matrices are small: synchronising threads would take longer than computing on one.
        with threadpool_limits(1, user_api="blas"):
            values, tops = evaluator.measures(ranker, learners)
        measured.values[name], measured.tops[name] = values, tops
        measured.elapsed_s[name] = round(time.perf_counter() - started_s, 3)
        if isinstance(ranker, Served):
            measured.count(name, ranker)
    report("intervals")
    drawn = {name: _with_ratio(_drawn(values, draws)) for name, values in measured.values.items()}
    for name, tops in measured.tops.items():
        drawn[name] |= _catalog_measures(tops, draws, len(split.test.resources))
    slices, alerts = _by_group(split, learners, measured.values)
    return Evaluation(
        protocol=protocol,
        data=split.description,
        commit=commit,
        models={name: {measure: estimate(each) for measure, each in of_one.items()} for name, of_one in drawn.items()},
        differences=compared(drawn, SERVED) if SERVED in drawn else {},
        slices=slices,
        checks=(check_of(measured.reasons), *checks_of(measured.laws)),
        laws={name: count.as_values() for name, count in measured.laws.items()},
        twins=split.twins._asdict(),
        notes=(*alerts, *_notes(split, choice)),
        seeds={"bootstrap": SEED, "models": SEED},
        elapsed_s=measured.elapsed_s,
    )


def _rankings(
    split: RankingSplit, choice: Choice, report: Callable[[str], None]
) -> Iterator[tuple[str, Callable[[], Ranker]]]:
    """Yield the name and factory of every ranking; models are fitted once and shared."""
    work = split.work
    for name, make in baselines(split, seed=SEED).items():
        report(name)
        yield name, make
    fitted: dict[str, CollaborativeModel] = {}

    def collaborative(name: str) -> Ranker:
        fitted[name] = FAMILIES[name].fit(work.positives, SEED, choice.settings[name])
        return Collaborative(fitted[name], work)

    for name in choice.settings:
        report(name)
        yield name, lambda name=name: collaborative(name)  # type: ignore[misc]  # bound early, called at once.

    def base_models(of: WorkSplit, chosen: Choice) -> Ensemble:
        return Ensemble(of.positives.resources, {name: fitted[name] for name in base_models_of(of, chosen)})

    learned, untrained = None, None
    try:
        untrained = fit_base_ranker(work, seed=SEED, choice=choice)
        learned = fit_ranker(work, seed=SEED, choice=choice, fit_base_models=base_models, advance=report)
        choice.remarks.append(_chosen_blend_weight(learned))
    except TooFewToLearnError as error:
        choice.remarks.append(f"No ranking was learned: {error}.")
    best = learned or untrained
    dataset = RankingDataset(
        work,
        base_models(work, choice) if best is None else best.ensemble,
        fit_interaction_statistics(work.before, work.positives) if best is None else best.ranker.statistics,
    )
    for name, ranker in served(dataset, learned, untrained, seed=SEED).items():
        report(name)
        yield name, lambda ranker=ranker: ranker  # type: ignore[misc]  # bound early, called at once.


def _chosen_blend_weight(learned: FittedRanker) -> str:
    tried = ", ".join(f"{weight}: {measure:.4f}" for weight, measure in learned.measures.items())
    ranker = learned.ranker
    return (
        f"{SERVED} is {len(ranker.trees.starts) - 1} trees with a blend weight of {ranker.blend_weight:g}; the rest is "
        f"{ranker.models[int(np.argmax(ranker.base_weights))]}; NDCG@10 on held-out learners of the inner split by "
        f"blend weight: {tried}."
    )


def _drawn(values: Mapping[str, Floats], draws: Draws) -> dict[str, Floats]:
    """Return the mean of each measure over the learners for which it is defined, on every draw."""
    drawn = {}
    for measure, of_each in values.items():
        here = ~np.isnan(of_each)
        drawn[measure] = of_learners(of_each[here], Draws(draws.weights[:, here]))
    return drawn


def _with_ratio(drawn: dict[str, Floats]) -> dict[str, Floats]:
    """Add gap_ratio: the share of the hits on a learner's next skills that they then got wrong."""
    if "gap_next_at_10" not in drawn:
        return drawn
    return drawn | {"gap_ratio_at_10": drawn["gap_hit_at_10"] / np.maximum(drawn["gap_next_at_10"], _SMALLEST_SHARE)}


def _catalog_measures(tops: Sequence[Sequence[int]], draws: Draws, resources: int) -> dict[str, Floats]:
    """Return the share of the catalog that is in any list, and the Gini index of resources in lists, on some draws."""
    listed = np.array(list(itertools.chain.from_iterable(tops)), np.int64)
    learner = np.repeat(np.arange(len(tops)), [len(top) for top in tops])
    coverage, gini = [], []
    for weights in draws.weights[: _COVERAGE_DRAWS + 1]:
        exposure = np.sort(np.bincount(listed, weights[learner], minlength=resources))
        coverage.append(float((exposure > 0).mean()))
        ranks = np.arange(1, resources + 1)
        shown = max(float(exposure.sum()), 1.0)
        gini.append(float(((2 * ranks - resources - 1) * exposure).sum() / (resources * shown)))
    return {"coverage_at_10": centred(np.array(coverage)), "gini_at_10": centred(np.array(gini))}


def _by_group(
    split: RankingSplit, learners: Sequence[int], values: Mapping[str, Mapping[str, Floats]]
) -> tuple[dict[str, dict[str, dict[str, Estimate]]], list[str]]:
    """Return every measure by group of learners, and a note for each measure on which groups differ strongly."""
    base_models = Counter(split.groups[learner] for learner in learners if learner in split.groups)
    slices: dict[str, dict[str, dict[str, Estimate]]] = {}
    for group in sorted(name for name, count in base_models.items() if count >= _LEARNERS_PER_GROUP):
        here = np.array([split.groups.get(learner) == group for learner in learners])
        draws = Draws.of(int(here.sum()), draws=DRAWS, seed=SEED)
        slices[f"group {group}"] = {
            name: {measure: estimate(each) for measure, each in _with_ratio(_drawn(_of(of_one, here), draws)).items()}
            for name, of_one in values.items()
        }
    alerts = []
    for measure in values.get(SERVED, {}):
        means = {name: models[SERVED][measure].mean for name, models in slices.items()}
        if means and measure.split("_at_")[0] != "novelty" and max(means.values()) - min(means.values()) > GROUP_GAP:
            least, most = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
            alerts.append(
                f"ALERT: {measure} of {SERVED} is {means[least]:.3f} for {least} and {means[most]:.3f} for {most}, "
                f"more than {GROUP_GAP} apart."
            )
    return slices, alerts


def _of(values: Mapping[str, Floats], here: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> dict[str, Floats]:
    return {measure: of_each[here] for measure, of_each in values.items()}


def _notes(split: RankingSplit, choice: Choice) -> tuple[str, ...]:
    held = (
        "gap_hit: share of the list about a skill the learner then got wrong at least once (need).",
        "gap_next: share of the list about a skill the learner then worked on (behaviour); gap_ratio: hit / next.",
        "success_band: share of the list with a chance of success from .65 to .85 (Best-LR fitted on others).",
        "readiness_violations: share of the list that builds on a skill with over two fifths wrong responses."
        if split.work.prerequisites
        else "Readiness violations are not measured: there is no prerequisites.csv.",
        "cairn: the default of a server; next_item: without need (need_share 0); need: nothing else (need_share 1).",
        "untrained: the default of a server without a learned ranker.",
        "without_laws: next_item without what its first entries must hold, which shows what the laws cost.",
    )
    return (
        split.twins.note,
        "Every resource that the learner had not worked on before is ranked; no negatives are sampled."
        if not split.work.repeats
        else "Every resource is ranked, including earlier work; ndcg_at_5_new ranks only resources new to a learner.",
        "Relevant is what learners did next, which teachers largely assigned: this is no evidence of learning.",
        *(held if any(split.work.tags) and split.work.graded else ()),
        f"cairn reads the learner state of a server: the last {RECENT_RESOURCES} resources."
        if split.work.graded
        else f"cairn reads the whole history; a server keeps the last {RECENT_RESOURCES} resources of each learner.",
        *choice.remarks,
        "Chosen on an inner split of the training data: "
        + ", ".join(f"{name} {label}" for name, label in choice.described.items())
        + ".",
        *(f"{name} is not among the rankings: {reason}." for name, reason in choice.absent.items()),
        f"Intervals are central 95 % of {DRAWS} bootstrap resamples of learners; differences use the same ones.",
        "Resamples hold fewer different learners, whose lists cover less: coverage and Gini are corrected for this.",
    )
